import type { RandomBytes } from "../base/ids.ts";
import { HUB_LIMITS } from "./hub-limits.ts";

/**
 * How long to wait before the next attempt: doubling from `backoffFirstMs` to `backoffMaxMs`, of which a random half to
 * whole is taken, so that nodes that lost the hub together don't return together.
 *
 * @param failureCount failures in a row, 1 or more.
 * @returns milliseconds.
 */
export function backoffMs(failureCount: number, random: RandomBytes): number {
	const ceiling = Math.min(HUB_LIMITS.backoffFirstMs * 2 ** (failureCount - 1), HUB_LIMITS.backoffMaxMs);
	return ceiling * (0.5 + random(1)[0]! / 512);
}

/** Resolves after so many milliseconds, or as soon as `signal` aborts. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
	return new Promise((resolve) => {
		if (signal.aborted) return resolve();
		const done = (): void => {
			clearTimeout(timer);
			signal.removeEventListener("abort", done);
			resolve();
		};
		const timer = setTimeout(done, ms);
		signal.addEventListener("abort", done);
	});
}
