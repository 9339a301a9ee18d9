/** Every bound of repair and moves, side by side. */
export const REPAIR_LIMITS = {
	/** For one call on a copy: a digest may have to look at every id, rows may have to come from a cold disk. */
	callMs: 30_000,
	copyStateMs: 5_000,
	/** For a whole comparison that another node is asked for. */
	remoteReconcileMs: 10 * 60_000,

	rowsPerBucket: 256,
	bucketCountMin: 16,
	bucketCountMax: 65_536,
	/** Ids in one list of versions, about. */
	versionsPerCall: 50_000,
	/** Each bucket costs a copy a look through a part of its index. */
	bucketsPerCall: 64,
	rowsPerCall: 1_000,
	bytesPerCall: 2 * 1024 * 1024,
	/** Batches of one comparison under way. */
	batchesInFlight: 2,
	moveBytesPerSecond: 64 * 1024 * 1024,

	/** Marks kept one by one for a node; beyond, all its shards are compared. */
	hintsPerNodeMax: 20_000,
	hintsInFlightPerNode: 4,
	hintRetryFirstMs: 1_000,
	hintRetryMaxMs: 60_000,

	/** Shards found missing that are remembered at a time; the others are only counted. */
	movesQueuedMax: 10_000,
	movesInFlight: 2,
	moveRetryFirstMs: 500,
	moveRetryMaxMs: 30_000,
	/** Whoever makes or changes a collection sees to its copies itself; what is not in place by then has to be looked for. */
	placementPatienceMs: 2_000,
	placementsMax: 10_000,
	/** Without any news, all is looked through again. */
	moveRoundMs: 60 * 60_000,

	/** Each replicated shard is compared about that often. */
	repairRoundMs: 10 * 60_000,
	repairGapMinMs: 20,
	repairGapMaxMs: 250,
	/** A shard that nobody wrote to need not be opened to be compared more often than that. */
	repairQuietMs: 24 * 60 * 60_000,
	repairAgreementsMax: 200_000,
	urgentShardsMax: 10_000,
	/** Nobody has written to a copy for so long: what it comes to is worth telling. */
	digestQuietMs: 3_000,
	digestLookMs: 1_000,
	/** Copies of which what they come to is worked out at one look. */
	digestsPerLookMax: 200,
	digestShardsMax: 50_000,
	/** Word of deletions is only let go when it is so much older than the agreement: no clock is so slow, no message so late. */
	purgeMarginMs: 24 * 60 * 60_000,
	/** The same shard's copies are told again what they may let go after so long. */
	purgeEveryMs: 60 * 60_000,
	/** Comparisons of all copies, one after the other, until one finds no difference; if none does, again in the next round. */
	agreementRoundsMax: 3,
} as const;
