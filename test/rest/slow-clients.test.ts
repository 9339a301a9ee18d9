import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { z } from "zod";
import { operation, RawClient, startServer, statusOf } from "./rest-harness.ts";
import { makeCertificate, TlsClient } from "./tls-fixture.ts";

const operations = [operation("things.get", { method: "GET", path: "/things" }, z.unknown(), () => ({ n: 1 }))];
const settings = { connectionIdleSeconds: 8 };
const server = startServer(operations, settings);
const secure = startServer(operations, { ...settings, tls: makeCertificate("slow") });
afterAll(() => Promise.all([server.server.stop(), secure.server.stop()]));
beforeEach(() => {
	server.requests.length = 0;
});

const HEAD = "GET /api/v1/things HTTP/1.1\r\nHost: localhost\r\n";
const GREETING = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

/** Sends first what is given, then a byte now and then, until the server has had enough. */
async function trickle(client: RawClient | TlsClient, text: string, byte: string | undefined): Promise<void> {
	client.send(text);
	const timer = setInterval(() => byte !== undefined && client.send(byte), 1_000);
	await client.closed;
	clearInterval(timer);
}

// Bun counts in steps of four seconds, so these take a while, and take it together.
describe("clients that hold a connection and ask nothing", () => {
	const plain = () => new RawClient(server.port);
	test.concurrent.each([
		["says nothing", plain, "", undefined],
		["stops in the request line", plain, "GET /api/v1", undefined],
		["stops in a header", plain, `${HEAD}X-A: `, undefined],
		["sends the request line byte by byte", plain, "GET /", "a"],
		["sends a header byte by byte", plain, `${HEAD}X-A: `, "a"],
		["sends header after header", plain, HEAD, "X-A: b\r\n"],
		["sends empty lines", plain, "", "\r\n"],
		["asks once and then trickles", plain, `${HEAD}\r\n${HEAD}X-A: `, "a"],
		["says nothing where TLS is spoken", () => new RawClient(secure.port), "", undefined],
		["greets byte by byte where TLS is spoken", () => new RawClient(secure.port), GREETING, "\x01"],
		["says nothing once TLS stands", () => TlsClient.open(secure.port), "", undefined],
		["sends a header byte by byte over TLS", () => TlsClient.open(secure.port), `${HEAD}X-A: `, "a"],
	] as const)(
		"one that %s is hung up on",
		async (_, open, text, byte) => {
			await trickle(await open(), text, byte);
		},
		30_000,
	);
});

describe("heads that are too large", () => {
	const filled = (bytes: number) => `${HEAD}Connection: close\r\nX-A: ${"a".repeat(bytes)}\r\n\r\n`;
	const answerTo = async (text: string) => {
		const client = new RawClient(server.port);
		const answer = await client.send(text).until(() => false);
		client.drop();
		return answer;
	};

	test("a head of up to 16 KiB is taken, a larger one is refused with 431 and the connection closed", async () => {
		expect(statusOf(await answerTo(filled(16_000)))).toBe(200);
		expect(statusOf(await answerTo(filled(16_384)))).toBe(431);
		expect(statusOf(await answerTo(`GET /${"a".repeat(16_384)} HTTP/1.1\r\nHost: x\r\n\r\n`))).toBe(431);
	});

	test("a head of more than some 190 headers is refused with 431", async () => {
		const headers = (count: number) => Array.from({ length: count }, (_, index) => `X-${index}: b\r\n`).join("");
		expect(statusOf(await answerTo(`${HEAD}Connection: close\r\n${headers(150)}\r\n`))).toBe(200);
		expect(statusOf(await answerTo(`${HEAD}${headers(250)}\r\n`))).toBe(431);
	});

	test("thousands of them are all refused, reach nobody, and cost the server no memory that it keeps", async () => {
		const flood = async (count: number) => {
			for (let left = count; left > 0; left -= 100) {
				await Promise.all(Array.from({ length: 100 }, () => answerTo(filled(100_000))));
			}
		};
		await flood(1_000);
		const before = process.memoryUsage.rss();
		await flood(3_000);
		expect(process.memoryUsage.rss() - before).toBeLessThan(100 * 1024 * 1024);
		expect(server.requests).toEqual([]);
		expect((await server.fetch("/api/v1/things")).status).toBe(200);
	}, 30_000);
});
