import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { ERAS, McpRig, type Rpc } from "./mcp-rig.ts";

const rig = new McpRig();
const keys: Record<string, string> = {};
let beta: string;
beforeAll(async () => {
	await rig.start({ HIVE_VECTOR_RATE_LIMITS_MCP_REQUESTS_PER_MINUTE: "100000" });
	keys.READ_WRITE = await rig.tenant("acme");
	keys.READ_ONLY = await rig.key("acme", "READ_ONLY");
	keys.MCP = await rig.key("acme", "MCP");
	keys.ADMIN = rig.adminKey;
	beta = await rig.tenant("beta");
	for (const key of [keys.READ_WRITE, beta]) {
		await rig.rest(key, "POST", "/collections", { name: "docs", dimension: 3 });
	}
	await rig.rest(keys.READ_WRITE, "POST", "/collections/docs/vectors", {
		vectors: [
			{ id: "a", vector: [1, 0, 0], payload: { lang: "en" } },
			{ id: 7, vector: [0, 1, 0], payload: { lang: "no" } },
			{ id: "7", vector: [0, 0, 1] },
		],
	});
	await rig.rest(beta, "POST", "/collections", { name: "secret", dimension: 3 });
	await rig.rest(beta, "POST", "/collections/docs/vectors", { vectors: [{ id: "b", vector: [1, 0, 0] }] });
});
afterAll(() => rig.stop());

const READS = [
	"get_collection_info",
	"get_file_chunks",
	"get_file_content",
	"get_usage",
	"get_vector",
	"hybrid_search",
	"list_collections",
	"list_files",
	"search",
	"semantic_search",
];
const WRITES = ["insert_document", "insert_text", "insert_vectors", "update_vector"];
const OWNERS = ["create_collection", "delete_collection", "delete_vectors"];
const shown: Record<string, string[]> = {
	READ_WRITE: [...READS, ...WRITES, ...OWNERS],
	READ_ONLY: READS,
	MCP: [...READS, ...WRITES],
	ADMIN: [...READS, ...WRITES, ...OWNERS],
};

describe("tools", () => {
	test.each(Object.keys(shown))("a key with %s is shown what it may call, and nothing else", async (permission) => {
		const { body } = await rig.post(keys[permission], { jsonrpc: "2.0", id: 1, method: "tools/list" });
		const names = body.result.tools
			.map(({ name }: Rpc) => name)
			.filter((name: string) => name !== "multi_collection_search");
		expect(names.toSorted()).toEqual(shown[permission]!.toSorted());
	});

	test.each(["READ_ONLY", "MCP"])("what is not shown to a key with %s is refused with -32003", async (permission) => {
		for (const name of shown.READ_WRITE!.filter((name) => !shown[permission]!.includes(name))) {
			const { error } = await rig.call(keys[permission]!, name, { collection: "docs" });
			expect(error).toMatchObject({ code: -32003, data: { code: "FORBIDDEN" } });
			expect(error.data.granted).toEqual([permission]);
		}
	});

	test("each says what it does, takes and answers, and no admin's operation is among them", async () => {
		const { body } = await rig.post(keys.ADMIN, { jsonrpc: "2.0", id: 1, method: "tools/list" });
		for (const tool of body.result.tools) {
			expect(tool.description.length).toBeGreaterThan(40);
			expect(tool.inputSchema).toMatchObject({ type: "object", additionalProperties: false });
			expect(tool.outputSchema.type).toBe("object");
			expect(Object.keys(tool.annotations).toSorted()).toEqual(
				["destructiveHint", "idempotentHint", "openWorldHint", "readOnlyHint", "title"].toSorted(),
			);
			expect(tool.annotations.readOnlyHint).toBe(READS.includes(tool.name) || tool.name === "multi_collection_search");
		}
		expect((await rig.call(keys.ADMIN!, "tenants.list")).error).toMatchObject({ code: -32602 });
	});

	test("answer what REST answers", async () => {
		const key = keys.READ_WRITE!;
		const pairs: [string, object, string, string, object?][] = [
			["get_collection_info", { collection: "docs" }, "GET", "/collections/docs"],
			["list_collections", {}, "GET", "/collections"],
			[
				"get_vector",
				{ collection: "docs", id: "a", with_vector: true },
				"GET",
				"/collections/docs/vectors/a?with_vector=true",
			],
			["get_vector", { collection: "docs", id: 7 }, "GET", "/collections/docs/vectors/7"],
			["get_vector", { collection: "docs", id: "7" }, "GET", "/collections/docs/vectors/7?id_type=string"],
			[
				"search",
				{ collection: "docs", vector: [1, 0.5, 0], filter: { must: [{ key: "lang", match: { value: "en" } }] } },
				"POST",
				"/collections/docs/search",
				{ vector: [1, 0.5, 0], filter: { must: [{ key: "lang", match: { value: "en" } }] } },
			],
		];
		for (const [name, given, method, path, body] of pairs) {
			const { result } = await rig.call(key, name, given);
			const answer = await rig.rest(key, method, path, body);
			delete answer.body.took_ms;
			const { took_ms: _, ...structured } = result.structuredContent;
			expect(structured).toEqual(answer.body);
			expect(JSON.parse(result.content[0].text)).toEqual(result.structuredContent);
		}
	});

	test("insert, change and delete", async () => {
		const key = keys.READ_WRITE!;
		expect(
			(await rig.call(key, "create_collection", { name: "new", dimension: 2 })).result.structuredContent,
		).toMatchObject({
			full_name: "acme:new",
		});
		const inserted = await rig.call(key, "insert_vectors", {
			collection: "new",
			vectors: [{ id: "x", vector: [1, 2], payload: { a: 1 } }, { vector: [2, 1] }],
		});
		expect(inserted.result.structuredContent).toMatchObject({ upserted: 2, ids: ["x", expect.any(String)] });
		await rig.call(key, "update_vector", { collection: "new", id: "x", payload: { b: 2 } });
		const read = await rig.rest(key, "GET", "/collections/new/vectors/x");
		expect(read.body.payload).toEqual({ a: 1, b: 2 });
		expect((await rig.call(key, "delete_vectors", { collection: "new", ids: ["x"] })).result.structuredContent).toEqual(
			{
				deleted: 1,
			},
		);
		await rig.call(key, "delete_collection", { collection: "new" });
		expect((await rig.rest(key, "GET", "/collections/new")).status).toBe(404);
	});

	test("tell a model what is wrong with its arguments, and leave nothing behind", async () => {
		const key = keys.READ_WRITE!;
		const wrong: [string, object, string, string?][] = [
			["search", { collection: "docs", vector: [1, 2] }, "DIMENSION_MISMATCH"],
			["search", { collection: "docs", vector: [0, 0, 0] }, "INVALID_VECTOR"],
			["search", { collection: "docs", vector: [1, 2, 3], filter: { must: [{ nope: 1 }] } }, "INVALID_FILTER"],
			["search", { collection: "docs", vector: [1, 2, 3], limt: 5 }, "VALIDATION_FAILED", "limt"],
			["get_vector", { collection: "docs", id: "a", id_type: "string" }, "VALIDATION_FAILED", "id_type"],
			["get_vector", { collection: "docs", id: "nope" }, "VECTOR_NOT_FOUND"],
			["create_collection", { name: "docs", dimension: 3 }, "COLLECTION_EXISTS"],
			["insert_vectors", { collection: "docs", vectors: [{ vector: [9, 9, 9] }, { vector: ["x"] }] }, "INVALID_VECTOR"],
			["insert_text", { collection: "docs", text: "hello" }, "VALIDATION_FAILED"],
		];
		for (const [name, given, code, field] of wrong) {
			const { result } = await rig.call(key, name, given);
			expect([name, result.isError]).toEqual([name, true]);
			const told = JSON.parse(result.content[0].text);
			expect(told).toMatchObject({ code, request_id: expect.any(String) });
			if (field !== undefined) expect(told.details.field).toBe(field);
		}
		expect((await rig.rest(key, "POST", "/collections/docs/vectors/count", {})).body.count).toBe(3);
	});

	test("another tenant's collection is one that was never there", async () => {
		const bodies = await Promise.all(
			["secret", "never", "beta:docs"].map(async (collection) => {
				const { error } = await rig.call(keys.READ_WRITE!, "get_collection_info", { collection });
				expect(error.code).toBe(-32007);
				return JSON.stringify(error)
					.replace(collection, "X")
					.replace(/req_\w+/, "");
			}),
		);
		expect(new Set(bodies).size).toBe(1);
		const found = await rig.call(keys.READ_WRITE!, "search", { collection: "docs", vector: [1, 0, 0] });
		expect(found.result.structuredContent.results.map(({ id }: Rpc) => id)).toEqual(["a", 7, "7"]);
	});
});

describe("resources", () => {
	const read = async (key: string, uri: string): Promise<Rpc> =>
		(await rig.post(key, { jsonrpc: "2.0", id: 1, method: "resources/read", params: { uri } })).body;

	test("are the collections, with templates for what is in them", async () => {
		const list = await rig.post(keys.MCP, { jsonrpc: "2.0", id: 1, method: "resources/list" });
		expect(list.body.result.resources.map(({ uri }: Rpc) => uri)).toEqual(["hive-vector://collections/docs"]);
		const templates = await rig.post(keys.MCP, { jsonrpc: "2.0", id: 1, method: "resources/templates/list" });
		expect(templates.body.result.resourceTemplates.map(({ name }: Rpc) => name)).toEqual([
			"collection",
			"vector",
			"document",
		]);
		const { result } = await read(keys.MCP!, "hive-vector://collections/docs");
		expect(JSON.parse(result.contents[0].text)).toMatchObject({ full_name: "acme:docs", vectors: 3 });
		const entry = await read(keys.MCP!, "hive-vector://collections/docs/vectors/a");
		expect(JSON.parse(entry.result.contents[0].text)).toEqual({ id: "a", payload: { lang: "en" } });
	});

	test("of another tenant, and those that nobody has, are not found in the same words", async () => {
		const uris = [
			"hive-vector://collections/secret",
			"hive-vector://collections/never",
			"hive-vector://collections/beta%3Adocs",
			"hive-vector://collections/docs/vectors/b",
			"hive-vector://collections/docs/documents/x.md",
			"hive-vector://collections/../beta/docs",
			"file:///etc/passwd",
			"hive-vector://collections/%ff",
		];
		const bodies = await Promise.all(
			uris.map(async (uri) =>
				JSON.stringify((await read(keys.READ_WRITE!, uri)).error).replaceAll(JSON.stringify(uri).slice(1, -1), "X"),
			),
		);
		expect(new Set(bodies).size).toBe(1);
		expect(JSON.parse(bodies[0]!).code).toBe(-32602);
	});
});

describe.each(ERAS)("a client of the official SDK speaking %s", (era) => {
	test("lists, calls with answers as the schema says, and reads", async () => {
		const client = await rig.client(era, keys.READ_WRITE!);
		expect(client.getServerVersion()?.name).toBe("hive-vector");
		const { tools } = await client.listTools();
		expect(tools.length).toBeGreaterThanOrEqual(shown.READ_WRITE!.length);
		const found = await client.callTool({
			name: "search",
			arguments: { collection: "docs", vector: [1, 0, 0], limit: 1 },
		});
		expect(found.structuredContent).toMatchObject({ results: [{ id: "a" }] });
		for (const [name, given] of [
			["list_collections", {}],
			["get_usage", {}],
			["get_vector", { collection: "docs", id: 7 }],
			["update_vector", { collection: "docs", id: "a", payload: { lang: "en" } }],
			["list_files", { collection: "docs" }],
		] as const) {
			expect(((await client.callTool({ name, arguments: given })) as Rpc).isError ?? false).toBe(false);
		}
		const { contents } = await client.readResource({ uri: "hive-vector://collections/docs" });
		expect((contents[0] as Rpc).text).toContain("acme:docs");
		expect(
			client.callTool({ name: "search", arguments: { collection: "nope", vector: [1, 0, 0] } }),
		).rejects.toMatchObject({
			code: -32007,
		});
		await client.close();
	});
});
