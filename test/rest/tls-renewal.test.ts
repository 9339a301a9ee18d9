import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { z } from "zod";
import { createRestServer } from "../../src/api/rest/rest-server.ts";
import { operation, signalled, startServer, type TestServer } from "./rest-harness.ts";
import { certificateNameAt, makeCertificate, TlsClient } from "./tls-fixture.ts";

const OLD = makeCertificate("old");
const NEW = makeCertificate("new");
const anything = z.unknown();
let entered = signalled();
let release = signalled();
const operations = [
	operation("things.ping", { method: "GET", path: "/ping" }, anything, () => ({ pong: true })),
	operation("things.wait", { method: "GET", path: "/wait" }, anything, async () => {
		entered.resolve();
		await release.promise;
		return { waited: true };
	}),
	operation("things.stream", { method: "GET", path: "/stream", answer: "ndjson" }, anything, async function* () {
		yield { line: 1 };
		await release.promise;
		yield { line: 2 };
	} as never),
];
let secure: TestServer;
beforeEach(() => {
	entered = signalled();
	release = signalled();
	secure = startServer(operations, { tls: OLD, tlsRetireMs: 50 });
});
afterEach(async () => {
	release.resolve();
	await secure.server.stop();
});

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
const isAnswer = (text: string) => text.endsWith("}");
const isClosing = (answer: string) => /\r\nconnection: close\r\n/i.test(answer);

describe("another certificate", () => {
	test("is shown to every new connection, and the last one given wins", async () => {
		expect(await certificateNameAt(secure.port)).toBe("old");
		await secure.server.reloadTls(NEW);
		for (let round = 0; round < 20; round++) expect(await certificateNameAt(secure.port)).toBe("new");
		await Promise.all([secure.server.reloadTls(OLD), secure.server.reloadTls(NEW), secure.server.reloadTls(OLD)]);
		for (let round = 0; round < 20; round++) expect(await certificateNameAt(secure.port)).toBe("old");
		expect(secure.log).toEqual([]);
	});

	test("lets answers under way be finished on the connections that asked for them", async () => {
		const waiting = await TlsClient.open(secure.port);
		waiting.send(get("/api/v1/wait"));
		const streaming = await TlsClient.open(secure.port);
		streaming.send(get("/api/v1/stream"));
		await Promise.all([entered.promise, streaming.until((text) => text.includes('{"line":1}'))]);
		await secure.server.reloadTls(NEW);
		expect(await certificateNameAt(secure.port)).toBe("new");
		release.resolve();
		expect(await waiting.until(isAnswer)).toContain('{"waited":true}');
		expect(await streaming.until((text) => text.includes("\r\n0\r\n\r\n"))).toContain('{"line":2}');
		await Promise.all([waiting.closed, streaming.closed]);
	});

	test("while both are in use, who asks under the old one is told with the answer to connect anew", async () => {
		await secure.server.stop();
		secure = startServer(operations, { tls: OLD, tlsRetireMs: 60_000 });
		const clients = await Promise.all(Array.from({ length: 4 }, () => TlsClient.open(secure.port)));
		const [first] = clients;
		expect(isClosing(await first!.send(get("/api/v1/ping")).until(isAnswer))).toBe(false);
		const reloaded = secure.server.reloadTls(NEW);
		// The new listener is up before the old one is told to go.
		while ((await certificateNameAt(secure.port)) !== "new");
		const paths = ["/api/v1/ping", "/nothing", "/openapi.json", "/api/v1/ping?x=1"];
		for (const [index, client] of clients.entries()) {
			expect(isClosing(await client.send(get(paths[index]!)).until(isAnswer))).toBe(true);
			await client.closed;
		}
		const fresh = await TlsClient.open(secure.port);
		const isFresh = fresh.certificateName === "new";
		expect(isClosing(await fresh.send(get("/api/v1/ping")).until(isAnswer))).toBe(!isFresh);
		fresh.drop();
		// A stop doesn't wait for the old one's time to be up.
		await secure.server.stop();
		await reloaded;
	});

	test("closes connections on which nothing is asked", async () => {
		const idle = await TlsClient.open(secure.port);
		await idle.send(get("/api/v1/ping")).until(isAnswer);
		await secure.server.reloadTls(NEW);
		await idle.closed;
	});

	test("that is none, or has another's key, is refused, and the one in use stays", async () => {
		for (const pem of [
			{ cert: "x", key: "y" },
			{ cert: NEW.cert, key: OLD.key },
		]) {
			expect(await secure.server.reloadTls(pem).catch((cause: unknown) => cause)).toBeInstanceOf(Error);
			expect(await certificateNameAt(secure.port)).toBe("old");
		}
		await secure.server.reloadTls(NEW);
		expect(await certificateNameAt(secure.port)).toBe("new");
	});

	test("changes nothing once the server is stopped, or before it runs", async () => {
		await secure.server.stop();
		await secure.server.reloadTls(NEW);
		expect(await TlsClient.open(secure.port).catch((cause: unknown) => cause)).toBeInstanceOf(Error);
		const settings = { host: "127.0.0.1", port: 0, maxBodyBytes: 1, tls: OLD };
		const parts = { operations: [], pipeline: {}, log: {}, random: () => new Uint8Array(), settings, version: "1" };
		await createRestServer(parts as never).reloadTls(NEW);
	});

	test("stopping waits for answers under the old one too, and cuts off what takes too long", async () => {
		await secure.server.stop();
		secure = startServer(operations, { tls: OLD, tlsRetireMs: 1, stopWaitMs: 100 });
		const client = await TlsClient.open(secure.port);
		client.send(get("/api/v1/wait"));
		await entered.promise;
		await secure.server.reloadTls(NEW);
		await secure.server.stop();
		await client.closed;
		expect(secure.log).toMatchObject([{ level: "warn", facts: { requests: 1 } }]);
	});
});

test("a port on which another server speaks TLS is told to be taken", async () => {
	for (const tls of [OLD, undefined]) {
		const settings = { port: secure.port, ...(tls !== undefined && { tls }) };
		expect(() => startServer(operations, settings)).toThrow(expect.objectContaining({ code: "EADDRINUSE" }));
	}
	await secure.server.reloadTls(NEW);
	expect(() => startServer(operations, { port: secure.port, tls: OLD })).toThrow(
		expect.objectContaining({ code: "EADDRINUSE" }),
	);
	const { port } = secure;
	await secure.server.stop();
	secure = startServer(operations, { port, tls: OLD });
	expect(await certificateNameAt(port)).toBe("old");
});
