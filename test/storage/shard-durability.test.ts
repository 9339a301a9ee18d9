import { afterAll, describe, expect, spyOn, test } from "bun:test";
import {
	copyFileSync,
	cpSync,
	existsSync,
	readdirSync,
	readFileSync,
	rmSync,
	truncateSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { PREFIX, prefixEnd } from "../../src/storage/keyspace.ts";
import { LevelStore } from "../../src/storage/level-store.ts";
import { Shard } from "../../src/storage/shard.ts";
import { yieldTurn } from "../../src/storage/time-slice.ts";
import { crashCopy } from "./crash-copy.ts";
import {
	bruteForce,
	type Entry,
	failureOf,
	graphReady,
	put,
	randomVector,
	searchOne,
	seededRandom,
	shardConfig,
	shardDeps,
	temporaryFolder,
} from "./shard-fixture.ts";

const folder = temporaryFolder();
afterAll(() => folder.remove());

const DIMENSION = 8;
const random = seededRandom(5);
let shardCount = 0;

function newPath(): string {
	return join(folder.path, `shard-${shardCount++}`);
}

function someEntries(count: number, from = 0): Entry[] {
	return Array.from({ length: count }, (_, at) => ({
		id: from + at,
		vector: randomVector(random, DIMENSION),
		// Nothing that compression could shorten, so that it is found in the tables as it is.
		payload: { note: Array.from({ length: 4 }, () => random().toString(36).slice(2, 8)).join("") },
	}));
}

/** As a killed process leaves it. */
function killed(path: string): string {
	const copy = newPath();
	crashCopy(path, copy);
	return copy;
}

function flipByte(path: string, at: number): void {
	const bytes = readFileSync(path);
	bytes[at]! ^= 0x10;
	writeFileSync(path, bytes);
}

function filesOf(path: string, pattern: RegExp): string[] {
	return readdirSync(path)
		.filter((name) => pattern.test(name))
		.map((name) => join(path, name));
}

/** Flip a byte where the text is found in the shard's tables. */
function flipInTables(path: string, needle: Buffer): void {
	for (const file of filesOf(join(path, "db"), /\.ldb$/)) {
		const at = readFileSync(file).indexOf(needle);
		if (at < 0) continue;
		flipByte(file, at + needle.length - 1);
		return;
	}
	throw new Error("the text is in no table");
}

async function shardWith(entries: readonly Entry[], changes = {}): Promise<string> {
	const path = newPath();
	const shard = await Shard.create(path, shardConfig({ dimension: DIMENSION, ...changes }), shardDeps());
	for (const entry of entries) await put(shard, [entry]);
	await graphReady(shard);
	await shard.close();
	return path;
}

const open = (path: string, changes = {}) =>
	Shard.open(path, shardConfig({ dimension: DIMENSION, ...changes }), shardDeps());

describe("a damaged index snapshot is told by its checksum and the graph built anew", () => {
	const damages: readonly [string, (path: string) => void][] = [
		["graph bit-flipped", (path) => flipByte(filesOf(path, /\.usearch$/)[0]!, 700)],
		["graph truncated", (path) => truncateSync(filesOf(path, /\.usearch$/)[0]!, 500)],
		["graph missing", (path) => rmSync(filesOf(path, /\.usearch$/)[0]!)],
		["manifest bit-flipped", (path) => flipByte(join(path, "index.manifest"), 40)],
		["manifest missing", (path) => rmSync(join(path, "index.manifest"))],
	];
	for (const [name, damage] of damages) {
		test(name, async () => {
			const entries = someEntries(80);
			const path = await shardWith(entries, { index: "hnsw" });
			damage(path);
			const shard = await open(path, { index: "hnsw" });
			expect((await shard.stats()).rebuildReason).toMatch(/snapshot/);
			for (let round = 0; round < 2; round++) {
				const query = randomVector(random, DIMENSION);
				const { hits } = await searchOne(shard, { vector: query, k: 5 });
				expect(hits.map(({ id }) => id)).toEqual(bruteForce("cosine", entries, query, 5).map(({ id }) => id));
				await graphReady(shard);
			}
			// "Ready" leaves a few to be scanned, which the graph takes in as it goes.
			while ((await shard.stats()).indexedCount < 80) await yieldTurn();
			expect((await shard.stats()).indexedCount).toBe(80);
			await shard.close();
			const again = await open(path, { index: "hnsw" });
			expect((await again.stats()).rebuildReason).toBeUndefined();
			expect((await again.stats()).indexedCount).toBe(80);
			await again.close();
		});
	}

	test("made with another quantization", async () => {
		const path = await shardWith(someEntries(80), { index: "hnsw" });
		const shard = await open(path, { index: "hnsw", quantization: "f16" });
		expect((await shard.stats()).rebuildReason).toMatch(/quantization/);
		await graphReady(shard);
		await shard.close();
	});
});

test("a snapshot older than the database is caught up from the redo records", async () => {
	const entries = someEntries(300);
	const path = newPath();
	const deps = shardDeps({ exactVectorCountMax: 50 });
	const config = shardConfig({ dimension: DIMENSION, index: "hnsw" });
	const shard = await Shard.create(path, config, deps);
	await put(shard, entries.slice(0, 250));
	await graphReady(shard);
	while (!existsSync(join(path, "index.manifest"))) await yieldTurn();
	await put(shard, entries.slice(250));
	await shard.delete({ ids: [3, 4, 5] });
	const moved = { id: 7, vector: randomVector(random, DIMENSION) };
	await put(shard, [moved]);
	const copy = killed(path);
	await shard.close();
	const reopened = await Shard.open(copy, config, deps);
	expect((await reopened.stats()).rebuildReason).toBeUndefined();
	const living = [...entries.filter(({ id }) => ![3, 4, 5, 7].includes(Number(id))), moved];
	for (let round = 0; round < 2; round++) {
		for (const query of [moved.vector, entries[3]!.vector, randomVector(random, DIMENSION)]) {
			const { hits } = await searchOne(reopened, { vector: query, k: 5, efSearch: 300 });
			expect(hits.map(({ id }) => id)).toEqual(bruteForce("cosine", living, query, 5).map(({ id }) => id));
		}
		await graphReady(reopened);
	}
	await reopened.close();
});

describe("what the disk did not keep is an error, never a wrong answer", () => {
	test("a flipped byte in a document", async () => {
		// Enough for blocks of their own: one that has bookkeeping too is refused whole.
		const entries = someEntries(250);
		const path = await shardWith(entries);
		// Opening moves the log into a table.
		await (await open(path)).close();
		const note = (at: number) => String(entries[at]?.payload?.note);
		flipInTables(path, Buffer.from(note(17).slice(4)));
		const shard = await open(path);
		const failure = await failureOf(() => shard.get([17], { withPayload: true, withVector: false }));
		expect(failure.code).toBe("INTERNAL");
		expect(failure.message).toBe("stored document is damaged");
		expect(failure.details).toEqual({ id: 17 });
		const search = () => searchOne(shard, { id: 3, k: 250, withPayload: true });
		expect((await failureOf(search)).details).toEqual({ id: 17 });
		const update = () => shard.update({ id: 17, payloadPatch: "{}" }, {});
		expect((await failureOf(update)).details).toEqual({ id: 17 });
		const count = () => shard.count({ must: [{ key: "note", match: { value: "x" } }] });
		expect((await failureOf(count)).code).toBe("INTERNAL");
		expect((await shard.get([18], { withPayload: true, withVector: true }))[0]?.payload).toContain(note(18));
		await shard.close();
	});

	test("a flipped byte in a vector", async () => {
		const entries = someEntries(250);
		const path = await shardWith(entries);
		await (await open(path)).close();
		const bytes = Buffer.from(entries[200]!.vector.buffer);
		flipInTables(path, bytes.subarray(0, 12));
		const shard = await open(path);
		const failure = await failureOf(() => shard.get([200], { withPayload: false, withVector: true }));
		expect(failure.details).toEqual({ id: 200 });
		await shard.close();
		rmSync(join(path, "vectors.ok"));
		expect((await failureOf(() => open(path))).details).toEqual({ id: 200 });
	});

	test("a changed vector file is rebuilt from the database", async () => {
		const entries = someEntries(30);
		const path = await shardWith(entries);
		flipByte(join(path, "vectors.f32"), 100);
		const shard = await open(path);
		for (const { id, vector } of entries) {
			const { hits } = await searchOne(shard, { vector, k: 1 });
			expect(hits[0]?.id).toBe(id);
			expect(hits[0]?.score).toBeCloseTo(1, 6);
		}
		await shard.close();
	});

	test("a log that lost its tail", async () => {
		const path = await shardWith(someEntries(20));
		const [log] = filesOf(join(path, "db"), /\.log$/);
		truncateSync(log!, readFileSync(log!).length - 10);
		const failure = await failureOf(() => open(path));
		expect(failure.message).toBe("the shard lost acknowledged writes");
		expect(failure.details).toEqual({ lost_from: 20, lost_to: 20 });
	});

	test("a log that lost everything", async () => {
		const path = await shardWith(someEntries(20));
		for (const log of filesOf(join(path, "db"), /\.log$/)) truncateSync(log, 0);
		expect((await failureOf(() => open(path))).details).toEqual({ lost_from: 1, lost_to: 20 });
	});

	test("a log that lost a record in its middle", async () => {
		const path = newPath();
		const shard = await Shard.create(path, shardConfig({ dimension: DIMENSION }), shardDeps());
		// LevelDB goes on after the 32 KiB block that is damaged.
		for (let round = 0; round < 12; round++) await put(shard, someEntries(40, round * 40));
		const copy = killed(path);
		await shard.close();
		const [log] = filesOf(join(copy, "db"), /\.log$/);
		flipByte(log!, 20_000);
		expect((await failureOf(() => open(copy))).message).toBe("the shard lost acknowledged writes");
	});

	test("an older copy of the database", async () => {
		const path = newPath();
		const shard = await Shard.create(path, shardConfig({ dimension: DIMENSION }), shardDeps());
		await put(shard, someEntries(5));
		const old = killed(path);
		await put(shard, someEntries(5, 5));
		await shard.close();
		copyFileSync(join(path, "high-water"), join(old, "high-water"));
		expect((await failureOf(() => open(old))).details).toEqual({ lost_from: 2, lost_to: 2 });
	});

	test("missing or damaged files", async () => {
		const damages: readonly [RegExp, (path: string) => void][] = [
			[/can't be opened/, (path) => rmSync(join(path, "db", "CURRENT"))],
			[/can't be opened/, (path) => rmSync(join(path, "db"), { recursive: true })],
			[/lost acknowledged/, (path) => rmSync(join(path, "high-water"))],
			[/lost acknowledged/, (path) => flipByte(join(path, "high-water"), 6)],
			[/lost acknowledged/, (path) => rmSync(path, { recursive: true })],
		];
		for (const [message, damage] of damages) {
			const path = await shardWith(someEntries(3));
			damage(path);
			const failure = await failureOf(() => open(path));
			expect(failure.code).toBe("INTERNAL");
			expect(failure.message).toMatch(message);
			expect(failure.message).not.toContain(folder.path);
		}
	});
});

test("a shard is open once, and made once", async () => {
	const path = newPath();
	const config = shardConfig({ dimension: DIMENSION });
	const shard = await Shard.create(path, config, shardDeps());
	expect((await failureOf(() => Shard.create(path, config, shardDeps()))).code).toBe("CONFLICT");
	expect((await failureOf(() => open(path))).code).toBe("CONFLICT");
	await shard.close();
	await shard.close();
	expect((await failureOf(() => shard.count(undefined))).code).toBe("OVERLOADED");
	expect((await failureOf(() => open(path, { dimension: 9 }))).message).toMatch(/another dimension/);
	expect((await failureOf(() => open(path, { metric: "dot" }))).message).toMatch(/another dimension or metric/);
	await (await open(path)).close();
});

test("a folder half made by an interrupted create is made again", async () => {
	const path = newPath();
	cpSync(await shardWith(someEntries(3)), `${path}.creating`, { recursive: true });
	const shard = await Shard.create(path, shardConfig({ dimension: DIMENSION }), shardDeps());
	expect((await shard.stats()).vectorCount).toBe(0);
	await shard.close();
});

test("writes that wait together share one commit, in their order", async () => {
	const path = newPath();
	const shard = await Shard.create(path, shardConfig({ dimension: DIMENSION }), shardDeps());
	const batches = spyOn(LevelStore.prototype, "batch");
	const entries = someEntries(200);
	const results = await Promise.all(entries.map((entry) => put(shard, [{ ...entry, id: Number(entry.id) % 150 }])));
	expect(batches.mock.calls.length).toBeLessThan(10);
	batches.mockRestore();
	expect(results.map(({ vectorCountDelta }) => vectorCountDelta).filter((delta) => delta === 1).length).toBe(150);
	const [first, last] = await shard.get([0, 140], { withPayload: true, withVector: true });
	expect(first?.vector).toEqual(entries[150]!.vector);
	expect(last?.vector).toEqual(entries[140]!.vector);
	await shard.close();
});

describe("a request that is refused leaves nothing and spoils no other", () => {
	test("in one commit", async () => {
		const path = newPath();
		const shard = await Shard.create(path, shardConfig({ dimension: DIMENSION }), shardDeps());
		await put(shard, someEntries(1));
		const one = someEntries(3, 10);
		const outcomes = await Promise.allSettled([
			put(shard, [one[0]!]),
			shard.update({ id: 999, payloadPatch: '{"a":1}' }, {}),
			shard.upsert(
				{ ids: [50, 51], vectors: new Float32Array(16).fill(1), payloads: [undefined, undefined] },
				{
					vectorCountMax: 1,
				},
			),
			shard.upsert({ ids: [52], vectors: new Float32Array(8).fill(1), payloads: ['{"a":"b"}'] }, { bytesMax: 104 }),
			shard.update({ id: 10, payloadPatch: '{"a":1}' }, {}),
			put(shard, [one[1]!]),
			shard.delete({ ids: [11, 11, 77] }),
			shard.update({ id: 11, payloadPatch: '{"a":1}' }, {}),
		]);
		const codes = outcomes.map((outcome) => (outcome.status === "fulfilled" ? "done" : outcome.reason.code));
		expect(codes).toEqual([
			"done",
			"VECTOR_NOT_FOUND",
			"QUOTA_EXCEEDED",
			"QUOTA_EXCEEDED",
			"done",
			"done",
			"done",
			"VECTOR_NOT_FOUND",
		]);
		expect(outcomes[6]).toMatchObject({ value: { affectedCount: 1, vectorCountDelta: -1 } });
		const page = await shard.scroll({ limit: 10, withPayload: false, withVector: false });
		expect(page.vectors.map(({ id }) => id)).toEqual([0, 10]);
		await shard.close();
		const reopened = await open(path);
		expect((await reopened.stats()).vectorCount).toBe(2);
		await reopened.close();
	});
});

describe("a write that the disk refuses fails, and later writes work once it is well again", () => {
	const full = () => Object.assign(new Error("IO error: No space left on device"), { code: "LEVEL_IO_ERROR" });

	for (const reached of [false, true]) {
		test(reached ? "the batch reached the disk all the same" : "the batch was lost", async () => {
			const path = newPath();
			const shard = await Shard.create(path, shardConfig({ dimension: DIMENSION }), shardDeps());
			const entries = someEntries(10);
			await put(shard, entries.slice(0, 5));
			const original = LevelStore.prototype.batch;
			const batches = spyOn(LevelStore.prototype, "batch").mockImplementationOnce(function (this: LevelStore) {
				const batch = original.call(this);
				return {
					...batch,
					write: async () => {
						if (reached) await batch.write();
						throw full();
					},
				};
			});
			const failure = await failureOf(() => put(shard, entries.slice(5, 8)));
			expect([failure.code, failure.message]).toEqual(["INTERNAL", "the disk is full"]);
			expect((await shard.stats()).vectorCount).toBe(5);
			expect((await searchOne(shard, { vector: entries[6]!.vector, k: 10 })).hits.length).toBe(5);
			await put(shard, entries.slice(8));
			const expected = reached ? entries : [...entries.slice(0, 5), ...entries.slice(8)];
			const check = async (checked: Shard) => {
				const page = await checked.scroll({ limit: 20, withPayload: true, withVector: true });
				expect(page.vectors.map(({ id }) => id)).toEqual(expected.map(({ id }) => id));
				for (const { id, vector } of expected) {
					expect((await searchOne(checked, { vector, k: 1 })).hits[0]?.id).toBe(id);
				}
			};
			await check(shard);
			await shard.close();
			batches.mockRestore();
			const reopened = await open(path);
			await check(reopened);
			await reopened.close();
		});
	}

	test("the vector file can't grow", async () => {
		const path = newPath();
		const shard = await Shard.create(path, shardConfig({ dimension: DIMENSION }), shardDeps());
		const { VectorFile } = await import("../../src/storage/vector-file.ts");
		const flushes = spyOn(VectorFile.prototype, "flush").mockImplementationOnce(() => {
			throw Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
		});
		expect((await failureOf(() => put(shard, someEntries(2)))).message).toBe("the disk is full");
		flushes.mockRestore();
		await put(shard, someEntries(2));
		expect((await shard.stats()).vectorCount).toBe(2);
		await shard.close();
	});
});

test("a deleted document's tombstone goes after its retention", async () => {
	const path = newPath();
	let aheadMs = 0;
	const clock = {
		nowMs: () => systemClock.nowMs() + aheadMs,
		monotonicMs: () => systemClock.monotonicMs() + aheadMs,
	};
	const config = shardConfig({ dimension: DIMENSION });
	const shard = await Shard.create(path, config, shardDeps({ clock, tombstoneRetentionMs: 5_000_000 }));
	await put(shard, someEntries(6));
	await shard.delete({ ids: [1, 2, 3] });
	await put(shard, someEntries(1, 2));
	const rowsOf = async (prefix: Uint8Array) => {
		const store = await LevelStore.open(join(path, "db"), () => undefined);
		const keys: string[] = [];
		for await (const rows of store.rows({ gte: prefix, lt: prefixEnd(prefix) })) {
			keys.push(...rows.map(([key]) => key.toString("hex")));
		}
		await store.close();
		return keys.length;
	};
	await shard.close();
	expect([await rowsOf(PREFIX.document), await rowsOf(PREFIX.tombstone)]).toEqual([6, 3]);
	aheadMs = 4_000_000;
	const early = await Shard.open(path, config, shardDeps({ clock, tombstoneRetentionMs: 5_000_000 }));
	await early.delete({ ids: [0] });
	await early.close();
	expect([await rowsOf(PREFIX.document), await rowsOf(PREFIX.tombstone)]).toEqual([6, 4]);
	aheadMs = 6_000_000;
	const late = await Shard.open(path, config, shardDeps({ clock, tombstoneRetentionMs: 5_000_000 }));
	// The purge takes its turn among the writes, so that this one comes after it.
	for (let at = 0; at < 50; at++) await late.update({ id: 4, payloadPatch: `{"at":${at}}` }, {});
	await late.close();
	expect([await rowsOf(PREFIX.document), await rowsOf(PREFIX.tombstone)]).toEqual([4, 1]);
	const last = await Shard.open(path, config, shardDeps({ clock }));
	expect(await last.count(undefined)).toBe(3);
	await last.close();
});
