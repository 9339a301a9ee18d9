import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { encode } from "@msgpack/msgpack";
import { z } from "zod";
import { collectionNameSchema } from "../../src/base/schemas.ts";
import { bodyOf, MAX_BODY_BYTES, operation, RawClient, rawAnswer, startServer, statusOf } from "./rest-harness.ts";

const anything = z.unknown();
const server = startServer([
	operation(
		"things.get",
		{ method: "GET", path: "/things/{id}", query: ["limit", "exact", "since", "either", "ratio"] },
		z.strictObject({
			id: z.string(),
			limit: z.int().min(1).default(10),
			exact: z.boolean().optional(),
			since: z.string().nullable().optional(),
			either: z.union([z.string(), z.int()]).optional(),
			ratio: z.preprocess((value) => value, z.number()).optional(),
		}),
	),
	operation("things.put", { method: "PUT", path: "/things/{id}", query: ["mode"], body: "json" }, anything),
	operation("things.find", { method: "POST", path: "/things/find", body: "json" }, anything),
	operation("things.delete", { method: "DELETE", path: "/things/{id}" }, z.strictObject({ id: z.string() })),
	operation("boxes.get", { method: "GET", path: "/boxes/{name}" }, z.strictObject({ name: collectionNameSchema })),
	operation("boxes.delete", { method: "DELETE", path: "/boxes/{name}" }, z.strictObject({ name: z.string() })),
	operation("items.delete", { method: "DELETE", path: "/boxes/{name}/items/{id}" }, anything),
	operation(
		"binary.send",
		{ method: "POST", path: "/binary", body: "json" },
		z.strictObject({ vector: z.instanceof(Uint8Array) }),
		({ vector }) => ({ bytes: Array.from(vector as Uint8Array) }),
	),
]);
afterAll(() => server.server.stop());
beforeEach(() => {
	server.requests.length = 0;
});

type Answer = Record<string, unknown> & { readonly details?: Record<string, unknown> };

const get = async (path: string) => {
	const response = await server.fetch(`/api/v1${path}`);
	return { status: response.status, body: (await response.json()) as Answer };
};
const put = async (
	body: string | Uint8Array<ArrayBuffer>,
	headers: Record<string, string> = { "content-type": "application/json" },
) => {
	const response = await server.fetch("/api/v1/things/a", { method: "PUT", body, headers });
	return { status: response.status, body: (await response.json()) as Answer };
};

describe("path fields", () => {
	test("a percent-encoded path field arrives decoded", async () => {
		expect((await get("/things/a%20b%2Fc%C3%A9")).body.id).toBe("a b/cé");
	});

	test("an id that is also a word of another route's path can be named", async () => {
		expect((await get("/things/find")).body.id).toBe("find");
	});

	test.each(["%zz", "%", "%c3", "a%ffb", "%E0%A4%A"])(
		"the malformed path field %s is a validation error",
		async (text) => {
			const answer = await rawAnswer(server.port, `GET /api/v1/things/${text} HTTP/1.1`);
			expect(statusOf(answer)).toBe(400);
			expect(JSON.parse(bodyOf(answer))).toMatchObject({ code: "VALIDATION_FAILED", details: { field: "path" } });
		},
	);

	test("a replacement character that the client really sent is a character like any other", async () => {
		expect((await get("/things/%EF%BF%BD")).body.id).toBe("\uFFFD");
	});

	test.each(["..", "%2e%2e", ".%2E"])("the path field %s names that, and never what stands above it", async (text) => {
		const answer = await rawAnswer(server.port, `DELETE /api/v1/boxes/a/items/${text} HTTP/1.1`);
		expect(JSON.parse(bodyOf(answer))).toEqual({ name: "a", id: ".." });
		expect(server.requests.map((request) => request.operation)).toEqual(["items.delete"]);
	});

	test.each(["/api/v1/boxes/a/b/..", "/api/v1/boxes/x/../a", "/x/../api/v1/boxes/a", "//api/v1/boxes/a"])(
		"the path %s is not resolved to something else",
		async (path) => {
			const answer = await rawAnswer(server.port, `DELETE ${path} HTTP/1.1`);
			expect(statusOf(answer)).toBe(404);
			expect(server.requests).toEqual([]);
		},
	);

	test.each(["..%2f..%2fetc", "a%00", "%EF%BD%81bc", "a%2fb", ".hidden", "a".repeat(200)])(
		"the collection name %s is refused by the operation's schema",
		async (name) => {
			const { status, body } = await get(`/boxes/${name}`);
			expect([status, body.code, body.details?.field]).toEqual([400, "VALIDATION_FAILED", "name"]);
		},
	);

	test("an empty path field names nothing", async () => {
		expect((await get("/boxes/")).status).toBe(404);
		expect((await get("/boxes//items/x")).status).toBe(404);
	});
});

describe("query parameters", () => {
	test("numbers and flags are what the input schema says they are", async () => {
		const { body } = await get("/things/a?limit=5&exact=true&since=2024&either=7&ratio=-0.5");
		expect(body).toEqual({ id: "a", limit: 5, exact: true, since: "2024", either: "7", ratio: -0.5 });
	});

	test("plus and percent signs are decoded", async () => {
		expect((await get("/things/a?since=a+b%2B%3D%26")).body.since).toBe("a b+=&");
	});

	test.each(["limit=ten", "limit=", "limit=1e2", "limit=0x10", "limit=%2B5", "exact=yes", "exact", "exact=TRUE"])(
		"%s is a validation error that names the field",
		async (query) => {
			const { status, body } = await get(`/things/a?${query}`);
			expect([status, body.code, body.details?.field]).toEqual([400, "VALIDATION_FAILED", query.split("=")[0]]);
		},
	);

	test.each([
		["unknown=1", "unknown"],
		["limit=1&limit=2", "limit"],
		["id=b", "id"],
		["__proto__=1", "__proto__"],
		["%zz=1", "query"],
		["since=%zz", "query"],
	])("%s is refused, naming %s", async (query, field) => {
		const { status, body } = await get(`/things/a?${query}`);
		expect([status, body.code, body.details?.field]).toEqual([400, "VALIDATION_FAILED", field]);
	});

	test("a key in the query is refused without being repeated", async () => {
		const { status, body } = await get("/things/a?api_key=hh_live_abc");
		expect(status).toBe(400);
		expect(JSON.stringify(body)).not.toContain("hh_live");
	});

	test("empty parts of a query mean nothing", async () => {
		expect((await get("/things/a?&limit=3&")).body.limit).toBe(3);
	});
});

describe("JSON bodies", () => {
	test("path, query and body together are the input", async () => {
		const response = await server.fetch("/api/v1/things/a?mode=x", {
			method: "PUT",
			body: '{"n":1}',
			headers: { "content-type": "application/json; charset=UTF-8" },
		});
		expect(await response.json()).toEqual({ id: "a", mode: "x", n: 1 });
	});

	test.each([
		['{"id":"b"}', "id"],
		['{"mode":1}', undefined],
	])("a body field that stands in the address too is refused: %s", async (body, field) => {
		const answer = await put(body);
		expect(answer.body.details?.field).toBe(field as never);
		expect(answer.status).toBe(field === undefined ? 200 : 400);
	});

	test("an empty body is an object without fields", async () => {
		expect((await put("")).body).toEqual({ id: "a" });
		expect((await server.fetch("/api/v1/things/a", { method: "PUT" })).status).toBe(200);
	});

	test.each(["[1]", "1", "null", '"x"', "true"])("the body %s is refused: it is no object", async (body) => {
		expect(await put(body)).toMatchObject({
			status: 400,
			body: { code: "VALIDATION_FAILED", details: { field: "body" } },
		});
	});

	test.each(["{", '{"a":}', "{'a':1}", '{"a":NaN}', '{"a":1}x', "\u0000", '{"key":"hh_live_secret'])(
		"the body %s is refused: it is no JSON, and is not quoted",
		async (body) => {
			const answer = await put(body);
			expect(answer).toMatchObject({
				status: 400,
				body: { code: "VALIDATION_FAILED", error: "the body is not valid JSON" },
			});
		},
	);

	test("a body that is not UTF-8 is refused", async () => {
		const answer = await put(new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]));
		expect(answer).toMatchObject({ status: 400, body: { error: "the body is not valid UTF-8" } });
	});

	test.each(["[", '{"a":'])("a body nested too deep with %s is refused", async (open) => {
		const close = open === "[" ? "]" : "}";
		const nested = (levels: number) => `{"x":${open.repeat(levels)}1${close.repeat(levels)}}`;
		expect((await put(nested(999))).status).toBe(200);
		expect((await put(nested(1_000))).body).toMatchObject({ code: "VALIDATION_FAILED" });
		expect((await put(nested(20_000))).body).toMatchObject({ code: "VALIDATION_FAILED" });
	});

	test("a body in `__proto__` is a field like any other", async () => {
		const { body } = await put('{"__proto__":{"polluted":1}}');
		expect(Object.hasOwn(body, "__proto__")).toBe(true);
		expect(({} as Record<string, unknown>).polluted).toBeUndefined();
	});

	test("GET and DELETE ignore a body", async () => {
		const head = "DELETE /api/v1/things/a HTTP/1.1\r\nContent-Length: 7";
		expect(statusOf(await rawAnswer(server.port, head, "garbage"))).toBe(200);
	});
});

describe("content types", () => {
	test.each([
		"application/json",
		"application/json;charset=utf-8",
		'Application/JSON; Charset="UTF-8"',
		"application/json; version=1",
		"application/json; charset=utf8",
	])("%s is read as JSON", async (type) => {
		expect((await put("{}", { "content-type": type })).status).toBe(200);
	});

	test.each([
		"text/plain",
		"application/x-www-form-urlencoded",
		"application/json; charset=latin1",
		"x",
		"constructor",
	])("%s is refused with 415", async (type) => {
		expect(await put("{}", { "content-type": type })).toMatchObject({
			status: 415,
			body: { code: "UNSUPPORTED_MEDIA_TYPE" },
		});
	});

	test("a body without a type is read as JSON", async () => {
		const answer = await rawAnswer(server.port, "PUT /api/v1/things/a HTTP/1.1\r\nContent-Length: 7", '{"n":1}');
		expect(JSON.parse(bodyOf(answer))).toEqual({ id: "a", n: 1 });
	});

	test("a compressed body is refused with 415", async () => {
		const headers = { "content-type": "application/json", "content-encoding": "gzip" };
		expect((await put(Bun.gzipSync("{}"), headers)).status).toBe(415);
		expect((await put("{}", { ...headers, "content-encoding": "identity" })).status).toBe(200);
	});
});

describe("msgpack bodies", () => {
	const types = ["application/msgpack", "application/x-msgpack", "application/vnd.msgpack"];

	test.each(types)("a body of type %s is read", async (type) => {
		const value = { text: "é", list: [1, -1, 1.5, 2 ** 40, true, null], map: { deep: {} } };
		expect((await put(encode(value), { "content-type": type })).body).toEqual({ ...value, id: "a" });
	});

	test("binary arrives as bytes", async () => {
		const body = encode({ vector: new Uint8Array([1, 2, 3, 4]) });
		const response = await server.fetch("/api/v1/binary", {
			method: "POST",
			body,
			headers: { "content-type": "application/msgpack" },
		});
		expect(await response.json()).toEqual({ bytes: [1, 2, 3, 4] });
	});

	test.each([
		["no object", [0x93, 1, 2, 3]],
		["binary alone", [0xc4, 0x01, 0x00]],
		["text that is not UTF-8", [0x81, 0xa1, 0x61, 0xa1, 0xff]],
		["a key __proto__", [0x81, 0xa9, ...new TextEncoder().encode("__proto__"), 0x01]],
		["the byte that means nothing", [0x81, 0xa1, 0x61, 0xc1]],
	])("%s is refused", async (_, bytes) => {
		const answer = await put(new Uint8Array(bytes), { "content-type": "application/msgpack" });
		expect(answer).toMatchObject({ status: 400, body: { code: "VALIDATION_FAILED" } });
	});

	test("a length that the body does not hold is refused before room is made for it", async () => {
		const nested = new Uint8Array(100_000);
		for (let at = 0; at + 3 <= nested.length; at += 3) nested.set([0xdc, 0xff, 0xff], at);
		const answer = await put(nested, { "content-type": "application/msgpack" });
		expect(answer).toMatchObject({ status: 400, body: { code: "VALIDATION_FAILED" } });
	});
});

describe("sizes of bodies", () => {
	const tooLarge = { status: 413, body: { code: "PAYLOAD_TOO_LARGE", details: { max_bytes: MAX_BODY_BYTES } } };
	const ofBytes = (byteCount: number) => `{"x":"${"a".repeat(byteCount - 8)}"}`;

	test("a body of exactly the limit is read, one byte more is refused", async () => {
		expect((await put(ofBytes(MAX_BODY_BYTES))).status).toBe(200);
		expect(await put(ofBytes(MAX_BODY_BYTES + 1))).toMatchObject(tooLarge);
	});

	test("a declared length over the limit is refused before a byte of the body came, and the connection closed", async () => {
		const client = new RawClient(server.port);
		client.send("PUT /api/v1/things/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n");
		const answer = await client.until(() => false);
		expect(statusOf(answer)).toBe(413);
		expect(answer.toLowerCase()).toContain("connection: close");
	});

	test("a chunked body is counted while it comes, and refused at the limit though it never ends", async () => {
		const client = new RawClient(server.port);
		client.send("PUT /api/v1/things/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
		const chunk = `4000\r\n${"a".repeat(0x4000)}\r\n`;
		for (let sent = 0; sent <= MAX_BODY_BYTES; sent += 0x4000) client.send(chunk);
		expect(statusOf(await client.until(() => false))).toBe(413);
	});

	test("a chunked body within the limit is read", async () => {
		const client = new RawClient(server.port);
		client.send("PUT /api/v1/things/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
		client.send('Transfer-Encoding: chunked\r\n\r\n3\r\n{"n\r\n', '4\r\n":1}\r\n0\r\n\r\n');
		expect(JSON.parse(bodyOf(await client.until(() => false)))).toEqual({ id: "a", n: 1 });
	});

	test("a client library that sends far too much sees the 413", async () => {
		for (let round = 0; round < 5; round++) expect(await put(ofBytes(MAX_BODY_BYTES * 10))).toMatchObject(tooLarge);
	});
});
