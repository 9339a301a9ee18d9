/** Every bound of the hub protocol, its server, client and cache, side by side. */
export const HUB_LIMITS = {
	/** A request to the hub: the largest is a usage report of `usageEntriesMax` entries. */
	requestBodyBytesMax: 8 * 1024 * 1024,
	usageEntriesMax: 10_000,
	/** Sequences of one node that are remembered one by one; older ones count as seen. */
	usageSequencesKept: 10_000,
	logEntriesMax: 1_000,
	changePageMax: 500,
	changeWaitSecondsMax: 60,
	/** Changes kept for those who were away; an older cursor is answered with `reset`. */
	changesKept: 100_000,
	/** Changes are pruned once in so many revisions. */
	changesPrunedEvery: 1_000,
	longPollsMax: 4_096,
	/** Write transactions waiting for their turn. */
	writesWaitingMax: 10_000,
	tenantPageMax: 1_000,
	tenantPageDefault: 100,
	keyNameLengthMax: 200,
	graceSecondsMax: 366 * 24 * 3_600,
	topologyMembersMax: 1_000,
	/** Nodes that have left, of which the newest are kept. */
	retiredMembersMax: 1_000,
	/** Collections whose number of copies the topology tells, those that are just changed among them. */
	replicaCountsMax: 200,
	memberAddressesMax: 32,
	addressLengthMax: 512,
	nodeIdLengthMax: 64,
	peerIdLengthMax: 128,
	allowedIpsMax: 256,
	/** Lookups of one directory waiting for the hub at the same time. */
	lookupsInFlightMax: 10_000,
	/** Keys that the hub does not know, remembered for `unknownKeySeconds`. */
	unknownKeysMax: 10_000,
	unknownKeySeconds: 5,
	/** Ids of deleted collections, so that a change that comes late does not bring one back. */
	deletedCollectionsMax: 10_000,
	/** How long a caller with a stale record waits for a fresh one before the stale one serves. */
	staleWaitMs: 1_000,
	/** After a failure the hub is left alone for so long by whoever has a stale record to go on. */
	hubRestMs: 5_000,
	/** Pages read ahead of subscribers that take their time. */
	feedPagesAheadMax: 64,
	/** Calls waiting for one of the connections to the hub. */
	callsWaitingMax: 10_000,
	backoffFirstMs: 50,
	backoffMaxMs: 5_000,
	/** Calls without an answer, one after another, after which no further one is made for a while. */
	breakerFailuresMax: 5,
	breakerPauseFirstMs: 500,
	breakerPauseMaxMs: 5_000,
	/** What a long poll may take longer than the hub was asked to wait: meanwhile no revocation is heard of. */
	pollSpareSecondsMax: 5,
	/** An answer of the hub: the largest is a page of changes. */
	answerBytesMax: 64 * 1024 * 1024,
	/** Records remembered because the feed told of them, so that an older answer does not bring back what they end. */
	recentChangesMax: 10_000,
	/** Changes that other nodes speak of may be on their way in one's own feed for so long; then they are missing. */
	gapMsMax: 5_000,
	/** One exchange with the shared cache, connecting included. */
	sharedTimeoutMs: 100,
	/** Exchanges with the shared cache under way, those included that nobody waits for any more. */
	sharedCallsMax: 1_000,
	/** Entries waiting to be written to the shared cache; more are not written. */
	sharedWritesWaitingMax: 10_000,
	sharedWriteBatchMax: 200,
	sharedEntryBytesMax: 256 * 1024,
	/** How far the clocks of nodes that share a cache may lie apart. */
	sharedClockSkewMs: 5_000,
	/** A tombstone outlives every entry that was made before it by so long. */
	sharedTombstoneSpareMs: 60_000,
} as const;
