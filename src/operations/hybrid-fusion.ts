import type { VectorId } from "../base/ids.ts";
import { compareIds } from "../storage/id-order.ts";
import type { Hit } from "../storage/shard-types.ts";

/** The hits of one of the searches that are made into one, best first. */
export interface FusedList {
	readonly hits: readonly Hit[];
	/** Which of two scores is the better one. */
	readonly best: "lowest" | "highest";
}

/** What the first ranks are worth more than the next: with 60, little. */
const RANK_OFFSET = 60;

/**
 * A document's score is the sum of 1 / (60 + rank) over the lists that it is in, ranks counted from 1.
 *
 * Source: Cormack, Clarke and Büttcher, Reciprocal Rank Fusion Outperforms Condorcet and Individual Rank Learning Methods, 2009.
 *
 * @returns best first, ties by id
 */
export function fuseByRank(lists: readonly FusedList[]): Hit[] {
	return fused(lists.map(({ hits }) => hits.map((hit, index) => [hit, 1 / (RANK_OFFSET + index + 1)] as const)));
}

/**
 * A document's score is the weighted sum of its scores in the lists, each stretched so that the list's best is 1 and its last 0;
 * where all are equal they are 1. In a list that it is not in it has 0. (Weaviate calls this relative score fusion.)
 *
 * @param weights one a list
 * @returns best first, ties by id
 */
export function fuseByScore(lists: readonly FusedList[], weights: readonly number[]): Hit[] {
	return fused(
		lists.map(({ hits, best }, list) => {
			const scores = hits.map(({ score }) => (best === "lowest" ? -score : score));
			const worst = scores.at(-1) ?? 0;
			const range = (scores[0] ?? 0) - worst;
			return hits.map((hit, index) => {
				const relative = range === 0 ? 1 : (scores[index]! - worst) / range;
				return [hit, weights[list]! * relative] as const;
			});
		}),
	);
}

function fused(lists: readonly (readonly (readonly [hit: Hit, gain: number])[])[]): Hit[] {
	const byId = new Map<VectorId, { readonly hit: Hit; score: number }>();
	for (const [hit, gain] of lists.flat()) {
		const known = byId.get(hit.id);
		if (known === undefined) byId.set(hit.id, { hit, score: gain });
		else known.score += gain;
	}
	return [...byId.values()]
		.map(({ hit, score }) => ({ ...hit, score }))
		.sort((a, b) => b.score - a.score || compareIds(a.id, b.id));
}
