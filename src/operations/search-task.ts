import { z } from "zod";
import { HiveError } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { vectorIdSchema } from "../base/schemas.ts";
import { parseVector, requireFit } from "../base/vector.ts";
import type { CollectionRecord } from "../hub/models.ts";
import type { Hit, SearchAnswer, SearchPlan, SearchRequest } from "../storage/shard-types.ts";
import { type FusedList, fuseByRank, fuseByScore } from "./hybrid-fusion.ts";
import { filterField, readConsistencyField, vectorField, withPayloadField, withVectorField } from "./input-fields.ts";
import { requireText } from "./text-vectors.ts";

/** So many of each search are fused at least, so that the first page does not depend on its length. */
const FUSED_HITS_MIN = 100;

const queryTextSchema = z
	.string()
	.min(1)
	.max(LIMITS.embeddedTextLengthMax)
	.refine((text) => text.isWellFormed(), { error: "must be well-formed Unicode" })
	.refine((text) => text.trim() !== "", { error: "must not be blank" });

const hybridSchema = z.strictObject({
	text: queryTextSchema.describe("searched by its words in the collection's `text.fields`"),
	alpha: z
		.union([z.number().min(0).max(1), z.literal("rrf")])
		.default("rrf")
		.describe(
			"how both are made into one: a number is the share of the search by vector, over scores stretched to 0..1 " +
				"(1: vector only, 0: words only); rrf: by the ranks in both",
		),
});

export const queryFields = {
	vector: vectorField,
	id: vectorIdSchema.optional().describe("search with a stored vector, which is not among the results"),
	text: queryTextSchema
		.optional()
		.describe(
			"search with the vector of a text, in a collection with a `text.provider`; in one without, by its words in `text.fields`",
		),
	hybrid: hybridSchema
		.optional()
		.describe(
			"search by words too, and make both results into one; without vector, id and text the vector is that of hybrid.text",
		),
	limit: z.int().min(1).max(LIMITS.topKMax).default(LIMITS.topKDefault),
	offset: z.int().min(0).max(LIMITS.searchOffsetMax).default(0),
	filter: filterField,
	ef_search: z.int().min(1).max(LIMITS.efSearchMax).optional().describe("default: the collection's"),
	exact: z.boolean().default(false).describe("compare with every vector instead of asking the graph"),
	score_threshold: z.number().optional().describe("leave out what scores worse; of a hybrid search, in the end"),
	with_payload: withPayloadField,
	with_vector: withVectorField,
	consistency: readConsistencyField,
	explain: z.boolean().default(false).describe("answer which plan ran"),
};

export const searchQuerySchema = z.strictObject(queryFields);
export type SearchQuery = z.infer<typeof searchQuerySchema>;

const planFields = {
	kind: z.enum(["exact", "hnsw", "filter_exact", "hnsw_filtered", "lexical", "empty"]),
	candidates: z
		.int()
		.describe("vectors that were compared or offered by the graph, documents that were scored by their words"),
	ef_search: z.int().optional(),
	tail: z.int().optional().describe("vectors searched exactly because the graph does not hold them yet"),
};
const planPartSchema = z.strictObject(planFields);

export const planSchema = z.strictObject({
	...planFields,
	kind: z.enum([...planFields.kind.options, "hybrid"]),
	dense: planPartSchema.optional().describe("of a hybrid search: its search by vector"),
	lexical: planPartSchema.optional().describe("of a hybrid search: its search by words"),
});
type PlanAnswer = z.infer<typeof planSchema>;

/** What a query came to: all hits from the first on, offset and limit not yet applied. */
interface Found {
	readonly hits: readonly Hit[];
	readonly plan: PlanAnswer;
}

/** How a query is answered: one or two searches of the collection's, and what is made of their answers. */
export interface SearchTask {
	readonly requests: readonly SearchRequest[];
	/** @param answers one a request */
	found(answers: readonly SearchAnswer[]): Found;
}

/** A query that was checked. */
export interface CheckedQuery {
	/** To be made a vector of first. */
	readonly embed: { readonly text: string; readonly field: string } | undefined;
	/** @param embedded the vector of that text */
	task(embedded: Float32Array | undefined): SearchTask;
}

type Target =
	| { readonly vector: Float32Array }
	| { readonly id: NonNullable<SearchRequest["id"]> }
	| { readonly embed: { readonly text: string; readonly field: string } }
	| { readonly lexical: { readonly text: string } };

/**
 * @param place before the names of fields in errors, such as `searches[3].`
 * @throws VALIDATION_FAILED, INVALID_VECTOR, DIMENSION_MISMATCH
 */
export function checkQuery(query: SearchQuery, record: CollectionRecord, place: string): CheckedQuery {
	const { hybrid } = query;
	if (hybrid === undefined) {
		const target = targetOf(query, record, place) ?? refuse(`${place}vector`, "give a vector, a text or an id");
		const k = query.offset + query.limit;
		return checked(target, (found) => plainTask({ ...request(query, k), ...found }, query.score_threshold));
	}
	if ((record.text?.fields ?? []).length === 0) {
		refuse(`${place}hybrid`, `collection ${record.name} was made without text.fields, so there are no words to search`);
	}
	const target = targetOf(query, record, place) ?? hybridTarget(query, record, place);
	if (target !== undefined && "lexical" in target) {
		refuse(
			`${place}text`,
			"is what hybrid.text is for in a collection without a text.provider: give a vector or an id",
		);
	}
	return checked(target, (found) => hybridTask(query, record, hybrid, found));
}

/** What a query asks for besides the words of `hybrid`; undefined when it names nothing. */
function targetOf(query: SearchQuery, record: CollectionRecord, place: string): Target | undefined {
	const { vector, id, text } = query;
	if ([vector, id, text].filter((given) => given !== undefined).length > 1) {
		refuse(`${place}vector`, "give either a vector, a text or an id");
	}
	if (vector !== undefined) {
		const parsed = parseVector(vector, `${place}vector`);
		requireFit(parsed, record, `${place}vector`, "the query");
		return { vector: parsed };
	}
	if (id !== undefined) return { id };
	if (text === undefined) return undefined;
	if (isEmbedding(record)) return { embed: { text: requireText(text, record, `${place}text`), field: `${place}text` } };
	if (record.text === undefined) {
		refuse(`${place}text`, `collection ${record.name} was made without text.provider and text.fields: give a vector`);
	}
	return { lexical: { text } };
}

/** Undefined when no search by vector is wanted. */
function hybridTarget(query: SearchQuery, record: CollectionRecord, place: string): Target | undefined {
	const { text, alpha } = query.hybrid!;
	if (alpha === 0) return undefined;
	if (isEmbedding(record)) {
		const field = `${place}hybrid.text`;
		return { embed: { text: requireText(text, record, field), field } };
	}
	return refuse(
		`${place}vector`,
		`is missing: collection ${record.name} was made without a text.provider, so give the vector or id to search with`,
	);
}

function checked(
	target: Target | undefined,
	task: (found: Partial<SearchRequest> | undefined) => SearchTask,
): CheckedQuery {
	if (target === undefined || !("embed" in target)) return { embed: undefined, task: () => task(target) };
	return { embed: target.embed, task: (embedded) => task({ vector: embedded! }) };
}

function plainTask(request: SearchRequest, scoreThreshold: number | undefined): SearchTask {
	return {
		requests: [scoreThreshold === undefined ? request : { ...request, scoreThreshold }],
		found: ([answer]) => ({ hits: answer!.hits, plan: planAnswer(answer!.plan) }),
	};
}

/** @param target undefined searches by words alone */
function hybridTask(
	query: SearchQuery,
	record: CollectionRecord,
	{ text, alpha }: NonNullable<SearchQuery["hybrid"]>,
	target: Partial<SearchRequest> | undefined,
): SearchTask {
	const depth = Math.max(query.offset + query.limit, FUSED_HITS_MIN);
	const parts: { readonly name: "dense" | "lexical"; readonly request: SearchRequest; readonly weight: number }[] = [];
	if (target !== undefined && alpha !== 0) {
		parts.push({
			name: "dense",
			request: { ...request(query, depth), ...target },
			weight: alpha === "rrf" ? 1 : alpha,
		});
	}
	if (alpha !== 1) {
		// One more: the document whose vector is searched with is no hit.
		const lexical = { ...request(query, depth + (query.id === undefined ? 0 : 1)), lexical: { text } };
		parts.push({ name: "lexical", request: lexical, weight: alpha === "rrf" ? 1 : 1 - alpha });
	}
	return {
		requests: parts.map((part) => part.request),
		found(answers) {
			const lists = parts.map(({ name }, index): FusedList => {
				const hits = answers[index]!.hits.filter(({ id }) => id !== query.id).slice(0, depth);
				return { hits, best: name === "dense" && record.metric === "euclidean" ? "lowest" : "highest" };
			});
			const weights = parts.map(({ weight }) => weight);
			const hits = alpha === "rrf" ? fuseByRank(lists) : fuseByScore(lists, weights);
			const least = query.score_threshold;
			return {
				hits: least === undefined ? hits : hits.filter(({ score }) => score >= least),
				plan: {
					kind: "hybrid",
					candidates: answers.reduce((sum, { plan }) => sum + plan.candidateCount, 0),
					...Object.fromEntries(parts.map(({ name }, index) => [name, planAnswer(answers[index]!.plan)])),
				},
			};
		},
	};
}

/** What all searches of a query have in common. */
function request(query: SearchQuery, k: number): SearchRequest {
	return {
		k,
		exact: query.exact,
		withPayload: query.with_payload,
		withVector: query.with_vector,
		...(query.filter !== undefined && { filter: query.filter }),
		...(query.ef_search !== undefined && { efSearch: query.ef_search }),
	};
}

const isEmbedding = ({ text }: CollectionRecord): boolean => text !== undefined && text.provider !== "none";

const planAnswer = (plan: SearchPlan): z.infer<typeof planPartSchema> => ({
	kind: plan.kind,
	candidates: plan.candidateCount,
	...(plan.efSearch === undefined ? {} : { ef_search: plan.efSearch }),
	...(plan.tailCount === undefined ? {} : { tail: plan.tailCount }),
});

function refuse(field: string, reason: string): never {
	throw new HiveError("VALIDATION_FAILED", `${field}: ${reason}`, { field });
}
