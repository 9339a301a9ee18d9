import { compareIds } from "../storage/id-order.ts";
import type { Hit, SearchAnswer, SearchPlan, ShardStats } from "../storage/shard-types.ts";

/** Which of two scores is the better one. */
export type BestScore = "lowest" | "highest";

/**
 * Merges the hit lists of several shards into one.
 *
 * @param lists one list a shard, best first, ties by id; no id in two of them. Read only.
 * @param k     hits wanted
 * @returns     at most `k` hits, best first, ties by id. A new array.
 * Cost: O(S·k) time for S lists.
 */
export function mergeTopK(lists: readonly (readonly Hit[])[], k: number, best: BestScore): Hit[] {
	const direction = best === "lowest" ? 1 : -1;
	const heads = lists.map(() => 0);
	const merged: Hit[] = [];
	while (merged.length < k) {
		let first: Hit | undefined;
		let from = -1;
		for (let list = 0; list < lists.length; list++) {
			const hit = lists[list]![heads[list]!];
			if (hit === undefined) continue;
			if (first === undefined || ((hit.score - first.score) * direction || compareIds(hit.id, first.id)) < 0) {
				first = hit;
				from = list;
			}
		}
		if (first === undefined) break;
		merged.push(first);
		heads[from]!++;
	}
	return merged;
}

/** What several shards answered to one request, as one answer. */
export function mergeAnswers(answers: readonly SearchAnswer[], k: number, best: BestScore): SearchAnswer {
	if (answers.length === 1) return answers[0]!;
	return {
		hits: mergeTopK(
			answers.map((answer) => answer.hits),
			k,
			best,
		),
		plan: mergePlans(answers.map((answer) => answer.plan)),
	};
}

/** The kind of the plan that looked at most, with the counts of all. */
function mergePlans(plans: readonly SearchPlan[]): SearchPlan {
	const widest = plans.reduce((a, b) => (b.candidateCount > a.candidateCount || a.kind === "empty" ? b : a));
	const efSearch = Math.max(...plans.map((plan) => plan.efSearch ?? 0));
	const tailCount = plans.reduce((sum, plan) => sum + (plan.tailCount ?? 0), 0);
	return {
		kind: widest.kind,
		candidateCount: plans.reduce((sum, plan) => sum + plan.candidateCount, 0),
		...(efSearch > 0 ? { efSearch } : {}),
		...(tailCount > 0 ? { tailCount } : {}),
	};
}

const READINESS = { building: 0, exact: 1, ready: 2 } as const satisfies Record<ShardStats["indexState"], number>;

/** Counts of several shards summed; the index is as ready as the least ready one. `parts` is not empty. */
export function mergeStats(parts: readonly ShardStats[]): ShardStats {
	const sum = (pick: (stats: ShardStats) => number): number => parts.reduce((total, stats) => total + pick(stats), 0);
	const leastReady = parts.reduce((a, b) => (READINESS[b.indexState] < READINESS[a.indexState] ? b : a));
	const rebuildReason = parts.find((stats) => stats.rebuildReason !== undefined)?.rebuildReason;
	return {
		vectorCount: sum((stats) => stats.vectorCount),
		bytes: sum((stats) => stats.bytes),
		diskBytes: sum((stats) => stats.diskBytes),
		memoryBytes: sum((stats) => stats.memoryBytes),
		indexState: leastReady.indexState,
		indexedCount: sum((stats) => stats.indexedCount),
		tombstoneCount: sum((stats) => stats.tombstoneCount),
		...(rebuildReason === undefined ? {} : { rebuildReason }),
	};
}
