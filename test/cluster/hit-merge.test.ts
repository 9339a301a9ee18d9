import { expect, test } from "bun:test";
import type { VectorId } from "../../src/base/ids.ts";
import { mergeAnswers, mergeStats, mergeTopK } from "../../src/cluster/hit-merge.ts";
import { mergePages } from "../../src/cluster/scroll-cursor.ts";
import { ShardRouter } from "../../src/cluster/shard-router.ts";
import { compareIds } from "../../src/storage/id-order.ts";
import type { Hit, ScrollPage, SearchPlan, ShardStats } from "../../src/storage/shard-types.ts";

const hit = (id: VectorId, score: number): Hit => ({ id, score });

function* pseudoRandom(seed: number): Generator<number, never> {
	let state = seed;
	for (;;) {
		state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
		yield state;
	}
}

test("merging gives what sorting all hits gives, whichever score is the better one, ties by id", () => {
	const random = pseudoRandom(3);
	for (const best of ["highest", "lowest"] as const) {
		const order = (a: Hit, b: Hit): number =>
			(best === "lowest" ? a.score - b.score : b.score - a.score) || compareIds(a.id, b.id);
		for (let round = 0; round < 50; round++) {
			const lists: Hit[][] = [[], [], [], []];
			for (let index = 0; index < 60; index++) {
				const id = index % 2 === 0 ? index : `s${index}`;
				lists[random.next().value % 4]!.push(hit(id, random.next().value % 9));
			}
			for (const list of lists) list.sort(order);
			const k = random.next().value % 70;
			expect(mergeTopK(lists, k, best)).toEqual(lists.flat().sort(order).slice(0, k));
		}
	}
	expect(mergeTopK([], 5, "highest")).toEqual([]);
});

test("a merged plan has the kind of the one that looked at most and the counts of all", () => {
	const answer = (plan: SearchPlan) => ({ hits: [], plan });
	const merged = mergeAnswers(
		[
			answer({ kind: "empty", candidateCount: 0 }),
			answer({ kind: "hnsw", candidateCount: 64, efSearch: 64, tailCount: 3 }),
			answer({ kind: "exact", candidateCount: 10 }),
		],
		5,
		"highest",
	);
	expect(merged.plan).toEqual({ kind: "hnsw", candidateCount: 74, efSearch: 64, tailCount: 3 });
	const plain = mergeAnswers(
		[answer({ kind: "exact", candidateCount: 1 }), answer({ kind: "empty", candidateCount: 0 })],
		5,
		"highest",
	);
	expect(plain.plan).toEqual({ kind: "exact", candidateCount: 1 });
});

test("summed stats are as ready as the least ready shard and keep a reason to rebuild", () => {
	const stats = (indexState: ShardStats["indexState"], rebuildReason?: string): ShardStats => ({
		vectorCount: 1,
		bytes: 2,
		diskBytes: 3,
		memoryBytes: 4,
		indexState,
		indexedCount: 5,
		tombstoneCount: 6,
		...(rebuildReason === undefined ? {} : { rebuildReason }),
	});
	expect(mergeStats([stats("ready"), stats("building", "checksum"), stats("exact")])).toEqual({
		vectorCount: 3,
		bytes: 6,
		diskBytes: 9,
		memoryBytes: 12,
		indexState: "building",
		indexedCount: 15,
		tombstoneCount: 18,
		rebuildReason: "checksum",
	});
	expect(mergeStats([stats("ready"), stats("exact")]).indexState).toBe("exact");
});

test("ids are routed for good: the same id to the same shard, in all versions", () => {
	const router = new ShardRouter(7);
	// Fixed values: data lies where an earlier version put it.
	expect([0, 1, 9_007_199_254_740_991, "1", "a", "é", "😀"].map((id) => router.shardOf(id))).toMatchInlineSnapshot(`
	  [
	    2,
	    4,
	    3,
	    2,
	    6,
	    5,
	    0,
	  ]
	`);
	const counts = new Array<number>(7).fill(0);
	for (let id = 0; id < 7_000; id++) counts[router.shardOf(id)]!++;
	expect(Math.min(...counts)).toBeGreaterThan(850);
});

test("a batch is parted with each id's own vector and payload, in order", () => {
	const router = new ShardRouter(3);
	const ids = Array.from({ length: 50 }, (_, index) => (index % 3 === 0 ? `s${index % 20}` : index));
	const batch = {
		ids,
		vectors: Float32Array.from({ length: 100 }, (_, index) => Math.floor(index / 2)),
		payloads: ids.map((_, index) => (index % 2 === 0 ? String(index) : undefined)),
	};
	const parts = router.splitBatch(batch);
	expect(parts.reduce((sum, { part }) => sum + part.ids.length, 0)).toBe(50);
	for (const { shardIndex, part } of parts) {
		const positions = ids.flatMap((id, index) => (router.shardOf(id) === shardIndex ? [index] : []));
		expect(part.ids).toEqual(positions.map((position) => ids[position]!));
		expect([...part.vectors]).toEqual(positions.flatMap((position) => [position, position]));
		expect(part.payloads).toEqual(positions.map((position) => batch.payloads[position]));
	}
	expect(new ShardRouter(1).splitBatch(batch)[0]?.part).toBe(batch);
});

test("merged pages stop where a shard may hold more", () => {
	const page = (ids: VectorId[], next?: VectorId): ScrollPage => ({
		vectors: ids.map((id) => ({ id })),
		...(next === undefined ? {} : { next }),
	});
	expect(mergePages([page([1, 5], 5), page([2, 9, 10])], 10)).toEqual(page([1, 2, 5], 5));
	expect(mergePages([page([], 3), page([2, 4])], 10)).toEqual(page([2], 3));
	expect(mergePages([page([1, 2]), page([3])], 3)).toEqual(page([1, 2, 3]));
	expect(mergePages([page([1, 2]), page([3])], 2)).toEqual(page([1, 2], 2));
	expect(mergePages([], 2)).toEqual(page([]));
});
