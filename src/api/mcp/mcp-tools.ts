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
		name: "insert_vectors",
		title: "Insert vectors",
		operation: "vectors.upsert",
		description:
			"Inserts vectors that you have already, each with an optional id and payload, or replaces those with the same ids. All are checked before any is " +
			"written; of ids that are left out new ones are made and answered.",
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
			"Changes one entry that is there: merges `payload` into the stored one (a field that is null is removed), replaces the vector, or both.",
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
		title: "Search by vector",
		operation: "search.query",
		description:
			"Finds the entries nearest to a query vector (`vector`), or to a stored one (`id`), best first, optionally among those that a `filter` on payload " +
			"fields matches. Has every option there is.",
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
