import { HiveError } from "../base/errors.ts";
import { HUB_LIMITS } from "./hub-limits.ts";

/** Lets so many calls run at a time; the others wait in the order they came. */
export class CallSlots {
	readonly #waiting = new Set<() => void>();
	#freeCount: number;

	constructor(slotCount: number) {
		this.#freeCount = slotCount;
	}

	/**
	 * Waits for a slot until `signal` aborts.
	 *
	 * @returns what gives the slot back; call it once. @throws OVERLOADED; the signal's reason
	 */
	async take(signal: AbortSignal): Promise<() => void> {
		if (this.#freeCount > 0) {
			this.#freeCount -= 1;
			return () => this.#giveBack();
		}
		if (this.#waiting.size >= HUB_LIMITS.callsWaitingMax) {
			throw new HiveError("OVERLOADED", "too many calls wait for the hub", { retry_after_seconds: 1 });
		}
		const { promise, resolve, reject } = Promise.withResolvers<void>();
		const aborted = (): void => {
			this.#waiting.delete(resolve);
			reject(signal.reason);
		};
		this.#waiting.add(resolve);
		signal.addEventListener("abort", aborted);
		try {
			signal.throwIfAborted();
			await promise;
		} finally {
			this.#waiting.delete(resolve);
			signal.removeEventListener("abort", aborted);
		}
		return () => this.#giveBack();
	}

	/** A slot goes straight to who waits longest, so that no newcomer slips in between. */
	#giveBack(): void {
		const [next] = this.#waiting;
		if (next === undefined) {
			this.#freeCount += 1;
			return;
		}
		this.#waiting.delete(next);
		next();
	}
}
