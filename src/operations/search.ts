import { z } from "zod";
import { LIMITS } from "../base/limits.ts";
import type { Hit } from "../storage/shard-types.ts";
import { collectionField, readConsistencyField } from "./input-fields.ts";
import { type AnyOperation, defineOperation } from "./node-services.ts";
import { searchAll, searchTasks, timed } from "./search-run.ts";
import { planSchema, queryFields, type SearchQuery, searchQuerySchema } from "./search-task.ts";
import { type HitAnswer, hitAnswer, hitAnswerSchema } from "./vector-answer.ts";

const results = (hits: readonly Hit[], query: SearchQuery): HitAnswer[] =>
	hits.slice(query.offset, query.offset + query.limit).map(hitAnswer);

const searchOne = defineOperation({
	name: "search.query",
	summary: "Find the vectors nearest to a vector, documents by their words, or both",
	description:
		"`score`, higher first: cosine similarity, inner product, BM25 for words, or what a hybrid search makes of both; the " +
		"distance in a euclidean collection, lower first.",
	scope: "tenant",
	permissions: ["ADMIN", "READ_WRITE", "READ_ONLY", "MCP"],
	input: z.strictObject({ collection: collectionField, ...queryFields }),
	output: z.strictObject({
		results: z.array(hitAnswerSchema).describe("best first"),
		took_ms: z.number(),
		plan: planSchema.optional().describe("with `explain: true`"),
	}),
	rest: { method: "POST", path: "/collections/{collection}/search", body: "json" },
	async run(context, input) {
		const { tenant, services } = context;
		const collection = await tenant.collection(input.collection);
		const tasks = await searchTasks(context, collection.record, [input], [""]);
		const { answer, tookMs } = await timed(services, () => searchAll(collection, tasks, [input.consistency]));
		services.meter.countSearches(tenant.id, 1);
		const { hits, plan } = answer[0]!;
		return { results: results(hits, input), took_ms: tookMs, ...(input.explain ? { plan } : {}) };
	},
});

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
	async run(context, input) {
		const { tenant, services } = context;
		const { searches } = input;
		const collection = await tenant.collection(input.collection);
		const places = searches.map((_, index) => `searches[${index}].`);
		const tasks = await searchTasks(context, collection.record, searches, places);
		const { answer, tookMs } = await timed(services, () =>
			searchAll(
				collection,
				tasks,
				searches.map((query) => query.consistency ?? input.consistency),
			),
		);
		services.meter.countSearches(tenant.id, searches.length);
		return {
			results: answer.map(({ hits }, index) => results(hits, searches[index]!)),
			took_ms: tookMs,
			...(searches.some((query) => query.explain) ? { plans: answer.map(({ plan }) => plan) } : {}),
		};
	},
});

export const SEARCH_OPERATIONS: readonly AnyOperation[] = [searchOne, searchBatch];
