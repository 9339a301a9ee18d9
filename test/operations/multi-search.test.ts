import { afterAll, beforeAll, expect, test } from "bun:test";
import { EmbeddingServer, TEST_DIMENSION, vectorOfWords } from "../embedding/embedding-server.ts";
import { OperationsNode, type Output, type TenantCalls } from "./operations-fixture.ts";

let server: EmbeddingServer;
let node: OperationsNode;
let acme: TenantCalls;

beforeAll(async () => {
	server = new EmbeddingServer();
	node = await OperationsNode.start(server.env());
	acme = await node.newTenant("acme");
	const text = { provider: "openai" };
	await acme.ask("collections.create", { name: "fish", text });
	await acme.ask("collections.create", { name: "birds", text });
	await acme.ask("collections.create", { name: "far", text, metric: "euclidean" });
	await acme.ask("collections.create", { name: "words", dimension: 3, text: { provider: "none" } });
	await acme.ask("collections.create", { name: "small", dimension: 2 });
	await acme.ask("vectors.upsert", {
		collection: "fish",
		vectors: [
			{ id: "f1", text: "red fish" },
			{ id: "f2", text: "blue whale song" },
		],
	});
	await acme.ask("vectors.upsert", {
		collection: "birds",
		vectors: [
			{ id: "b1", text: "red bird" },
			{ id: "b2", text: "red fish" },
		],
	});
	await acme.ask("vectors.upsert", { collection: "far", vectors: [{ id: "e1", text: "red fish" }] });
	await acme.ask("vectors.upsert", {
		collection: "words",
		vectors: [{ id: "w1", vector: [1, 0, 0], payload: { text: "a red fish" } }],
	});
});
afterAll(async () => {
	await node.stop();
	await server[Symbol.asyncDispose]();
});

const search = (collections: string[], more: Record<string, unknown>): Promise<Output> =>
	acme.ask("search.multi", { collections, ...more });
const idsOf = ({ results }: Output): string[] => results.map(({ collection, id }: Output) => `${collection}/${id}`);

test("collections of one metric and model are merged by score, as one collection would be", async () => {
	server.calls.length = 0;
	const merged = await search(["fish", "birds"], { text: "red fish" });
	expect(merged.merged_by).toBe("score");
	expect(idsOf(merged).slice(0, 2)).toEqual(["fish/f1", "birds/b2"]);
	const scores = merged.results.map(({ score }: Output) => score);
	expect(scores).toEqual([...scores].sort((one, other) => other - one));
	expect(scores[0]).toBeCloseTo(1, 5);
	expect(server.calls).toHaveLength(1);
	expect(merged.results).toHaveLength(4);
	const page = await search(["fish", "birds"], { text: "red fish", limit: 2, offset: 1 });
	expect(page.results).toEqual(merged.results.slice(1, 3));
	const byVector = await search(["fish", "birds"], { vector: vectorOfWords("red fish") });
	expect(idsOf(byVector)).toEqual(idsOf(merged));
});

test("collections whose scores mean different things are merged by rank", async () => {
	for (const names of [
		["far", "fish", "birds"],
		["far", "fish", "birds", "words"],
	]) {
		const merged = await search(names, { text: "red fish" });
		expect(merged.merged_by).toBe("rank");
		const first = merged.results.slice(0, names.length);
		expect(first.map(({ collection }: Output) => collection)).toEqual(names);
		expect(first.every(({ score }: Output) => score === 1 / 61)).toBe(true);
	}
	expect((await search(["fish", "birds"], { hybrid: { text: "red fish" } })).merged_by).toBe("rank");
});

test("a vector must fit all of them, and what is wrong with one is told before any is searched", async () => {
	expect(
		await acme.refusal("search.multi", { collections: ["fish", "small"], vector: vectorOfWords("fish") }),
	).toMatchObject({ code: "DIMENSION_MISMATCH", details: { expected: 2, actual: TEST_DIMENSION } });
	expect(await acme.refusal("search.multi", { collections: ["fish", "small"], text: "fish" })).toMatchObject({
		code: "VALIDATION_FAILED",
		details: { field: "text" },
	});
	expect((await acme.refusal("search.multi", { collections: ["fish", "none"], text: "fish" })).code).toBe(
		"COLLECTION_NOT_FOUND",
	);
	for (const collections of [[], ["fish", "fish"], Array.from({ length: 21 }, (_, index) => `c${index}`)]) {
		expect(await acme.refusal("search.multi", { collections, text: "fish" })).toMatchObject({
			code: "VALIDATION_FAILED",
		});
	}
	expect((await acme.refusal("search.multi", { collections: ["fish"], id: "f1" })).code).toBe("VALIDATION_FAILED");
});

test("each collection is counted as a search", async () => {
	const before = (await acme.ask("usage.own", {})).activity.searches;
	await search(["fish", "birds"], { text: "red fish" });
	expect((await acme.ask("usage.own", {})).activity.searches).toBe(before + 2);
});
