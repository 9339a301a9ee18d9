import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HiveError } from "../../src/base/errors.ts";
import type { NodeId, TenantId } from "../../src/base/ids.ts";
import { HubOverPeers, hubRequestHandler } from "../../src/cluster/hub-over-peers.ts";
import { type PeerCalls, PeerFailure } from "../../src/cluster/peer/peer-types.ts";
import { HUB_LIMITS } from "../../src/hub/hub-limits.ts";
import { type HubRig, newClient, openHub, RunningClock, SERVICE_KEY } from "../hub/hub-rig.ts";
import { HubWire, JOINED } from "./hub-wire.ts";

const HUB_NODE = "node_hubhubhubhubhub1" as NodeId;
const folder = mkdtempSync(join(tmpdir(), "hub-over-peers-"));
let hub: HubRig;
beforeAll(async () => {
	hub = await openHub({ sqlitePath: join(folder, "hub.db") }, new RunningClock());
});
afterAll(async () => {
	await hub.server.close();
	rmSync(folder, { recursive: true, force: true });
});

const over = (calls: PeerCalls, hubNode: NodeId | undefined = HUB_NODE) =>
	new HubOverPeers({ calls, hubNode: () => hubNode, timeoutSeconds: 5 });

/** A client of the hub, with a service key that the hub does not know: the member that has the hub puts in its own. */
const clientOver = (peers: HubOverPeers) =>
	newClient(peers.transport, { serviceKey: `svc_${"x".repeat(40)}`, retries: 0 });

async function codeOf(work: Promise<unknown>): Promise<string> {
	try {
		await work;
		return "ok";
	} catch (error) {
		if (error instanceof HiveError) return error.code;
		throw error;
	}
}

describe("a hub reached through the node that runs it", () => {
	test("answers and refuses as it does itself, and the asker's key is not needed", async () => {
		const client = clientOver(over(new HubWire(hubRequestHandler(hub.server, SERVICE_KEY))));
		expect((await client.health()).status).toBe("ok");
		const made = await client.createTenant({ id: "acme" as TenantId, name: "Acme – ärger" });
		expect(await client.getTenant("acme" as TenantId)).toEqual(made);
		expect(await codeOf(client.createTenant({ id: "acme" as TenantId, name: "again" }))).toBe("TENANT_EXISTS");
		expect(await client.getTenant("nobody" as TenantId)).toBeUndefined();
		expect((await client.updateTenant("acme" as TenantId, { name: "A" })).name).toBe("A");
		await client.deleteTenant("acme" as TenantId);
		expect(hub.defects).toEqual([]);
	});

	test("is asked for changes as long as it may take to have one, and hears when nobody listens any more", async () => {
		const wire = new HubWire(hubRequestHandler(hub.server, SERVICE_KEY));
		const client = clientOver(over(wire));
		const { cursor } = await client.changes(undefined, 0, new AbortController().signal);
		const page = client.changes(cursor, 30, new AbortController().signal);
		await hub.client().createTenant({ id: "beta" as TenantId, name: "Beta" });
		expect((await page).changes).toMatchObject([{ kind: "tenant", tenant_id: "beta" }]);
		expect(wire.options.at(-1)).toMatchObject({ timeoutMs: 35_000, isBulk: true });
		const aborter = new AbortController();
		const ended = codeOf(client.changes((await page).cursor, 60, aborter.signal));
		aborter.abort();
		expect(await ended).toBe("HUB_UNAVAILABLE");
		expect(wire.options.at(-1)?.signal?.aborted).toBe(true);
	});

	test("is given only what a hub has to know, and never the service key of the asker", async () => {
		const wire = new HubWire(hubRequestHandler(hub.server, SERVICE_KEY));
		await clientOver(over(wire)).createTenant({ id: "gamma" as TenantId, name: "Gamma" });
		expect(wire.bodies[0]).toEqual({
			method: "POST",
			path: "/api/v1/tenants",
			headers: { "content-type": "application/json" },
			body: expect.any(Uint8Array),
		});
		expect(JSON.stringify(wire.bodies)).not.toContain("svc_");
	});
});

describe("without a node that runs the hub", () => {
	test("the hub is unavailable, whatever the reason", async () => {
		const failing = (error: unknown): PeerCalls => ({ call: () => Promise.reject(error), isConnected: () => false });
		const reasons: readonly HubOverPeers[] = [
			new HubOverPeers({ calls: failing("never called"), hubNode: () => undefined, timeoutSeconds: 5 }),
			over(failing(new PeerFailure("unreachable", HUB_NODE, "gone"))),
			over(failing(new PeerFailure("unsupported", HUB_NODE, "an older version"))),
			over(failing(new HiveError("INTERNAL", "the node failed"))),
			over({ call: async () => ({ status: 99 }), isConnected: () => true }),
			over({ call: async () => "nonsense", isConnected: () => true }),
		];
		for (const peers of reasons) expect(await codeOf(clientOver(peers).health())).toBe("HUB_UNAVAILABLE");
	});
});

describe("what members may ask of a hub", () => {
	const seen: Request[] = [];
	const handler = hubRequestHandler(
		{
			async handle(request) {
				seen.push(request);
				return new Response("{}", {
					headers: { "content-type": "application/json", "set-cookie": "a=b", "retry-after": "1" },
				});
			},
		},
		SERVICE_KEY,
	);
	const ask = (body: unknown) => handler(body, { from: JOINED, signal: new AbortController().signal });
	const get = { method: "GET", path: "/api/v1/health", headers: {}, body: null };

	test("is its API and nothing else", async () => {
		for (const wrong of [
			undefined,
			{ ...get, path: "/metrics" },
			{ ...get, path: "//elsewhere/api/v1/health" },
			{ ...get, path: "@elsewhere/api/v1/" },
			{ ...get, path: "/api/v1/../../metrics" },
			{ ...get, path: "/api/v1/%2e%2E/health" },
			{ ...get, path: `/api/v1/${"x".repeat(9_000)}` },
			{ ...get, method: "CONNECT" },
			{ ...get, method: "POST", body: "text" },
			{ ...get, method: "POST", body: new Uint8Array(HUB_LIMITS.requestBodyBytesMax + 1) },
			{ ...get, headers: { "x-request-id": "x".repeat(2_000) } },
			{ ...get, headers: { "x-request-id": "a\r\nauthorization: b" } },
			{ ...get, headers: { "x request id": "a" } },
		]) {
			expect(await codeOf(ask(wrong))).toBe("VALIDATION_FAILED");
		}
		expect(seen).toEqual([]);
	});

	test("goes with the key of the node that runs it, whatever key or header came along", async () => {
		const headers = { authorization: "Bearer svc_mine", cookie: "x", "x-request-id": "req_1" };
		const answer = (await ask({ ...get, headers })) as { headers: object };
		const request = seen.at(-1)!;
		expect(new URL(request.url).pathname).toBe("/api/v1/health");
		expect(request.headers.get("authorization")).toBe(`Bearer ${SERVICE_KEY}`);
		expect(request.headers.get("cookie")).toBeNull();
		expect(request.headers.get("x-request-id")).toBe("req_1");
		expect(Object.keys(answer.headers).sort()).toEqual(["content-type", "retry-after"]);
	});
});
