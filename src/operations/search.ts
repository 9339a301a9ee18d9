import { z } from "zod";
import { HiveError } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { Consistency } from "../base/schemas.ts";
import { requireFit } from "../base/vector.ts";
import type { Collection } from "../cluster/tenant-types.ts";
import type { CollectionRecord } from "../hub/models.ts";
import type { Hit } from "../storage/shard-types.ts";
import { collectionField, readConsistencyField } from "./input-fields.ts";
import { type AnyOperation, defineOperation, type NodeServices } from "./node-services.ts";
import type { OperationContext } from "./operation.ts";
import {
	checkQuery,
	planSchema,
	queryFields,
	type SearchQuery,
	type SearchTask,
	searchQuerySchema,
} from "./search-task.ts";
import { embedderFor, inField } from "./text-vectors.ts";
import { type HitAnswer, hitAnswer, hitAnswerSchema } from "./vector-answer.ts";

type Context = Pick<OperationContext<NodeServices>, "tenant" | "signal" | "services">;

const results = (hits: readonly Hit[], query: SearchQuery): HitAnswer[] =>
	hits.slice(query.offset, query.offset + query.limit).map(hitAnswer);

/** The queries, checked, with vectors made of their texts. @param places before the names of fields in errors, one a query */
async function searchTasks(
	context: Context,
	record: CollectionRecord,
	queries: readonly SearchQuery[],
	places: readonly string[],
): Promise<readonly SearchTask[]> {
	const checked = queries.map((query, index) => checkQuery(query, record, places[index]!));
	const wanted = checked.flatMap(({ embed }) => embed ?? []);
	const vectors = await embedderFor(context, record)(wanted.map(({ text }) => text));
	let next = 0;
	return checked.map(({ embed, task }) => {
		if (embed === undefined) return task(undefined);
		const vector = vectors[next++]!;
		if (vector instanceof HiveError) throw inField(vector, embed.field);
		requireFit(vector, record, embed.field, `the vector of ${embed.field}`);
		return task(vector);
	});
}

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

/** @param consistencies one a task. @returns what each task found, in their order */
async function searchAll(
	collection: Collection,
	tasks: readonly SearchTask[],
	consistencies: readonly (Consistency | undefined)[],
): Promise<readonly ReturnType<SearchTask["found"]>[]> {
	const found: ReturnType<SearchTask["found"]>[] = [];
	await Promise.all(
		[...new Set(consistencies)].map(async (consistency) => {
			const places = tasks.flatMap((_, index) => (consistencies[index] === consistency ? [index] : []));
			const requests = places.flatMap((place) => tasks[place]!.requests);
			const answers = await collection.search(requests, consistency);
			let next = 0;
			for (const place of places) {
				const task = tasks[place]!;
				found[place] = task.found(answers.slice(next, next + task.requests.length));
				next += task.requests.length;
			}
		}),
	);
	return found;
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
