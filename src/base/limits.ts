/** Every bound of the product, side by side. CONTRACT section 1 unless said otherwise. */
export const LIMITS = {
	dimensionMax: 16_384,
	payloadBytesMax: 1024 * 1024,
	requestBodyBytesMax: 64 * 1024 * 1024,
	importLineBytesMax: 2 * 1024 * 1024,
	topKMax: 1_000,
	topKDefault: 10,
	searchOffsetMax: 10_000,
	searchBatchMax: 100,
	/** Collections of one search over several. */
	searchCollectionsMax: 20,
	filterDepthMax: 16,
	filterConditionCountMax: 1_000,
	/** Ids and values in all lists of one filter (`has_id`, `any`, `except`) together. */
	filterValueCountMax: 10_000,
	/** Characters of one `match.text`. */
	filterTextLengthMax: 10_000,
	vectorIdBytesMax: 256,
	vectorIdIntegerMax: Number.MAX_SAFE_INTEGER,
	shardCountMax: 64,
	replicaCountMax: 16,
	efSearchMax: 4_096,
	efConstructionMax: 4_096,
	hnswMMin: 2,
	hnswMMax: 128,
	scrollLimitMax: 1_000,
	scrollLimitDefault: 100,
	getIdsMax: 10_000,
	upsertVectorsMax: 100_000,
	payloadIndexesMax: 64,
	requestIdLengthMax: 128,
	tenantNameLengthMax: 200,
	tenantMetadataBytesMax: 16 * 1024,
	payloadFieldPathLengthMax: 256,
	/** Payload fields of a collection that are searched by their words. */
	textFieldsMax: 16,
	textModelLengthMax: 200,
	/** Characters of one text of which a vector is made. */
	embeddedTextLengthMax: 131_072,
} as const;

/** What the storage quota counts for a vector besides 4 × dimension and its payload: id, versions, index share. */
export const VECTOR_OVERHEAD_BYTES = 64;
