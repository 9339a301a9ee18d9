import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { HiveError } from "../../src/base/errors.ts";
import type { VectorId } from "../../src/base/ids.ts";
import type { Metric } from "../../src/base/schemas.ts";
import type { Shard } from "../../src/storage/shard.ts";
import type { ShardDeps } from "../../src/storage/shard-opening.ts";
import type { SearchRequest, ShardConfig } from "../../src/storage/shard-types.ts";
import { yieldTurn } from "../../src/storage/time-slice.ts";

/** Numbers from 0 to 1 that are the same in every run. Source: mulberry32. */
export function seededRandom(seed: number): () => number {
	let state = seed;
	return () => {
		state = (state + 0x6d2b79f5) | 0;
		let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
		mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
		return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
	};
}

export function gaussian(random: () => number): number {
	return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

export function randomVector(random: () => number, dimension: number, scale = 1): Float32Array {
	return Float32Array.from({ length: dimension }, () => gaussian(random) * scale);
}

export function shardConfig(changes: Partial<ShardConfig> = {}): ShardConfig {
	return {
		dimension: 8,
		metric: "cosine",
		quantization: "f32",
		index: "auto",
		hnsw: { m: 16, ef_construction: 128, ef_search: 64 },
		payloadIndexes: {},
		isReplicated: false,
		...changes,
	};
}

export function shardDeps(changes: Partial<ShardDeps> = {}): ShardDeps {
	return { clock: systemClock, nodeTag: Buffer.from("nodenode"), ...changes };
}

/** A folder for one test file's shards, and how to be rid of it. */
export function temporaryFolder(): { readonly path: string; remove(): void } {
	const path = mkdtempSync(join(tmpdir(), "hive-vector-shard-"));
	return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

export interface Entry {
	readonly id: VectorId;
	readonly vector: Float32Array;
	readonly payload?: Record<string, unknown>;
}

export async function put(shard: Shard, entries: readonly Entry[]) {
	const dimension = entries[0]?.vector.length ?? 0;
	const vectors = new Float32Array(entries.length * dimension);
	for (const [row, { vector }] of entries.entries()) vectors.set(vector, row * dimension);
	return await shard.upsert(
		{
			ids: entries.map(({ id }) => id),
			vectors,
			payloads: entries.map(({ payload }) => (payload === undefined ? undefined : JSON.stringify(payload))),
		},
		{},
	);
}

export async function searchOne(shard: Shard, request: Partial<SearchRequest>) {
	const [answer] = await shard.search([{ k: 10, withPayload: false, withVector: false, ...request }]);
	if (answer === undefined) throw new Error("a search has an answer");
	return answer;
}

/** Score in double precision, straight from the definition. */
export function scoreOf(metric: Metric, a: Float32Array, b: Float32Array): number {
	let product = 0;
	let squares = 0;
	let normA = 0;
	let normB = 0;
	for (let at = 0; at < a.length; at++) {
		product += a[at]! * b[at]!;
		squares += (a[at]! - b[at]!) ** 2;
		normA += a[at]! * a[at]!;
		normB += b[at]! * b[at]!;
	}
	if (metric === "euclidean") return Math.sqrt(squares);
	return metric === "dot" ? product : product / Math.sqrt(normA * normB);
}

/** The nearest of a map's vectors by brute force, nearest first. */
export function bruteForce(
	metric: Metric,
	entries: Iterable<Entry>,
	query: Float32Array,
	k: number,
): { readonly id: VectorId; readonly score: number }[] {
	const sign = metric === "euclidean" ? 1 : -1;
	return [...entries]
		.map(({ id, vector }) => ({ id, score: scoreOf(metric, vector, query) }))
		.sort((a, b) => sign * (a.score - b.score))
		.slice(0, k);
}

export function recallOf(found: readonly { id: VectorId }[], expected: readonly { id: VectorId }[]): number {
	const ids = new Set(expected.map(({ id }) => id));
	return expected.length === 0 ? 1 : found.filter(({ id }) => ids.has(id)).length / expected.length;
}

/** Waits until the graph holds everything but a short tail. */
export async function graphReady(shard: Shard): Promise<void> {
	while ((await shard.stats()).indexState === "building") await yieldTurn();
}

/** The HiveError that a call ends with. */
export async function failureOf(call: () => Promise<unknown>): Promise<HiveError> {
	try {
		await call();
	} catch (error) {
		if (error instanceof HiveError) return error;
		throw error;
	}
	throw new Error("the call should have failed");
}
