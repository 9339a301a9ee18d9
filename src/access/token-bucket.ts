/**
 * A token bucket as one number: the moment at which it is full again (the generic cell rate algorithm, ITU-T I.371).
 *
 * A bucket of `limit` tokens refills in `windowMs`, whatever the limit, so `(fullAtMs - nowMs) / windowMs` is the share that
 * is spent. Times are monotonic.
 */

/** Rounding of many additions must not cost a token: a millionth of the window. */
const toleranceMs = (windowMs: number): number => windowMs * 1e-6;

/** When the bucket would be full again after taking tokens, one unless told. */
export function fullAtAfterTake(fullAtMs: number, limit: number, windowMs: number, nowMs: number, tokens = 1): number {
	return Math.max(fullAtMs, nowMs) + (tokens * windowMs) / limit;
}

/** Milliseconds until so many tokens can be taken, one unless told; 0 when they can be now. */
export function waitMs(fullAtMs: number, limit: number, windowMs: number, nowMs: number, tokens = 1): number {
	const excessMs = fullAtAfterTake(fullAtMs, limit, windowMs, nowMs, tokens) - nowMs - windowMs;
	return excessMs <= toleranceMs(windowMs) ? 0 : excessMs;
}

/** Whole tokens left, 0..limit. */
export function remainingTokens(fullAtMs: number, limit: number, windowMs: number, nowMs: number): number {
	const leftMs = windowMs - Math.max(0, fullAtMs - nowMs) + toleranceMs(windowMs);
	return Math.min(limit, Math.max(0, Math.floor((leftMs * limit) / windowMs)));
}

/**
 * When the bucket is full again once its limit is another: as many tokens are spent as before, at most all there are now.
 *
 * @param limitBefore under which `fullAtMs` was reckoned; 0: under any, and the share that is spent stays.
 */
export function fullAtUnderLimit(
	fullAtMs: number,
	limitBefore: number,
	limit: number,
	windowMs: number,
	nowMs: number,
): number {
	if (limitBefore === limit || limitBefore === 0) return fullAtMs;
	const spentTokens = (Math.max(0, fullAtMs - nowMs) * limitBefore) / windowMs;
	return nowMs + (Math.min(spentTokens, limit) * windowMs) / limit;
}
