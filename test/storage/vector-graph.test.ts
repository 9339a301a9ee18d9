import { afterAll, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Shard } from "../../src/storage/shard.ts";
import type { ShardConfig } from "../../src/storage/shard-types.ts";
import { yieldTurn } from "../../src/storage/time-slice.ts";
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

const DIMENSION = 8;
const random = seededRandom(11);
let shardCount = 0;

const pathOf = (name: number) => join(folder.path, String(name));

function someEntries(count: number, from = 0, scale = 1): Entry[] {
	return Array.from({ length: count }, (_, at) => ({
		id: from + at,
		vector: randomVector(random, DIMENSION, scale),
	}));
}

function newShard(changes: Partial<ShardConfig>, exactVectorCountMax: number, log?: (message: string) => void) {
	const deps = shardDeps({ exactVectorCountMax, ...(log === undefined ? {} : { log }) });
	return Shard.create(pathOf(shardCount++), shardConfig({ dimension: DIMENSION, ...changes }), deps);
}

async function recall(shard: Shard, entries: readonly Entry[], config: Partial<ShardConfig> = {}): Promise<number> {
	let sum = 0;
	for (let at = 0; at < 10; at++) {
		const query = randomVector(random, DIMENSION);
		const { hits } = await searchOne(shard, { vector: query, efSearch: 200 });
		sum += recallOf(hits, bruteForce(config.metric ?? "cosine", entries, query, 10));
	}
	return sum / 10;
}

test("a small shard has no graph; one that outgrows exact search gets one, and keeps it over a restart", async () => {
	const entries = someEntries(160);
	const shard = await newShard({}, 100);
	const path = pathOf(shardCount - 1);
	await put(shard, entries.slice(0, 100));
	expect((await shard.stats()).indexState).toBe("exact");
	await put(shard, entries.slice(100));
	// Whatever is not in the graph yet is found all the same.
	expect(await recall(shard, entries)).toBe(1);
	await graphReady(shard);
	while (!existsSync(join(path, "index.manifest"))) await yieldTurn();
	expect((await shard.stats()).indexedCount).toBeGreaterThan(100);
	expect(await recall(shard, entries)).toBeGreaterThanOrEqual(0.98);
	await shard.close();
	const deps = shardDeps({ exactVectorCountMax: 100 });
	const reopened = await Shard.open(path, shardConfig({ dimension: DIMENSION }), deps);
	expect(await reopened.stats()).toMatchObject({ indexState: "ready", indexedCount: 160 });
	await reopened.delete({ ids: entries.slice(40).map(({ id }) => id) });
	await reopened.close();
	const shrunk = await Shard.open(path, shardConfig({ dimension: DIMENSION }), deps);
	expect((await shrunk.stats()).indexState).toBe("exact");
	expect(existsSync(join(path, "index.manifest"))).toBe(false);
	expect(await recall(shrunk, entries.slice(0, 40))).toBe(1);
	await shrunk.close();
});

test("a write is found by the next search while the graph is still being fed", async () => {
	const shard = await newShard({ index: "hnsw" }, 1_000);
	await put(shard, someEntries(300, 1_000));
	await graphReady(shard);
	for (const entry of someEntries(60)) {
		await put(shard, [entry]);
		expect((await searchOne(shard, { vector: entry.vector, k: 1 })).hits[0]?.id).toBe(entry.id);
		await shard.delete({ ids: [entry.id] });
		expect((await searchOne(shard, { vector: entry.vector, k: 1 })).hits[0]?.id).not.toBe(entry.id);
	}
	await shard.close();
});

test("writers wait while the graph is far behind, and go on when it has caught up", async () => {
	const shard = await newShard({ index: "hnsw" }, 20);
	for (let round = 0; round < 40; round++) {
		await put(shard, someEntries(30, round * 30));
		const { vectorCount, indexedCount } = await shard.stats();
		// Twice the bound, the batch itself, and what may come on top of the shortest tail so far.
		expect(vectorCount - indexedCount).toBeLessThanOrEqual(40 + 30 + 20);
	}
	await graphReady(shard);
	expect(await shard.count(undefined)).toBe(1_200);
	await shard.close();
});

test("a graph of many removed vectors is built anew beside the old one, which serves meanwhile", async () => {
	const messages: string[] = [];
	const shard = await newShard({ index: "hnsw" }, 200, (message) => messages.push(message));
	const entries = someEntries(3_600);
	await put(shard, entries);
	await graphReady(shard);
	while ((await shard.stats()).indexedCount < 3_600) await yieldTurn();
	await shard.delete({ ids: entries.slice(0, 2_000).map(({ id }) => id) });
	const late = someEntries(50, 10_000);
	const [, living] = await Promise.all([put(shard, late), recall(shard, entries.slice(2_000))]);
	expect(living).toBeGreaterThanOrEqual(0.9);
	const rest = [...entries.slice(2_000), ...late];
	await shard.delete({ ids: rest.splice(0, 20).map(({ id }) => id) });
	while (!messages.includes("the index is built anew")) await yieldTurn();
	await graphReady(shard);
	expect((await shard.stats()).tombstoneCount).toBeLessThanOrEqual(20);
	expect(await recall(shard, rest)).toBeGreaterThanOrEqual(0.97);
	await shard.close();
});

test("data that outgrows the numbers of the graph gets a graph with other numbers", async () => {
	const messages: string[] = [];
	const config: Partial<ShardConfig> = { index: "hnsw", quantization: "i8", metric: "euclidean" };
	const shard = await newShard(config, 300, (message) => messages.push(message));
	const small = someEntries(40, 0, 0.01);
	await put(shard, small);
	await graphReady(shard);
	const large = someEntries(900, 100, 1);
	await put(shard, large);
	await graphReady(shard);
	while ((await shard.stats()).indexedCount < 900) await yieldTurn();
	expect(messages).toContain("the index is built anew");
	expect(await recall(shard, [...small, ...large], config)).toBeGreaterThanOrEqual(0.95);
	await shard.close();
});

test("a snapshot that is due is saved once the shard is idle, and trims the redo records", async () => {
	let aheadMs = 0;
	const clock = { nowMs: () => Date.now(), monotonicMs: () => performance.now() + aheadMs };
	const path = pathOf(shardCount++);
	const config = shardConfig({ dimension: 2, index: "hnsw", hnsw: { m: 4, ef_construction: 16, ef_search: 16 } });
	const shard = await Shard.create(path, config, shardDeps({ clock }));
	const batch = (from: number, count: number): Entry[] =>
		Array.from({ length: count }, (_, at) => ({ id: from + at, vector: randomVector(random, 2) }));
	const snapshotSeq = () => {
		const manifest = join(path, "index.manifest");
		if (!existsSync(manifest)) return undefined;
		return (JSON.parse(readFileSync(manifest, "utf8").split("\n")[0]!) as { seq: number }).seq;
	};
	await put(shard, batch(0, 500));
	while (snapshotSeq() === undefined) await yieldTurn();
	const first = snapshotSeq();
	// Many changes, of which few are left.
	for (let round = 0; round < 21; round++) {
		await put(shard, batch(10_000, 500));
		await shard.delete({ ids: batch(10_000, 500).map(({ id }) => id) });
	}
	// It has waited for an idle moment for too long.
	aheadMs = 120_000;
	await put(shard, batch(0, 1));
	while (snapshotSeq() === first) await new Promise((resolve) => setTimeout(resolve, 1));
	expect(snapshotSeq()).toBeGreaterThan(40);
	await shard.close();
});

test("a changed ef_search holds from the next search on", async () => {
	const shard = await newShard({ index: "hnsw" }, 50);
	await put(shard, someEntries(100));
	await graphReady(shard);
	const { vector } = someEntries(1)[0]!;
	expect((await searchOne(shard, { vector })).plan.efSearch).toBe(64);
	const config = shardConfig({ dimension: DIMENSION, index: "hnsw" });
	shard.reconfigure({ ...config, hnsw: { ...config.hnsw, ef_search: 99 } });
	expect((await searchOne(shard, { vector })).plan.efSearch).toBe(99);
	expect((await searchOne(shard, { vector, efSearch: 20 })).plan.efSearch).toBe(20);
	await shard.close();
});
