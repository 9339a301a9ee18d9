import { afterAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { Filter } from "../../src/base/filter.ts";
import type { VectorId } from "../../src/base/ids.ts";
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

const DIMENSION = 12;
const COUNT = 1_500;

/** `share` of every so many: one in 2, 10, 100, 500. */
const SHARES = [2, 10, 100, 500] as const;

function entriesOf(random: () => number): Entry[] {
	return Array.from({ length: COUNT }, (_, at) => ({
		id: at % 2 === 0 ? at : `name-${at}`,
		vector: randomVector(random, DIMENSION),
		payload: Object.fromEntries(SHARES.map((share) => [`of${share}`, at % share === 0 ? "yes" : "no"])),
	}));
}

const yes = (share: number): Filter => ({ must: [{ key: `of${share}`, match: { value: "yes" } }] });

describe("a filtered search returns limit hits whenever that many match, and the right ones", () => {
	const variants: readonly Partial<ShardConfig>[] = [
		{ index: "exact" },
		{ index: "hnsw" },
		{ index: "hnsw", metric: "euclidean", quantization: "i8" },
		{ index: "hnsw", payloadIndexes: { of2: "keyword", of10: "keyword", of100: "keyword", of500: "keyword" } },
	];
	for (const [variant, changes] of variants.entries()) {
		test(JSON.stringify(changes), async () => {
			const random = seededRandom(variant + 20);
			const config = shardConfig({ dimension: DIMENSION, ...changes });
			const shard = await Shard.create(join(folder.path, `filter-${variant}`), config, shardDeps());
			const entries = entriesOf(random);
			await put(shard, entries);
			for (const [field, type] of Object.entries(config.payloadIndexes)) await shard.createPayloadIndex(field, type);
			for (let round = 0; round < 2; round++) {
				for (const share of SHARES) {
					const matching = entries.filter(({ payload }) => payload?.[`of${share}`] === "yes");
					let recall = 0;
					for (let at = 0; at < 4; at++) {
						const query = randomVector(random, DIMENSION);
						const expected = bruteForce(config.metric, matching, query, 10);
						const { hits } = await searchOne(shard, { vector: query, filter: yes(share), withPayload: true });
						expect(hits.length).toBe(Math.min(10, matching.length));
						expect(hits.every(({ payload }) => JSON.parse(payload!)[`of${share}`] === "yes")).toBe(true);
						recall += recallOf(hits, expected) / 4;
						const exact = await searchOne(shard, { vector: query, filter: yes(share), exact: true });
						expect(exact.hits.map(({ id }) => id)).toEqual(expected.map(({ id }) => id));
					}
					expect(recall).toBeGreaterThanOrEqual(0.95);
					expect(await shard.count(yes(share))).toBe(matching.length);
				}
				await graphReady(shard);
			}
			await shard.close();
		});
	}
});

describe("the rest of a search", () => {
	const random = seededRandom(77);
	const entries = entriesOf(random);
	const opening = (async () => {
		const config = shardConfig({ dimension: DIMENSION, index: "hnsw", payloadIndexes: { of10: "keyword" } });
		const shard = await Shard.create(join(folder.path, "rest"), config, shardDeps());
		await put(shard, entries);
		await graphReady(shard);
		return shard;
	})();
	afterAll(async () => (await opening).close());

	test("by the id of a stored vector, which is no hit itself", async () => {
		const shard = await opening;
		for (const request of [{}, { exact: true }, { filter: yes(2) }, { filter: yes(10) }, { filter: yes(500) }]) {
			const { hits } = await searchOne(shard, { id: 0, ...request });
			// Three vectors have it, and the one that is searched with is one of them.
			expect(hits.length).toBe(JSON.stringify(request).includes("of500") ? 2 : 10);
			expect(hits.map(({ id }) => id)).not.toContain(0);
		}
	});

	test("a score threshold lets through what is as good or better", async () => {
		const shard = await opening;
		const query = randomVector(random, DIMENSION);
		const ranked = bruteForce("cosine", entries, query, COUNT);
		const { hits: first } = await searchOne(shard, { vector: query, k: 30, exact: true });
		const scoreThreshold = first[6]!.score;
		for (const request of [{}, { exact: true }]) {
			const { hits } = await searchOne(shard, { vector: query, k: 30, scoreThreshold, ...request });
			expect(hits.map(({ id }) => id)).toEqual(ranked.slice(0, 7).map(({ id }) => id));
		}
		for (const share of SHARES) {
			const names = new Set(
				entries.filter(({ payload }) => payload?.[`of${share}`] === "yes").map(({ id }): VectorId => id),
			);
			const { hits } = await searchOne(shard, { vector: query, k: 30, scoreThreshold, filter: yes(share) });
			expect(hits.length).toBe(ranked.slice(0, 7).filter(({ id }) => names.has(id)).length);
		}
	});

	test("several at once are answered in their order, with vectors and payloads as inserted", async () => {
		const shard = await opening;
		const requests = entries.slice(0, 40).map(({ vector }, at) => ({
			vector,
			k: 1,
			withPayload: at % 2 === 0,
			withVector: true,
			...(at % 5 === 0 ? { filter: { must: [{ has_id: [entries[at]!.id] }] } } : {}),
		}));
		const answers = await shard.search(requests);
		for (const [at, { hits }] of answers.entries()) {
			expect(hits[0]?.id).toBe(entries[at]!.id);
			expect(hits[0]?.vector).toEqual(entries[at]!.vector);
			expect(hits[0]?.payload).toBe(at % 2 === 0 ? JSON.stringify(entries[at]!.payload) : undefined);
		}
	});

	test("a hit's payload is the one written last, however often it was a hit before", async () => {
		const shard = await opening;
		const { vector, payload } = entries[9]!;
		const { id } = entries[9]!;
		const hitPayload = async () => (await searchOne(shard, { vector, k: 1, withPayload: true })).hits[0]?.payload;
		for (let round = 0; round < 3; round++) {
			await shard.update({ id, payloadPatch: `{"round":${round}}` }, {});
			for (let again = 0; again < 2; again++) expect(JSON.parse((await hitPayload())!).round).toBe(round);
		}
		await put(shard, [{ id, vector }]);
		expect(await hitPayload()).toBeUndefined();
		await put(shard, [{ id, vector, payload: payload! }]);
		expect(await hitPayload()).toBe(JSON.stringify(payload));
		const long = "x".repeat(100_000);
		await shard.update({ id, payloadPatch: JSON.stringify({ long }) }, {});
		expect(JSON.parse((await hitPayload())!).long).toBe(long);
		await put(shard, [{ id, vector, payload: payload! }]);
	});

	test("payloads of hits take no more than so much memory", async () => {
		const shard = await opening;
		const before = (await shard.stats()).memoryBytes;
		const text = "y".repeat(8_000);
		const bulky = Array.from({ length: 200 }, (_, at) => ({
			id: `bulky-${at}`,
			vector: randomVector(random, DIMENSION),
			payload: { text },
		}));
		await put(shard, bulky);
		const filter: Filter = { must: [{ has_id: bulky.map(({ id }) => id) }] };
		const { hits } = await searchOne(shard, { vector: bulky[0]!.vector, k: 200, filter, withPayload: true });
		expect(hits.every(({ payload }) => payload?.length === 8_011)).toBe(true);
		expect((await shard.stats()).memoryBytes - before).toBeLessThan(3_000_000);
		await shard.delete({ ids: bulky.map(({ id }) => id) });
	});

	test("the plan says what ran", async () => {
		const shard = await opening;
		const vector = randomVector(random, DIMENSION);
		expect((await searchOne(shard, { vector })).plan).toMatchObject({ kind: "hnsw", efSearch: 64, tailCount: 0 });
		expect((await searchOne(shard, { vector, exact: true })).plan.kind).toBe("exact");
		expect((await searchOne(shard, { vector, filter: yes(10) })).plan).toEqual({
			kind: "filter_exact",
			candidateCount: 150,
		});
		expect((await searchOne(shard, { vector, filter: yes(2) })).plan.kind).toBe("hnsw_filtered");
		expect((await searchOne(shard, { vector, filter: yes(500) })).plan.kind).toBe("filter_exact");
		expect((await searchOne(shard, { vector, filter: {} })).plan.kind).toBe("hnsw");
		expect((await searchOne(shard, { vector, filter: { must: [], should: [] } })).hits.length).toBe(10);
	});

	test("an index dropped while others use it costs speed only", async () => {
		const shard = await opening;
		const before = await shard.count(yes(10));
		await shard.dropPayloadIndex("of10");
		await shard.dropPayloadIndex("of10");
		expect(await shard.count(yes(10))).toBe(before);
		await shard.createPayloadIndex("of10", "text");
		await shard.createPayloadIndex("of10", "keyword");
		await shard.createPayloadIndex("of10", "keyword");
		expect(await shard.count(yes(10))).toBe(before);
		const page = await shard.scroll({ filter: yes(10), limit: 20, withPayload: false, withVector: false });
		expect(page.vectors.map(({ id }) => id)).toEqual(Array.from({ length: 20 }, (_, at) => at * 10));
		const rest = await shard.scroll({
			filter: yes(10),
			limit: 200,
			withPayload: false,
			withVector: false,
			after: page.next!,
		});
		expect(rest.vectors.length).toBe(130);
		expect(rest.next).toBeUndefined();
	});
});

test("searches, counts and pages stay right while others write", async () => {
	const random = seededRandom(99);
	const config = shardConfig({ dimension: DIMENSION, index: "auto", payloadIndexes: { of10: "keyword" } });
	const shard = await Shard.create(join(folder.path, "concurrent"), config, shardDeps({ exactVectorCountMax: 200 }));
	// Those with an even number never change, the others come, go and move to other slots.
	const stable = entriesOf(random).filter((_, at) => at % 2 === 0);
	const fleeting = entriesOf(random).filter((_, at) => at % 2 === 1);
	await put(shard, stable);
	let isDone = false;
	const writing = (async () => {
		for (let round = 0; round < 40; round++) {
			const from = Math.floor(random() * (fleeting.length - 50));
			await put(shard, fleeting.slice(from, from + 50));
			await shard.delete({ ids: fleeting.slice(from + 10, from + 40).map(({ id }) => id) });
		}
		isDone = true;
	})();
	const checking = async (filter: Filter) => {
		const isMatch = new Set(stable.filter(({ payload }) => payload?.of10 === "yes").map(({ id }) => id));
		while (!isDone) {
			const query = randomVector(random, DIMENSION);
			const { hits } = await searchOne(shard, { vector: query, k: 20, filter, withVector: true });
			const expected = bruteForce(
				"cosine",
				stable.filter(({ id }) => isMatch.has(id)),
				query,
				20,
			);
			expect(hits.length).toBe(20);
			for (const { id, score, vector } of hits) {
				const [exact] = bruteForce("cosine", [{ id, vector: vector! }], query, 1);
				expect(score).toBeCloseTo(exact!.score, 6);
			}
			// Every stable one is found, unless a fleeting one is nearer.
			const worst = hits.at(-1)!.score;
			const missed = expected.filter(({ id, score }) => score > worst && !hits.some((hit) => hit.id === id));
			expect(missed).toEqual([]);
			const page = await shard.scroll({ filter, limit: 1_000, withPayload: false, withVector: false });
			const ids = new Set(page.vectors.map(({ id }) => id));
			expect([...isMatch].every((id) => ids.has(id))).toBe(true);
			expect(await shard.count(filter)).toBeGreaterThanOrEqual(isMatch.size);
			await yieldTurn();
		}
	};
	await Promise.all([writing, checking(yes(10)), checking({ must: [{ key: "of10", match: { text: "yes" } }] })]);
	await shard.close();
});
