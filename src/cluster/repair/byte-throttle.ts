import type { Clock } from "../../base/clock.ts";
import type { Timers } from "../../base/timers.ts";

/** Up to so much may go at once after a pause. */
const BURST_SECONDS = 0.25;

export interface ByteThrottleParts {
	readonly bytesPerSecond: number;
	readonly clock: Clock;
	readonly timers: Timers;
}

/** Holds what repair and moves of a node transfer, all together, to so many bytes a second. */
export class ByteThrottle {
	readonly #parts: ByteThrottleParts;
	/** When all that was let through has been paid for, on the monotonic clock. */
	#paidMs = Number.NEGATIVE_INFINITY;

	constructor(parts: ByteThrottleParts) {
		this.#parts = parts;
	}

	/** Settles when so many bytes more may have been transferred, in the order asked; at once when the signal aborts. */
	async take(byteCount: number, signal?: AbortSignal): Promise<void> {
		const { bytesPerSecond, clock, timers } = this.#parts;
		const nowMs = clock.monotonicMs();
		this.#paidMs = Math.max(this.#paidMs, nowMs - BURST_SECONDS * 1_000) + (byteCount / bytesPerSecond) * 1_000;
		const waitMs = this.#paidMs - nowMs;
		if (waitMs <= 0 || signal?.aborted === true) return;
		const { promise, resolve } = Promise.withResolvers<void>();
		const cancel = timers.after(waitMs, resolve);
		const onAbort = (): void => {
			cancel();
			resolve();
		};
		signal?.addEventListener("abort", onAbort, { once: true });
		await promise;
		signal?.removeEventListener("abort", onAbort);
	}
}
