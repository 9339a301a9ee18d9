import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { z } from "zod";
import { HiveError } from "../../src/base/errors.ts";
import { operation, startServer, type TestServer } from "./rest-harness.ts";

const APP = "https://app.example.com";
const none = z.strictObject({});
const operations = [
	operation(
		"things.get",
		{ method: "GET", path: "/things/{id}" },
		z.strictObject({ id: z.string() }),
		(_, request) => ({
			isForeignPage: request.credentials.isForeignPage,
		}),
	),
	operation("things.put", { method: "PUT", path: "/things/{id}", body: "json" }, z.unknown()),
	operation("things.fail", { method: "GET", path: "/fail" }, none, () => {
		throw new HiveError("CONFLICT", "no");
	}),
	operation("things.stream", { method: "GET", path: "/stream", answer: "ndjson" }, none, async function* () {
		yield { a: 1 };
	} as never),
];
const open = startServer(operations, { corsOrigins: [APP, "http://localhost:3000"] });
const closed = startServer(operations);
afterAll(() => Promise.all([open.server.stop(), closed.server.stop()]));
beforeEach(() => {
	open.requests.length = 0;
});

const ask = (server: TestServer, path: string, origin?: string, method = "GET", more: Record<string, string> = {}) =>
	server.fetch(path, { method, headers: { ...(origin === undefined ? {} : { origin }), ...more } });
const preflight = (server: TestServer, path: string, origin: string) =>
	ask(server, path, origin, "OPTIONS", {
		"access-control-request-method": "PUT",
		"access-control-request-headers": "authorization,content-type",
	});
const corsHeadersOf = (answer: Response) =>
	Array.from(answer.headers.keys()).filter((name) => name.startsWith("access-control"));
const PATHS = ["/api/v1/things/a", "/api/v1/fail", "/api/v1/stream", "/nothing", "/openapi.json", "/docs"];

describe("without a list of origins", () => {
	test.each(PATHS)("%s sends no CORS header, whoever asks", async (path) => {
		for (const method of ["GET", "OPTIONS"]) {
			const answer = await ask(closed, path, APP, method, { "access-control-request-method": "GET" });
			expect(corsHeadersOf(answer)).toEqual([]);
			expect(answer.headers.get("vary")).toBeNull();
		}
	});
});

describe("preflights", () => {
	test("an invited page hears what the address takes", async () => {
		const answer = await preflight(open, "/api/v1/things/a", APP);
		expect([answer.status, await answer.text()]).toEqual([204, ""]);
		const { headers } = answer;
		expect(headers.get("access-control-allow-origin")).toBe(APP);
		expect(headers.get("access-control-allow-methods")).toBe("GET, HEAD, PUT");
		expect(headers.get("access-control-allow-headers")).toBe(
			"authorization, x-api-key, content-type, x-tenant-id, x-request-id, accept, signature, signature-input, content-digest, mcp-protocol-version, mcp-method, mcp-name",
		);
		expect(headers.get("access-control-max-age")).toBe("7200");
		expect(headers.get("access-control-allow-credentials")).toBeNull();
		expect(headers.get("vary")).toBe("Origin");
		expect(headers.get("x-content-type-options")).toBe("nosniff");
		expect(headers.get("x-request-id")).toStartWith("req_");
		expect(open.requests).toEqual([]);
	});

	test.each([
		"https://evil.example",
		"http://app.example.com",
		"https://app.example.com:8443",
		"https://app.example.com.evil.example",
		"https://evil.app.example.com",
		"null",
		"*",
	])("a page of %s gets nothing but Vary", async (origin) => {
		const answer = await preflight(open, "/api/v1/things/a", origin);
		expect([answer.status, corsHeadersOf(answer), answer.headers.get("vary")]).toEqual([405, [], "Origin"]);
	});

	test("an address where nothing is answers 404", async () => {
		expect((await preflight(open, "/nothing", APP)).status).toBe(404);
	});

	test("OPTIONS that is no preflight is a method like any other", async () => {
		expect((await ask(open, "/api/v1/things/a", APP, "OPTIONS")).status).toBe(405);
		expect((await ask(open, "/api/v1/things/a", undefined, "OPTIONS")).status).toBe(405);
	});
});

describe("answers", () => {
	test.each(PATHS)("%s can be read by an invited page, its headers included", async (path) => {
		const { headers } = await ask(open, path, "http://localhost:3000");
		expect(headers.get("access-control-allow-origin")).toBe("http://localhost:3000");
		expect(headers.get("access-control-expose-headers")).toBe(
			"X-Request-ID, X-Tenant-ID, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, X-Storage-Used, X-Storage-Quota, Retry-After, X-API-Key-Deprecated, X-API-Key-Expires",
		);
		expect(headers.get("access-control-allow-credentials")).toBeNull();
		expect(headers.get("vary")).toBe("Origin");
	});

	test.each(PATHS)("%s can't be read by another page, and caches are told to keep them apart", async (path) => {
		for (const origin of ["https://evil.example", undefined]) {
			const answer = await ask(open, path, origin);
			expect([corsHeadersOf(answer), answer.headers.get("vary")]).toEqual([[], "Origin"]);
		}
	});

	test("what is refused for its Accept header can be read too", async () => {
		const answer = await ask(open, "/api/v1/things/a", APP, "GET", { accept: "text/csv" });
		expect([answer.status, answer.headers.get("access-control-allow-origin")]).toEqual([406, APP]);
	});
});

test("without a key an invited page counts as one of our own, any other does not", async () => {
	const isForeign = async (origin: string) =>
		((await (await ask(open, "/api/v1/things/a", origin)).json()) as { isForeignPage: boolean }).isForeignPage;
	expect(await isForeign(APP)).toBe(false);
	expect(await isForeign("https://evil.example")).toBe(true);
});
