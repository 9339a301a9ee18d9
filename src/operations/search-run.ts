import { HiveError } from "../base/errors.ts";
import type { Consistency } from "../base/schemas.ts";
import { requireFit } from "../base/vector.ts";
import type { Collection } from "../cluster/tenant-types.ts";
import { searchCurrent } from "../documents/current-hits.ts";
import type { CollectionRecord } from "../hub/models.ts";
import type { NodeServices } from "./node-services.ts";
import { checkQuery, type SearchQuery, type SearchTask } from "./search-task.ts";
import { type EmbeddingContext, embedderFor, inField } from "./text-vectors.ts";

/** The queries, checked, with vectors made of their texts. @param places before the names of fields in errors, one a query */
export async function searchTasks(
	context: EmbeddingContext,
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
export async function timed<T>(
	services: NodeServices,
	search: () => Promise<T>,
): Promise<{ answer: T; tookMs: number }> {
	const startMs = services.clock.monotonicMs();
	const answer = await search();
	const tookMs = services.clock.monotonicMs() - startMs;
	services.countSearch(tookMs / 1000);
	return { answer, tookMs: Math.round(tookMs * 1000) / 1000 };
}

/** @param consistencies one a task. @returns what each task found, in their order */
export async function searchAll(
	collection: Collection,
	tasks: readonly SearchTask[],
	consistencies: readonly (Consistency | undefined)[],
): Promise<readonly ReturnType<SearchTask["found"]>[]> {
	const found: ReturnType<SearchTask["found"]>[] = [];
	await Promise.all(
		[...new Set(consistencies)].map(async (consistency) => {
			const places = tasks.flatMap((_, index) => (consistencies[index] === consistency ? [index] : []));
			const requests = places.flatMap((place) => tasks[place]!.requests);
			const answers = await searchCurrent(collection, requests, consistency);
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
