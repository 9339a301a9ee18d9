import { z } from "zod";
import { HiveError } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { type Consistency, vectorIdSchema } from "../base/schemas.ts";
import { parseVector, requireFit, type VectorRule } from "../base/vector.ts";
import type { Collection } from "../cluster/tenant-types.ts";
import type { SearchAnswer, SearchPlan, SearchRequest } from "../storage/shard-types.ts";
import {
	collectionField,
	filterField,
	readConsistencyField,
	vectorField,
	withPayloadField,
	withVectorField,
} from "./input-fields.ts";
import { type AnyOperation, defineOperation, type NodeServices } from "./node-services.ts";
import { type HitAnswer, hitAnswer, hitAnswerSchema } from "./vector-answer.ts";

const queryFields = {
	vector: vectorField,
	id: vectorIdSchema.optional().describe("search with a stored vector, which is not among the results"),
	limit: z.int().min(1).max(LIMITS.topKMax).default(LIMITS.topKDefault),
	offset: z.int().min(0).max(LIMITS.searchOffsetMax).default(0),
	filter: filterField,
	ef_search: z.int().min(1).max(LIMITS.efSearchMax).optional().describe("default: the collection's"),
	exact: z.boolean().default(false).describe("compare with every vector instead of asking the graph"),
	score_threshold: z.number().optional().describe("leave out what scores worse"),
	with_payload: withPayloadField,
	with_vector: withVectorField,
	consistency: readConsistencyField,
	explain: z.boolean().default(false).describe("answer which plan ran"),
};

const searchQuerySchema = z.strictObject(queryFields);
type SearchQuery = z.infer<typeof searchQuerySchema>;

const planSchema = z.strictObject({
	kind: z.enum(["exact", "hnsw", "filter_exact", "hnsw_filtered", "lexical", "empty"]),
	candidates: z.int().describe("vectors that were compared or offered by the graph"),
	ef_search: z.int().optional(),
	tail: z.int().optional().describe("vectors searched exactly because the graph does not hold them yet"),
});

/** @throws VALIDATION_FAILED, INVALID_VECTOR, DIMENSION_MISMATCH, naming fields under `place`. */
function searchRequest(query: SearchQuery, rule: VectorRule, place: string): SearchRequest {
	if ((query.vector === undefined) === (query.id === undefined)) {
		const field = `${place}vector`;
		throw new HiveError("VALIDATION_FAILED", `${field}: give either vector or id`, { field });
	}
	const request: { -readonly [K in keyof SearchRequest]: SearchRequest[K] } = {
		k: query.offset + query.limit,
		exact: query.exact,
		withPayload: query.with_payload,
		withVector: query.with_vector,
	};
	if (query.vector !== undefined) {
		request.vector = parseVector(query.vector, `${place}vector`);
		requireFit(request.vector, rule, `${place}vector`, "the query");
	}
	if (query.id !== undefined) request.id = query.id;
	if (query.filter !== undefined) request.filter = query.filter;
	if (query.ef_search !== undefined) request.efSearch = query.ef_search;
	if (query.score_threshold !== undefined) request.scoreThreshold = query.score_threshold;
	return request;
}

const results = (answer: SearchAnswer, query: SearchQuery): HitAnswer[] =>
	answer.hits.slice(query.offset, query.offset + query.limit).map(hitAnswer);

const planAnswer = (plan: SearchPlan): z.infer<typeof planSchema> => ({
	kind: plan.kind,
	candidates: plan.candidateCount,
	...(plan.efSearch === undefined ? {} : { ef_search: plan.efSearch }),
	...(plan.tailCount === undefined ? {} : { tail: plan.tailCount }),
});

/** Times the search itself; what was not answered is not counted. */
async function timed<T>(services: NodeServices, search: () => Promise<T>): Promise<{ answer: T; tookMs: number }> {
	const startMs = services.clock.monotonicMs();
	const answer = await search();
	const tookMs = services.clock.monotonicMs() - startMs;
	services.countSearch(tookMs / 1000);
	return { answer, tookMs: Math.round(tookMs * 1000) / 1000 };
}

const searchOne = defineOperation({
	name: "search.query",
	summary: "Find the vectors nearest to a vector",
	scope: "tenant",
	permissions: ["ADMIN", "READ_WRITE", "READ_ONLY", "MCP"],
	input: z.strictObject({ collection: collectionField, ...queryFields }),
	output: z.strictObject({
		results: z.array(hitAnswerSchema).describe("best first"),
		took_ms: z.number(),
		plan: planSchema.optional().describe("with `explain: true`"),
	}),
	rest: { method: "POST", path: "/collections/{collection}/search", body: "json" },
	async run({ tenant, services }, input) {
		const collection = await tenant.collection(input.collection);
		const request = searchRequest(input, collection.record, "");
		const { answer, tookMs } = await timed(services, () => collection.search([request], input.consistency));
		services.meter.countSearches(tenant.id, 1);
		const found = answer[0]!;
		return {
			results: results(found, input),
			took_ms: tookMs,
			...(input.explain ? { plan: planAnswer(found.plan) } : {}),
		};
	},
});

/** @param consistencies one a request. @returns answers in the order of the requests */
async function searchAll(
	collection: Collection,
	requests: readonly SearchRequest[],
	consistencies: readonly (Consistency | undefined)[],
): Promise<readonly SearchAnswer[]> {
	const answers: SearchAnswer[] = [];
	await Promise.all(
		[...new Set(consistencies)].map(async (consistency) => {
			const places = requests.flatMap((_, index) => (consistencies[index] === consistency ? [index] : []));
			const found = await collection.search(
				places.map((place) => requests[place]!),
				consistency,
			);
			for (const [index, place] of places.entries()) answers[place] = found[index]!;
		}),
	);
	return answers;
}

const searchBatch = defineOperation({
	name: "search.batch",
	summary: "Run several searches in one request",
	scope: "tenant",
	permissions: ["ADMIN", "READ_WRITE", "READ_ONLY", "MCP"],
	input: z.strictObject({
		collection: collectionField,
		searches: z.array(searchQuerySchema).min(1).max(LIMITS.searchBatchMax),
		consistency: readConsistencyField.describe("of those searches that don't say it themselves"),
	}),
	output: z.strictObject({
		results: z.array(z.array(hitAnswerSchema)).describe("one list a search, in their order"),
		took_ms: z.number(),
		plans: z.array(planSchema).optional().describe("one a search, when any of them asks to `explain`"),
	}),
	rest: { method: "POST", path: "/collections/{collection}/search/batch", body: "json" },
	async run({ tenant, services }, input) {
		const collection = await tenant.collection(input.collection);
		const requests = input.searches.map((query, index) =>
			searchRequest(query, collection.record, `searches[${index}].`),
		);
		const { answer, tookMs } = await timed(services, () =>
			searchAll(
				collection,
				requests,
				input.searches.map((query) => query.consistency ?? input.consistency),
			),
		);
		services.meter.countSearches(tenant.id, requests.length);
		return {
			results: answer.map((found, index) => results(found, input.searches[index]!)),
			took_ms: tookMs,
			...(input.searches.some((query) => query.explain)
				? { plans: answer.map((found) => planAnswer(found.plan)) }
				: {}),
		};
	},
});

export const SEARCH_OPERATIONS: readonly AnyOperation[] = [searchOne, searchBatch];
