import { afterAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { VectorId } from "../../src/base/ids.ts";
import { encodeMeta, readMeta } from "../../src/storage/keyspace.ts";
import { LevelStore } from "../../src/storage/level-store.ts";
import { Shard } from "../../src/storage/shard.ts";
import { SHARD_FILES } from "../../src/storage/shard-opening.ts";
import { yieldTurn } from "../../src/storage/time-slice.ts";
import { WORDS_KEY, type WordIndexRow } from "../../src/storage/word-index.ts";
import { wordKey } from "../../src/storage/word-rows.ts";
import { bm25Oracle, type Words } from "./bm25-oracle.ts";
import {
	failureOf,
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

const DIMENSION = 4;
const lexical = { fields: ["text"], language: "none" } as const;
const config = shardConfig({ dimension: DIMENSION, lexical });
const deps = shardDeps();

const entry = (random: () => number, id: VectorId, text: string) => ({
	id,
	vector: randomVector(random, DIMENSION),
	payload: { text },
});

const wordsOf = (id: number): string => `all ${id % 2 === 0 ? "even" : "odd"} n${id % 50} only${id}`;

async function filled(path: string, count: number, withWords = config): Promise<Shard> {
	const shard = await Shard.create(path, withWords, deps);
	const random = seededRandom(1);
	await put(
		shard,
		Array.from({ length: count }, (_, id) => entry(random, id, wordsOf(id))),
	);
	return shard;
}

/** Changes a closed shard's database. */
async function tamper(path: string, change: (store: LevelStore) => Promise<void>): Promise<void> {
	const store = await LevelStore.open(join(path, SHARD_FILES.database), () => undefined);
	await change(store);
	await store.close();
}

async function rewriteIndexRow(path: string, change: (row: WordIndexRow) => WordIndexRow | undefined): Promise<void> {
	await tamper(path, async (store) => {
		const changed = change(readMeta<WordIndexRow>(WORDS_KEY, store.get(WORDS_KEY)!));
		const batch = store.batch();
		if (changed === undefined) batch.del(WORDS_KEY);
		else batch.put(WORDS_KEY, encodeMeta(changed));
		await batch.write();
	});
}

/** Searched once the index is whole. */
async function whenBuilt(shard: Shard, text: string, k = 10) {
	for (;;) {
		try {
			return await searchOne(shard, { lexical: { text }, k });
		} catch (error) {
			expect(error).toMatchObject({ code: "OVERLOADED" });
			await yieldTurn();
		}
	}
}

async function expectWhole(shard: Shard, documents: ReadonlyMap<VectorId, Words>): Promise<void> {
	for (const text of ["all", "odd n7", "only3 only900", "n4 all even"]) {
		const expected = bm25Oracle(documents, text.split(" "));
		const { hits } = await whenBuilt(shard, text, 4_000);
		expect(hits.map(({ id }) => id)).toEqual(expected.map(({ id }) => id));
		for (const [rank, { score }] of hits.entries()) expect(score).toBeCloseTo(expected[rank]!.score, 9);
	}
}

const documentsOf = (count: number): Map<VectorId, Words> =>
	new Map(Array.from({ length: count }, (_, id) => [id, wordsOf(id).split(" ")] as const));

describe("an index of words", () => {
	test("made another way is made anew, and nothing of the former stays", async () => {
		const path = join(folder.path, "other-analysis");
		await (await filled(path, 1_100)).close();
		await rewriteIndexRow(path, (row) => ({ ...row, analysis: "another", documentCount: 5 }));
		await tamper(path, async (store) => {
			const batch = store.batch();
			batch.put(wordKey("leftover", 3), Uint8Array.of(1, 0, 1, 1));
			await batch.write();
		});
		let shard = await Shard.open(path, config, deps);
		await expectWhole(shard, documentsOf(1_100));
		expect((await searchOne(shard, { lexical: { text: "leftover" } })).hits).toEqual([]);
		await shard.close();
		shard = await Shard.open(path, { ...config, lexical: { fields: ["text"], language: "english" } }, deps);
		expect((await whenBuilt(shard, "evens")).hits).toHaveLength(10);
		await shard.close();
	});

	test("built while documents are written, and over restarts, holds each of them once", async () => {
		const path = join(folder.path, "resumed");
		await (await filled(path, 3_000, shardConfig({ dimension: DIMENSION }))).close();
		const documents = documentsOf(3_000);
		const random = seededRandom(3);
		let shard = await Shard.open(path, config, deps);
		for (let round = 0; round < 12; round++) {
			const changed = Array.from({ length: 60 }, () => Math.floor(random() * 3_200));
			const words = changed.map((id) => `all changed${round} n${id % 50}`);
			const writes = [
				put(
					shard,
					changed.map((id, at) => entry(random, id, words[at]!)),
				),
				shard.delete({ ids: [round, 1_000 + round] }),
			];
			await Promise.all(writes);
			for (const [at, id] of changed.entries()) documents.set(id, words[at]!.split(" "));
			for (const id of [round, 1_000 + round]) documents.delete(id);
			if (round % 2 === 0) {
				await shard.close();
				shard = await Shard.open(path, config, deps);
			}
		}
		await expectWhole(shard, documents);
		await shard.close();
	});

	test("that is being built answers nothing rather than a part", async () => {
		const path = join(folder.path, "incomplete");
		await (await filled(path, 2_000, shardConfig({ dimension: DIMENSION }))).close();
		const shard = await Shard.open(path, config, deps);
		const failure = await failureOf(() => searchOne(shard, { lexical: { text: "all" } }));
		expect(failure.code).toBe("OVERLOADED");
		await expectWhole(shard, documentsOf(2_000));
		await shard.close();
	});

	test("is not there where no fields are declared, and is said so", async () => {
		const path = join(folder.path, "none");
		const shard = await filled(path, 3, shardConfig({ dimension: DIMENSION }));
		const failure = await failureOf(() => searchOne(shard, { lexical: { text: "all" } }));
		expect([failure.code, failure.details?.field]).toEqual(["VALIDATION_FAILED", "text"]);
		await shard.close();
	});

	test("whose rows are damaged answers with an error, not with fewer documents", async () => {
		const path = join(folder.path, "damaged");
		await (await filled(path, 300)).close();
		await tamper(path, async (store) => {
			// As it would come back from a disk that flipped a bit: the seal is another key's.
			const key = wordKey("odd", 1);
			const batch = store.batch();
			batch.put(wordKey("even", 1), store.get(key)!.subarray(0, -4));
			batch.put(key, Uint8Array.of());
			await batch.write();
		});
		const shard = await Shard.open(path, config, deps);
		expect((await failureOf(() => searchOne(shard, { lexical: { text: "odd" } }))).code).toBe("INTERNAL");
		await shard.close();
	});

	test("with statistics given scores by them, and leaves out what they do not name", async () => {
		const shard = await filled(join(folder.path, "statistics"), 100);
		const [own] = await shard.textStatistics(["n7 all unheard"]);
		expect(own).toEqual({
			documentCount: 100,
			tokenCount: 400,
			documentCounts: [
				["n7", 2],
				["all", 100],
				["unheard", 0],
			],
		});
		const doubled = { documentCount: 200, tokenCount: 800, documentCounts: [["n7", 2]] as const };
		const { hits, plan } = await searchOne(shard, { lexical: { text: "n7 all", statistics: doubled } });
		expect(plan).toEqual({ kind: "lexical", candidateCount: 2 });
		const rarity = Math.log(1 + 198.5 / 2.5);
		for (const { score } of hits) expect(score).toBeCloseTo(rarity, 12);
		await shard.close();
	});
});

describe("a search by words while documents are written", () => {
	test("finds every document that is there all the time, once, whatever changes about it", async () => {
		const shard = await filled(join(folder.path, "meanwhile"), 2_000);
		const random = seededRandom(9);
		let isOver = false;
		const writing = (async () => {
			while (!isOver) {
				// The word stays, the slot and the rest of the text do not.
				const ids = Array.from({ length: 20 }, () => Math.floor(random() * 2_000));
				await put(
					shard,
					ids.map((id) => entry(random, id, `all again${Math.floor(random() * 9)} only${id}`)),
				);
			}
		})();
		for (let round = 0; round < 30; round++) {
			const { hits } = await searchOne(shard, { lexical: { text: "all" }, k: 3_000 });
			expect(new Set(hits.map(({ id }) => id)).size).toBe(2_000);
			expect(hits).toHaveLength(2_000);
			const id = Math.floor(random() * 2_000);
			const best = await searchOne(shard, { lexical: { text: `all odd even only${id}` }, k: 1 });
			expect(best.hits.map((hit) => hit.id)).toEqual([id]);
			const { hits: filtered } = await searchOne(shard, {
				lexical: { text: "all" },
				k: 50,
				filter: { must: [{ key: "text", match: { text: "again3" } }] },
				withPayload: true,
			});
			for (const { payload } of filtered) expect(payload).toContain("again3");
		}
		isOver = true;
		await writing;
		await shard.close();
	});
});
