import { afterAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { Metric, Quantization } from "../../src/base/schemas.ts";
import { Shard } from "../../src/storage/shard.ts";
import type { ShardConfig } from "../../src/storage/shard-types.ts";
import {
	bruteForce,
	type Entry,
	failureOf,
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

let shardCount = 0;

async function newShard(changes: Partial<ShardConfig> = {}, exactVectorCountMax = 50): Promise<Shard> {
	return await Shard.create(
		join(folder.path, String(shardCount++)),
		shardConfig({ dimension: 4, ...changes }),
		shardDeps({ exactVectorCountMax }),
	);
}

const row = (...numbers: number[]) => Float32Array.from(numbers);

describe("a vector that can't be searched is refused before it reaches the index", () => {
	const cases: readonly [string, Float32Array, string][] = [
		["NaN", row(1, Number.NaN, 0, 0), "INVALID_VECTOR"],
		["Infinity", row(1, Number.POSITIVE_INFINITY, 0, 0), "INVALID_VECTOR"],
		["zero", row(0, 0, 0, 0), "INVALID_VECTOR"],
		["too short", row(1, 2, 3), "DIMENSION_MISMATCH"],
		["too long", row(1, 2, 3, 4, 5), "DIMENSION_MISMATCH"],
	];
	for (const [name, vector, code] of cases) {
		test(name, async () => {
			const shard = await newShard();
			const good = row(1, 2, 3, 4);
			await put(shard, [{ id: 1, vector: good }]);
			const upsert = { ids: [2], vectors: vector, payloads: [undefined] };
			for (const call of [
				() => shard.upsert(upsert, {}),
				() => shard.measure({ upsert }),
				() => shard.update({ id: 1, vector }, {}),
				() => shard.measure({ update: { id: 1, vector } }),
				() => searchOne(shard, { vector }),
			]) {
				const failure = await failureOf(call);
				expect(failure.code).toBe(code as typeof failure.code);
				expect(failure.details?.field).toBeDefined();
			}
			expect((await shard.get([1, 2], { withPayload: false, withVector: true }))[0]?.vector).toEqual(good);
			expect(await shard.count(undefined)).toBe(1);
			await shard.close();
		});
	}

	test("a bad row in the middle of a batch names itself and leaves nothing", async () => {
		const shard = await newShard();
		const vectors = new Float32Array(12).fill(1);
		vectors[6] = Number.NaN;
		const failure = await failureOf(() =>
			shard.upsert({ ids: [1, 2, 3], vectors, payloads: [undefined, undefined, undefined] }, {}),
		);
		expect(failure.details).toEqual({ field: "vectors[1].vector" });
		expect(await shard.count(undefined)).toBe(0);
		await shard.close();
	});

	test("a zero vector is one like any other where the metric is not cosine", async () => {
		for (const metric of ["dot", "euclidean"] as const) {
			const shard = await newShard({ metric, index: "hnsw", quantization: "i8" });
			await put(shard, [
				{ id: 1, vector: row(0, 0, 0, 0) },
				{ id: 2, vector: row(1, 1, 1, 1) },
			]);
			await graphReady(shard);
			const { hits } = await searchOne(shard, { vector: row(0, 0, 0, 0) });
			expect(hits.map(({ score }) => score)).toEqual(metric === "dot" ? [0, 0] : [0, 2]);
			await shard.close();
		}
	});
});

test('1 and "1" are different ids, and come in the order of ids', async () => {
	const shard = await newShard();
	const ids = ["1", 1, 10, 9, "ü", "z", "\u{1f600}", "\uffee", Number.MAX_SAFE_INTEGER, 0, 2 ** 32];
	await put(
		shard,
		ids.map((id, at) => ({ id, vector: row(1, at, 0, 0), payload: { at } })),
	);
	const page = await shard.scroll({ limit: 100, withPayload: true, withVector: false });
	expect(page.vectors.map(({ id }) => id)).toEqual([
		...[0, 1, 9, 10, 2 ** 32, Number.MAX_SAFE_INTEGER],
		...["1", "z", "ü", "\uffee", "\u{1f600}"],
	]);
	const [text, number] = await shard.get(["1", 1], { withPayload: true, withVector: false });
	expect([text?.payload, number?.payload]).toEqual(['{"at":0}', '{"at":1}']);
	expect((await shard.delete({ ids: ["1"] })).affectedCount).toBe(1);
	expect((await shard.get([1, "1"], { withPayload: false, withVector: false })).map((found) => found?.id)).toEqual([
		1,
		undefined,
	]);
	await shard.close();
});

test("pages follow each other without gaps or repeats", async () => {
	const shard = await newShard();
	await put(
		shard,
		Array.from({ length: 25 }, (_, at) => ({ id: at % 2 === 0 ? at : `${at}`, vector: row(1, at, 0, 0) })),
	);
	const seen: unknown[] = [];
	let after: string | number | undefined;
	do {
		const page = await shard.scroll({
			limit: 7,
			withPayload: false,
			withVector: false,
			...(after === undefined ? {} : { after }),
		});
		seen.push(...page.vectors.map(({ id }) => id));
		after = page.next;
	} while (after !== undefined);
	expect(seen.length).toBe(25);
	expect(new Set(seen).size).toBe(25);
	await shard.close();
});

test("an empty shard answers everything with nothing", async () => {
	for (const index of ["auto", "hnsw", "exact"] as const) {
		const shard = await newShard({ index });
		const answer = await searchOne(shard, { vector: row(1, 2, 3, 4) });
		expect(answer).toEqual({ hits: [], plan: { kind: "empty", candidateCount: 0 } });
		const filter = { must: [{ key: "a", match: { value: 1 } }] };
		expect((await searchOne(shard, { vector: row(1, 2, 3, 4), filter })).hits).toEqual([]);
		expect(await shard.count(undefined)).toBe(0);
		expect(await shard.count(filter)).toBe(0);
		expect(await shard.scroll({ limit: 5, withPayload: true, withVector: true })).toEqual({ vectors: [] });
		expect((await shard.delete({ filter })).affectedCount).toBe(0);
		expect((await shard.delete({ ids: [1] })).affectedCount).toBe(0);
		expect(await put(shard, [])).toEqual({ vectorCountDelta: 0, bytesDelta: 0, affectedCount: 0 });
		expect((await failureOf(() => searchOne(shard, { id: 1 }))).code).toBe("VECTOR_NOT_FOUND");
		expect((await failureOf(() => searchOne(shard, {}))).code).toBe("VALIDATION_FAILED");
		expect((await shard.stats()).indexState).toBe("exact");
		await shard.close();
	}
});

test("asking for more hits than there are gives all of them", async () => {
	for (const index of ["exact", "hnsw"] as const) {
		const shard = await newShard({ index });
		await put(
			shard,
			Array.from({ length: 9 }, (_, at) => ({ id: at, vector: row(1, at, 0, 0) })),
		);
		for (let round = 0; round < 2; round++) {
			const { hits } = await searchOne(shard, { vector: row(1, 0, 0, 0), k: 1_000 });
			expect(hits.map(({ id }) => id)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
			await graphReady(shard);
		}
		await shard.close();
	}
});

test("equal scores come in the order of ids, whatever way they were found", async () => {
	for (const metric of ["cosine", "dot", "euclidean"] as const) {
		const shard = await newShard({ metric, index: "exact" });
		await put(
			shard,
			Array.from({ length: 300 }, (_, at) => ({ id: (at * 7) % 300, vector: row(1, 2, 3, 4) })),
		);
		const { hits } = await searchOne(shard, { vector: row(1, 2, 3, 4), k: 5 });
		expect(hits.map(({ id }) => id)).toEqual([0, 1, 2, 3, 4]);
		await shard.close();
	}
});

test("of equal ids in a batch the last wins, and counts once", async () => {
	const shard = await newShard();
	const result = await put(shard, [
		{ id: 1, vector: row(1, 0, 0, 0), payload: { a: 1 } },
		{ id: 2, vector: row(0, 1, 0, 0) },
		{ id: 1, vector: row(0, 0, 1, 0), payload: { b: 22 } },
	]);
	expect(result).toEqual({ vectorCountDelta: 2, bytesDelta: 2 * (16 + 64) + 8, affectedCount: 2 });
	const [found] = await shard.get([1], { withPayload: true, withVector: true });
	expect(found).toEqual({ id: 1, payload: '{"b":22}', vector: row(0, 0, 1, 0) });
	await shard.close();
});

test("measuring a write tells what it would change, and changes nothing", async () => {
	const shard = await newShard();
	await put(shard, [{ id: 1, vector: row(1, 0, 0, 0), payload: { a: 1 } }]);
	const upsert = { ids: [1, 2], vectors: new Float32Array(8).fill(1), payloads: [undefined, '{"x":"é"}'] };
	const measured = await shard.measure({ upsert });
	expect(measured).toEqual({ vectorCountDelta: 1, bytesDelta: 16 + 64 + 10 - 7, affectedCount: 2 });
	expect((await shard.stats()).bytes).toBe(16 + 64 + 7);
	expect(await shard.upsert(upsert, {})).toEqual(measured);
	const update = { id: 2, payloadPatch: '{"x":null,"__proto__":{"y":1}}' };
	const change = await shard.measure({ update });
	expect(await shard.update(update, {})).toMatchObject({ ...change });
	expect((await shard.get([2], { withPayload: true, withVector: false }))[0]?.payload).toBe('{"__proto__":{"y":1}}');
	expect((await failureOf(() => shard.measure({ update: { id: 3 } }))).code).toBe("VECTOR_NOT_FOUND");
	await shard.close();
});

test("a patch of a document without payload makes one, unless it only removes", async () => {
	const shard = await newShard();
	await put(shard, [{ id: 1, vector: row(1, 0, 0, 0) }]);
	const payload = async () => (await shard.get([1], { withPayload: true, withVector: false }))[0]?.payload;
	await shard.update({ id: 1, payloadPatch: '{"a":null}' }, {});
	expect(await payload()).toBeUndefined();
	await shard.update({ id: 1, payloadPatch: '{"a":[1]}' }, {});
	expect(await payload()).toBe('{"a":[1]}');
	await shard.update({ id: 1, payloadPatch: '{"a":null}' }, {});
	expect(await payload()).toBe("{}");
	const failure = await failureOf(() =>
		shard.update({ id: 1, payloadPatch: JSON.stringify({ a: "x".repeat(1024 * 1024) }) }, {}),
	);
	expect(failure.details).toMatchObject({ field: "payload" });
	await shard.close();
});

describe("numbers of any size rank as they do in double precision", () => {
	const random = seededRandom(31);
	const scales: readonly [string, () => number][] = [
		["huge", () => 1e30],
		["tiny", () => 1e-25],
		["of all sizes", () => 10 ** (random() * 40 - 20)],
		["with a few absurd ones", () => (random() < 0.01 ? 1e30 : 1)],
	];
	for (const metric of ["cosine", "dot", "euclidean"] as const satisfies readonly Metric[]) {
		for (const quantization of ["f32", "f16", "i8"] as const satisfies readonly Quantization[]) {
			for (const [name, scale] of scales) {
				test(`${metric} ${quantization} ${name}`, async () => {
					const shard = await newShard({ dimension: 6, metric, quantization, index: "hnsw" });
					const entries: Entry[] = Array.from({ length: 300 }, (_, id) => ({
						id,
						vector: randomVector(random, 6, scale()),
					}));
					await put(shard, entries);
					await graphReady(shard);
					let recall = 0;
					for (let at = 0; at < 10; at++) {
						const query = randomVector(random, 6, scale());
						const expected = bruteForce(metric, entries, query, 10);
						const exact = await searchOne(shard, { vector: query, exact: true });
						expect(exact.hits.map(({ id }) => id)).toEqual(expected.map(({ id }) => id));
						const { hits } = await searchOne(shard, { vector: query, efSearch: 150 });
						recall += recallOf(hits, expected) / 10;
						for (const hit of hits) {
							const [alone] = bruteForce(metric, [entries[Number(hit.id)]!], query, 1);
							expect(Math.abs(hit.score - alone!.score)).toBeLessThanOrEqual(
								1e-6 * Math.max(Math.abs(alone!.score), metric === "cosine" ? 1 : 0),
							);
						}
					}
					expect(recall).toBeGreaterThanOrEqual(0.9);
					await shard.close();
				});
			}
		}
	}
});
