import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { answerTo, EmbeddingServer, TEST_DIMENSION, TEST_MODEL, vectorOfWords } from "../embedding/embedding-server.ts";
import { linesOf, OperationsNode, type Output, type TenantCalls } from "./operations-fixture.ts";

let server: EmbeddingServer;
let node: OperationsNode;
let acme: TenantCalls;
let serial = 0;
let docs: { collection: string };

beforeAll(async () => {
	server = new EmbeddingServer();
	node = await OperationsNode.start(server.env({ HIVE_VECTOR_EMBEDDING_API_KEY: "sk-of-the-operator" }));
	acme = await node.newTenant("acme");
});
afterAll(async () => {
	await node.stop();
	await server[Symbol.asyncDispose]();
});
beforeEach(async () => {
	docs = { collection: `docs-${++serial}` };
	await acme.ask("collections.create", { name: docs.collection, text: { provider: "openai" } });
	server.calls.length = 0;
	server.usual = (call) => Response.json(answerTo(call));
});

const float32 = (text: string): Float32Array => new Float32Array(vectorOfWords(text));

async function read(id: string | number): Promise<Output> {
	const found = await acme.ask("vectors.get", { ...docs, id, with_vector: true });
	return { ...found, vector: new Float32Array(found.vector) };
}

test("a collection with a provider takes its dimension and model from it, and shows them", async () => {
	expect(await acme.ask("collections.get", docs)).toMatchObject({
		dimension: TEST_DIMENSION,
		text: { provider: "openai", model: TEST_MODEL },
	});
});

test("a dimension or model that is not the provider's is refused, and nothing is made", async () => {
	const text = { provider: "openai" };
	expect(await acme.refusal("collections.create", { name: "other", dimension: 5, text })).toMatchObject({
		code: "DIMENSION_MISMATCH",
		details: { expected: TEST_DIMENSION, actual: 5, field: "dimension" },
	});
	expect(
		await acme.refusal("collections.create", { name: "other", text: { ...text, model: "a-dearer-one" } }),
	).toMatchObject({ code: "VALIDATION_FAILED", details: { field: "text.model" } });
	expect(await acme.refusal("collections.create", { name: "other", text: { provider: "onnx" } })).toMatchObject({
		code: "VALIDATION_FAILED",
		details: { field: "text.provider" },
	});
	expect(await acme.refusal("collections.create", { name: "other" })).toMatchObject({
		code: "VALIDATION_FAILED",
		details: { field: "dimension" },
	});
	expect((await acme.refusal("collections.get", { collection: "other" })).code).toBe("COLLECTION_NOT_FOUND");
});

test("text stands where vector does: one call for all, kept in the payload", async () => {
	const answer = await acme.ask("vectors.upsert", {
		...docs,
		vectors: [
			{ id: 1, text: "a red fish", payload: { colour: "red" } },
			{ id: 2, vector: vectorOfWords("by hand") },
			{ id: 3, text: "a blue fish", payload: { text: "kept as it is" } },
		],
	});
	expect(answer).toEqual({ upserted: 3, ids: [1, 2, 3] });
	expect(server.calls.map(({ input }) => input)).toEqual([["a red fish", "a blue fish"]]);
	expect(await read(1)).toEqual({
		id: 1,
		vector: float32("a red fish"),
		payload: { colour: "red", text: "a red fish" },
	});
	expect(await read(2)).toEqual({ id: 2, vector: float32("by hand") });
	expect((await read(3)).payload).toEqual({ text: "kept as it is" });
});

test("the text is kept in the first of the fields whose words are searched", async () => {
	await acme.ask("collections.create", {
		name: "bodies",
		text: { provider: "openai", fields: ["meta.title", "body"] },
	});
	await acme.ask("vectors.upsert", { collection: "bodies", vectors: [{ id: "a", text: "a red fish" }] });
	expect((await acme.ask("vectors.get", { collection: "bodies", id: "a" })).payload).toEqual({ body: "a red fish" });
});

test("a patch with text replaces the vector and the kept text", async () => {
	await acme.ask("vectors.upsert", { ...docs, vectors: [{ id: "a", text: "a red fish", payload: { kept: 1 } }] });
	await acme.ask("vectors.update", { ...docs, id: "a", text: "a blue bird" });
	expect(await read("a")).toEqual({
		id: "a",
		vector: float32("a blue bird"),
		payload: { kept: 1, text: "a blue bird" },
	});
	expect(
		await acme.refusal("vectors.update", { ...docs, id: "a", text: "x", vector: vectorOfWords("x") }),
	).toMatchObject({ code: "VALIDATION_FAILED", details: { field: "text" } });
});

const BAD_ENTRIES: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
	"a blank text": { text: " \n" },
	"no text at all": { text: 7 },
	"a text beside a vector": { text: "a", vector: vectorOfWords("a") },
	"a lone surrogate": { text: "\ud800" },
	"a text without end": { text: "x".repeat(131_073) },
};

for (const [what, entry] of Object.entries(BAD_ENTRIES)) {
	test(`${what} is refused before anything is embedded or written`, async () => {
		const error = await acme.refusal("vectors.upsert", { ...docs, vectors: [{ text: "good" }, entry] });
		expect(error).toMatchObject({ code: "VALIDATION_FAILED", details: { field: "vectors[1].text" } });
		expect(server.calls).toEqual([]);
		expect(await acme.ask("vectors.count", docs)).toEqual({ count: 0 });
	});
}

test("a collection without a provider takes no text", async () => {
	await acme.ask("collections.create", { name: "plain", dimension: 2, text: { provider: "none" } });
	expect(
		await acme.refusal("vectors.upsert", { collection: "plain", vectors: [{ text: "a red fish" }] }),
	).toMatchObject({ code: "VALIDATION_FAILED", details: { field: "vectors[0].text" } });
	expect(server.calls).toEqual([]);
});

test("what the model does not take is named, and nothing is written", async () => {
	server.usual = (call) =>
		call.input.includes("too long")
			? Response.json({ error: { message: "context length exceeded" } }, { status: 400 })
			: Response.json(answerTo(call));
	expect(
		await acme.refusal("vectors.upsert", { ...docs, vectors: [{ text: "good" }, { text: "too long" }] }),
	).toMatchObject({ code: "VALIDATION_FAILED", details: { field: "vectors[1].text" } });
	expect(await acme.ask("vectors.count", docs)).toEqual({ count: 0 });
});

test("import takes lines with texts, and names those that the model does not take", async () => {
	server.usual = (call) =>
		call.input.includes("too long")
			? Response.json({ error: { message: "context length exceeded" } }, { status: 422 })
			: Response.json(answerTo(call));
	const lines = await acme.ask("vectors.import", {
		...docs,
		lines: linesOf([
			'{"id":1,"text":"a red fish"}',
			'{"id":2,"text":"too long"}',
			`{"id":3,"vector":${JSON.stringify(vectorOfWords("by hand"))}}`,
			'{"id":4,"text":""}',
		]),
	});
	expect(lines.filter(({ code }: Output) => code !== undefined)).toMatchObject([
		{ line: 4, code: "VALIDATION_FAILED", field: "text" },
		{ line: 2, code: "VALIDATION_FAILED", field: "text" },
	]);
	expect(lines.at(-1)).toEqual({ done: true, imported: 2, failed: 2 });
	expect((await read(1)).payload).toEqual({ text: "a red fish" });
});

test("a provider that is away is 503, and what the answer says shows neither its address nor its key", async () => {
	server.usual = () => new Response("no", { status: 429, headers: { "retry-after": "99" } });
	const error = await acme.refusal("vectors.upsert", { ...docs, vectors: [{ text: "a red fish" }] });
	expect(error.code).toBe("OVERLOADED");
	expect(error.details).toEqual({ retry_after_seconds: 99 });
	server.usual = () => Response.json({ error: { message: "wrong key sk-of-the-operator" } }, { status: 401 });
	const broken = await acme.refusal("vectors.upsert", { ...docs, vectors: [{ text: "a red fish" }] });
	expect(broken.code).toBe("INTERNAL");
	for (const told of [JSON.stringify([error.toWire(), broken.toWire()]), node.workshop.logLines.join()]) {
		expect(told).not.toContain("sk-of-the-operator");
		expect(told).not.toContain(server.url);
	}
	expect(await acme.ask("vectors.count", docs)).toEqual({ count: 0 });
});

test("texts are charged to the quota like vectors", async () => {
	const small = await node.newTenant("small", { quota: { max_vectors: 2 } });
	await small.ask("collections.create", { name: "docs", text: { provider: "openai" } });
	const insert = (texts: string[]) => ({ collection: "docs", vectors: texts.map((text) => ({ text })) });
	await small.ask("vectors.upsert", insert(["one", "two"]));
	expect((await small.refusal("vectors.upsert", insert(["three"]))).code).toBe("QUOTA_EXCEEDED");
	expect(await small.ask("usage.own", {})).toMatchObject({ vectors: 2 });
});
