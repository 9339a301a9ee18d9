/** Time, given to whatever needs it, so that a test or a simulation can give another. */
export interface Clock {
	/** Wall clock, milliseconds since the Unix epoch. May jump. */
	nowMs(): number;
	/** Milliseconds since some fixed point. Never goes back. */
	monotonicMs(): number;
}

export const systemClock: Clock = {
	nowMs: () => Date.now(),
	monotonicMs: () => performance.now(),
};
