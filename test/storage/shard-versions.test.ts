import { afterAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import type { VectorId } from "../../src/base/ids.ts";
import { HybridClock } from "../../src/storage/hybrid-clock.ts";
import { Shard } from "../../src/storage/shard.ts";
import type { ShardDeps } from "../../src/storage/shard-opening.ts";
import type { ShardConfig, VersionedRows } from "../../src/storage/shard-types.ts";
import { batchOf, contentOf, hastyClock, versionAt, versionOf } from "./copy-fixture.ts";
import {
	failureOf,
	put,
	randomVector,
	seededRandom,
	shardConfig,
	shardDeps,
	temporaryFolder,
} from "./shard-fixture.ts";

const folder = temporaryFolder();
afterAll(() => folder.remove());

const VECTOR = Float32Array.of(1, 2, 3, 4);
const OTHER = Float32Array.of(4, 3, 2, 1);
let shardCount = 0;

const newPath = () => join(folder.path, String(shardCount++));
const configWith = (changes: Partial<ShardConfig> = {}) =>
	shardConfig({ dimension: 4, isReplicated: true, ...changes });

async function newShard(changes: Partial<ShardConfig> = {}, deps: Partial<ShardDeps> = {}): Promise<Shard> {
	return await Shard.create(newPath(), configWith(changes), shardDeps(deps));
}

async function errorOf(call: () => Promise<unknown>): Promise<Error> {
	try {
		await call();
	} catch (error) {
		if (error instanceof Error) return error;
	}
	throw new Error("the call should have failed");
}

const living = async (shard: Shard, ids: readonly VectorId[]) =>
	(await shard.get(ids, { withPayload: false, withVector: false })).map((found) => found !== undefined);

const none = { vectorCountDelta: 0, bytesDelta: 0 };

describe("a write with a version", () => {
	test("gives way to newer ones, tells of the newest, and is done for the other ids", async () => {
		const shard = await newShard();
		await shard.upsert(batchOf([1], VECTOR), {}, versionAt(30));
		await shard.delete({ ids: [2] }, versionAt(40));
		const result = await shard.upsert(batchOf([1, 2, 3], OTHER), {}, versionAt(20));
		expect(result).toEqual({
			vectorCountDelta: 1,
			bytesDelta: 16 + 64,
			affectedCount: 1,
			supersededBy: versionAt(40),
		});
		expect(await living(shard, [1, 2, 3])).toEqual([true, false, true]);
		const deletion = await shard.delete({ ids: [1, 2, 3, 9] }, versionAt(25));
		expect(deletion).toEqual({
			vectorCountDelta: -1,
			bytesDelta: -80,
			affectedCount: 1,
			supersededBy: versionAt(40),
		});
		expect(await living(shard, [1, 2, 3])).toEqual([true, false, false]);
		await shard.close();
	});

	test("that comes again is done, and changes nothing", async () => {
		const shard = await newShard();
		const upsert = () => shard.upsert(batchOf([1, 2], VECTOR, '{"a":1}'), {}, versionAt(10));
		expect(await upsert()).toMatchObject({ vectorCountDelta: 2, affectedCount: 2 });
		const { seq } = await shard.digest(1);
		expect(await upsert()).toEqual({ ...none, affectedCount: 2 });
		const rows = await shard.rows([1, 2]);
		expect(await shard.merge(rows)).toEqual({ ...none, affectedCount: 2 });
		expect((await shard.digest(1)).seq).toBe(seq);
		await shard.delete({ ids: [1] }, versionAt(20));
		expect(await shard.delete({ ids: [1] }, versionAt(20))).toEqual({ ...none, affectedCount: 0 });
		await shard.close();
	});

	test("takes the last of equal ids, as one without does", async () => {
		const shard = await newShard();
		const batch = { ids: [1, 1], vectors: Float32Array.of(...VECTOR, ...OTHER), payloads: ['{"a":1}', undefined] };
		expect(await shard.upsert(batch, {}, versionAt(10))).toEqual({
			vectorCountDelta: 1,
			bytesDelta: 80,
			affectedCount: 1,
		});
		const [found] = await shard.get([1], { withPayload: true, withVector: true });
		expect(found).toEqual({ id: 1, vector: OTHER });
		await shard.close();
	});

	test("past the allowance is refused whole", async () => {
		const shard = await newShard();
		const upsert = () => shard.upsert(batchOf([1, 2], VECTOR), { vectorCountMax: 1 }, versionAt(10));
		expect((await failureOf(upsert)).code).toBe("QUOTA_EXCEEDED");
		expect((await shard.rows([1, 2])).ids).toEqual([]);
		await shard.close();
	});

	test("is a defect of the caller when the version is none, or when it would delete by filter", async () => {
		const shard = await newShard();
		for (const version of [new Uint8Array(15), versionAt(2 ** 47 + 1)]) {
			expect(await errorOf(() => shard.upsert(batchOf([1], VECTOR), {}, version))).toBeInstanceOf(RangeError);
			expect(await errorOf(() => shard.delete({ ids: [1] }, version))).toBeInstanceOf(RangeError);
		}
		expect(await errorOf(() => shard.delete({ filter: {} }, versionAt(1)))).toBeInstanceOf(RangeError);
		expect((await shard.stats()).vectorCount).toBe(0);
		await shard.close();
	});

	test("meets those it shares a commit with as if they were on disk", async () => {
		const shard = await newShard();
		const results = await Promise.all([
			put(shard, [{ id: 0, vector: VECTOR }]),
			shard.upsert(batchOf([1], VECTOR), {}, versionAt(20)),
			shard.upsert(batchOf([1], OTHER), {}, versionAt(10)),
			shard.delete({ ids: [1] }, versionAt(30)),
			shard.upsert(batchOf([1], OTHER), {}, versionAt(25)),
			shard.upsert(batchOf([2], VECTOR), {}, versionAt(10)),
			shard.delete({ ids: [2] }),
		]);
		expect(results.map(({ vectorCountDelta }) => vectorCountDelta)).toEqual([1, 1, 0, -1, 0, 1, -1]);
		expect(results.map(({ supersededBy }) => supersededBy)).toEqual([
			undefined,
			undefined,
			versionAt(20),
			undefined,
			versionAt(30),
			undefined,
			undefined,
		]);
		// What came and went within one commit may be elsewhere yet.
		expect(await shard.rows([1, 2])).toMatchObject({ deleted: Uint8Array.of(1, 1), vectors: new Float32Array(0) });
		expect((await shard.upsert(batchOf([2], VECTOR), {}, versionAt(11))).supersededBy).toBeDefined();
		await shard.close();
	});
});

test("an update tells the row as it is then, and another copy can take it over", async () => {
	const [home, other] = [await newShard(), await newShard()];
	await home.upsert(batchOf([1], VECTOR, '{"a":1}'), {}, versionAt(2 ** 45));
	for (const request of [
		{ id: 1, payloadPatch: '{"b":2}' },
		{ id: 1, vector: OTHER },
		{ id: 1, vector: VECTOR, payloadPatch: '{"a":null,"b":null}' },
	]) {
		const { row, ...result } = await home.update(request, {});
		const { bytesDelta } = result;
		expect(result).toEqual({ vectorCountDelta: 0, bytesDelta, affectedCount: 1, wasBehind: false });
		expect(row).toEqual(await home.rows([1]));
		expect(Buffer.compare(row.versions, versionAt(2 ** 45))).toBe(1);
		expect(await other.merge(row)).toMatchObject({ affectedCount: 1 });
		expect((await other.digest(1)).sums).toEqual((await home.digest(1)).sums);
	}
	const [, { row }] = await Promise.all([
		home.upsert(batchOf([2], OTHER, '{"c":1}'), {}),
		home.update({ id: 2, payloadPatch: '{"c":2}' }, {}),
	]);
	expect(row).toMatchObject({ ids: [2], vectors: OTHER, payloads: ['{"c":2}'] });
	expect(row.vectors.buffer.byteLength).toBe(16);
	expect(await other.merge(await home.rows([1]))).toEqual({ ...none, affectedCount: 1 });
	await other.upsert(batchOf([1], OTHER), {});
	const late = await other.merge(await home.rows([1]));
	expect(late).toMatchObject({ ...none, affectedCount: 0 });
	expect(Buffer.from(late.supersededBy!).toString("hex")).toBe((await versionOf(other, 1))!);
	await home.close();
	await other.close();
});

describe("a merge", () => {
	test("that is not in order leaves nothing of it", async () => {
		const shard = await newShard();
		const rows: VersionedRows = {
			ids: [1, 2],
			versions: Uint8Array.from([...versionAt(1), ...versionAt(2)]),
			deleted: Uint8Array.of(0, 1),
			vectors: VECTOR,
			payloads: [undefined, undefined],
		};
		for (const changes of [
			{ versions: versionAt(1) },
			{ deleted: Uint8Array.of(0) },
			{ payloads: [] },
			{ versions: Uint8Array.from([...versionAt(1), ...versionAt(2 ** 47 + 1)]) },
		]) {
			expect(await errorOf(() => shard.merge({ ...rows, ...changes }))).toBeInstanceOf(RangeError);
		}
		const codeOf = async (changes: Partial<VersionedRows>) =>
			(await failureOf(() => shard.merge({ ...rows, ...changes }))).code;
		expect(await codeOf({ vectors: VECTOR.slice(1) })).toBe("DIMENSION_MISMATCH");
		expect(await codeOf({ deleted: Uint8Array.of(1, 1) })).toBe("DIMENSION_MISMATCH");
		expect(await codeOf({ vectors: new Float32Array(4) })).toBe("INVALID_VECTOR");
		expect((await shard.rows([1, 2])).ids).toEqual([]);
		expect(await shard.merge(rows)).toMatchObject({ vectorCountDelta: 1, affectedCount: 2 });
		await shard.close();
	});

	test("of some megabytes is one commit", async () => {
		const dimension = 1_000;
		const random = seededRandom(9);
		const [from, to] = [await newShard({ dimension }), await newShard({ dimension })];
		const ids = Array.from({ length: 1_000 }, (_, id) => id);
		await put(
			from,
			ids.map((id) => ({ id, vector: randomVector(random, dimension), payload: { id } })),
		);
		await from.delete({ ids: [3, 5] });
		const rows = await from.rows([...ids, 7, 2_000]);
		expect(rows.vectors.byteLength).toBe(998 * dimension * 4);
		expect(await to.merge(rows)).toEqual({
			vectorCountDelta: 998,
			bytesDelta: (await from.stats()).bytes,
			affectedCount: 1_000,
		});
		const digest = await to.digest(16);
		expect(digest.seq).toBe(1);
		expect(digest.sums).toEqual((await from.digest(16)).sums);
		expect(contentOf(await to.rows(ids), dimension)).toEqual(contentOf(rows, dimension));
		await from.close();
		await to.close();
	});
});

test("rows that are too large for one answer are refused, but one alone never is", async () => {
	const shard = await newShard();
	const payload = JSON.stringify({ a: "x".repeat(1024 * 1024 - 8) });
	const ids = Array.from({ length: 33 }, (_, id) => id);
	for (const id of ids) await shard.upsert(batchOf([id], VECTOR, payload), {});
	expect((await failureOf(() => shard.rows(ids))).code).toBe("PAYLOAD_TOO_LARGE");
	expect((await shard.rows(ids.slice(0, 16))).payloads).toHaveLength(16);
	await shard.close();
});

describe("word of a deletion", () => {
	const DAY_MS = 24 * 60 * 60 * 1000;
	/** The purge takes its turns among the writes: after so many it has come to its end. */
	const letPurge = async (shard: Shard) => {
		for (let at = 0; at < 40; at++) await put(shard, [{ id: "any", vector: VECTOR }]);
	};
	const aheadOf = (startMs: number) => {
		const time = { nowMs: startMs };
		return { time, clock: { nowMs: () => time.nowMs, monotonicMs: () => time.nowMs } };
	};

	test("keeps what is older away, over restarts, until it may go and is old enough", async () => {
		const { time, clock } = aheadOf(100 * DAY_MS);
		const deletedMs = time.nowMs;
		const deps = shardDeps({ clock, tombstoneRetentionMs: DAY_MS });
		const path = newPath();
		let shard = await Shard.create(path, configWith(), deps);
		const reopen = async () => {
			await letPurge(shard);
			await shard.close();
			shard = await Shard.open(path, configWith(), deps);
			await letPurge(shard);
		};
		await shard.upsert(batchOf([1], VECTOR), {}, versionAt(deletedMs - 5));
		const rows = await shard.rows([1]);
		await shard.delete({ ids: [1, 2] }, versionAt(deletedMs));
		const olderComeAgain = async () => {
			expect((await shard.upsert(batchOf([1, 2], VECTOR), {}, versionAt(deletedMs - 1))).affectedCount).toBe(0);
			expect((await shard.merge(rows)).affectedCount).toBe(0);
			expect(await living(shard, [1, 2])).toEqual([false, false]);
		};
		await olderComeAgain();
		await reopen();
		await olderComeAgain();
		// Old enough, but nobody said that the others have heard of it.
		time.nowMs += 2 * DAY_MS;
		await reopen();
		await olderComeAgain();
		await shard.allowPurge(deletedMs);
		await reopen();
		await olderComeAgain();
		await shard.allowPurge(deletedMs + 1);
		await shard.allowPurge(deletedMs);
		await letPurge(shard);
		expect((await shard.rows([1, 2])).ids).toEqual([]);
		expect((await shard.merge(rows)).vectorCountDelta).toBe(1);
		// Heard of everywhere, but young.
		await shard.delete({ ids: [1] }, versionAt(time.nowMs));
		await shard.allowPurge(time.nowMs + DAY_MS);
		time.nowMs += DAY_MS - 1;
		await letPurge(shard);
		expect((await shard.rows([1])).deleted).toEqual(Uint8Array.of(1));
		// Somebody's clock was ahead: what is deleted later was not heard of then.
		time.nowMs += DAY_MS;
		await shard.delete({ ids: [2] }, versionAt(time.nowMs));
		await shard.allowPurge(time.nowMs + 1_000 * DAY_MS);
		time.nowMs += 2 * DAY_MS;
		await letPurge(shard);
		expect((await shard.rows([2])).deleted).toEqual(Uint8Array.of(1));
		// What was allowed before is not known after a restart.
		time.nowMs += DAY_MS;
		await shard.close();
		shard = await Shard.open(path, configWith(), deps);
		await letPurge(shard);
		expect((await shard.rows([2])).deleted).toEqual(Uint8Array.of(1));
		await shard.close();
	});

	test("is left also by a deletion that names no version, and also of what is not here, where there may be copies", async () => {
		for (const isReplicated of [true, false]) {
			const shard = await Shard.create(newPath(), { ...configWith(), isReplicated }, shardDeps());
			await put(shard, [{ id: 1, vector: VECTOR }]);
			expect((await shard.delete({ ids: [1, 2] })).affectedCount).toBe(1);
			const older = await shard.upsert(batchOf([2], VECTOR), {}, versionAt(1));
			expect(older.affectedCount).toBe(isReplicated ? 0 : 1);
			expect(await living(shard, [1, 2])).toEqual([false, !isReplicated]);
			await shard.close();
		}
	});

	test("is waited for only while there are other copies", async () => {
		const { time, clock } = aheadOf(100 * DAY_MS);
		const shard = await newShard({}, { clock, tombstoneRetentionMs: DAY_MS });
		await shard.delete({ ids: [1] }, versionAt(time.nowMs));
		time.nowMs += 2 * DAY_MS;
		await letPurge(shard);
		expect((await shard.rows([1])).deleted).toEqual(Uint8Array.of(1));
		time.nowMs += DAY_MS;
		shard.reconfigure(configWith({ isReplicated: false }));
		await letPurge(shard);
		expect((await shard.rows([1])).ids).toEqual([]);
		await shard.close();
	});

	test("holds also in a shard that was opened before it had copies", async () => {
		const path = newPath();
		let shard = await Shard.create(path, configWith({ isReplicated: false }), shardDeps());
		await put(shard, [{ id: 1, vector: VECTOR }]);
		const rows = await shard.rows([1]);
		await shard.delete({ ids: [1] });
		for (const isReplicated of [false, true]) {
			shard.reconfigure(configWith());
			expect((await shard.merge(rows)).supersededBy).toBeDefined();
			expect(await shard.count(undefined)).toBe(0);
			await shard.close();
			shard = await Shard.open(path, configWith({ isReplicated }), shardDeps());
		}
		await shard.close();
	});
});

describe("a digest", () => {
	test("is of one commit, however many come while it is counted, and is the same when counted anew", async () => {
		const random = seededRandom(3);
		const path = newPath();
		const deps = shardDeps({ clock: hastyClock() });
		const [busy, calm] = [await Shard.create(path, configWith(), deps), await newShard()];
		const sumsBySeq = new Map<number, Uint32Array>();
		let ms = 0;
		const writes: (() => (shard: Shard) => Promise<unknown>)[] = [
			() => {
				const ids = Array.from({ length: 3 }, () => Math.floor(random() * 4_000));
				const version = versionAt(++ms);
				return (shard) => shard.upsert(batchOf(ids, VECTOR), {}, version);
			},
			() => {
				const ids = Array.from({ length: 3 }, () => Math.floor(random() * 4_000));
				const version = versionAt(++ms);
				return (shard) => shard.delete({ ids }, version);
			},
		];
		const writeBoth = async (write: (shard: Shard) => Promise<unknown>) => {
			await write(calm);
			const { seq, sums } = await calm.digest(64);
			sumsBySeq.set(seq, sums);
			await write(busy);
		};
		const all = Array.from({ length: 3_000 }, (_, id) => id);
		await writeBoth((shard) => shard.upsert(batchOf(all, VECTOR), {}, versionAt(++ms && 1)));
		let isWriting = true;
		const writing = (async () => {
			for (let at = 0; at < 60; at++) await writeBoth(writes[at % 2]!());
			isWriting = false;
		})();
		const seqs = new Set<number>();
		while (isWriting) {
			// Asking for another number of buckets in between has it counted anew each time.
			const [{ seq, sums, vectorCount }] = await Promise.all([busy.digest(64), busy.digest(16)]);
			expect(sums).toEqual(sumsBySeq.get(seq)!);
			expect(vectorCount).toBeGreaterThan(2_000);
			seqs.add(seq);
		}
		await writing;
		expect(seqs.size).toBeGreaterThan(3);
		const last = await busy.digest(64);
		await busy.close();
		const reopened = await Shard.open(path, configWith(), shardDeps());
		expect(await reopened.digest(64)).toEqual(last);
		expect((await reopened.stats()).memoryBytes).toBeGreaterThan(3_000 * 8);
		await reopened.close();
		await calm.close();
	}, 60_000);

	test("has a number of buckets that is a power of two, and lists know no others", async () => {
		const shard = await newShard();
		for (const bucketCount of [0, -1, 3, 1.5, 131_072, Number.NaN]) {
			expect(await errorOf(() => shard.digest(bucketCount))).toBeInstanceOf(RangeError);
			expect(await errorOf(() => shard.versions(bucketCount, [0]))).toBeInstanceOf(RangeError);
		}
		for (const bucket of [-1, 4, 0.5]) {
			expect(await errorOf(() => shard.versions(4, [bucket]))).toBeInstanceOf(RangeError);
		}
		expect((await shard.digest(65_536)).sums).toEqual(new Uint32Array(131_072));
		await shard.close();
	});
});

describe("the list of versions", () => {
	test("has the ids of the buckets asked for, and of the others none", async () => {
		const shard = await newShard();
		const ids = Array.from({ length: 200 }, (_, id) => (id % 2 === 0 ? id : String(id)));
		await shard.upsert(batchOf(ids, VECTOR), {}, versionAt(7));
		await shard.delete({ ids: ids.slice(0, 20) }, versionAt(8));
		await shard.upsert(batchOf(ids.slice(0, 10), VECTOR), {}, versionAt(9));
		const lists = await Promise.all([0, 1, 2, 3].map((bucket) => shard.versions(4, [bucket])));
		const found = lists.flatMap((list) => [...list.ids]);
		expect(found).toHaveLength(200);
		expect(new Set(found)).toEqual(new Set(ids));
		for (const list of lists) {
			expect(list.ids.length).toBeLessThan(100);
			const rows = contentOf(await shard.rows(list.ids), 4);
			for (const [at, id] of list.ids.entries()) {
				expect(rows[JSON.stringify(id)]).toMatchObject({
					version: Buffer.from(list.versions.subarray(at * 16, at * 16 + 16)).toString("hex"),
					isDeleted: list.deleted[at] === 1,
				});
			}
		}
		await shard.close();
	});

	test("misses no id that is written anew, deleted or revived while it is made", async () => {
		const shard = await newShard({}, { clock: hastyClock() });
		const ids = Array.from({ length: 1_500 }, (_, id) => id);
		await shard.upsert(batchOf(ids, VECTOR), {}, versionAt(1));
		await shard.delete({ ids: ids.filter((id) => id % 10 === 0) }, versionAt(2));
		const random = seededRandom(8);
		let isListing = true;
		const changing = (async () => {
			for (let ms = 3; isListing; ms++) {
				const some = () => Array.from({ length: 5 }, () => Math.floor(random() * ids.length));
				await shard.delete({ ids: some() }, versionAt(ms, 0));
				await shard.upsert(batchOf(some(), OTHER), {}, versionAt(ms, 1));
			}
		})();
		const seqBefore = (await shard.digest(1)).seq;
		for (let round = 0; round < 4; round++) {
			const list = await shard.versions(2, [0, 1]);
			expect(list.ids).toHaveLength(ids.length);
			expect(new Set(list.ids).size).toBe(ids.length);
		}
		isListing = false;
		await changing;
		expect((await shard.digest(1)).seq).toBeGreaterThan(seqBefore);
		await shard.close();
	}, 60_000);
});

test("a clock that heard of a version goes on from there, and never back", () => {
	const clock = new HybridClock({ nowMs: () => 100, monotonicMs: systemClock.monotonicMs }, Buffer.from("nodenode"), {
		ms: 0,
		counter: 0,
	});
	let last = clock.next();
	for (const heard of [versionAt(50), versionAt(100, 7), versionAt(100, 3), versionAt(100, 0xffff), versionAt(5_000)]) {
		clock.observe(heard);
		const next = clock.next();
		expect(Buffer.compare(next, heard)).toBe(1);
		expect(Buffer.compare(next, last)).toBe(1);
		last = next;
	}
	expect(last.buffer.byteLength).toBe(16);
});

describe("an update done at one copy for all", () => {
	const patch = { id: 1, payloadPatch: '{"b":2}' };
	const rowsOf = async (shard: Shard, id: VectorId) => contentOf(await shard.rows([id]), 4)[JSON.stringify(id)];

	test("takes over what others know first, and counts only what it changed itself", async () => {
		const other = await newShard();
		await other.upsert(batchOf([1], OTHER, '{"a":1}'), {}, versionAt(20));
		const shard = await newShard();
		const stamp = { version: versionAt(30), known: await other.rows([1]) };
		const { row, ...result } = await shard.update(patch, {}, stamp);
		expect(result).toEqual({ vectorCountDelta: 0, bytesDelta: 6, affectedCount: 1, wasBehind: true });
		expect(await rowsOf(shard, 1)).toMatchObject({ payload: '{"a":1,"b":2}', version: await versionOf(shard, 1) });
		expect(await versionOf(shard, 1)).toBe(Buffer.from(versionAt(30)).toString("hex"));
		await other.merge(row);
		expect(await rowsOf(other, 1)).toEqual(await rowsOf(shard, 1));
	});

	test("goes by what is newer here than what others know", async () => {
		const shard = await newShard();
		await shard.upsert(batchOf([1], VECTOR, '{"a":1}'), {}, versionAt(20));
		const known = await shard.rows([1]);
		await shard.upsert(batchOf([1], VECTOR, '{"a":2}'), {}, versionAt(25));
		await shard.update(patch, {}, { version: versionAt(30), known });
		expect(await rowsOf(shard, 1)).toMatchObject({ payload: '{"a":2,"b":2}' });
	});

	test("is void where the row is newer than it, a deletion included, and changes nothing", async () => {
		const shard = await newShard();
		await shard.upsert(batchOf([1], VECTOR, '{"a":1}'), {}, versionAt(40));
		const stamp = { version: versionAt(30), known: await shard.rows([]) };
		const { row, ...result } = await shard.update(patch, {}, stamp);
		expect(result).toEqual({ ...none, affectedCount: 0, supersededBy: versionAt(40), wasBehind: false });
		expect(row.ids).toEqual([]);
		await shard.delete({ ids: [1] }, versionAt(50));
		expect(await shard.update(patch, {}, stamp)).toMatchObject({ supersededBy: versionAt(50) });
		expect(await living(shard, [1])).toEqual([false]);
		const later = { ...stamp, version: versionAt(60) };
		expect((await failureOf(() => shard.update(patch, {}, later))).code).toBe("VECTOR_NOT_FOUND");
	});

	test("is the same when it is done twice", async () => {
		const shard = await newShard();
		await shard.upsert(batchOf([1], VECTOR, '{"a":1}'), {}, versionAt(20));
		const stamp = { version: versionAt(30), known: await shard.rows([1]) };
		const first = await shard.update(patch, {}, stamp);
		const again = await shard.update(patch, {}, stamp);
		expect(again).toEqual({ ...first, ...none });
		expect(contentOf(again.row, 4)).toEqual(contentOf(first.row, 4));
	});

	test("that is refused takes nothing over either", async () => {
		const other = await newShard();
		await other.upsert(batchOf([1], OTHER, '{"a":1}'), {}, versionAt(20));
		const shard = await newShard();
		const stamp = { version: versionAt(30), known: await other.rows([1]) };
		const tooLarge = { id: 1, payloadPatch: JSON.stringify({ b: "x".repeat(1024 * 1024) }) };
		expect((await failureOf(() => shard.update(tooLarge, {}, stamp))).code).toBe("VALIDATION_FAILED");
		expect(await rowsOf(shard, 1)).toBeUndefined();
	});
});
