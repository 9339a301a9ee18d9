import { afterAll, beforeEach, expect, test } from "bun:test";
import { z } from "zod";
import { OverdueWatch } from "../../src/api/rest/overdue-watch.ts";
import { operation, RawClient, signalled, startServer, statusOf } from "./rest-harness.ts";

const anything = z.unknown();
let aborted = signalled<unknown>();
let release = signalled();
const onAbort = (signal: AbortSignal) => signal.addEventListener("abort", () => aborted.resolve(signal.reason));

const server = startServer(
	[
		operation("things.hang", { method: "GET", path: "/hang" }, anything, async (_, { signal }) => {
			onAbort(signal);
			await release.promise;
			return {};
		}),
		operation("things.deaf", { method: "GET", path: "/deaf" }, anything, async (_, request) => {
			await release.promise;
			aborted.resolve(request.signal.aborted);
			throw new Error("too late for anyone");
		}),
		operation("things.take", { method: "POST", path: "/take", body: "json" }, anything),
		operation("things.stream", { method: "GET", path: "/stream", answer: "ndjson" }, anything, async function* () {
			await release.promise;
			yield { late: true };
		} as never),
		operation("things.slowstart", { method: "GET", path: "/slowstart", answer: "ndjson" }, anything, async () => {
			await release.promise;
			return (async function* () {})();
		}),
	],
	{ requestTimeoutSeconds: 0.1, bodyStallMs: 20_000 },
);
afterAll(() => server.server.stop());
beforeEach(() => {
	aborted = signalled();
	release = signalled();
	server.log.length = 0;
});

test("an operation that takes too long is given up: 503 with Retry-After, and it hears of it", async () => {
	const answer = await server.fetch("/api/v1/hang", { headers: { "x-request-id": "mine" } });
	expect([answer.status, answer.headers.get("retry-after"), answer.headers.get("x-frame-options")]).toEqual([
		503,
		"5",
		"DENY",
	]);
	expect(await answer.json()).toEqual({
		error: "this took too long and was given up; what was asked for may have been done all the same, or be done yet",
		code: "OVERLOADED",
		request_id: "mine",
	});
	expect(await aborted.promise).toMatchObject({ code: "OVERLOADED" });
	expect(server.log).toMatchObject([{ level: "warn", facts: { request_id: "mine", operation: "things.hang" } }]);
	release.resolve();
});

test("what an operation does after it was given up is heard by the log alone", async () => {
	expect((await server.fetch("/api/v1/deaf")).status).toBe(503);
	release.resolve();
	expect(await aborted.promise).toBe(true);
	while (server.log.length < 2) await Bun.sleep(1);
	expect(server.log[1]).toMatchObject({ level: "error" });
	expect((await server.fetch("/api/v1/take", { method: "POST", body: "{}" })).status).toBe(200);
});

test("the time that a body needs to come does not count", async () => {
	const client = new RawClient(server.port);
	const given = server.fetch("/api/v1/hang");
	client.send("POST /api/v1/take HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\n{");
	// Two whole time limits pass meanwhile.
	expect((await given).status).toBe(503);
	expect((await server.fetch("/api/v1/hang")).status).toBe(503);
	client.send('"n":1}');
	expect(statusOf(await client.until((text) => text.endsWith("}")))).toBe(200);
	client.drop();
	release.resolve();
});

test("a stream may take its time, to begin and to end", async () => {
	const answers = [server.fetch("/api/v1/stream"), server.fetch("/api/v1/slowstart")];
	expect((await server.fetch("/api/v1/hang")).status).toBe(503);
	expect((await server.fetch("/api/v1/hang")).status).toBe(503);
	release.resolve();
	const [stream, slow] = await Promise.all(answers.map(async (answer) => (await answer).text()));
	expect([stream, slow]).toEqual(['{"late":true}\n', ""]);
});

test("an operation whose client has gone already starts aborted", async () => {
	const gone = signalled<boolean>();
	const late = startServer([
		operation("things.late", { method: "GET", path: "/late" }, anything, async (_, request) => {
			await release.promise;
			gone.resolve(request.signal.aborted);
			return {};
		}),
	]);
	const client = new RawClient(late.port);
	client.send("GET /api/v1/late HTTP/1.1\r\nHost: localhost\r\n\r\n");
	while (late.requests.length === 0) await Bun.sleep(1);
	client.drop();
	await client.closed;
	await late.fetch("/nothing");
	release.resolve();
	expect(await gone.promise).toBe(true);
	await late.server.stop();
});

test("a watch that was stopped gives up nothing", async () => {
	const watch = new OverdueWatch(0.001);
	let givenUp = 0;
	const patience = { ticksLeft: 0, isPaused: false, giveUp: () => void givenUp++ };
	watch.start();
	watch.begin(patience);
	while (givenUp === 0) await Bun.sleep(1);
	watch.begin(patience);
	watch.end(patience);
	watch.begin(patience);
	watch.stop();
	await Bun.sleep(5);
	expect(givenUp).toBe(1);
});
