/** Every bound of the calls between nodes, side by side. */
export const PEER_LIMITS = {
	/** Bodies from this size on take the stream for bulk. */
	bulkBytesMin: 64 * 1024,
	/** One message, a request or an answer; a request body of 64 MiB as vectors fits. */
	bodyBytesMax: 160 * 1024 * 1024,
	/** Calls to one node waiting for their answers, and the bytes waiting to go out to it on a stream. */
	callsInFlightMax: 2_048,
	queuedBytesMax: 256 * 1024 * 1024,
	/** Calls on one stream that are answered at a time, and the bytes of their requests; others wait for their turn. */
	handlersMax: 512,
	handledBytesMax: 256 * 1024 * 1024,
	/** What a stream brings before its reader is done with what it has; more would need a faster network than anybody's. */
	streamWindowBytesMax: 4 * 1024 * 1024,
	broadcastBytesMax: 256 * 1024,
	outsidersMax: 16,
	outsiderBodyBytesMax: 64 * 1024,
	/** The topology of some hundred members fits. */
	outsiderAnswerBytesMax: 4 * 1024 * 1024,
	outsiderMs: 15_000,
	/** How long the connection of an asker is kept when it has its answer: it may just have become a member's. */
	outsiderLingerMs: 1_000,
	pingEveryMs: 1_000,
	/** Without a sign of life a node is thought dead, and later its connection is given up. */
	silenceMsMax: 3_000,
	connectionSilenceMsMax: 6_000,
	redialMsMin: 250,
	redialMsMax: 2_000,
	dialMsMax: 3_000,
	connectionsMax: 2_048,
	/** Of those who have not proven yet that they know the secret: at a time, and from one address in a second. */
	handshakesMax: 512,
	addressesPerPeerMax: 8,
	peersRememberedMax: 1_024,
	discoveredMax: 64,
	stopMsMax: 1_000,
} as const;
