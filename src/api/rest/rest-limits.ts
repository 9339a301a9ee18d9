/** Every bound of the REST adapter, side by side. What users may send is bounded in `src/base/limits.ts`. */
export const REST_LIMITS = {
	/** Arrays and objects within one another in a body: far from the stack's end, yet beyond what a filter's own limit names. */
	bodyDepthMax: 1_000,
	/** Bodies up to here are read in one go; larger ones chunk by chunk, so that a stalled one is noticed. */
	bodyWholeReadBytesMax: 64 * 1024,
	/** Without a byte of the body for this long, the request is given up. */
	bodyStallMs: 30_000,
	/** A body that is not an import has arrived in full by then, however slowly it trickles. */
	bodyTotalMs: 600_000,
	/** An open connection on which the client owes the next byte, or doesn't read. Bun counts in steps of four seconds. */
	connectionIdleSeconds: 60,
	/** How long `stop` waits for answers under way. */
	stopWaitMs: 10_000,
	/** Characters of a client's own text that an error message repeats. */
	echoLengthMax: 100,
	/** Seconds for which browsers keep to TLS. */
	hstsSeconds: 31_536_000,
} as const;
