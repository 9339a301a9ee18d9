/**
 * A token bucket as one number: the moment at which it is full again (the generic cell rate algorithm, ITU-T I.371).
 *
 * A bucket of `limit` tokens refills in `windowMs`, whatever the limit, so `(fullAtMs - nowMs) / windowMs` is the share that
 * is spent. Changing the limit therefore keeps the spent share, without touching the bucket. Times are monotonic.
 */

/** Rounding of many additions must not cost a token: a millionth of the window. */
const toleranceMs = (windowMs: number): number => windowMs * 1e-6;

/** When the bucket would be full again after taking one token. */
export function fullAtAfterTake(fullAtMs: number, limit: number, windowMs: number, nowMs: number): number {
	return Math.max(fullAtMs, nowMs) + windowMs / limit;
}

/** Milliseconds until one token can be taken; 0 when it can be now. */
export function waitMs(fullAtMs: number, limit: number, windowMs: number, nowMs: number): number {
	const excessMs = fullAtAfterTake(fullAtMs, limit, windowMs, nowMs) - nowMs - windowMs;
	return excessMs <= toleranceMs(windowMs) ? 0 : excessMs;
}

/** Whole tokens left, 0..limit. */
export function remainingTokens(fullAtMs: number, limit: number, windowMs: number, nowMs: number): number {
	const leftMs = windowMs - Math.max(0, fullAtMs - nowMs) + toleranceMs(windowMs);
	return Math.min(limit, Math.max(0, Math.floor((leftMs * limit) / windowMs)));
}
