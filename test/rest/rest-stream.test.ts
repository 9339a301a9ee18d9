import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { z } from "zod";
import type { ImportLine } from "../../src/api/rest/ndjson-lines.ts";
import { HiveError } from "../../src/base/errors.ts";
import type { TenantId } from "../../src/base/ids.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { bodyOf, operation, RawClient, signalled, startServer, statusOf } from "./rest-harness.ts";

const none = z.strictObject({});
const LINE = "x".repeat(1_000);

/** How far the endless stream has got, and when it was given up. */
let made = 0;
let given = signalled();
let cleanup: () => void = () => {};
let circular: Record<string, unknown> | undefined;

async function* endless(): AsyncGenerator<unknown> {
	try {
		for (;;) {
			made++;
			yield { line: LINE };
		}
	} finally {
		given.resolve();
		cleanup();
	}
}

/** What an import was given, as it comes. */
let seen: ImportLine[] = [];
let onLine: (line: ImportLine) => void | Promise<void> = () => {};

async function* importing(lines: AsyncIterable<ImportLine>): AsyncGenerator<unknown> {
	try {
		for await (const line of lines) {
			seen.push(line);
			await onLine(line);
			yield { line: line.line };
		}
		yield { done: true };
	} finally {
		given.resolve();
	}
}

const server = startServer(
	[
		operation("things.export", { method: "GET", path: "/export", answer: "ndjson" }, none, async function* () {
			yield { a: 1 };
			yield { vector: new Float32Array([0.1]) };
		} as never),
		operation("things.endless", { method: "GET", path: "/endless", answer: "ndjson" }, none, endless),
		operation("things.broken", { method: "GET", path: "/broken", answer: "ndjson" }, none, async function* () {
			yield { a: 1 };
			throw new HiveError("HUB_UNAVAILABLE", "the hub is away", { hub: "gone" });
		} as never),
		operation("things.defect", { method: "GET", path: "/defect", answer: "ndjson" }, none, async function* () {
			yield* [];
			throw new Error("secret");
		} as never),
		operation("things.circular", { method: "GET", path: "/circular", answer: "ndjson" }, none, async function* () {
			try {
				yield circular;
			} finally {
				given.resolve();
			}
		} as never),
		operation(
			"things.import",
			{ method: "POST", path: "/import/{name}", body: "ndjson", answer: "ndjson" },
			z.strictObject({ name: z.string(), lines: z.custom<AsyncIterable<ImportLine>>() }),
			({ lines }) => importing(lines as AsyncIterable<ImportLine>),
		),
		operation("things.ping", { method: "GET", path: "/ping" }, none, () => ({ pong: true })),
	],
	{ bodyStallMs: 300 },
);
afterAll(() => server.server.stop());
beforeEach(() => {
	made = 0;
	given = signalled();
	cleanup = () => {};
	seen = [];
	onLine = () => {};
	server.facts = {};
	server.log.length = 0;
});

const linesOf = async (response: Response) =>
	(await response.text())
		.trimEnd()
		.split("\n")
		.map((line) => JSON.parse(line) as Record<string, unknown>);
const importText = (body: string | ReadableStream, type = "application/x-ndjson") =>
	server.fetch("/api/v1/import/a", { method: "POST", body, headers: { "content-type": type } });

describe("streamed answers", () => {
	test("an answer comes line by line as NDJSON, with the headers of any other", async () => {
		server.facts = { tenantId: "acme" as TenantId };
		const response = await server.fetch("/api/v1/export");
		expect(response.headers.get("content-type")).toBe("application/x-ndjson");
		expect(response.headers.get("x-tenant-id")).toBe("acme");
		expect(await linesOf(response)).toEqual([{ a: 1 }, { vector: [0.1] }]);
	});

	test.each(["application/x-ndjson", "application/json", "*/*", "application/jsonl;q=0.5"])(
		"Accept: %s takes NDJSON",
		async (accept) => {
			expect((await server.fetch("/api/v1/export", { headers: { accept } })).status).toBe(200);
		},
	);

	test("a client that takes no NDJSON gets 406", async () => {
		const response = await server.fetch("/api/v1/export", { headers: { accept: "text/csv" } });
		expect([response.status, ((await response.json()) as { code: string }).code]).toEqual([406, "NOT_ACCEPTABLE"]);
	});

	test("HEAD runs nothing of a stream", async () => {
		const response = await server.fetch("/api/v1/endless", { method: "HEAD" });
		expect([response.status, response.headers.get("content-type"), made]).toEqual([200, "application/x-ndjson", 0]);
	});

	test("an error in mid-stream is the last line", async () => {
		const response = await server.fetch("/api/v1/broken", { headers: { "x-request-id": "r" } });
		expect(await linesOf(response)).toEqual([
			{ a: 1 },
			{ error: "the hub is away", code: "HUB_UNAVAILABLE", details: { hub: "gone" }, request_id: "r" },
		]);
		expect(server.log).toEqual([]);
	});

	test("a defect in mid-stream is INTERNAL, logged, and tells nothing", async () => {
		const [line] = await linesOf(await server.fetch("/api/v1/defect"));
		expect(line).toMatchObject({ code: "INTERNAL" });
		expect(JSON.stringify(line)).not.toContain("secret");
		expect(server.log).toHaveLength(1);
	});

	test("a line that can't be rendered ends the stream and its source", async () => {
		circular = {};
		circular.self = circular;
		expect(await linesOf(await server.fetch("/api/v1/circular"))).toMatchObject([{ code: "INTERNAL" }]);
		await given.promise;
	});

	test("a client that stops reading stops the source, and memory stays bounded", async () => {
		const before = process.memoryUsage.rss();
		const client = new RawClient(server.port);
		client.send("GET /api/v1/endless HTTP/1.1\r\nHost: localhost\r\n\r\n");
		await client.until((text) => text.length > 0);
		client.pause();
		// The kernel's buffers fill up; from then on nothing is made.
		let last = -1;
		while (made !== last) {
			last = made;
			await Bun.sleep(150);
		}
		expect(made * LINE.length).toBeLessThan(64 * 1024 * 1024);
		expect(process.memoryUsage.rss() - before).toBeLessThan(128 * 1024 * 1024);
		client.resume();
		const resumed = signalled();
		const poll = setInterval(() => made > last && resumed.resolve(), 5);
		await resumed.promise;
		clearInterval(poll);
		client.drop();
		await given.promise;
	});

	test("the source's return runs when the client goes away", async () => {
		const controller = new AbortController();
		const response = await server.fetch("/api/v1/endless", { signal: controller.signal });
		await response.body!.getReader().read();
		controller.abort();
		await given.promise;
		expect(server.requests.at(-1)!.signal.aborted).toBe(true);
	});

	test("a source that fails while it is given up is logged", async () => {
		cleanup = () => {
			throw new Error("can't let go");
		};
		const client = new RawClient(server.port);
		client.send("GET /api/v1/endless HTTP/1.1\r\nHost: localhost\r\n\r\n");
		await client.until((text) => text.length > 0);
		client.drop();
		await given.promise;
		while (server.log.length === 0) await Bun.sleep(5);
		expect(server.log[0]).toMatchObject({ level: "error" });
	});
});

describe("streamed bodies", () => {
	test("each line reaches the operation with its number, bad ones as errors", async () => {
		const long = "y".repeat(LIMITS.importLineBytesMax + 1);
		const response = await importText(`{"a":1}\r\n\n${long}\n{"b":2}`);
		expect(await linesOf(response)).toEqual([{ line: 1 }, { line: 3 }, { line: 4 }, { done: true }]);
		expect(seen).toEqual([
			{ line: 1, text: '{"a":1}' },
			{ line: 3, error: `the line is longer than ${LIMITS.importLineBytesMax} bytes` },
			{ line: 4, text: '{"b":2}' },
		]);
	});

	test("an import may be larger than other bodies", async () => {
		const lines = await linesOf(await importText(`${LINE}\n`.repeat(2_000)));
		expect([lines.length, lines.at(-1)]).toEqual([2_001, { done: true }]);
	});

	test("no body is an import of no lines", async () => {
		expect(await linesOf(await server.fetch("/api/v1/import/a", { method: "POST" }))).toEqual([{ done: true }]);
	});

	test.each(["application/x-ndjson", "application/ndjson", "application/jsonl; charset=utf-8"])(
		"%s is taken",
		async (type) => {
			expect((await importText("{}", type)).status).toBe(200);
		},
	);

	test.each(["application/json", "application/msgpack", "text/csv"])("%s is refused with 415", async (type) => {
		const response = await importText("{}", type);
		expect([response.status, ((await response.json()) as { code: string }).code]).toEqual([
			415,
			"UNSUPPORTED_MEDIA_TYPE",
		]);
	});

	test("progress is answered while the body is still on its way", async () => {
		const client = new RawClient(server.port);
		client.send("POST /api/v1/import/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
		client.send("2\r\na\n\r\n");
		await client.until((text) => text.includes('{"line":1}'));
		client.send("2\r\nb\n\r\n0\r\n\r\n");
		expect(await client.until((text) => text.includes("done"))).toContain('{"line":2}');
		client.forget().send("GET /api/v1/ping HTTP/1.1\r\nHost: localhost\r\n\r\n");
		await client.until((text) => text.includes("pong"));
		client.drop();
	});

	test("a body is read no faster than the operation takes its lines, and memory stays bounded", async () => {
		const reached = signalled();
		const goOn = signalled();
		onLine = async ({ line }) => {
			if (line !== 1) return;
			reached.resolve();
			await goOn.promise;
		};
		const before = process.memoryUsage.rss();
		const text = `${LINE}\n`.repeat(100);
		let sent = 0;
		const body = new ReadableStream({
			type: "direct" as never,
			async pull(controller: { write(text: string): void; flush(): Promise<unknown>; close(): void }) {
				for (; sent < 100_000_000; sent += text.length) {
					controller.write(text);
					await controller.flush();
				}
				controller.close();
			},
		} as never);
		const response = importText(body);
		await reached.promise;
		goOn.resolve();
		const answer = await response;
		let tail = "";
		for await (const chunk of answer.body!.pipeThrough(new TextDecoderStream() as never) as AsyncIterable<string>) {
			tail = (tail + chunk).slice(-200);
		}
		expect(tail).toContain('{"done":true}');
		expect(seen.length).toBe(sent / (LINE.length + 1));
		expect(process.memoryUsage.rss() - before).toBeLessThan(300 * 1024 * 1024);
	}, 20_000);

	test("a client that goes away in the middle ends the import, and the operation hears of it", async () => {
		const client = new RawClient(server.port);
		client.send("POST /api/v1/import/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\na\nb");
		await client.until((text) => text.includes('{"line":1}'));
		client.drop();
		await given.promise;
		expect(seen).toEqual([{ line: 1, text: "a" }]);
		expect(server.requests.at(-1)!.signal.aborted).toBe(true);
	});

	test("a client that stops sending gets an error line and the end", async () => {
		const client = new RawClient(server.port);
		client.send("POST /api/v1/import/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na\n\r\n");
		const answer = await client.until((text) => text.includes("\r\n0\r\n\r\n"));
		expect(statusOf(answer)).toBe(200);
		expect(bodyOf(answer)).toContain("VALIDATION_FAILED");
		client.drop();
	});
});
