/** Every bound of how copies are read and written, side by side. */
export const REPLICATION_LIMITS = {
	/** After which a write is acknowledged or refused; what a copy has not done by then it has missed. Large ones have longer. */
	writeMs: 5_000,
	writeBytesPerMs: 4_096,
	/** For a write whose only copy is this node's: it waits its turn, and nobody else could do it. */
	ownWriteMs: 10 * 60_000,
	/** Until a read is given up, whatever its copies do. */
	readMs: 30_000,
	/** Without an answer by then a read asks the next copy too, as often as it takes. */
	nextCopyMs: 1_500,
	/** A copy is slow after so many times what it usually takes, but not before the least. */
	slowFactor: 3,
	slowMsMin: 20,
	/** What an answer is expected to take as long as none has come. */
	unknownLatencyMs: 100,
	/** Extra reads that slow copies may cause: a share of all, and so many in a burst. */
	hedgeShare: 0.05,
	hedgeBurst: 20,
	/** A write that finds something newer, or a topology that has changed, is sent again this often. */
	attemptsMax: 8,
	/** Copies that have not answered when the client was: how many are waited for, and how much their writes may weigh. */
	stragglersMax: 1_024,
	stragglerBytesMax: 256 * 1024 * 1024,
	/** What establishes, or looks for, copies. */
	copyStateMs: 2_000,
	makeMs: 15_000,
	/** To bring one copy up to another before a quorum's search. */
	reconcileMs: 20_000,
	/** Other nodes' wishes to have copies compared, at a time. */
	reconcilesMax: 16,
	/** Ids that a deletion by filter picks at a time. */
	deletePageIds: 1_000,
	/** Ids of which rows are asked in one call. */
	rowsIdsMax: 1_000,
	rowsBytes: 8 * 1024 * 1024,
	/** Rows that updates have claimed: of one shard, and shards with such rows. */
	claimsPerShardMax: 1_000,
	claimedShardsMax: 1_000,
	/** To build a payload index on a large copy. */
	payloadIndexMs: 30 * 60_000,
	/** Latencies and states that are remembered. */
	latenciesMax: 10_000,
	collectionsRememberedMax: 100_000,
} as const;
