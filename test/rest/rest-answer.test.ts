import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { decode } from "@msgpack/msgpack";
import { z } from "zod";
import { createRestServer } from "../../src/api/rest/rest-server.ts";
import { HiveError } from "../../src/base/errors.ts";
import type { TenantId } from "../../src/base/ids.ts";
import { bodyOf, MAX_BODY_BYTES, operation, RawClient, rawAnswer, startServer, statusOf } from "./rest-harness.ts";

const none = z.strictObject({});
const failing = (error: unknown) => () => {
	throw error;
};
const circular: Record<string, unknown> = {};
circular.self = circular;

const server = startServer([
	operation("things.get", { method: "GET", path: "/things" }, none, () => ({ n: 1, absent: undefined })),
	operation("things.add", { method: "POST", path: "/things", body: "json", status: 201 }, none, () => ({ ok: true })),
	operation("things.vector", { method: "GET", path: "/vector" }, none, () => ({
		results: [{ id: "a" }, { id: "b", vector: new Float32Array([0.1, -2, 1e-30]), payload: null }],
	})),
	operation(
		"things.fail",
		{ method: "GET", path: "/fail" },
		none,
		failing(new HiveError("COLLECTION_NOT_FOUND", "no", { name: "x" })),
	),
	operation("things.defect", { method: "GET", path: "/defect" }, none, failing(new Error("secret path /etc"))),
	operation("things.circular", { method: "GET", path: "/circular" }, none, () => circular),
	operation("things.text", { method: "GET", path: "/text", root: true, answer: "text" }, none, () => "metric 1\n"),
	operation("things.html", { method: "GET", path: "/html", root: true, answer: "html" }, none, () => "<p>"),
	operation("things.caller", { method: "GET", path: "/caller" }, none, (_, request) => ({
		credentials: request.credentials,
		acting: request.actingTenant ?? null,
		address: request.remoteAddress,
		protocol: request.protocol,
		aborted: request.signal.aborted,
	})),
]);
afterAll(() => server.server.stop());
beforeEach(() => {
	server.requests.length = 0;
	server.log.length = 0;
	server.facts = {};
	server.refusal = undefined;
});

const get = (path: string, headers: Record<string, string> = {}) => server.fetch(path, { headers });

describe("formats", () => {
	test.each([
		"*/*",
		"application/json",
		"application/*",
		"text/html, application/json;q=0.5",
		"application/msgpack;q=0.1, application/json",
		"application/msgpack;q=0, */*",
		"application/json, application/msgpack",
	])("Accept: %s is answered in JSON", async (accept) => {
		const response = await get("/api/v1/things", { accept });
		expect(response.headers.get("content-type")).toBe("application/json; charset=utf-8");
		expect(await response.json()).toEqual({ n: 1 });
	});

	test.each([
		"application/msgpack",
		"application/x-msgpack",
		"application/msgpack, */*",
		"application/json;q=0.3, Application/Msgpack;q=0.9",
	])("Accept: %s is answered in msgpack", async (accept) => {
		const response = await get("/api/v1/things", { accept });
		expect(response.headers.get("content-type")).toBe("application/msgpack");
		expect(decode(await response.arrayBuffer())).toEqual({ n: 1 });
	});

	test.each(["text/html", "application/json;q=0", "application/xml, image/*", "application/json;q=2"])(
		"Accept: %s is answered with 406 and nothing is run",
		async (accept) => {
			const response = await get("/api/v1/things", { accept });
			expect(response.status).toBe(406);
			expect(await response.json()).toMatchObject({ code: "NOT_ACCEPTABLE" });
			expect(server.requests).toEqual([]);
		},
	);

	test("vectors are arrays of numbers in JSON and msgpack, as short as float32 allows", async () => {
		const wanted = { results: [{ id: "a" }, { id: "b", vector: [0.1, -2, Math.fround(1e-30)], payload: null }] };
		expect(await (await get("/api/v1/vector")).json()).toEqual(wanted);
		const packed = await get("/api/v1/vector", { accept: "application/msgpack" });
		expect(decode(await packed.arrayBuffer())).toEqual(wanted);
	});

	test("text and pages are sent whatever is accepted", async () => {
		const text = await get("/text", { accept: "application/openmetrics-text" });
		expect(text.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
		expect(await text.text()).toBe("metric 1\n");
		expect((await get("/html")).headers.get("content-type")).toBe("text/html; charset=utf-8");
	});

	test("the operation's status is the answer's", async () => {
		expect((await server.fetch("/api/v1/things", { method: "POST" })).status).toBe(201);
	});

	test("HEAD answers as GET does, without the body", async () => {
		const answer = await rawAnswer(server.port, "HEAD /api/v1/things HTTP/1.1");
		expect(statusOf(answer)).toBe(200);
		expect(answer.toLowerCase()).toContain("content-length: 7\r\n");
		expect(bodyOf(answer)).toBe("");
	});
});

describe("errors", () => {
	test("an error has message, code, details and request id", async () => {
		const response = await get("/api/v1/fail", { "x-request-id": "mine" });
		expect(response.status).toBe(404);
		expect(await response.json()).toEqual({
			error: "no",
			code: "COLLECTION_NOT_FOUND",
			details: { name: "x" },
			request_id: "mine",
		});
	});

	test("an error comes in the format that was asked for", async () => {
		const response = await get("/api/v1/fail", { accept: "application/msgpack" });
		expect(decode(await response.arrayBuffer())).toMatchObject({ code: "COLLECTION_NOT_FOUND" });
	});

	test.each(["/api/v1/defect", "/api/v1/circular"])(
		"a defect at %s is INTERNAL, logged, and tells nothing",
		async (path) => {
			const response = await get(path);
			expect(response.status).toBe(500);
			const body = (await response.json()) as Record<string, unknown>;
			expect(Object.keys(body).sort()).toEqual(["code", "error", "request_id"]);
			expect(JSON.stringify(body)).not.toContain("secret");
			expect(server.log).toMatchObject([{ level: "error", facts: { request_id: body.request_id } }]);
		},
	);

	test("401 says which kind of credentials is wanted", async () => {
		server.refusal = new HiveError("AUTH_MISSING", "no key");
		const response = await get("/api/v1/things");
		expect([response.status, response.headers.get("www-authenticate")]).toEqual([401, "Bearer"]);
	});

	test.each([
		"/",
		"/api/v1",
		"/api/v2/things",
		"/api/v1/things/",
		"/API/v1/things",
		"/things",
		"/api/v1/thing",
		"/api/v1/things%2f",
	])("%s is NOT_FOUND", async (path) => {
		const response = await get(path);
		expect(response.status).toBe(404);
		expect(await response.json()).toMatchObject({ code: "NOT_FOUND" });
	});

	test.each(["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])(
		"%s of a known path is 405 with Allow",
		async (method) => {
			const answer = await rawAnswer(server.port, `${method} /api/v1/things?x=1 HTTP/1.1`);
			expect(statusOf(answer)).toBe(405);
			expect(answer.toLowerCase()).toContain("allow: get, head, post\r\n");
			expect(JSON.parse(bodyOf(answer))).toMatchObject({
				code: "METHOD_NOT_ALLOWED",
				details: { allowed: ["GET", "HEAD", "POST"] },
			});
		},
	);
});

describe("headers", () => {
	test.each(["/api/v1/things", "/api/v1/fail", "/nothing", "/text", "/openapi.json", "/docs", "/docs/start.js"])(
		"%s carries the security headers and a request id",
		async (path) => {
			const { headers } = await get(path);
			expect(headers.get("x-content-type-options")).toBe("nosniff");
			expect(headers.get("x-frame-options")).toBe("DENY");
			expect(headers.get("referrer-policy")).toBe("no-referrer");
			expect(headers.get("cache-control")).toBe("no-store");
			expect(headers.get("content-security-policy")).toContain("default-src 'none'");
			expect(headers.get("content-security-policy")).toContain("frame-ancestors 'none'");
			expect(headers.get("strict-transport-security")).toBeNull();
			expect(headers.get("x-request-id")).toMatch(/^req_[a-z0-9]{20}$/);
		},
	);

	test.each([
		["HEAD /api/v1/things HTTP/1.1", 200],
		["HEAD /nothing HTTP/1.1", 404],
		["OPTIONS /api/v1/things HTTP/1.1", 405],
		["TRACE /api/v1/things HTTP/1.1", 405],
		["PUT /docs HTTP/1.1", 405],
		["GET /api/v1/../../docs/x HTTP/1.1", 404],
		["GET /api/v1/% HTTP/1.1", 404],
		["GET /api/v1/things?%zz HTTP/1.1", 400],
		["POST /api/v1/things HTTP/1.1\r\nContent-Type: text/csv", 415],
		[`POST /api/v1/things HTTP/1.1\r\nContent-Length: ${MAX_BODY_BYTES + 1}`, 413],
		["GET /api/v1/things HTTP/1.1\r\nAccept: text/csv", 406],
	])("%j, answered with %i, carries them too", async (head, status) => {
		const answer = await rawAnswer(server.port, head);
		expect(statusOf(answer)).toBe(status);
		for (const header of [
			"X-Content-Type-Options: nosniff",
			"X-Frame-Options: DENY",
			"Referrer-Policy: no-referrer",
			"Content-Security-Policy: default-src 'none'; frame-ancestors 'none'",
			"Cache-Control: no-store",
			"X-Request-ID: req_",
		]) {
			expect(answer).toContain(`\r\n${header}`);
		}
	});

	test("CONNECT is refused, and the connection with it: nobody would answer what follows", async () => {
		const answer = await rawAnswer(server.port, "CONNECT * HTTP/1.1");
		expect(statusOf(answer)).toBe(404);
		expect(answer.toLowerCase()).toContain("\r\nconnection: close");
	});

	test.each(["abc", "a b ~", "x".repeat(128)])("the request id %s is kept", async (id) => {
		expect((await get("/api/v1/things", { "x-request-id": id })).headers.get("x-request-id")).toBe(id);
		expect(server.requests[0]!.requestId).toBe(id);
	});

	test.each(["x".repeat(129), "\x7f", "caf\xe9", "a\tb"])("the request id %p is replaced", async (id) => {
		const answer = await rawAnswer(server.port, `GET /api/v1/things HTTP/1.1\r\nX-Request-ID: ${id}`);
		if (statusOf(answer) === 200) expect(answer).toMatch(/x-request-id: req_[a-z0-9]{20}\r\n/i);
		else expect(statusOf(answer)).toBe(400);
	});

	test("what the pipeline found out stands in headers, on success and failure alike", async () => {
		server.facts = {
			tenantId: "acme" as TenantId,
			rateLimit: { limit: 10, remaining: 3, resetUnixSeconds: 1_700_000_000 },
			storage: { usedBytes: 5, quotaBytes: 100 },
			retryAfterSeconds: 1.2,
			keyDeprecatedUntil: "2030-01-01T00:00:00.000Z",
		};
		for (const path of ["/api/v1/things", "/api/v1/fail"]) {
			const { headers } = await get(path);
			expect(headers.get("x-tenant-id")).toBe("acme");
			expect(headers.get("x-ratelimit-limit")).toBe("10");
			expect(headers.get("x-ratelimit-remaining")).toBe("3");
			expect(headers.get("x-ratelimit-reset")).toBe("1700000000");
			expect(headers.get("x-storage-used")).toBe("5");
			expect(headers.get("x-storage-quota")).toBe("100");
			expect(headers.get("retry-after")).toBe("2");
			expect(headers.get("x-api-key-deprecated")).toBe("true");
			expect(headers.get("x-api-key-expires")).toBe("2030-01-01T00:00:00.000Z");
		}
	});

	test("facts that are not known leave no header, and no quota is `unlimited`", async () => {
		server.facts = { storage: { usedBytes: 5, quotaBytes: null }, retryAfterSeconds: 0 };
		const { headers } = await get("/api/v1/things");
		expect(headers.get("x-storage-quota")).toBe("unlimited");
		expect(headers.get("retry-after")).toBe("1");
		expect(headers.get("x-tenant-id")).toBeNull();
		expect(headers.get("x-ratelimit-limit")).toBeNull();
		expect(headers.get("x-api-key-deprecated")).toBeNull();
	});

	test("credentials and the caller's address reach the pipeline as they came", async () => {
		const headers = { authorization: "Bearer k", "x-api-key": "k2", "x-tenant-id": "acme" };
		expect(await (await get("/api/v1/caller", headers)).json()).toEqual({
			credentials: { authorization: "Bearer k", apiKey: "k2" },
			acting: "acme",
			address: "127.0.0.1",
			protocol: "rest",
			aborted: false,
		});
		expect(await (await get("/api/v1/caller")).json()).toMatchObject({ credentials: {}, acting: null });
	});
});

test("a request that is refused before its body is read is answered, and the connection goes on", async () => {
	server.refusal = new HiveError("AUTH_INVALID", "no such key");
	const client = new RawClient(server.port);
	client.send("POST /api/v1/things HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello");
	expect(statusOf(await client.until((text) => text.endsWith("}")))).toBe(401);
	server.refusal = undefined;
	client.forget().send("GET /api/v1/things HTTP/1.1\r\nHost: localhost\r\n\r\n");
	expect(bodyOf(await client.until((text) => text.endsWith("}")))).toBe('{"n":1}');
	client.drop();
});

test.each([
	["id", { method: "GET", path: "/a/{id}", query: ["id"] }],
	["sign", { method: "GET", path: "/a", query: ["sign"], headers: { sign: "x-sign" } }],
	["body", { method: "POST", path: "/a", headers: { body: "x-body" }, body: "text" }],
	["lines", { method: "POST", path: "/a", query: ["lines"], body: "ndjson" }],
] as const)("a field %s that comes from two places is a defect of the table", (field, rest) => {
	expect(() => startServer([operation("a.get", rest, none)])).toThrow(`a.get takes ${field} from two places`);
});

test("two operations at one place are a defect of the table", () => {
	const clash = [
		operation("a.get", { method: "GET", path: "/a/{x}" }, none),
		operation("b.get", { method: "GET", path: "/a/{y}" }, none),
	];
	expect(() => startServer(clash)).toThrow("operations a.get and b.get are both at GET /api/v1/a/{}");
});

test("a port that is taken is told, as the system tells it", () => {
	const settings = { host: "127.0.0.1", port: server.port, maxBodyBytes: 1 };
	const parts = { operations: [], pipeline: { execute: failing(0) }, log: {}, random: () => new Uint8Array() };
	const second = createRestServer({ ...parts, settings, version: "1" } as never);
	expect(() => second.start()).toThrow(expect.objectContaining({ code: "EADDRINUSE" }));
});
