import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { answerTo, EmbeddingServer } from "../embedding/embedding-server.ts";
import { OperationsNode, type Output, type TenantCalls } from "./operations-fixture.ts";

let server: EmbeddingServer;
let node: OperationsNode;
let acme: TenantCalls;
let serial = 0;
let docs: { collection: string };

const GUIDE = `# Guide

Fish live in water.\r
Some are red.

## Birds

Birds live in the air, naïvely 😀.

\`\`\`sh
# feed them
feed --all
\`\`\`
\n\n`;

beforeAll(async () => {
	server = new EmbeddingServer();
	node = await OperationsNode.start(server.env());
	acme = await node.newTenant("acme");
});
afterAll(async () => {
	await node.stop();
	await server[Symbol.asyncDispose]();
});
beforeEach(async () => {
	docs = { collection: `docs-${++serial}` };
	server.usual = (call) => Response.json(answerTo(call));
	await acme.ask("collections.create", { name: docs.collection, text: { provider: "openai" }, shards: 2 });
	server.calls.length = 0;
});

const insert = (path: string, text: string, more: Record<string, unknown> = {}): Promise<Output> =>
	acme.ask("documents.insert", { ...docs, path, text, ...more });

const contentOf = async (path: string): Promise<string> =>
	(await acme.ask("documents.content", { ...docs, path })).text;

test("a document is split, embedded, listed and given back byte for byte", async () => {
	const inserted = await insert("guide/pets.md", GUIDE, { metadata: { lang: "en" } });
	expect(inserted).toMatchObject({
		path: "guide/pets.md",
		chunks: 2,
		replaced: false,
		bytes: Buffer.byteLength(GUIDE),
	});
	expect(await contentOf("guide/pets.md")).toBe(GUIDE);
	expect(await acme.ask("documents.list", docs)).toEqual({
		files: [
			{
				path: "guide/pets.md",
				bytes: Buffer.byteLength(GUIDE),
				chunks: 2,
				format: "markdown",
				version: inserted.version,
				updated_at: inserted.updated_at,
				metadata: { lang: "en" },
			},
		],
		next_cursor: null,
	});
	const { chunks, total } = await acme.ask("documents.chunks", { ...docs, path: "guide/pets.md" });
	expect(total).toBe(2);
	expect(chunks.map(({ chunk, headings }: Output) => [chunk, headings])).toEqual([
		[0, ["Guide"]],
		[1, ["Guide", "Birds"]],
	]);
	for (const { text, start, end } of chunks) expect(Buffer.from(GUIDE).subarray(start, end).toString()).toBe(text);
	expect(server.texts).toEqual(chunks.map(({ text }: Output) => text));
	const { chunks: second } = await acme.ask("documents.chunks", {
		...docs,
		path: "guide/pets.md",
		offset: 1,
		limit: 1,
	});
	expect(second).toEqual([chunks[1]]);
});

test("a search by text finds chunks with their place, and filters find their metadata", async () => {
	await insert("pets.md", GUIDE, { metadata: { lang: "en" } });
	await insert("other.txt", "# no heading here\n\nFish.", { metadata: { lang: "de" } });
	const { results } = await acme.ask("search.query", { ...docs, text: "birds air", limit: 1 });
	expect(results[0]).toMatchObject({
		payload: { lang: "en", document: { path: "pets.md", chunk: 1, headings: ["Guide", "Birds"] } },
	});
	expect(results[0].payload.text).toContain("Birds live");
	const german = { must: [{ key: "lang", match: { value: "de" } }] };
	const filtered = await acme.ask("search.query", { ...docs, text: "birds", filter: german });
	expect(filtered.results.map(({ id }: Output) => id)).toEqual(["_file:other.txt"]);
	const byPath = { must: [{ key: "document.path", match: { value: "pets.md" } }] };
	expect((await acme.ask("search.query", { ...docs, text: "fish", filter: byPath })).results).toHaveLength(2);
	const words = await acme.ask("search.query", { ...docs, hybrid: { text: "feeding birds" }, limit: 1 });
	expect(words.results[0].payload.document.chunk).toBe(1);
});

test("an insert with the same path replaces the document", async () => {
	const long = Array.from({ length: 30 }, (_, index) => `# Part ${index}\n\nold fish\n`).join("\n");
	await insert("a.md", long);
	expect(await insert("a.md", "# New\n\nnew fish")).toMatchObject({ replaced: true, chunks: 1 });
	expect(await contentOf("a.md")).toBe("# New\n\nnew fish");
	expect(await acme.ask("vectors.count", docs)).toEqual({ count: 1 });
	const { results } = await acme.ask("search.query", { ...docs, text: "old fish", limit: 50 });
	expect(results.map(({ payload }: Output) => payload.text)).toEqual(["# New\n\nnew fish"]);
	expect(await acme.ask("documents.delete", { ...docs, path: "a.md" })).toEqual({ deleted: true, chunks: 1 });
	for (const operation of ["documents.content", "documents.chunks", "documents.delete"]) {
		expect((await acme.refusal(operation, { ...docs, path: "a.md" })).code).toBe("NOT_FOUND");
	}
	expect(await acme.ask("vectors.count", docs)).toEqual({ count: 0 });
});

test("what export tells, import takes: documents and all", async () => {
	await insert("a.md", GUIDE);
	const lines = await acme.ask("vectors.export", docs);
	const other = { collection: `${docs.collection}-copy` };
	await acme.ask("collections.create", { name: other.collection, text: { provider: "openai" } });
	await acme.ask("vectors.upsert", { ...other, vectors: lines });
	expect((await acme.ask("documents.content", { ...other, path: "a.md" })).text).toBe(GUIDE);
});

const BAD_INPUTS: readonly (readonly [string, Record<string, unknown>, string])[] = [
	["a blank text", { text: " \n\n" }, "text"],
	["a lone surrogate", { text: "a \ud800" }, "text"],
	["a text that is too large", { text: "ü".repeat(600_000) }, "text"],
	["endless white space", { text: `a${" ".repeat(9_000)}b` }, "text"],
	["too many chunks", { text: "# a\n\nb\n\n".repeat(5_000), chunk_size: 100 }, "chunk_size"],
	["an overlap of more than half", { chunk_size: 200, chunk_overlap: 150 }, "chunk_overlap"],
	["a path that is too long", { path: "ü".repeat(101) }, "path"],
	["a path with a control character", { path: "a\nb" }, "path"],
	["an empty path", { path: "" }, "path"],
	["metadata that is no object", { metadata: [1] }, "metadata"],
	["metadata in a chunk's own place", { metadata: { document: 1 } }, "metadata.document"],
	["metadata in the text's place", { metadata: { text: "x" } }, "metadata.text"],
	["metadata without end", { metadata: { x: "y".repeat(17_000) } }, "metadata"],
	["an unknown field", { title: "x" }, "title"],
];

test.each(BAD_INPUTS)("%s is refused before anything is embedded or written", async (_, changes, field) => {
	const error = await acme.refusal("documents.insert", { ...docs, path: "a.md", text: "fish", ...changes });
	expect(error).toMatchObject({ code: "VALIDATION_FAILED", details: { field } });
	expect(server.calls).toEqual([]);
	expect(await acme.ask("vectors.count", docs)).toEqual({ count: 0 });
});

test("a collection without a provider takes no documents, and says why", async () => {
	for (const text of [undefined, { provider: "none" }]) {
		const name = `plain-${++serial}`;
		await acme.ask("collections.create", { name, dimension: 3, ...(text !== undefined && { text }) });
		const error = await acme.refusal("documents.insert", { collection: name, path: "a.md", text: "fish" });
		expect(error).toMatchObject({ code: "VALIDATION_FAILED", details: { field: "text" } });
		expect(error.message).toContain("text.provider");
	}
});

test("a provider that fails leaves the document that was there", async () => {
	await insert("a.md", "the old text");
	server.usual = () => Response.json({ error: { message: "no such model" } }, { status: 404 });
	expect((await acme.refusal("documents.insert", { ...docs, path: "a.md", text: "new" })).code).toBe("INTERNAL");
	server.usual = (call) => Response.json(answerTo(call, 5));
	expect((await acme.refusal("documents.insert", { ...docs, path: "a.md", text: "new" })).code).toBe(
		"DIMENSION_MISMATCH",
	);
	server.usual = () => Response.json({ error: { message: "too long" } }, { status: 400 });
	expect(await acme.refusal("documents.insert", { ...docs, path: "a.md", text: "new" })).toMatchObject({
		code: "VALIDATION_FAILED",
		details: { field: "text", chunk: 0 },
	});
	expect(await contentOf("a.md")).toBe("the old text");
});

test("another tenant's documents are not there, whatever they are called", async () => {
	await insert("secret.md", "the plan");
	const beta = await node.newTenant(`beta-${serial}`);
	for (const [operation, more] of [
		["documents.list", {}],
		["documents.content", { path: "secret.md" }],
		["documents.chunks", { path: "secret.md" }],
		["documents.delete", { path: "secret.md" }],
		["documents.insert", { path: "secret.md", text: "mine" }],
	] as const) {
		expect((await beta.refusal(operation, { ...docs, ...more })).code).toBe("COLLECTION_NOT_FOUND");
	}
	await beta.ask("collections.create", { name: docs.collection, text: { provider: "openai" } });
	expect((await beta.ask("documents.list", docs)).files).toEqual([]);
	await beta.ask("documents.insert", { ...docs, path: "secret.md", text: "mine" });
	expect((await beta.ask("search.query", { ...docs, text: "plan" })).results).toHaveLength(1);
	expect(await contentOf("secret.md")).toBe("the plan");
});

test("the list answers pages with a cursor, and takes no other", async () => {
	for (const path of ["a/1", "a/2", "a/3", "b/1"]) await insert(path, `text of ${path}`);
	const first = await acme.ask("documents.list", { ...docs, prefix: "a/", limit: 2 });
	expect(first.files.map(({ path }: Output) => path)).toEqual(["a/1", "a/2"]);
	const second = await acme.ask("documents.list", { ...docs, prefix: "a/", limit: 2, cursor: first.next_cursor });
	expect(second).toMatchObject({ files: [{ path: "a/3" }], next_cursor: null });
	expect(await acme.refusal("documents.list", { ...docs, cursor: "no cursor" })).toMatchObject({
		code: "VALIDATION_FAILED",
		details: { field: "cursor" },
	});
});

test("chunks are charged to the quota, and counted as vectors written", async () => {
	const small = await node.newTenant(`small-${serial}`, { quota: { max_vectors: 3 } });
	await small.ask("collections.create", { name: "docs", text: { provider: "openai" } });
	const text = "# A\n\na\n\n# B\n\nb\n\n# C\n\nc\n\n# D\n\nd";
	const request = { collection: "docs", path: "a.md" };
	expect((await small.refusal("documents.insert", { ...request, text })).code).toBe("QUOTA_EXCEEDED");
	expect(await small.ask("usage.own", {})).toMatchObject({ vectors: 0 });
	await small.ask("documents.insert", { ...request, text: text.slice(0, 22) });
	expect(await small.ask("usage.own", {})).toMatchObject({ vectors: 3, activity: { vectors_written: 3 } });
});

test("documents go in and come out over HTTP", async () => {
	const ask = async (method: string, path: string, body?: unknown): Promise<Output> => {
		const response = await fetch(`${node.node.url}/api/v1/collections/${docs.collection}/documents${path}`, {
			method,
			headers: { authorization: `Bearer ${acme.key}`, "content-type": "application/json" },
			...(body !== undefined && { body: JSON.stringify(body) }),
		});
		return { status: response.status, ...((await response.json()) as object) };
	};
	const path = "a b/ü?&.md";
	const query = `path=${encodeURIComponent(path)}`;
	expect(await ask("POST", "", { path, text: GUIDE })).toMatchObject({ status: 201, path });
	expect(await ask("GET", `/content?${query}`)).toMatchObject({ status: 200, text: GUIDE });
	expect(await ask("GET", `/chunks?${query}&limit=1`)).toMatchObject({ status: 200, total: 2 });
	expect(await ask("GET", "?prefix=a%20b/")).toMatchObject({ status: 200, files: [{ path }] });
	expect(await ask("DELETE", `?${query}`)).toMatchObject({ status: 200, deleted: true });
	expect(await ask("GET", `/content?${query}`)).toMatchObject({ status: 404, code: "NOT_FOUND" });
});
