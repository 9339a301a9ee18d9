import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { type Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { HiveError } from "../../src/base/errors.ts";
import { rawAnswer, signalled, statusOf } from "../rest/rest-harness.ts";
import { ENVELOPE, ERAS, LEGACY, MODERN, type Rpc, sdkClient } from "./mcp-rig.ts";
import { StubPipeline, startMcp } from "./stub-caller.ts";

const pipeline = new StubPipeline();
const server = startMcp(pipeline);
afterAll(() => server.server.stop());
afterEach(() => {
	pipeline.run = async () => ({ collections: [] });
	pipeline.charged.length = 0;
	pipeline.gone = undefined;
});

const HEADERS = { "content-type": "application/json", accept: "application/json, text/event-stream" };
const post = async (body: unknown, headers: Record<string, string> = {}, url = server.url): Promise<Rpc> => {
	const response = await fetch(`${url}/mcp`, {
		method: "POST",
		headers: { ...HEADERS, ...headers },
		body: typeof body === "string" ? body : JSON.stringify(body),
	});
	const text = await response.text();
	return { status: response.status, headers: response.headers, body: text === "" ? undefined : JSON.parse(text) };
};
const list = (id: number) => ({ jsonrpc: "2.0", id, method: "tools/call", params: { name: "list_collections" } });
const modern = (method: string, params: object = {}) => ({
	jsonrpc: "2.0",
	id: 1,
	method,
	params: { ...params, _meta: ENVELOPE },
});

describe("a message over HTTP", () => {
	test.each([
		["{", 400, -32700],
		['"text"', 400, -32600],
		["", 400, -32700],
		[`{"jsonrpc":"2.0","id":1,"method":"ping","params":${"[".repeat(2_000)}${"]".repeat(2_000)}}`, 400, -32700],
		[JSON.stringify({ jsonrpc: "2.0", id: 1, method: "x".repeat(100_001) }), 413, -32600],
		["[]", 400, -32600],
		[JSON.stringify(Array.from({ length: 51 }, (_, id) => ({ jsonrpc: "2.0", id, method: "ping" }))), 400, -32600],
	])("that can't be taken is refused (%#)", async (body, status, code) => {
		const answer = await post(body);
		expect([answer.status, answer.body.error.code, answer.body.id]).toEqual([status, code, null]);
	});

	test("must be JSON, and POST", async () => {
		expect((await post("{}", { "content-type": "text/plain" })).status).toBe(415);
		for (const method of ["GET", "DELETE"]) {
			const answer = await fetch(`${server.url}/mcp`, { method });
			expect([answer.status, answer.headers.get("allow")]).toEqual([405, "POST"]);
		}
		expect(
			statusOf(
				await rawAnswer(
					server.port,
					"POST /mcp HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 999999999",
				),
			),
		).toBe(413);
	});

	test("whose headers and body disagree runs nothing", async () => {
		const version = { "mcp-protocol-version": MODERN };
		const call = modern("tools/call", { name: "list_collections", arguments: {} });
		let ran = 0;
		pipeline.run = async () => {
			ran++;
			return { collections: [] };
		};
		const right = { ...version, "mcp-method": "tools/call", "mcp-name": "list_collections" };
		for (const wrong of [
			{ "mcp-method": "tools/list" },
			{ "mcp-name": "delete_collection" },
			{ "mcp-protocol-version": LEGACY },
		]) {
			const answer = await post(call, { ...right, ...wrong });
			expect([answer.status, answer.body.error.code]).toEqual([400, -32_020]);
		}
		expect(ran).toBe(0);
		expect((await post(call, right)).body.result.resultType).toBe("complete");
	});

	test("lists are a caller's own to caches", async () => {
		for (const method of ["tools/list", "resources/list", "resources/templates/list", "server/discover"]) {
			const { body } = await post(modern(method), { "mcp-protocol-version": MODERN, "mcp-method": method });
			expect(body.result.cacheScope).toBe("private");
		}
	});

	test("may be a batch in the revisions that have them, and each message is paid for", async () => {
		const batch = [{ jsonrpc: "2.0", id: 1, method: "ping" }, list(2), { jsonrpc: "2.0", method: "notifications/x" }];
		const { body } = await post(batch);
		expect(body.map(({ id }: Rpc) => id).toSorted()).toEqual([1, 2]);
		expect(pipeline.charged).toEqual(["mcp.ping", "mcp.notification"]);
		expect((await post(batch, { "mcp-protocol-version": LEGACY })).body.error.code).toBe(-32600);
	});

	test.each(["no such tool", "subscriptions/listen", "tools/call without a name"])(
		"that runs nothing is paid for: %s",
		async (what) => {
			const message =
				what === "subscriptions/listen"
					? { ...list(1), method: what }
					: { ...list(1), params: what === "no such tool" ? { name: "nope" } : {} };
			expect((await post(message)).body.error).toBeDefined();
			expect(pipeline.charged).toHaveLength(1);
		},
	);
});

describe("what a tenant has under way", () => {
	test("is bounded, at once refused with -32004 beyond, and frees its place when it ends", async () => {
		const held = signalled();
		const begun: (() => void)[] = [];
		const allBegun = signalled();
		pipeline.run = async () => {
			begun.push(() => {});
			if (begun.length === 3) allBegun.resolve();
			await held.promise;
			return { collections: [] };
		};
		const underWay = [1, 2, 3].map((id) => post(list(id)));
		await allBegun.promise;
		const refused = await post(list(4));
		expect([refused.status, refused.headers.get("retry-after"), refused.body]).toMatchObject([
			429,
			"1",
			{ id: 4, error: { code: -32004, data: { limit: 3, window: "concurrent", retry_after_seconds: 1 } } },
		]);
		expect(typeof refused.body.error.data.reset_at).toBe("string");
		expect((await post([list(1), list(2), list(3), list(4)], { "x-tenant-id": "beta" })).body.error.code).toBe(-32004);
		pipeline.run = async () => ({ collections: [] });
		expect((await post(list(5), { "x-tenant-id": "beta" })).status).toBe(200);
		held.resolve();
		for (const { status } of await Promise.all(underWay)) expect(status).toBe(200);
		expect((await post(list(6))).status).toBe(200);
	});

	test("is given up after the time limit, and the operation hears of it", async () => {
		const quick = new StubPipeline();
		const other = startMcp(quick, { timeoutSeconds: 0.05 });
		const aborted = signalled();
		quick.run = ({ signal }) => {
			signal.addEventListener("abort", () => aborted.resolve());
			return new Promise(() => {});
		};
		const { body } = await post(list(1), {}, other.url);
		expect(body).toMatchObject({ id: 1, error: { code: -32603, data: { code: "OVERLOADED" } } });
		await aborted.promise;
		await other.server.stop();
	});

	test.each(ERAS)("ends when a client of %s cancels it or goes away", async (era) => {
		const client = await connected(era);
		const begun = signalled();
		const aborted = signalled();
		pipeline.run = ({ signal }) => {
			begun.resolve();
			return new Promise((_, reject) => {
				signal.addEventListener("abort", () => {
					aborted.resolve();
					reject(new HiveError("OVERLOADED", "gone"));
				});
			});
		};
		const cancelling = new AbortController();
		const call = client.callTool({ name: "list_collections", arguments: {} }, { signal: cancelling.signal });
		const failed = call.then(
			() => false,
			() => true,
		);
		await begun.promise;
		cancelling.abort();
		expect(await failed).toBe(true);
		// A client of the older era tells it in a message of its own, which in HTTP can't be told apart from others': closing does.
		await client.close();
		await aborted.promise;
	});

	test.each(ERAS)("tells a client of %s that asked for it how long it has been at work", async (era) => {
		const client = await connected(era);
		const told = signalled<number>();
		pipeline.run = async () => {
			await told.promise;
			return { collections: [] };
		};
		const result = await client.callTool(
			{ name: "list_collections", arguments: {} },
			{ onprogress: ({ progress }) => told.resolve(progress) },
		);
		expect(await told.promise).toBeGreaterThan(0);
		expect(result.structuredContent).toEqual({ collections: [] });
		await client.close();
	});
});

async function connected(era: (typeof ERAS)[number]): Promise<Client> {
	const client = sdkClient(era);
	await client.connect(new StreamableHTTPClientTransport(new URL(`${server.url}/mcp`)));
	return client;
}
