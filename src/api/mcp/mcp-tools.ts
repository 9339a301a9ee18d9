import type { ToolAnnotations } from "@modelcontextprotocol/server";

type Fields = Record<string, unknown>;

/** A tool: an operation under a name and in words by which a model chooses. It adds nothing to what the operation does. */
export interface ToolSpec {
	readonly name: string;
	readonly title: string;
	readonly operation: string;
	readonly description: string;
	readonly annotations: ToolAnnotations;
	/** The operation's fields that the tool has; absent: all. */
	readonly fields?: readonly string[];
	/** Of these, what a call must have besides what the operation says. */
	readonly required?: readonly string[];
	/** Fields that the tool has in another form, as JSON Schema. */
	readonly ownFields?: Readonly<Record<string, Fields>>;
	/** Fields of one of the operation's `vectors` that stand in the tool itself. */
	readonly entryFields?: readonly string[];
	/** Operation input from the tool's; absent: they are the same. */
	readonly toInput?: (given: Fields) => Fields;
}

const READS: ToolAnnotations = {
	readOnlyHint: true,
	destructiveHint: false,
	idempotentHint: true,
	openWorldHint: false,
};
const ADDS: ToolAnnotations = {
	readOnlyHint: false,
	destructiveHint: false,
	idempotentHint: false,
	openWorldHint: false,
};
const REPLACES: ToolAnnotations = {
	readOnlyHint: false,
	destructiveHint: true,
	idempotentHint: true,
	openWorldHint: false,
};

/** Ids stand in JSON here, where a number and a string can't be mistaken for one another. */
const exactId = (given: Fields): Fields => (typeof given.id === "string" ? { ...given, id_type: "string" } : given);

/** CONTRACT section 4. Deleting is what keys for MCP alone may not do: to them it is not shown. */
export const TOOLS: readonly ToolSpec[] = [
	{
		name: "list_collections",
		title: "List collections",
		operation: "collections.list",
		description:
			"Lists the collections of this tenant with their dimension, metric, number of vectors and index state. Call this first when you don't know " +
			"which collections there are; every other tool names one.",
		annotations: READS,
	},
	{
		name: "get_collection_info",
		title: "Show a collection",
		operation: "collections.get",
		description:
			"Shows one collection: dimension and metric, which vectors for it must match, how many vectors and bytes it holds, its payload indexes and " +
			"index state.",
		annotations: READS,
	},
	{
		name: "create_collection",
		title: "Create a collection",
		operation: "collections.create",
		description:
			"Creates an empty collection. `dimension` is that of the embedding model whose vectors it will hold and can't be changed; leave the rest at its " +
			"defaults unless asked. Fails when the name is taken.",
		annotations: ADDS,
	},
	{
		name: "delete_collection",
		title: "Delete a collection",
		operation: "collections.delete",
		description: "Deletes a collection with everything in it, for good. Only when the user asked for exactly that.",
		annotations: REPLACES,
	},
	{
		name: "insert_text",
		title: "Insert a text",
		operation: "vectors.upsert",
		description:
			"Stores one short text (a note, a fact, a passage) so that semantic_search finds it by meaning: the node makes the vector. Needs a collection with a " +
			"`text.provider` (see get_collection_info). For whole files use insert_document, for many entries at once insert_vectors.",
		annotations: REPLACES,
		fields: ["collection", "consistency"],
		required: ["text"],
		entryFields: ["id", "text", "payload"],
		toInput: ({ id, text, payload, ...rest }) => ({
			...rest,
			vectors: [{ ...(id !== undefined && { id }), text, ...(payload !== undefined && { payload }) }],
		}),
	},
	{
		name: "insert_vectors",
		title: "Insert vectors",
		operation: "vectors.upsert",
		description:
			"Inserts many entries at once, or replaces those with the same ids: each has a `vector` that you have already, or a `text` that becomes one where the " +
			"collection has a `text.provider`, and an optional id and payload. All are checked before any is written; ids that are left out are made and answered.",
		annotations: REPLACES,
	},
	{
		name: "get_vector",
		title: "Read a vector",
		operation: "vectors.get",
		description:
			'Reads one stored entry by its id: payload, and with `with_vector` the numbers too. An id is a string or an integer, and 1 is another than "1". ' +
			"To find entries by meaning or by filter, search instead.",
		annotations: READS,
		fields: ["collection", "id", "with_payload", "with_vector", "consistency"],
		toInput: exactId,
	},
	{
		name: "update_vector",
		title: "Change a vector",
		operation: "vectors.update",
		description:
			"Changes one entry that is there: merges `payload` into the stored one (a field that is null is removed), replaces the vector by " +
			"another or by that of a `text`, or both.",
		annotations: REPLACES,
		fields: ["collection", "id", "vector", "text", "payload", "consistency"],
		toInput: exactId,
	},
	{
		name: "delete_vectors",
		title: "Delete vectors",
		operation: "vectors.delete_many",
		description:
			"Deletes the entries with the given `ids`, or all that a `filter` matches, for good. Answers how many there were.",
		annotations: REPLACES,
	},
	{
		name: "search",
		title: "Search, with every option",
		operation: "search.query",
		description:
			"Finds the entries nearest to a query vector (`vector`), or like a stored one (`id`), best first, optionally among those that a `filter` on payload " +
			"fields matches. Use it when you have a vector or an id, or need an option that the other searches don't have; for a question in words use " +
			"semantic_search or hybrid_search.",
		annotations: READS,
	},
	{
		name: "semantic_search",
		title: "Search by meaning",
		operation: "search.query",
		description:
			"Finds entries by the meaning of a question or phrase (`text`), best first. The first choice for questions in plain words. In a collection without a " +
			"`text.provider` it searches by words (BM25) in its text fields.",
		annotations: READS,
		fields: ["collection", "text", "limit", "offset", "filter", "score_threshold", "with_payload", "consistency"],
		required: ["text"],
	},
	{
		name: "hybrid_search",
		title: "Search by meaning and words",
		operation: "search.query",
		description:
			"Finds entries by meaning and by exact words at once, and makes both results into one. Better than semantic_search for names, codes, identifiers and " +
			"rare terms. Needs a collection with a `text.provider` and `text.fields`, or a `vector` of your own beside the text.",
		annotations: READS,
		fields: ["collection", "vector", "limit", "offset", "filter", "score_threshold", "with_payload", "consistency"],
		required: ["text"],
		ownFields: {
			text: { type: "string", minLength: 1, description: "what is looked for, by meaning and by its words" },
			alpha: {
				anyOf: [{ type: "number", minimum: 0, maximum: 1 }, { const: "rrf" }],
				default: "rrf",
				description: "share of the meaning, 0 to 1; rrf: by the ranks in both",
			},
		},
		toInput: ({ text, alpha, ...rest }) => ({ ...rest, hybrid: { text, ...(alpha !== undefined && { alpha }) } }),
	},
	{
		name: "multi_collection_search",
		title: "Search several collections",
		operation: "search.multi",
		description:
			"Searches several collections with one question and merges what they find, each result with the name of its collection. Use it when you don't know " +
			"which collection has the answer.",
		annotations: READS,
	},
	{
		name: "insert_document",
		title: "Store a document",
		operation: "documents.insert",
		description:
			"Stores a whole text or Markdown file under a path: splits it into chunks that searches find, and keeps the text. A document with the same path is " +
			"replaced at once. Needs a collection with a `text.provider`.",
		annotations: REPLACES,
	},
	{
		name: "list_files",
		title: "List documents",
		operation: "documents.list",
		description:
			"Lists the documents that were stored with insert_document in a collection, by path; `prefix` narrows it to a folder.",
		annotations: READS,
	},
	{
		name: "get_file_content",
		title: "Read a document",
		operation: "documents.content",
		description:
			"Reads the whole text of a stored document, as it was inserted. For parts of a long one use get_file_chunks.",
		annotations: READS,
	},
	{
		name: "get_file_chunks",
		title: "Read chunks of a document",
		operation: "documents.chunks",
		description:
			"Reads chunks of a stored document in order, with headings and offsets. To see what stands around a search result, ask from its chunk number less one " +
			"with `limit` 3.",
		annotations: READS,
	},
	{
		name: "get_usage",
		title: "Show usage",
		operation: "usage.own",
		description:
			"Shows what this tenant uses of its storage quota and request limits. Look here after a quota or rate limit error.",
		annotations: READS,
	},
];
