import { z } from "zod";
import { LIMITS } from "../base/limits.ts";
import type { Metric } from "../base/schemas.ts";
import type { Collection } from "../cluster/tenant-types.ts";
import type { CollectionRecord } from "../hub/models.ts";
import type { Hit } from "../storage/shard-types.ts";
import { collectionField } from "./input-fields.ts";
import { type AnyOperation, defineOperation } from "./node-services.ts";
import { searchAll, searchTasks, timed } from "./search-run.ts";
import { queryFields, type SearchQuery } from "./search-task.ts";
import { type EmbeddingContext, embeddingOnce } from "./text-vectors.ts";
import { type HitAnswer, hitAnswer, hitAnswerSchema } from "./vector-answer.ts";

const { id: _id, explain: _explain, ...sharedFields } = queryFields;

/** As in reciprocal rank fusion: what the first ranks are worth more than the next. */
const RANK_OFFSET = 60;

interface CollectionHits {
	readonly record: CollectionRecord;
	/** Best first. */
	readonly hits: readonly Hit[];
}

const multiHitSchema = hitAnswerSchema.extend({
	collection: z.string().describe("where it was found"),
	score: z
		.number()
		.describe("as its collection scores where results are merged by score, else 1 / (60 + its rank in its collection)"),
});

const searchSeveral = defineOperation({
	name: "search.multi",
	summary: "Search several collections at once and merge what they find",
	description:
		"Takes the fields of a search, but for `id`, and names of collections. With a `vector` all of them must have its dimension; with a `text` each makes " +
		"its own vector, or searches its words. Where scores mean the same everywhere (one metric, one model, no search by words) the best scores come " +
		"first; otherwise the first of each collection come first, then the second, and so on.",
	scope: "tenant",
	permissions: ["ADMIN", "READ_WRITE", "READ_ONLY", "MCP"],
	input: z.strictObject({
		collections: z
			.array(collectionField)
			.min(1)
			.max(LIMITS.searchCollectionsMax)
			.refine((names) => new Set(names).size === names.length, { error: "each collection is named once" }),
		...sharedFields,
	}),
	output: z.strictObject({
		results: z.array(multiHitSchema).describe("best first"),
		merged_by: z.enum(["score", "rank"]),
		took_ms: z.number(),
	}),
	rest: { method: "POST", path: "/search", body: "json" },
	async run(context, input) {
		const { tenant, services } = context;
		const { collections: names, ...shared } = input;
		const collections = await Promise.all(names.map((name) => tenant.collection(name)));
		const query: SearchQuery = { ...shared, explain: false };
		const { offset, limit } = query;
		const { answer, tookMs } = await timed(services, () => searchEach(context, collections, query));
		services.meter.countSearches(tenant.id, collections.length);
		const isByScore = areComparable(
			collections.map(({ record }) => record),
			query,
		);
		const merged = isByScore ? mergeByScore(answer) : mergeByRank(answer);
		return {
			results: merged.slice(offset, offset + limit),
			merged_by: isByScore ? "score" : "rank",
			took_ms: tookMs,
		};
	},
});

/** All are checked, and vectors made, before the first is searched. */
async function searchEach(
	context: EmbeddingContext,
	collections: readonly Collection[],
	query: SearchQuery,
): Promise<readonly CollectionHits[]> {
	const once = embeddingOnce(context);
	const tasks = await Promise.all(collections.map(({ record }) => searchTasks(once, record, [query], [""])));
	return Promise.all(
		collections.map(async (collection, index) => {
			const [found] = await searchAll(collection, tasks[index]!, [query.consistency]);
			return { record: collection.record, hits: found!.hits };
		}),
	);
}

/** Whether the same score means the same in all of them. Scores of words depend on what else is in a collection. */
function areComparable(records: readonly CollectionRecord[], query: SearchQuery): boolean {
	if (query.hybrid !== undefined) return records.length === 1;
	const measures = new Set(
		records.map(({ metric, text }) => JSON.stringify([metric, text?.provider ?? "none", text?.model ?? ""])),
	);
	if (measures.size > 1) return false;
	const isByWords = query.text !== undefined && (records[0]!.text?.provider ?? "none") === "none";
	return !isByWords || records.length === 1;
}

type MultiHit = HitAnswer & { readonly collection: string };

const multiHit = ({ record }: CollectionHits, hit: Hit, score: number): MultiHit => ({
	...hitAnswer(hit),
	score,
	collection: record.name,
});

function mergeByScore(found: readonly CollectionHits[]): MultiHit[] {
	const direction = directionOf(found[0]!.record.metric);
	return found
		.flatMap((list) => list.hits.map((hit) => multiHit(list, hit, hit.score)))
		.sort((one, other) => (one.score - other.score) * direction);
}

/** Equal ranks in the order in which the collections were named. */
function mergeByRank(found: readonly CollectionHits[]): MultiHit[] {
	return found
		.flatMap((list) => list.hits.map((hit, index) => multiHit(list, hit, 1 / (RANK_OFFSET + index + 1))))
		.sort((one, other) => other.score - one.score);
}

const directionOf = (metric: Metric): 1 | -1 => (metric === "euclidean" ? 1 : -1);

export const MULTI_SEARCH_OPERATIONS: readonly AnyOperation[] = [searchSeveral];
