import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { z } from "zod";
import { bodyOf, operation, RawClient, signalled, startServer, statusOf, type TestServer } from "./rest-harness.ts";
import { makeCertificate } from "./tls-fixture.ts";

const anything = z.unknown();
let entered = signalled();
let release = signalled();
let streamGiven = signalled();

const operations = [
	operation("things.echo", { method: "POST", path: "/echo", body: "json" }, anything),
	operation("things.ping", { method: "GET", path: "/ping" }, anything, () => ({ pong: true })),
	operation("things.wait", { method: "GET", path: "/wait" }, anything, async () => {
		entered.resolve();
		await release.promise;
		return { waited: true };
	}),
	operation("things.endless", { method: "GET", path: "/endless", answer: "ndjson" }, anything, async function* () {
		try {
			for (;;) yield { line: "x".repeat(10_000) };
		} finally {
			streamGiven.resolve();
		}
	} as never),
];
const server = startServer(operations, { bodyStallMs: 300 });
afterAll(() => server.server.stop());
beforeEach(() => {
	entered = signalled();
	release = signalled();
	streamGiven = signalled();
	server.requests.length = 0;
});

const ping = (from: TestServer = server) => from.fetch("/api/v1/ping").then((response) => response.status);
const POST = "POST /api/v1/echo HTTP/1.1\r\nHost: localhost\r\n";
const isJsonEnd = (text: string) => text.endsWith("}");

describe("nonsense on the wire", () => {
	test.each([
		["binary garbage", "\x00\x01\x02\xff\r\n\r\n"],
		["no HTTP version", "GET /api/v1/ping\r\n\r\n"],
		["headers without end", `GET /api/v1/ping HTTP/1.1\r\nHost: x\r\nX-A: ${"a".repeat(100_000)}\r\n\r\n`],
		["both lengths", `${POST}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
		["a negative length", `${POST}Content-Length: -1\r\n\r\n`],
		["a length that is no number", `${POST}Content-Length: abc\r\n\r\n`],
		["a chunk size that is no number", `${POST}Transfer-Encoding: chunked\r\n\r\nzz\r\n`],
		["a bare asterisk", "GET * HTTP/1.1\r\nHost: x\r\n\r\n"],
		["a TLS greeting", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"],
	])("%s ends that connection and no other", async (_, bytes) => {
		const client = new RawClient(server.port);
		client.send(Buffer.from(bytes, "latin1"));
		const answer = await client.until(() => false);
		if (answer !== "") expect(statusOf(answer)).toBeOneOf([400, 404, 405, 431, 505]);
		expect(server.requests.filter((request) => request.operation !== "things.echo")).toEqual([]);
		expect(await ping()).toBe(200);
	});

	test("garbage after a good request costs only what comes after", async () => {
		const client = new RawClient(server.port);
		client.send("GET /api/v1/ping HTTP/1.1\r\nHost: localhost\r\n\r\nGARBAGE\r\n\r\n");
		const answer = await client.until(() => false);
		expect(statusOf(answer)).toBe(200);
		expect(answer).toContain('{"pong":true}');
	});

	test("pipelined requests are answered in order", async () => {
		const client = new RawClient(server.port);
		const request = (id: string) => `GET /api/v1/ping HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: ${id}\r\n\r\n`;
		client.send(request("one") + request("two") + request("three"));
		const answer = await client.until((text) => text.split("pong").length === 4);
		const ids = Array.from(answer.matchAll(/x-request-id: (\w+)/gi), (match) => match[1]);
		expect(ids).toEqual(["one", "two", "three"]);
		client.drop();
	});

	test.each(["", "a b<>", "\x01"])("the host %p changes nothing about where a request goes", async (host) => {
		const client = new RawClient(server.port);
		client.send(`GET /api/v1/ping HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
		expect(statusOf(await client.until(() => false))).toBeOneOf([200, 400]);
	});

	test("an unknown path under a strange host is NOT_FOUND, not a crash", async () => {
		const client = new RawClient(server.port);
		client.send("GET /x?y HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n");
		expect(JSON.parse(bodyOf(await client.until(() => false)))).toMatchObject({ code: "NOT_FOUND" });
	});
});

describe("bodies that don't come", () => {
	test.each([
		["of a known length", `${POST}Content-Length: 100\r\n\r\n{"a"`],
		["of a large known length", `${POST}Content-Length: 100000\r\n\r\n{"a"`],
		["in chunks", `${POST}Transfer-Encoding: chunked\r\n\r\n4\r\n{"a"\r\n`],
	])("a body %s that stalls is given up: 400, and the connection closed", async (_, bytes) => {
		const client = new RawClient(server.port);
		client.send(bytes);
		const answer = await client.until(() => false);
		expect(statusOf(answer)).toBe(400);
		expect(JSON.parse(bodyOf(answer))).toMatchObject({
			code: "VALIDATION_FAILED",
			error: "the body did not arrive within 1 seconds",
		});
	});

	test.each([
		["of a known length", `${POST}Content-Length: 100\r\n\r\n{"a"`],
		["of a large known length", `${POST}Content-Length: 100000\r\n\r\n{"a"`],
		["in chunks", `${POST}Transfer-Encoding: chunked\r\n\r\n4\r\n{"a"\r\n`],
	])("a body %s that breaks off runs nothing", async (_, bytes) => {
		const client = new RawClient(server.port);
		client.send(bytes);
		while (server.requests.length === 0) await Bun.sleep(1);
		client.drop();
		await client.closed;
		expect(await ping()).toBe(200);
	});

	test("a client that waits for 100 Continue gets it", async () => {
		const client = new RawClient(server.port);
		client.send(`${POST}Content-Length: 7\r\nExpect: 100-continue\r\n\r\n`);
		await client.until((text) => text.includes("100 Continue"));
		client.send('{"n":1}');
		expect(await client.until((text) => text.includes('{"n":1}'))).toContain("200 OK");
		client.drop();
	});
});

describe("connections", () => {
	test("a connection goes on after an error", async () => {
		const client = new RawClient(server.port);
		for (const [request, status] of [
			["GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 404],
			[`${POST}Content-Length: 1\r\n\r\n{`, 400],
			[`${POST}Content-Type: text/csv\r\nContent-Length: 3\r\n\r\na,b`, 415],
			["PATCH /api/v1/ping HTTP/1.1\r\nHost: localhost\r\n\r\n", 405],
			[`${POST}Content-Length: 7\r\n\r\n{"n":1}`, 200],
		] as const) {
			client.forget().send(request);
			expect(statusOf(await client.until(isJsonEnd))).toBe(status);
		}
		client.drop();
	});

	test("an operation hears that its client went away", async () => {
		const client = new RawClient(server.port);
		client.send("GET /api/v1/wait HTTP/1.1\r\nHost: localhost\r\n\r\n");
		await entered.promise;
		const { signal } = server.requests[0]!;
		const aborted = new Promise((resolve) => signal.addEventListener("abort", resolve));
		client.drop();
		await aborted;
		release.resolve();
	});
});

// Bun counts idle time in steps of four seconds, so these two take a while, and take it together.
describe("idle connections", () => {
	const patient = startServer(operations, { connectionIdleSeconds: 8 });
	afterAll(() => patient.server.stop());

	test.concurrent("an operation may take longer than a connection may be idle", async () => {
		const answer = patient.fetch("/api/v1/wait");
		await Bun.sleep(13_000);
		release.resolve();
		expect(await (await answer).json()).toEqual({ waited: true });
	}, 20_000);

	test.concurrent("a client that reads nothing of a stream is hung up on", async () => {
		const client = new RawClient(patient.port);
		client.pause();
		client.send("GET /api/v1/endless HTTP/1.1\r\nHost: localhost\r\n\r\n");
		await streamGiven.promise;
		client.drop();
	}, 20_000);
});

describe("stopping", () => {
	test("an answer under way is finished, and idle connections are closed", async () => {
		const stopping = startServer(operations);
		const idle = new RawClient(stopping.port);
		idle.send("GET /api/v1/ping HTTP/1.1\r\nHost: localhost\r\n\r\n");
		await idle.until(isJsonEnd);
		const answer = stopping.fetch("/api/v1/wait");
		await entered.promise;
		const stopped = stopping.server.stop();
		await idle.closed;
		expect(stopping.server.stop()).toBe(stopped);
		release.resolve();
		expect(await (await answer).json()).toEqual({ waited: true });
		await stopped;
		expect(stopping.log).toEqual([]);
		expect(ping(stopping)).rejects.toThrow();
	});

	test("what takes too long is cut off, and logged", async () => {
		const stopping = startServer(operations, { stopWaitMs: 50 });
		const client = new RawClient(stopping.port);
		client.send("GET /api/v1/wait HTTP/1.1\r\nHost: localhost\r\n\r\n");
		await entered.promise;
		await stopping.server.stop();
		expect(await client.until(() => false)).toBe("");
		expect(stopping.log).toMatchObject([{ level: "warn", facts: { requests: 1 } }]);
		release.resolve();
	});

	test("a server that never started stops at once", async () => {
		const { server: other } = startServer([]);
		await other.stop();
		await other.stop();
	});
});

describe("TLS", () => {
	let secure: TestServer;
	beforeAll(() => {
		secure = startServer(operations, { tls: makeCertificate("localhost") });
	});
	afterAll(() => secure.server.stop());

	test("answers over TLS tell browsers to keep to it", async () => {
		expect(secure.url).toStartWith("https://");
		for (const path of ["/api/v1/ping", "/nothing", "/docs", "/api/v1/echo"]) {
			const response = await secure.fetch(path, { tls: { rejectUnauthorized: false } } as RequestInit);
			expect(response.headers.get("strict-transport-security")).toBe("max-age=31536000");
		}
	});

	test("a certificate that is none stops the start", () => {
		expect(() => startServer(operations, { tls: { key: "x", cert: "y" } })).toThrow();
	});
});
