/** Every bound of the REST adapter, side by side. What users may send is bounded in `src/base/limits.ts`. */
export const REST_LIMITS = {
	/** Arrays and objects within one another in a body: far from the stack's end, yet beyond what a filter's own limit names. */
	bodyDepthMax: 1_000,
	/** Bodies up to here are read in one go; larger ones chunk by chunk, so that a stalled one is noticed. */
	bodyWholeReadBytesMax: 64 * 1024,
	/** Bodies from here on are parsed in a thread of their own: below, the way there costs more than the parsing. */
	bodyOffThreadBytesMin: 64 * 1024,
	/** Bodies on their way to that thread and back. */
	bodiesParsingMax: 64,
	/** Without a byte of the body for this long, the request is given up. */
	bodyStallMs: 30_000,
	/** A body that is not an import has arrived in full by then, however slowly it trickles. */
	bodyTotalMs: 600_000,
	/** A body that is taken as text. */
	textBodyBytesMax: 1024 * 1024,
	/** What is read from somebody who has shown no key. */
	publicBodyBytesMax: 1024 * 1024,
	/** An operation that is no stream is given up after this; the time its body takes to come is not counted. */
	requestTimeoutSeconds: 120,
	/** When to come back after that. */
	overdueRetrySeconds: 5,
	/**
	 * An open connection on which the client owes its next request, or doesn't read. Bytes that trickle in buy no time: Bun
	 * counts from the last whole request, in steps of four seconds. For the first one of a connection, TLS included, it
	 * allows 12 seconds whatever is set here.
	 */
	connectionIdleSeconds: 60,
	/**
	 * How long the listener with the old certificate goes on beside the new one, telling each client with its next answer to
	 * connect anew. Connections that say nothing in this time are closed.
	 */
	tlsRetireMs: 2_000,
	/** How long browsers may remember what a preflight allowed; Chromium remembers no longer. */
	corsMaxAgeSeconds: 7_200,
	/** How long `stop` waits for answers under way. */
	stopWaitMs: 10_000,
	/** Characters of a client's own text that an error message repeats. */
	echoLengthMax: 100,
	/** Open WebSocket connections, whoever they are of. */
	socketsMax: 20_000,
	/** A WebSocket on which nothing moves; it is pinged before. */
	socketIdleSeconds: 120,
	/** What may wait to be sent on one WebSocket; a client that does not read is cut off beyond it. */
	socketWaitingBytesMax: 16 * 1024 * 1024,
} as const;
