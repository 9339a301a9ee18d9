/** Every bound of gossip, side by side. */
export const GOSSIP_LIMITS = {
	/** Facts kept of each kind; when there are more the oldest go. */
	recordsMax: 20_000,
	usageMax: 100_000,
	digestsMax: 100_000,
	heartbeatsMax: 1_000,
	/** After more than `…Max` so many of a kind go at once, as a share. */
	trimShare: 0.1,
	/** A kind's facts are compared in so many buckets. */
	bucketCount: 128,
	heartbeatEveryMs: 1_000,
	/** What becomes known within so short a time goes out together. */
	recordBatchMs: 20,
	usageBatchMs: 1_000,
	digestBatchMs: 1_000,
	/** Facts waiting to go out; what does not fit is left to state exchange. */
	waitingMax: 20_000,
	/** One message, and one fact. */
	messageBytesMax: 96 * 1024,
	factBytesMax: 80 * 1024,
	factsPerMessageMax: 2_000,
	exchangeEveryMs: 10_000,
	exchangeTimeoutMs: 5_000,
	/** Of one answer in a state exchange. */
	pageBytesMax: 256 * 1024,
	/** More than fit into a page. */
	factsPerPageMax: 20_000,
	/** Answers of one state exchange; what is left the next one brings. */
	pagesMax: 1_000,
	/** Neighbours waiting for their turn to be asked. */
	neighboursWaitingMax: 1_000,
	addressesMax: 32,
	/** Transfers that a heartbeat tells of. */
	transfersMax: 100,
	textLengthMax: 512,
	/** Starts of a process, and how far a node lets itself be told that it started before. */
	incarnationMax: 2 ** 52,
	ownIncarnationMax: 2 ** 51,
	/** By how much generations may lie apart: a hub goes back once in a blue moon. */
	generationLeapMax: 1_000,
	/** How far ahead another node's clock may be. */
	clockAheadMsMax: 48 * 3_600_000,
} as const;
