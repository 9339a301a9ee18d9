/** Bounds of documents. */
export const DOCUMENT_LIMITS = {
	/** UTF-8. A path is part of the ids of its chunks, which are 256 bytes at most. */
	pathBytesMax: 200,
	textBytesMax: 1024 * 1024,
	chunkCountMax: 4_096,
	/** Characters (UTF-16 units) of a chunk. */
	chunkSizeMin: 100,
	chunkSizeMax: 8_000,
	chunkSizeDefault: 1_500,
	chunkOverlapDefault: 150,
	/** White space in a row, which belongs to one chunk. */
	blankRunMax: 8_000,
	metadataBytesMax: 16 * 1024,
	/** Headings are cut to so many characters where a chunk names them. */
	headingLengthMax: 200,
	/** Characters of Markdown that are parsed between two turns of the event loop, and of one block, beyond which it is cut anywhere. */
	parseSliceChars: 64 * 1024,
	parseBlockCharsMax: 512 * 1024,
	/** Chunks of one write, by vectors' and payloads' size. */
	writeBytesMax: 4 * 1024 * 1024,
	readChunksMax: 500,
	/**
	 * Chunks of a version that nothing names are taken for left-overs of a write that broke off when they are older: longer than any
	 * request takes.
	 */
	leftoverAgeMs: 6 * 3_600_000,
	/** How often a document is read again that was replaced while it was read. */
	readAttemptsMax: 5,
	/** How often a search is repeated because it found chunks of versions that are no more. */
	searchRoundsMax: 8,
	listLimitMax: 1_000,
	listLimitDefault: 100,
} as const;
