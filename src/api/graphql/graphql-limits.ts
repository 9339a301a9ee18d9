/** What a GraphQL message and connection may be, besides the settings `graphql.max_depth` and `graphql.max_cost`. */
export const GRAPHQL_LIMITS = {
	/** Of one document. A vector written into a query takes one token a number, so variables are the better place. */
	tokenCountMax: 10_000,
	fieldCountMax: 1_000,
	aliasCountMax: 100,
	directiveCountMax: 50,
	fragmentCountMax: 30,
	/** Fields written again beside themselves: validation compares each with each. */
	repeatCountMax: 20,
	/** Second names for payloads and vectors: each writes the same large value into the answer again. */
	heavyAliasCountMax: 8,
	/** Faults named in one answer. */
	validationErrorCountMax: 20,

	/** Operations of one message that run at the same time. */
	runningCountMax: 16,

	/** Characters of all documents that are kept parsed and checked. */
	documentCacheCharsMax: 256 * 1024,
	documentCharsKeptMax: 16 * 1024,

	/** Time to send `connection_init`. */
	initWaitMs: 3_000,
	/** How often it is looked whether a connection's caller may still be there. */
	renewIntervalMs: 1_000,
	/** How often subscriptions look whether something has changed. */
	lookIntervalMs: 1_000,
	messageBytesMax: 1024 * 1024,
	connectionCountMax: 10_000,
	connectionsPerTenantMax: 100,
	/** Connections from one address that have not said yet who they are. */
	strangersPerAddressMax: 50,
	/** Operations of one connection that are under way, subscriptions among them. */
	operationsPerConnectionMax: 16,
	/** A client that reads nothing for so long is hung up on. */
	unreadWaitMs: 30_000,
} as const;

/** The unit of `graphql.max_cost` is a tenth of a field that runs an operation. */
export const FIELD_COSTS = {
	operation: 10,
	object: 0.1,
	/** A payload or vector. */
	heavyLeaf: 0.1,
	/** Entries that a list without a limit of its own is taken to have. */
	assumedListLength: 50,
} as const;
