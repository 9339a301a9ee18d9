import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cosine, randomVector, seededRandom } from "../system/random.ts";
import { type Input, OperationsNode, type Output, type TenantCalls } from "./operations-fixture.ts";

const DIMENSION = 8;
const VECTOR_COUNT = 200;
const random = seededRandom(5);
const VECTORS = Array.from({ length: VECTOR_COUNT }, (_, id) => ({
	id,
	vector: randomVector(random, DIMENSION),
	payload: { third: id % 3, text: `vector ${id}` },
}));
const QUERY = randomVector(random, DIMENSION);

let node: OperationsNode;
let acme: TenantCalls;
beforeAll(async () => {
	node = await OperationsNode.start();
	acme = await node.newTenant("acme");
	await acme.ask("collections.create", { name: "docs", dimension: DIMENSION, shards: 2 });
	await acme.ask("vectors.upsert", { collection: "docs", vectors: VECTORS });
	await acme.ask("collections.create", { name: "far", dimension: 2, metric: "euclidean" });
	await acme.ask("vectors.upsert", {
		collection: "far",
		vectors: [
			{ id: "near", vector: [0, 1] },
			{ id: "far", vector: [3, 4] },
		],
	});
});
afterAll(() => node.stop());

const search = (input: Input): Promise<Output> => acme.ask("search.query", { collection: "docs", ...input });
const idsOf = (results: readonly Output[]): unknown[] => results.map(({ id }) => id);
const ranked = VECTORS.map(({ id, vector }) => ({ id, score: cosine(QUERY, vector) })).sort(
	(a, b) => b.score - a.score,
);

describe("a search", () => {
	test("answers the nearest first, ten of them, with payload and without vector", async () => {
		const { results, took_ms } = await search({ vector: QUERY });
		expect(idsOf(results)).toEqual(idsOf(ranked.slice(0, 10)));
		for (const [index, hit] of results.entries()) {
			expect(hit.score).toBeCloseTo(ranked[index]!.score, 6);
			expect(Object.keys(hit).sort()).toEqual(["id", "payload", "score"]);
			expect(hit.payload).toEqual(VECTORS[hit.id]!.payload);
		}
		expect(took_ms).toBeGreaterThanOrEqual(0);
	});

	test("answers what is asked for", async () => {
		const { results } = await search({ vector: QUERY, limit: 1, with_payload: false, with_vector: true });
		expect(Object.keys(results[0]).sort()).toEqual(["id", "score", "vector"]);
		expect(results[0].vector.map(Math.fround)).toEqual(VECTORS[results[0].id]!.vector);
	});

	test("goes on at an offset", async () => {
		expect(idsOf((await search({ vector: QUERY, limit: 5, offset: 7 })).results)).toEqual(idsOf(ranked.slice(7, 12)));
		expect((await search({ vector: QUERY, offset: VECTOR_COUNT })).results).toEqual([]);
	});

	test("with a stored vector leaves that one out", async () => {
		const { results } = await search({ id: 3, limit: VECTOR_COUNT });
		expect(results).toHaveLength(VECTOR_COUNT - 1);
		expect(idsOf(results)).not.toContain(3);
		expect((await acme.refusal("search.query", { collection: "docs", id: "3" })).code).toBe("VECTOR_NOT_FOUND");
	});

	test("with a filter answers limit results whenever that many match", async () => {
		const filter = { must: [{ key: "third", match: { value: 1 } }] };
		const { results } = await search({ vector: QUERY, limit: 20, filter });
		expect(idsOf(results)).toEqual(idsOf(ranked.filter(({ id }) => id % 3 === 1).slice(0, 20)));
	});

	test("leaves out what scores worse than the threshold", async () => {
		const score_threshold = (ranked[4]!.score + ranked[5]!.score) / 2;
		expect((await search({ vector: QUERY, limit: 50, score_threshold })).results).toHaveLength(5);
		const far = await acme.ask("search.query", { collection: "far", vector: [0, 0], score_threshold: 2 });
		expect(far.results).toMatchObject([{ id: "near", score: 1 }]);
	});

	test("explains which way it went when asked to", async () => {
		expect(await search({ vector: QUERY })).not.toHaveProperty("plan");
		const { plan } = await search({ vector: QUERY, explain: true, exact: true, ef_search: 100, consistency: "one" });
		expect(plan).toMatchObject({ kind: "exact", candidates: VECTOR_COUNT });
	});

	test("through a graph tells how wide it looked", async () => {
		await acme.ask("collections.create", { name: "graph", dimension: DIMENSION, index: "hnsw" });
		await acme.ask("vectors.upsert", { collection: "graph", vectors: VECTORS });
		const graph = { collection: "graph", vector: QUERY, ef_search: 77, explain: true };
		let plan: Output;
		// The graph grows in the background.
		do ({ plan } = await acme.ask("search.query", graph));
		while (plan.kind !== "hnsw");
		expect(plan).toMatchObject({ kind: "hnsw", ef_search: 77, tail: expect.any(Number) });
	});

	test("takes base64 for its vector", async () => {
		const base64 = Buffer.from(Float32Array.from(QUERY).buffer).toString("base64");
		expect((await search({ vector: { base64 } })).results).toEqual((await search({ vector: QUERY })).results);
	});
});

describe("a batch of searches", () => {
	test("answers each as if it came alone, in order", async () => {
		const searches = [
			{ vector: QUERY, limit: 3 },
			{ id: 5, limit: 2, offset: 1, with_payload: false },
			{ vector: VECTORS[9]!.vector, filter: { must: [{ has_id: [9, 10] }] } },
		];
		const { results, plans } = await acme.ask("search.batch", { collection: "docs", searches });
		for (const [index, one] of searches.entries()) expect(results[index]).toEqual((await search(one)).results);
		expect(plans).toBeUndefined();
	});

	test("explains all when one is to be explained", async () => {
		const searches = [{ vector: QUERY }, { vector: QUERY, explain: true }];
		const { plans } = await acme.ask("search.batch", { collection: "docs", searches });
		expect(plans).toHaveLength(2);
	});

	test("takes a hundred searches", async () => {
		const { results } = await acme.ask("search.batch", {
			collection: "docs",
			searches: Array(100).fill({ vector: QUERY }),
		});
		expect(results).toHaveLength(100);
	});
});

describe("what is wrong with a search is named", () => {
	const deep = (depth: number): Input => (depth === 0 ? {} : { must: [deep(depth - 1)] });
	test.each<[string, Input, string, string]>([
		["neither vector nor id", {}, "VALIDATION_FAILED", "vector"],
		["both vector and id", { vector: QUERY, id: 1 }, "VALIDATION_FAILED", "vector"],
		["a wrong dimension", { vector: [1, 2] }, "DIMENSION_MISMATCH", "vector"],
		["a zero vector", { vector: Array(DIMENSION).fill(0) }, "INVALID_VECTOR", "vector"],
		["NaN", { vector: [...QUERY.slice(1), Number.NaN] }, "INVALID_VECTOR", `vector[${DIMENSION - 1}]`],
		["a limit of 0", { vector: QUERY, limit: 0 }, "VALIDATION_FAILED", "limit"],
		["a limit past 1,000", { vector: QUERY, limit: 1_001 }, "VALIDATION_FAILED", "limit"],
		["a limit of 1e300", { vector: QUERY, limit: 1e300 }, "VALIDATION_FAILED", "limit"],
		["a negative offset", { vector: QUERY, offset: -1 }, "VALIDATION_FAILED", "offset"],
		["an offset past 10,000", { vector: QUERY, offset: 10_001 }, "VALIDATION_FAILED", "offset"],
		["an ef_search past its limit", { vector: QUERY, ef_search: 4_097 }, "VALIDATION_FAILED", "ef_search"],
		["an infinite threshold", { vector: QUERY, score_threshold: Infinity }, "VALIDATION_FAILED", "score_threshold"],
		["text", { text: "what" }, "VALIDATION_FAILED", "text"],
		["an unknown consistency", { vector: QUERY, consistency: "most" }, "VALIDATION_FAILED", "consistency"],
		["a filter of no object", { vector: QUERY, filter: "x" }, "INVALID_FILTER", "filter"],
		["too deep a filter", { vector: QUERY, filter: deep(18) }, "INVALID_FILTER", `filter${".must[0]".repeat(16)}`],
	])("%s", async (_, input, code, field) => {
		const error = await acme.refusal("search.query", { collection: "docs", ...input });
		expect([error.code as string, error.details?.field]).toEqual([code, field]);
	});

	test.each<[string, unknown, string]>([
		["no searches", [], "searches"],
		["too many searches", Array(101).fill({ vector: QUERY }), "searches"],
		["a search without a vector", [{ vector: QUERY }, {}], "searches[1].vector"],
		["a wrong vector", [{ vector: QUERY }, { vector: [1] }], "searches[1].vector"],
		["an unknown field", [{ vector: QUERY, top: 1 }], "searches[0].top"],
		[
			"a wrong filter",
			[{ vector: QUERY, filter: { must: [{ key: 7, match: { value: 1 } }] } }],
			"searches[0].filter.must[0].key",
		],
	])("%s in a batch", async (_, searches, field) => {
		const error = await acme.refusal("search.batch", { collection: "docs", searches });
		expect(error.details?.field).toBe(field);
	});
});
