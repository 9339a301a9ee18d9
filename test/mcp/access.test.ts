import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { MCP_LIMITS } from "../../src/api/mcp/mcp-limits.ts";
import { clientOf, until } from "../node/node-fixture.ts";
import { ENVELOPE, ERAS, McpRig, type Rpc, sdkClient } from "./mcp-rig.ts";

const rig = new McpRig();
let acme: string;
beforeAll(async () => {
	await rig.start({ HIVE_VECTOR_RATE_LIMITS_MCP_REQUESTS_PER_MINUTE: "1000" });
	acme = await rig.tenant("acme");
	await rig.rest(acme, "POST", "/collections", { name: "docs", dimension: 2 });
});
afterAll(() => rig.stop());

const ping = { jsonrpc: "2.0", id: 1, method: "ping" };
const call = (id: number) => ({ jsonrpc: "2.0", id, method: "tools/call", params: { name: "list_collections" } });

describe("who may speak MCP", () => {
	test("shows a key, or is told so with 401 under the id of the request", async () => {
		const none = await rig.post(undefined, ping);
		expect([none.status, none.headers.get("www-authenticate"), none.body]).toMatchObject([
			401,
			"Bearer",
			{ id: 1, error: { code: -32002, data: { code: "AUTH_MISSING" } } },
		]);
		const wrong = await rig.post(`hh_live_${"x".repeat(32)}`, ping);
		expect([wrong.status, wrong.body.error.code]).toEqual([401, -32001]);
		const none404 = await rig.post(rig.adminKey, ping, { "x-tenant-id": "nobody" });
		expect([none404.status, none404.body.error.code]).toEqual([404, -32006]);
	});

	test("a key for MCP alone works here and nowhere else, and an admin acts in a tenant by naming it", async () => {
		const mcp = await rig.key("acme", "MCP");
		expect((await rig.call(mcp, "list_collections")).result.structuredContent.collections).toHaveLength(1);
		expect((await rig.rest(mcp, "GET", "/collections")).status).toBe(403);
		const { body, headers } = await rig.post(rig.adminKey, call(1), { "x-tenant-id": "acme" });
		expect(body.result.structuredContent.collections[0].full_name).toBe("acme:docs");
		expect(headers.get("x-tenant-id")).toBe("acme");
	});

	test("a page of a foreign origin may not, with a key or without", async () => {
		for (const key of [undefined, acme]) {
			const answer = await rig.post(key, ping, { origin: "https://evil.example" });
			expect([answer.status, answer.body.error.code]).toEqual([403, -32003]);
		}
		expect((await rig.post(acme, ping, { origin: rig.node.url })).status).toBe(200);
	});

	test("calls have a limit of their own, apart from REST's", async () => {
		const key = await rig.tenant("small", { rate_limits: { mcp_requests_per_minute: 2, requests_per_minute: 50 } });
		for (const remaining of ["1", "0"]) {
			const { headers } = await rig.post(key, call(1));
			expect(headers.get("x-ratelimit-remaining")).toBe(remaining);
		}
		const refused = await rig.post(key, call(9));
		expect([refused.status, refused.body]).toMatchObject([
			429,
			{ id: 9, error: { code: -32004, data: { limit: 2, window: "minute", retry_after_seconds: expect.any(Number) } } },
		]);
		expect(typeof refused.body.error.data.reset_at).toBe("string");
		expect((await rig.rest(key, "GET", "/collections")).status).toBe(200);
	});

	test("a full quota is told with its numbers", async () => {
		const key = await rig.tenant("full", { quota: { max_storage_bytes: 100 } });
		await rig.rest(key, "POST", "/collections", { name: "c", dimension: 100 });
		const vector = Array.from({ length: 100 }, () => 1);
		const { error } = await rig.call(key, "insert_vectors", { collection: "c", vectors: [{ vector }] });
		expect(error).toMatchObject({ code: -32005, data: { quota_bytes: 100, current_bytes: 0, available_bytes: 100 } });
		expect(error.data.requested_bytes).toBeGreaterThan(400);
	});

	test("what is done is in the audit log and metrics like any other call", async () => {
		const made = await rig.post(acme, {
			...call(1),
			params: { name: "create_collection", arguments: { name: "audited", dimension: 2 } },
		});
		expect(made.body.result.structuredContent.name).toBe("audited");
		const metrics = await clientOf(rig.node.url, rig.adminKey)("GET", "/metrics");
		expect(metrics.body).toMatch(
			/tenant_requests_total\{tenant_id="acme",operation="collections.create",status="201"\} 2/,
		);
	});
});

interface Line {
	readonly socket: WebSocket;
	readonly received: Rpc[];
	readonly closed: Promise<CloseEvent>;
}

async function open(key: string | undefined): Promise<Line | undefined> {
	const socket = new WebSocket(`${rig.node.url.replace("http", "ws")}/mcp/ws`, {
		headers: key === undefined ? {} : { authorization: `Bearer ${key}` },
	});
	const received: Rpc[] = [];
	socket.onmessage = ({ data }) => received.push(JSON.parse(String(data)));
	const closed = new Promise<CloseEvent>((resolve) => {
		socket.onclose = resolve;
	});
	const isOpen = new Promise<boolean>((resolve) => {
		socket.onopen = () => resolve(true);
	});
	return (await Promise.race([isOpen, closed.then(() => false)])) ? { socket, received, closed } : undefined;
}

describe("a WebSocket", () => {
	const heard = async ({ received }: Line, id: number | null): Promise<Rpc> => {
		await until(() => received.some((message) => message.id === id));
		return received.find((message) => message.id === id);
	};

	test("is refused without a good key", async () => {
		expect(await open(undefined)).toBeUndefined();
		expect(await open(`hh_live_${"x".repeat(32)}`)).toBeUndefined();
	});

	test("speaks either era, and answers what is no message", async () => {
		const older = (await open(acme))!;
		const send = (line: Line, message: unknown) => line.socket.send(JSON.stringify(message));
		send(older, call(1));
		expect((await heard(older, 1)).result.structuredContent.collections[0].full_name).toStartWith("acme:");
		older.socket.send("{");
		expect((await heard(older, null)).error.code).toBe(-32700);
		send(older, { jsonrpc: "2.0", id: 3 });
		expect((await heard(older, 3)).error.code).toBe(-32600);
		send(older, { ...call(4), params: { name: "get_collection_info", arguments: { collection: "nope" } } });
		expect((await heard(older, 4)).error.code).toBe(-32007);
		older.socket.close();
		const newer = (await open(acme))!;
		send(newer, { ...call(1), method: "server/discover", params: { _meta: ENVELOPE } });
		expect((await heard(newer, 1)).result.supportedVersions).toContain("2026-07-28");
		send(newer, { ...call(2), params: { name: "list_collections", arguments: {}, _meta: ENVELOPE } });
		expect((await heard(newer, 2)).result.resultType).toBe("complete");
		newer.socket.close();
	});

	test("ends with the key, and nothing that comes after is done", async () => {
		const { key, id } = await rig.keyRecord("acme", "READ_WRITE");
		const line = (await open(key))!;
		line.socket.send(JSON.stringify(call(1)));
		await heard(line, 1);
		expect((await rig.admin("DELETE", `/tenants/acme/keys/${id}`)).status).toBeLessThan(300);
		line.socket.send(
			JSON.stringify({ ...call(2), params: { name: "create_collection", arguments: { name: "late", dimension: 2 } } }),
		);
		const { code, reason } = await line.closed;
		expect([code, reason]).toEqual([1008, "AUTH_INVALID"]);
		expect(line.received.filter(({ id: answered }) => answered === 2).every(({ error }) => error.code === -32001)).toBe(
			true,
		);
		expect((await rig.rest(acme, "GET", "/collections/late")).status).toBe(404);
	});

	test("ends without a word said, when the key is no good any more", async () => {
		const { key, id } = await rig.keyRecord("acme", "MCP");
		const line = (await open(key))!;
		await rig.admin("DELETE", `/tenants/acme/keys/${id}`);
		expect((await line.closed).code).toBe(1008);
	});

	test("is one of so many a tenant may have", async () => {
		const key = await rig.tenant("crowd");
		const lines = await Promise.all(Array.from({ length: MCP_LIMITS.socketsPerTenantMax }, () => open(key)));
		expect(lines.every((line) => line !== undefined)).toBe(true);
		expect(await open(key)).toBeUndefined();
		expect(await open(acme)).toBeDefined();
		lines[0]!.socket.close();
		await lines[0]!.closed;
		await until(async () => (await open(key)) !== undefined);
	});
});

describe("the stdio bridge", () => {
	const command = (key: string | undefined, ...more: string[]) => ({
		command: process.execPath,
		args: [join(import.meta.dir, "../../bin/hive-vector.ts"), "mcp", "--url", rig.node.url, ...more],
		env: { PATH: process.env.PATH ?? "", ...(key !== undefined && { HIVE_VECTOR_API_KEY: key }) },
	});

	test.each(ERAS)(
		"lets a client of the official SDK speak %s",
		async (era) => {
			const client = sdkClient(era);
			await client.connect(new StdioClientTransport(command(acme)));
			const { structuredContent } = (await client.callTool({ name: "list_collections", arguments: {} })) as Rpc;
			expect(structuredContent.collections[0].full_name).toStartWith("acme:");
			await client.close();
		},
		30_000,
	);

	test("ends with stdin once everything is answered, and says on stderr alone why it can't begin", async () => {
		const run = async (key: string | undefined, input: string) => {
			const { command: program, args, env } = command(key);
			const bridge = Bun.spawn([program, ...args], { env, stdin: Buffer.from(input), stdout: "pipe", stderr: "pipe" });
			const [out, err] = await Promise.all([new Response(bridge.stdout).text(), new Response(bridge.stderr).text()]);
			return { code: await bridge.exited, out, err };
		};
		const good = await run(acme, `${JSON.stringify(call(1))}\n${JSON.stringify(call(2))}\n`);
		expect([
			good.code,
			good.err,
			good.out
				.trimEnd()
				.split("\n")
				.map((line) => JSON.parse(line).id)
				.toSorted(),
		]).toEqual([0, "", [1, 2]]);
		const bad = await run(`hh_live_${"x".repeat(32)}`, `${JSON.stringify(call(1))}\n`);
		expect([bad.code, bad.out]).toEqual([3, ""]);
		expect(bad.err).toContain("AUTH_INVALID");
	}, 30_000);
});
