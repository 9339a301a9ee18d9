import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { VectorId } from "../../src/base/ids.ts";
import { EmbeddingServer, vectorOfWords } from "../embedding/embedding-server.ts";
import { bm25Oracle, type Words } from "../storage/bm25-oracle.ts";
import { cosine, randomVector, seededRandom } from "../system/random.ts";
import { type Input, OperationsNode, type Output, type TenantCalls } from "./operations-fixture.ts";

const DIMENSION = 8;
const random = seededRandom(7);
const pick = (count: number): number => Math.floor(random() * count);
const DOCUMENTS = Array.from({ length: 400 }, (_, id) => ({
	id,
	vector: randomVector(random, DIMENSION),
	payload: {
		title: `title${pick(20)}`,
		body: Array.from({ length: 1 + pick(25) }, () => `word${Math.floor(200 ** random()) - 1}`).join(" "),
		third: id % 3,
	},
}));
const WORDS = new Map<VectorId, Words>(
	DOCUMENTS.map(({ id, payload: { title, body } }) => [id, [title, ...body.split(" ")]] as const),
);
const QUERY = randomVector(random, DIMENSION);
const QUERY_TEXT = "word3 title7 word40 word0";
const byWords = bm25Oracle(WORDS, QUERY_TEXT.split(" "));
const byVector = DOCUMENTS.map(({ id, vector }) => ({ id, score: cosine(QUERY, vector) })).sort(
	(a, b) => b.score - a.score,
);

let server: EmbeddingServer;
let node: OperationsNode;
let acme: TenantCalls;
beforeAll(async () => {
	server = new EmbeddingServer();
	node = await OperationsNode.start(server.env());
	acme = await node.newTenant("acme");
	const text = { fields: ["title", "body"], language: "none" };
	for (const [name, shards, metric] of [
		["docs", 1, "cosine"],
		["split", 3, "cosine"],
		["far", 1, "euclidean"],
	] as const) {
		await acme.ask("collections.create", { name, shards, metric, dimension: DIMENSION, text });
		await acme.ask("vectors.upsert", { collection: name, vectors: DOCUMENTS });
	}
	await acme.ask("collections.create", { name: "plain", dimension: DIMENSION });
	await acme.ask("collections.create", { name: "meant", text: { provider: "openai", language: "none" } });
	await acme.ask("vectors.upsert", {
		collection: "meant",
		vectors: ["red cars", "blue boats", "red boats sail"].map((text, id) => ({ id, text })),
	});
});
afterAll(async () => {
	await node.stop();
	await server[Symbol.asyncDispose]();
});

const search = (input: Input): Promise<Output> => acme.ask("search.query", { collection: "docs", ...input });
const idsOf = (results: readonly Output[]): unknown[] => results.map(({ id }) => id);

/** Equal scores may differ in their last digit, and so in their order. */
function expectRanked(results: readonly Output[], expected: readonly { id: unknown; score: number }[]): void {
	expect(results).toHaveLength(expected.length);
	for (const [rank, hit] of results.entries()) expect(hit.score).toBeCloseTo(expected[rank]!.score, 9);
	const least = expected.at(-1)?.score ?? 0;
	const above = (list: readonly Output[]) => idsOf(list.filter(({ score }) => score > least + 1e-9)).sort();
	expect(above(results)).toEqual(above(expected));
}

/** What fusing the whole lists comes to. */
function fusedByRank(lists: readonly (readonly { id: unknown }[])[], depth: number): { id: unknown; score: number }[] {
	const scores = new Map<unknown, number>();
	for (const list of lists) {
		for (const [rank, { id }] of list.slice(0, depth).entries()) {
			scores.set(id, (scores.get(id) ?? 0) + 1 / (61 + rank));
		}
	}
	return [...scores].map(([id, score]) => ({ id, score })).sort((a, b) => b.score - a.score);
}

describe("a search by words", () => {
	test("scores by BM25 over the text fields, in one shard as in several", async () => {
		for (const collection of ["docs", "split"]) {
			const { results, plan } = await search({ collection, text: QUERY_TEXT, limit: 50, explain: true });
			expectRanked(results, byWords.slice(0, 50));
			expect(plan).toEqual({ kind: "lexical", candidates: expect.any(Number) });
			expect(results[0].payload).toEqual(DOCUMENTS[results[0].id]!.payload);
		}
		const [one, three] = await Promise.all(
			["docs", "split"].map((collection) => search({ collection, text: QUERY_TEXT, limit: 400 })),
		);
		expect(three.results).toEqual(one.results);
	});

	test("goes on at an offset, keeps to its threshold, and answers the vector when asked", async () => {
		const page = await search({ text: QUERY_TEXT, offset: 10, limit: 5, with_vector: true, with_payload: false });
		expectRanked(page.results, byWords.slice(10, 15));
		expect(Object.keys(page.results[0]).sort()).toEqual(["id", "score", "vector"]);
		const score_threshold = (byWords[4]!.score + byWords[5]!.score) / 2;
		expect((await search({ text: QUERY_TEXT, limit: 50, score_threshold })).results).toHaveLength(5);
	});

	test("with a filter answers limit results whenever that many match", async () => {
		const filter = { must: [{ key: "third", match: { value: 1 } }] };
		for (const collection of ["docs", "split"]) {
			const { results } = await search({ collection, text: QUERY_TEXT, limit: 30, filter });
			expectRanked(results, byWords.filter(({ id }) => DOCUMENTS[id as number]!.payload.third === 1).slice(0, 30));
		}
	});

	test("finds nothing where no document says any of its words", async () => {
		expect((await search({ text: "unheard" })).results).toEqual([]);
		expect((await search({ text: "¿…?" })).results).toEqual([]);
	});

	test("is not swayed by another collection, nor by another tenant's", async () => {
		const globex = await node.newTenant("globex");
		await globex.ask("collections.create", {
			name: "docs",
			dimension: DIMENSION,
			text: { fields: ["title", "body"], language: "none" },
		});
		const payload = { body: "word3 ".repeat(40) };
		const vectors = DOCUMENTS.map(({ id, vector }) => ({ id, vector, payload }));
		await globex.ask("vectors.upsert", { collection: "docs", vectors });
		expectRanked((await search({ text: QUERY_TEXT, limit: 50 })).results, byWords.slice(0, 50));
		const theirs = await globex.ask("search.query", { collection: "docs", text: "title7" });
		expect(theirs.results).toEqual([]);
	});

	test("sees what was written, changed and deleted before it", async () => {
		await acme.ask("collections.create", { name: "fresh", dimension: 2, text: {} });
		const find = async (text: string) => idsOf((await search({ collection: "fresh", text })).results);
		const vector = [1, 0];
		await acme.ask("vectors.upsert", { collection: "fresh", vectors: [{ id: 1, vector, payload: { text: "Foxes" } }] });
		expect(await find("fox")).toEqual([1]);
		await acme.ask("vectors.update", { collection: "fresh", id: 1, payload: { text: "hens" } });
		expect([await find("fox"), await find("hen")]).toEqual([[], [1]]);
		await acme.ask("vectors.delete_many", { collection: "fresh", ids: [1] });
		expect(await find("hens")).toEqual([]);
	});
});

describe("a hybrid search", () => {
	test("is made of both by their ranks", async () => {
		for (const collection of ["docs", "split"]) {
			const input = { collection, vector: QUERY, hybrid: { text: QUERY_TEXT }, explain: true };
			const { results, plan } = await search({ ...input, limit: 40 });
			expectRanked(results, fusedByRank([byVector, byWords], 100).slice(0, 40));
			expect(plan).toEqual({
				kind: "hybrid",
				candidates: plan.dense.candidates + plan.lexical.candidates,
				dense: { kind: "exact", candidates: 400 },
				lexical: { kind: "lexical", candidates: expect.any(Number) },
			});
			const page = await search({ ...input, hybrid: { text: QUERY_TEXT, alpha: "rrf" }, offset: 10, limit: 10 });
			expect(page.results).toEqual(results.slice(10, 20));
		}
	});

	test("is made of both by their stretched scores, in the shares that alpha names", async () => {
		const stretched = (list: readonly { id: unknown; score: number }[]) => {
			const top = list.slice(0, 100);
			const [best, worst] = [top[0]!.score, top.at(-1)!.score];
			return new Map(top.map(({ id, score }) => [id, (score - worst) / (best - worst)]));
		};
		const [dense, lexical] = [stretched(byVector), stretched(byWords)];
		for (const alpha of [0.25, 0.8]) {
			const expected = DOCUMENTS.map(({ id }) => ({
				id,
				score: alpha * (dense.get(id) ?? 0) + (1 - alpha) * (lexical.get(id) ?? 0),
			})).sort((a, b) => b.score - a.score);
			const { results } = await search({ vector: QUERY, hybrid: { text: QUERY_TEXT, alpha }, limit: 30 });
			for (const [rank, { id, score }] of results.entries()) {
				expect(score).toBeCloseTo(expected[rank]!.score, 5);
				expect(score).toBeCloseTo(expected.find((one) => one.id === id)!.score, 5);
			}
		}
	});

	test("with alpha 1 ranks as the search by vector does, with 0 as the one by words", async () => {
		const dense = await search({ vector: QUERY, limit: 20 });
		const byAlpha = async (alpha: number, input: Input) =>
			search({ ...input, hybrid: { text: QUERY_TEXT, alpha }, limit: 20, explain: true });
		const one = await byAlpha(1, { vector: QUERY });
		expect(idsOf(one.results)).toEqual(idsOf(dense.results));
		expect(one.results[0].score).toBe(1);
		expect(Object.keys(one.plan).sort()).toEqual(["candidates", "dense", "kind"]);
		const none = await byAlpha(0, {});
		expect(idsOf(none.results)).toEqual(idsOf((await search({ text: QUERY_TEXT, limit: 20 })).results));
		expect(Object.keys(none.plan).sort()).toEqual(["candidates", "kind", "lexical"]);
	});

	test("takes the nearest of a euclidean collection for its best, and answers higher scores first", async () => {
		const nearest = (await search({ collection: "far", vector: QUERY, limit: 100 })).results;
		const { results } = await search({ collection: "far", vector: QUERY, hybrid: { text: QUERY_TEXT }, limit: 30 });
		expectRanked(results, fusedByRank([nearest, byWords], 100).slice(0, 30));
		const alone = await search({ collection: "far", vector: QUERY, hybrid: { text: QUERY_TEXT, alpha: 1 } });
		expect(idsOf(alone.results)).toEqual(idsOf(nearest.slice(0, 10)));
	});

	test("keeps to its filter and threshold, and leaves the document out whose vector it searches with", async () => {
		const filter = { must: [{ key: "third", match: { value: 2 } }] };
		const hybrid = { text: QUERY_TEXT };
		const { results } = await search({ vector: QUERY, hybrid, filter, limit: 100 });
		expect(results).toHaveLength(100);
		for (const { payload } of results) expect(payload.third).toBe(2);
		const score_threshold = (results[9].score + results[10].score) / 2;
		expect((await search({ vector: QUERY, hybrid, filter, limit: 100, score_threshold })).results).toHaveLength(10);
		const own = byWords[0]!.id;
		for (const collection of ["docs", "split"]) {
			expect(idsOf((await search({ collection, id: own, hybrid, limit: 400 })).results)).not.toContain(own);
		}
	});

	test("stands in a batch beside other searches, each at its own consistency", async () => {
		const searches = [
			{ vector: QUERY, limit: 3 },
			{ text: QUERY_TEXT, limit: 3, consistency: "quorum" },
			{ vector: QUERY, hybrid: { text: QUERY_TEXT }, limit: 3, explain: true },
			{ vector: QUERY, hybrid: { text: QUERY_TEXT, alpha: 0.3 }, limit: 3, consistency: "all" },
		];
		const batch = await acme.ask("search.batch", { collection: "split", searches });
		const alone = await Promise.all(searches.map((one) => search({ collection: "split", ...one })));
		expect(batch.results).toEqual(alone.map(({ results }) => results));
		expect(batch.plans[2]).toEqual(alone[2].plan);
	});
});

describe("where a provider makes vectors of texts", () => {
	test("a text is searched by its vector, and hybrid.text by both", async () => {
		const { results, plan } = await search({ collection: "meant", text: "red cars", explain: true });
		expect(plan.kind).toBe("exact");
		expect(results[0]).toMatchObject({ id: 0, payload: { text: "red cars" } });
		expect(results[0].score).toBeCloseTo(1, 5);
		const both = await search({ collection: "meant", hybrid: { text: "boats sail" }, explain: true });
		expect(both.results[0].id).toBe(2);
		expect(Object.keys(both.plan).sort()).toEqual(["candidates", "dense", "kind", "lexical"]);
		const vector = vectorOfWords("red cars");
		const apart = await search({ collection: "meant", vector, hybrid: { text: "sail" }, limit: 1 });
		const together = await search({ collection: "meant", text: "red cars", hybrid: { text: "sail" }, limit: 1 });
		expect(together.results).toEqual(apart.results);
	});

	test("the texts of a batch are sent to it in one request, and words alone not at all", async () => {
		server.calls.length = 0;
		const searches = [{ text: "red" }, { hybrid: { text: "boats" } }, { text: "sail", hybrid: { text: "boats" } }];
		await acme.ask("search.batch", { collection: "meant", searches });
		expect(server.calls).toHaveLength(1);
		await search({ collection: "meant", hybrid: { text: "boats", alpha: 0 } });
		expect(server.calls).toHaveLength(1);
	});
});

describe("what can't be searched is refused by its name", () => {
	const vector = QUERY;
	test.each([
		["vector", "docs", {}],
		["vector", "docs", { vector, text: "a" }],
		["vector", "docs", { id: 1, text: "a" }],
		["vector", "docs", { hybrid: { text: "a" } }],
		["text", "docs", { text: "" }],
		["text", "docs", { text: " \n" }],
		["text", "docs", { text: "\ud800" }],
		["text", "docs", { text: 5 }],
		["text", "docs", { text: "a", hybrid: { text: "a" } }],
		["text", "plain", { text: "a" }],
		["hybrid", "plain", { vector, hybrid: { text: "a" } }],
		["hybrid.text", "docs", { vector, hybrid: {} }],
		["hybrid.text", "docs", { vector, hybrid: { text: " " } }],
		["hybrid.alpha", "docs", { vector, hybrid: { text: "a", alpha: 1.5 } }],
		["hybrid.alpha", "docs", { vector, hybrid: { text: "a", alpha: "best" } }],
		["hybrid.fusion", "docs", { vector, hybrid: { text: "a", fusion: "rrf" } }],
	])("%s of %s: %j", async (field, collection, input) => {
		const refusal = await acme.refusal("search.query", { collection, ...input });
		expect([refusal.code, refusal.details?.field]).toEqual(["VALIDATION_FAILED", field]);
		const searches = [{ vector: collection === "plain" ? vector : QUERY }, input];
		const inBatch = await acme.refusal("search.batch", { collection, searches });
		expect(inBatch.details?.field).toBe(`searches[1].${field}`);
	});

	test("a provider that fails fails the search, and says where its text stands", async () => {
		server.usual = () => new Response("no", { status: 400 });
		const refusal = await acme.refusal("search.query", { collection: "meant", text: "red" });
		expect(refusal.code).not.toBe("INTERNAL");
	});
});
