import type { Clock } from "../base/clock.ts";

/** Lets everything else that waits for this thread have its turn. */
export function yieldTurn(): Promise<void> {
	return new Promise((resolve) => setImmediate(resolve));
}

/** Long work cut into slices: ask `isSpent` between steps and `rest` when it is, so that a search never waits for a whole job. */
export class TimeSlice {
	readonly #clock: Clock;
	readonly #budgetMs: number;
	#startedMs: number;

	constructor(clock: Clock, budgetMs: number) {
		this.#clock = clock;
		this.#budgetMs = budgetMs;
		this.#startedMs = clock.monotonicMs();
	}

	get isSpent(): boolean {
		return this.#clock.monotonicMs() - this.#startedMs >= this.#budgetMs;
	}

	async rest(): Promise<void> {
		await yieldTurn();
		this.#startedMs = this.#clock.monotonicMs();
	}
}
