import { afterAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { VectorId } from "../../src/base/ids.ts";
import type { IndexKind, Metric, Quantization } from "../../src/base/schemas.ts";
import { Shard } from "../../src/storage/shard.ts";
import {
	bruteForce,
	type Entry,
	graphReady,
	put,
	randomVector,
	recallOf,
	searchOne,
	seededRandom,
	shardConfig,
	shardDeps,
	temporaryFolder,
} from "./shard-fixture.ts";

const folder = temporaryFolder();
afterAll(() => folder.remove());

const METRICS: readonly Metric[] = ["cosine", "dot", "euclidean"];
const QUANTIZATIONS: readonly Quantization[] = ["f32", "f16", "bf16", "i8"];
const KINDS: readonly IndexKind[] = ["exact", "hnsw"];
const DIMENSION = 24;

describe("every metric, quantization and index agrees with brute force in double precision", () => {
	for (const metric of METRICS) {
		for (const quantization of QUANTIZATIONS) {
			for (const index of KINDS) {
				test(`${metric} ${quantization} ${index}`, async () => {
					const random = seededRandom(7);
					const shard = await Shard.create(
						join(folder.path, `${metric}-${quantization}-${index}`),
						shardConfig({ dimension: DIMENSION, metric, quantization, index }),
						shardDeps({ exactVectorCountMax: 64 }),
					);
					const model = new Map<VectorId, Entry>();
					const write = async (count: number, idOf: (at: number) => VectorId) => {
						const entries = Array.from({ length: count }, (_, at) => {
							// Lengths and a centre that differ, so that products and distances are no mere cosines.
							const vector = randomVector(random, DIMENSION, 0.5 + 3 * random()).map((number) => number + 2);
							return { id: idOf(at), vector };
						});
						for (const entry of entries) model.set(entry.id, entry);
						await put(shard, entries);
					};
					const check = async () => {
						let recall = 0;
						const queryCount = 20;
						for (let at = 0; at < queryCount; at++) {
							const query = randomVector(random, DIMENSION, 2).map((number) => number + 1);
							const { hits, plan } = await searchOne(shard, { vector: query, efSearch: 100 });
							const expected = bruteForce(metric, model.values(), query, 10);
							expect(hits.length).toBe(10);
							expect(new Set(hits.map(({ id }) => id)).size).toBe(10);
							for (const [rank, hit] of hits.entries()) {
								const [exact] = bruteForce(metric, [model.get(hit.id)!], query, 1);
								expect(hit.score).toBeCloseTo(exact!.score, metric === "cosine" ? 6 : 9);
								const before = hits[rank - 1]?.score;
								if (before !== undefined) {
									expect(metric === "euclidean" ? hit.score >= before : hit.score <= before).toBe(true);
								}
							}
							if (index === "exact") {
								expect(hits.map(({ id }) => id)).toEqual(expected.map(({ id }) => id));
								expect(plan.kind).toBe("exact");
							}
							recall += recallOf(hits, expected) / queryCount;
						}
						expect(recall).toBeGreaterThanOrEqual(0.95);
					};
					await write(600, (at) => at);
					await check();
					await graphReady(shard);
					await check();
					await write(200, (at) => at * 2);
					await write(100, (at) => `text-${at}`);
					const gone = [...model.keys()].filter((_, at) => at % 3 === 0);
					for (const id of gone) model.delete(id);
					expect((await shard.delete({ ids: gone })).affectedCount).toBe(gone.length);
					await check();
					await graphReady(shard);
					await check();
					expect((await shard.stats()).indexState).toBe(index === "exact" ? "exact" : "ready");
					await shard.close();
				});
			}
		}
	}
});
