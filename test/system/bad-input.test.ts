import { afterAll, beforeAll, expect, test } from "bun:test";
import { connect } from "node:net";
import { LocalNode } from "../../scripts/local-node.ts";
import { call, newTenant } from "./client.ts";

let node: LocalNode;
let key: string;

beforeAll(async () => {
	node = await LocalNode.start();
	key = await newTenant(node, "clumsy");
	await call(node, key, "POST", "/collections", { name: "docs", dimension: 3 });
	await call(node, key, "POST", "/collections/docs/vectors", { vectors: [{ id: "kept", vector: [1, 0, 0] }] });
});
afterAll(async () => {
	await node.stop();
	node.removeData();
});

const count = async (): Promise<number> =>
	(await call(node, key, "POST", "/collections/docs/vectors/count", {})).body.count;
const deepFilter = (depth: number): string =>
	`${'{"must":['.repeat(depth)}{"key":"a","match":{"value":1}}${"]}".repeat(depth)}`;

/** What is sent, the code that answers, and the field that `details` names. */
const REFUSALS: readonly (readonly [name: string, path: string, body: unknown, code: string, field?: string])[] = [
	[
		"a wrong dimension",
		"/vectors",
		{ vectors: [{ id: 1, vector: [1, 2] }] },
		"DIMENSION_MISMATCH",
		"vectors[0].vector",
	],
	[
		"a wrong dimension after a good vector",
		"/vectors",
		{
			vectors: [
				{ id: 1, vector: [1, 2, 3] },
				{ id: 2, vector: [1] },
			],
		},
		"DIMENSION_MISMATCH",
		"vectors[1].vector",
	],
	[
		"an infinite number",
		"/vectors",
		'{"vectors":[{"id":1,"vector":[1,1e999,3]}]}',
		"INVALID_VECTOR",
		"vectors[0].vector[1]",
	],
	[
		"a number beyond float32",
		"/vectors",
		'{"vectors":[{"id":1,"vector":[1,1e300,3]}]}',
		"INVALID_VECTOR",
		"vectors[0].vector[1]",
	],
	[
		"a string for a number",
		"/vectors",
		{ vectors: [{ id: 1, vector: [1, "2", 3] }] },
		"INVALID_VECTOR",
		"vectors[0].vector[1]",
	],
	[
		"null for a number",
		"/vectors",
		{ vectors: [{ id: 1, vector: [1, null, 3] }] },
		"INVALID_VECTOR",
		"vectors[0].vector[1]",
	],
	["a zero vector", "/vectors", { vectors: [{ id: 1, vector: [0, 0, 0] }] }, "INVALID_VECTOR", "vectors[0].vector"],
	["broken base64", "/vectors", { vectors: [{ id: 1, vector: { base64: "!!!!" } }] }, "INVALID_VECTOR"],
	["no vectors", "/vectors", { vectors: [] }, "VALIDATION_FAILED", "vectors"],
	["no list", "/vectors", { vectors: "all" }, "VALIDATION_FAILED", "vectors"],
	[
		"a 10 MB id",
		"/vectors",
		{ vectors: [{ id: "x".repeat(10_000_000), vector: [1, 2, 3] }] },
		"VALIDATION_FAILED",
		"vectors[0].id",
	],
	["a negative id", "/vectors", { vectors: [{ id: -1, vector: [1, 2, 3] }] }, "VALIDATION_FAILED", "vectors[0].id"],
	["a fractional id", "/vectors", { vectors: [{ id: 1.5, vector: [1, 2, 3] }] }, "VALIDATION_FAILED", "vectors[0].id"],
	[
		"an id past 2^53",
		"/vectors",
		'{"vectors":[{"id":9007199254740993,"vector":[1,2,3]}]}',
		"VALIDATION_FAILED",
		"vectors[0].id",
	],
	["an empty id", "/vectors", { vectors: [{ id: "", vector: [1, 2, 3] }] }, "VALIDATION_FAILED", "vectors[0].id"],
	["an unknown field", "/vectors", { vectors: [{ id: 1, vector: [1, 2, 3], colour: "red" }] }, "VALIDATION_FAILED"],
	[
		"a payload that is no object",
		"/vectors",
		{ vectors: [{ id: 1, vector: [1, 2, 3], payload: [1] }] },
		"VALIDATION_FAILED",
		"vectors[0].payload",
	],
	[
		"a payload above 1 MiB",
		"/vectors",
		{ vectors: [{ id: 1, vector: [1, 2, 3], payload: { a: "x".repeat(1_048_600) } }] },
		"VALIDATION_FAILED",
		"vectors[0].payload",
	],
	["broken JSON", "/vectors", '{"vectors":[', "VALIDATION_FAILED"],
	["JSON that is no object", "/vectors", "[1,2,3]", "VALIDATION_FAILED"],
	["an absurd limit", "/search", { vector: [1, 2, 3], limit: 1_000_000 }, "VALIDATION_FAILED", "limit"],
	["a limit of zero", "/search", { vector: [1, 2, 3], limit: 0 }, "VALIDATION_FAILED", "limit"],
	["a negative offset", "/search", { vector: [1, 2, 3], offset: -1 }, "VALIDATION_FAILED", "offset"],
	["a query of another dimension", "/search", { vector: [1, 2] }, "DIMENSION_MISMATCH", "vector"],
	["a zero query", "/search", { vector: [0, 0, 0] }, "INVALID_VECTOR", "vector"],
	["no query", "/search", { limit: 3 }, "VALIDATION_FAILED"],
	["two queries", "/search", { vector: [1, 2, 3], id: "kept" }, "VALIDATION_FAILED"],
	["an unknown search field", "/search", { vector: [1, 2, 3], topk: 4 }, "VALIDATION_FAILED"],
	[
		"too many searches",
		"/search/batch",
		{ searches: Array.from({ length: 101 }, () => ({ vector: [1, 2, 3] })) },
		"VALIDATION_FAILED",
		"searches",
	],
	["a filter of 17 levels", "/search", `{"vector":[1,2,3],"filter":${deepFilter(17)}}`, "INVALID_FILTER"],
	["a filter of 50,000 levels", "/search", `{"vector":[1,2,3],"filter":${deepFilter(50_000)}}`, "VALIDATION_FAILED"],
	[
		"a filter of 1,001 conditions",
		"/search",
		{ vector: [1, 2, 3], filter: { must: Array.from({ length: 1_001 }, () => ({ key: "a", match: { value: 1 } })) } },
		"INVALID_FILTER",
	],
	[
		"an unknown condition",
		"/search",
		{ vector: [1, 2, 3], filter: { must: [{ key: "a", like: "b" }] } },
		"INVALID_FILTER",
	],
	["an unknown id to search with", "/search", { id: "nobody" }, "VECTOR_NOT_FOUND"],
	["ids and filter", "/vectors/delete", { ids: ["kept"], filter: {} }, "VALIDATION_FAILED"],
	["neither ids nor filter", "/vectors/delete", {}, "VALIDATION_FAILED"],
	["a cursor that was never given", "/vectors/scroll", { cursor: "AAAA" }, "VALIDATION_FAILED", "cursor"],
];

for (const [name, path, body, code, field] of REFUSALS) {
	test(`${name} is refused with ${code} and changes nothing`, async () => {
		const answer = await call(node, key, "POST", `/collections/docs${path}`, body);
		expect(answer.body.code, JSON.stringify(answer.body).slice(0, 500)).toBe(code);
		expect(answer.status).toBe(code.endsWith("NOT_FOUND") ? 404 : 400);
		expect(answer.body.error).toBeString();
		expect(answer.body.error.length).toBeLessThan(500);
		expect(answer.body.request_id).toMatch(/^req_[a-z0-9]{20}$/);
		if (field !== undefined) expect(answer.body.details.field).toBe(field);
		expect(await count()).toBe(1);
	});
}

test("names that are no names reach neither disk nor hub", async () => {
	const names = [
		"../../etc/passwd",
		"..",
		".hidden",
		"a/b",
		"a\u0000b",
		"dоcs",
		"ｄocs",
		"docs ",
		"x".repeat(129),
		"",
		"owner:docs",
		"__proto__/",
	];
	for (const name of names) {
		const made = await call(node, key, "POST", "/collections", { name, dimension: 3 });
		expect(made.status, name).toBe(400);
		expect(made.body.code).toBe("VALIDATION_FAILED");
		expect(made.body.details.field).toBe("name");
		const read = await fetch(`${node.url}/api/v1/collections/${encodeURIComponent(name)}`, {
			headers: { "x-api-key": key },
		});
		expect([400, 404, 200], name).toContain(read.status);
		if (name !== "") expect(read.status, name).not.toBe(200);
	}
	for (const name of ["constructor", "toString", "hasOwnProperty", "CON"]) {
		expect((await call(node, key, "GET", `/collections/${name}`)).body.code).toBe("COLLECTION_NOT_FOUND");
	}
	const listed = (await call(node, key, "GET", "/collections")).body.collections.map(
		(each: { name: string }) => each.name,
	);
	expect(listed).toEqual(["docs"]);
});

test("a body above the limit is refused while it is still being sent, announced or not", async () => {
	const body = new Uint8Array(66 * 1024 * 1024).fill(0x20);
	const headers = { "x-api-key": key, "content-type": "application/json" };
	const path = `${node.url}/api/v1/collections/docs/vectors`;
	const announced = await fetch(path, { method: "POST", headers, body });
	expect(announced.status).toBe(413);
	expect(((await announced.json()) as { code: string }).code).toBe("PAYLOAD_TOO_LARGE");
	const stream = new ReadableStream({
		start(controller) {
			for (let part = 0; part < 66; part++) controller.enqueue(body.subarray(0, 1024 * 1024));
			controller.close();
		},
	});
	const chunked = await fetch(path, { method: "POST", headers, body: stream });
	expect(chunked.status).toBe(413);
	expect(await count()).toBe(1);
});

test("broken lines in the middle of an import are named, and the others are stored", async () => {
	await call(node, key, "POST", "/collections", { name: "lines", dimension: 2 });
	const lines = [
		'{"id":1,"vector":[1,2]}',
		'{"id":2,"vector":[1,',
		'{"id":3,"vector":[1,2,3]}',
		"",
		'{"id":4,"vector":[0,0]}',
		'{"id":5,"vector":[3,4],"payload":{"a":1}}',
		'{"id":6,"vector":[3,4],"extra":1}',
		'{"id":7,"vector":[5,6]}',
	];
	const answer = await fetch(`${node.url}/api/v1/collections/lines/import`, {
		method: "POST",
		headers: { "x-api-key": key, "content-type": "application/x-ndjson" },
		body: lines.join("\n"),
	});
	expect(answer.status).toBe(200);
	const progress = (await answer.text())
		.trim()
		.split("\n")
		.map((line) => JSON.parse(line));
	const broken = progress.filter((entry) => entry.code !== undefined);
	expect(broken.map((entry) => entry.line).sort()).toEqual([2, 3, 5, 7]);
	expect(progress.at(-1)).toMatchObject({ done: true, imported: 3, failed: 4 });
	expect((await call(node, key, "POST", "/collections/lines/vectors/count", {})).body.count).toBe(3);
});

test("raw nonsense on the socket neither stops nor slows the node", async () => {
	const nonsense = [
		"\x00\x01\x02\x03\r\n\r\n",
		"GET / HTTP/9.9\r\n\r\n",
		`GET /api/v1/collections HTTP/1.1\r\nhost: x\r\nx-api-key: ${"k".repeat(100_000)}\r\n\r\n`,
		"POST /api/v1/collections HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
		"POST /api/v1/collections HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
		"GET /%zz/%00/..%2f..%2fetc/passwd HTTP/1.1\r\nhost: x\r\n\r\n",
	];
	for (const bytes of nonsense) {
		await new Promise<void>((resolve) => {
			const socket = connect(Number(new URL(node.url).port), "127.0.0.1", () => socket.write(bytes));
			socket.on("data", () => socket.destroy());
			socket.on("error", () => resolve());
			socket.on("close", () => resolve());
			socket.setTimeout(3_000, () => socket.destroy());
		});
	}
	expect(await count()).toBe(1);
});

test("paths and methods that do not exist say so", async () => {
	expect((await call(node, key, "GET", "/nothing")).body.code).toBe("NOT_FOUND");
	const wrongMethod = await call(node, key, "PUT", "/collections");
	expect(wrongMethod.status).toBe(405);
	expect(wrongMethod.body.code).toBe("METHOD_NOT_ALLOWED");
	expect(wrongMethod.headers.get("allow")).toContain("POST");
	const wrongType = await call(node, key, "POST", "/collections", "name=x", {
		"content-type": "application/x-www-form-urlencoded",
	});
	expect(wrongType.body.code).toBe("UNSUPPORTED_MEDIA_TYPE");
	const wrongAccept = await call(node, key, "GET", "/collections", undefined, { accept: "text/csv" });
	expect(wrongAccept.body.code).toBe("NOT_ACCEPTABLE");
});
