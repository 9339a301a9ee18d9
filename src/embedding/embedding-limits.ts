/** Bounds of what a node asks of its embedding provider. */
export const EMBEDDING_LIMITS = {
	/** Texts of one call. */
	batchTextsMax: 64,
	/** Characters of one call; a longer text goes alone. */
	batchCharsMax: 100_000,
	/** Calls on their way at the same time, of all tenants. */
	callsInFlightMax: 8,
	/** Of one request. */
	requestCallsInFlightMax: 4,
	callsWaitingMax: 4_096,
	tenantCallsWaitingMax: 1_024,
	/** Texts that wait, in bytes. */
	waitingBytesMax: 256 * 1024 * 1024,
	/** Attempts of one call. */
	attemptsMax: 4,
	attemptMs: 30_000,
	/** A call with its attempts and the pauses between them. */
	callMs: 60_000,
	backoffFirstMs: 250,
	backoffMaxMs: 4_000,
	/** What `Retry-After` asks for is waited for up to here. */
	retryAfterMsMax: 20_000,
	/** What an answer may take a number, and besides. */
	answerBytesPerNumber: 32,
	answerBytesExtra: 1024 * 1024,
	/** Of a refusal, for the log. */
	refusalCharsMax: 200,
} as const;
