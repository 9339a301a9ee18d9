import type { Clock } from "../base/clock.ts";

/** Lets everything else that waits for this thread have its turn. */
export function yieldTurn(): Promise<void> {
	return new Promise((resolve) => setImmediate(resolve));
}

/** What a search on the same thread may have to wait for each job that is under way. A turn of the loop costs far less. */
const SLICE_MS = 0.5;

/** Long work cut into slices: ask `isSpent` between steps and `rest` when it is, so that a search never waits for a whole job. */
export class TimeSlice {
	readonly #clock: Clock;
	#startedMs: number;

	constructor(clock: Clock) {
		this.#clock = clock;
		this.#startedMs = clock.monotonicMs();
	}

	get isSpent(): boolean {
		return this.#clock.monotonicMs() - this.#startedMs >= SLICE_MS;
	}

	async rest(): Promise<void> {
		await yieldTurn();
		this.#startedMs = this.#clock.monotonicMs();
	}
}
