import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { HiveError } from "../../src/base/errors.ts";
import type { ApiKeyId, TenantId } from "../../src/base/ids.ts";
import { hashKey } from "../../src/base/ids.ts";
import { CallSlots } from "../../src/hub/call-slots.ts";
import type { HubClient } from "../../src/hub/hub-client-types.ts";
import type { HubTransport } from "../../src/hub/hub-http-client.ts";
import { HUB_LIMITS } from "../../src/hub/hub-limits.ts";
import type { NewKey, Topology } from "../../src/hub/models.ts";
import {
	ACME,
	type HubRig,
	newClient,
	newCollection,
	openHub,
	RunningClock,
	rejectionOf,
	SERVICE_KEY,
	temporaryFolder,
} from "./hub-rig.ts";

const newKey: NewKey = { name: "ci", permissions: ["READ_ONLY"], environment: "live", expires_at: null };
const never = new AbortController().signal;
const codeOf = (promise: Promise<unknown>): Promise<string> =>
	promise.then(
		() => "no error",
		(error) => (error instanceof HiveError ? error.code : String(error)),
	);

for (const way of ["in-process", "over a socket"] as const) {
	describe(`a hub client ${way}`, () => {
		let folder: ReturnType<typeof temporaryFolder>;
		let rig: HubRig;
		let socket: ReturnType<typeof Bun.serve> | undefined;
		let hub: HubClient;

		beforeEach(async () => {
			folder = temporaryFolder();
			rig = await openHub({ sqlitePath: join(folder.path, "hub.db") }, new RunningClock());
			if (way === "in-process") {
				hub = rig.client();
				return;
			}
			socket = Bun.serve({
				hostname: "127.0.0.1",
				port: 0,
				idleTimeout: 120,
				fetch: (request) => rig.server.handle(request),
			});
			hub = newClient(fetch, { baseUrl: `http://127.0.0.1:${socket.port}/api/v1/` });
		});

		afterEach(async () => {
			await rig.server.close();
			await socket?.stop(true);
			socket = undefined;
			folder.remove();
		});

		test("does for tenants what the hub can do", async () => {
			expect(await hub.health()).toEqual({ status: "ok", version: "1.2.3" });
			const made = await hub.createTenant({ id: ACME, name: "Acme" });
			expect(await hub.getTenant(ACME)).toEqual(made);
			expect(await hub.getTenant("nobody" as TenantId)).toBeUndefined();
			expect((await hub.updateTenant(ACME, { name: "New" })).name).toBe("New");
			const quota = { max_storage_bytes: 1, max_vectors: 2, max_collections: 3 };
			expect(await hub.setQuota(ACME, quota)).toEqual(quota);
			expect(await hub.getQuota(ACME)).toEqual(quota);
			const first = await hub.listTenants({ limit: 1 });
			expect(first).toMatchObject({ tenants: [{ id: "acme" }], next: "acme" });
			expect(await hub.listTenants({ limit: 9, after: "acme" })).toMatchObject({
				tenants: [{ id: "system" }],
				next: null,
			});
			expect(await codeOf(hub.createTenant({ id: ACME, name: "x" }))).toBe("TENANT_EXISTS");
			expect(await codeOf(hub.deleteTenant("system" as TenantId))).toBe("CONFLICT");
			await hub.deleteTenant(ACME);
			expect(await codeOf(hub.getQuota(ACME))).toBe("TENANT_NOT_FOUND");
		});

		test("does for keys what the hub can do", async () => {
			await hub.createTenant({ id: ACME, name: "Acme" });
			const { api_key, record } = await hub.createKey(ACME, newKey);
			expect((await hub.validateKey(hashKey(api_key)))?.key).toEqual(record);
			expect(await hub.validateKey(hashKey("hh_live_other"))).toBeUndefined();
			const rotated = await hub.rotateKey(record.api_key_id, 60);
			expect(await hub.listKeys(ACME)).toHaveLength(2);
			expect((await hub.revokeKey(rotated.record.api_key_id)).rotation_status).toBe("revoked");
			expect(await codeOf(hub.revokeKey("key_0000000000000000" as ApiKeyId))).toBe("KEY_NOT_FOUND");
			expect(await codeOf(hub.createKey(ACME, { ...newKey, permissions: ["ADMIN"] }))).toBe("VALIDATION_FAILED");
		});

		test("does for collections what the hub can do", async () => {
			await hub.createTenant({ id: ACME, name: "Acme" });
			const made = await hub.createCollection(ACME, newCollection("a.b-c_d"));
			expect(await hub.listCollections(ACME)).toEqual([made]);
			expect((await hub.updateCollection(ACME, "a.b-c_d", { ef_search: 99 })).hnsw.ef_search).toBe(99);
			expect(await codeOf(hub.createCollection(ACME, newCollection("a.b-c_d")))).toBe("COLLECTION_EXISTS");
			expect((await hub.deleteCollection(ACME, "a.b-c_d")).id).toBe(made.id);
			expect(await codeOf(hub.deleteCollection(ACME, "../x"))).toBe("COLLECTION_NOT_FOUND");
			await hub.setQuota(ACME, { max_storage_bytes: null, max_vectors: null, max_collections: 0 });
			const refused = hub.createCollection(ACME, newCollection("c"));
			expect(await rejectionOf(refused)).toMatchObject({
				code: "QUOTA_EXCEEDED",
				details: { quota: "max_collections", usage: { current: 0, limit: 0, requested: 1 } },
			});
		});

		test("reports usage and logs, and moves the topology on", async () => {
			await hub.reportUsage({ node_id: "n1", sequence: 1, entries: [] });
			await hub.sendLogs([{ message: "hello" }]);
			expect(rig.logs).toEqual([{ message: "hello" }]);
			const topology: Topology = {
				version: 1,
				members: [
					{
						node_id: "n1",
						peer_id: "peer-1",
						state: "joining",
						addresses: ["/ip4/10.0.0.1/tcp/7802"],
						serves_hub: true,
					},
				],
				replica_counts: [{ tenant_id: ACME, collection_id: "col_a", from: 3, to: 2 }],
				retired: [{ node_id: "n0", peer_id: "peer-0" }],
			};
			expect(await hub.putTopology(topology)).toEqual(topology);
			expect(await hub.getTopology()).toEqual(topology);
			expect(await codeOf(hub.putTopology(topology))).toBe("CONFLICT");
		});

		test("follows the feed: from now, from a cursor, and while something is awaited", async () => {
			const start = await hub.changes(undefined, 60, never);
			expect(start).toMatchObject({ changes: [], reset: false });
			const waiting = hub.changes(start.cursor, 30, never);
			const record = await hub.createTenant({ id: ACME, name: "Acme" });
			expect((await waiting).changes).toEqual([{ cursor: record.revision, kind: "tenant", tenant_id: "acme", record }]);
			const controller = new AbortController();
			const abandoned = codeOf(hub.changes(record.revision, 60, controller.signal));
			controller.abort();
			expect(await abandoned).toBe("HUB_UNAVAILABLE");
			expect(await codeOf(hub.changes(record.revision, 60, controller.signal))).toBe("HUB_UNAVAILABLE");
		});
	});
}

describe("a hub client in trouble", () => {
	const tenantPage = { tenants: [], next: null };
	const answering =
		(status: number, body: unknown): HubTransport =>
		async () =>
			new Response(typeof body === "string" ? body : JSON.stringify(body), { status });

	test("a hub that is broken in whatever way is HUB_UNAVAILABLE", async () => {
		const broken: HubTransport[] = [
			answering(200, "{"),
			answering(200, ""),
			answering(200, { tenants: [{ id: 1 }], next: null }),
			answering(500, { code: "INTERNAL", error: "oops", request_id: "r" }),
			answering(502, "<html>"),
			answering(404, { error: "no such path" }),
			answering(429, { code: "RATE_LIMITED", error: "slow down" }),
			answering(503, { code: "OVERLOADED", error: "busy" }),
			answering(400, { code: "NONSENSE", error: "what" }),
			() => Promise.reject(new TypeError("connection refused")),
		];
		for (const transport of broken) {
			expect(await codeOf(newClient(transport).listTenants({ limit: 1 }))).toBe("HUB_UNAVAILABLE");
			expect(await codeOf(newClient(transport).validateKey("0".repeat(64)))).toBe("HUB_UNAVAILABLE");
		}
	});

	test("a node whose service key is refused doesn't tell its users that theirs is", async () => {
		for (const [status, code] of [
			[401, "AUTH_INVALID"],
			[403, "FORBIDDEN"],
		] as const) {
			const calls: string[] = [];
			const transport: HubTransport = (request) => {
				calls.push(request.url);
				return answering(status, { code, error: "no" })(request);
			};
			const refused = newClient(transport, { retries: 3 }).validateKey("0".repeat(64));
			expect(await rejectionOf(refused)).toMatchObject({ code: "HUB_UNAVAILABLE", details: { status } });
			expect(calls).toHaveLength(1);
		}
	});

	test("the cause of a failure is chained, and the service key in none of it", async () => {
		const cause = new TypeError("connection refused");
		const failed = await newClient(() => Promise.reject(cause))
			.listTenants({ limit: 1 })
			.catch((error) => error);
		expect(failed.cause).toBe(cause);
		expect(Bun.inspect(failed)).not.toContain(SERVICE_KEY);
	});

	test("a hub that hangs is given up when the time is over, even if the transport ignores the signal", async () => {
		const hanging = newClient(() => new Promise(() => {}), { timeoutSeconds: 0.05, retries: 5 });
		expect(await rejectionOf(hanging.listTenants({ limit: 1 }))).toMatchObject({
			code: "HUB_UNAVAILABLE",
			message: "the hub did not answer within 0.05 seconds",
		});
		const silent = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Promise<Response>(() => {}) });
		const remote = newClient(fetch, { baseUrl: `http://127.0.0.1:${silent.port}`, timeoutSeconds: 0.05 });
		expect(await codeOf(remote.listTenants({ limit: 1 }))).toBe("HUB_UNAVAILABLE");
		await silent.stop(true);
		expect(await codeOf(remote.health())).toBe("HUB_UNAVAILABLE");
	});

	test("what may be repeated is, and what may not is sent once", async () => {
		const counting = (succeedAt: number, body: unknown) => {
			let count = 0;
			const transport: HubTransport = async (request) => {
				count += 1;
				return answering(count < succeedAt ? 503 : 200, body)(request);
			};
			return { transport, count: () => count };
		};
		const third = counting(3, tenantPage);
		expect(await newClient(third.transport, { retries: 2 }).listTenants({ limit: 1 })).toEqual({
			tenants: [],
			next: null,
		});
		expect(third.count()).toBe(3);
		const usage = counting(2, {});
		await newClient(usage.transport, { retries: 1 }).reportUsage({ node_id: "n", sequence: 1, entries: [] });
		expect(usage.count()).toBe(2);
		const tooLate = counting(3, tenantPage);
		expect(await codeOf(newClient(tooLate.transport, { retries: 1 }).listTenants({ limit: 1 }))).toBe(
			"HUB_UNAVAILABLE",
		);
		expect(tooLate.count()).toBe(2);
		const once = counting(2, {});
		expect(await codeOf(newClient(once.transport, { retries: 3 }).createTenant({ id: ACME, name: "x" }))).toBe(
			"HUB_UNAVAILABLE",
		);
		expect(once.count()).toBe(1);
	});

	test("a field that a newer hub adds is left out, not refused", async () => {
		const quota = { max_storage_bytes: 1, max_vectors: null, max_collections: null };
		const client = newClient(answering(200, { ...quota, max_dimension: 5 }));
		expect(await client.getQuota(ACME)).toEqual(quota);
	});

	test("a hub's redirection is not followed with the service key", async () => {
		const seen: string[] = [];
		const thief = Bun.serve({
			hostname: "127.0.0.1",
			port: 0,
			fetch: (request) => {
				seen.push(request.headers.get("authorization") ?? "");
				return Response.json(tenantPage);
			},
		});
		const hub = Bun.serve({
			hostname: "127.0.0.1",
			port: 0,
			fetch: () => Response.redirect(`http://127.0.0.1:${thief.port}/api/v1/tenants`),
		});
		const client = newClient(fetch, { baseUrl: `http://127.0.0.1:${hub.port}` });
		expect(await codeOf(client.listTenants({ limit: 1 }))).toBe("HUB_UNAVAILABLE");
		expect(seen).toEqual([]);
		await Promise.all([hub.stop(true), thief.stop(true)]);
	});

	test("no more calls than allowed are on their way, and each is measured", async () => {
		const calls: string[] = [];
		let current = 0;
		let most = 0;
		const client = newClient(
			async (request) => {
				current += 1;
				most = Math.max(most, current);
				await Bun.sleep(1);
				current -= 1;
				return answering(request.url.includes("limit=9") ? 500 : 200, tenantPage)(request);
			},
			{ maxConcurrent: 2, onCall: (endpoint, outcome) => calls.push(`${endpoint} ${outcome}`) },
		);
		await Promise.all(Array.from({ length: 8 }, () => client.listTenants({ limit: 1 })));
		expect(most).toBe(2);
		await codeOf(client.listTenants({ limit: 9 }));
		const refusing = newClient(answering(404, { code: "TENANT_NOT_FOUND", error: "no" }), {
			onCall: (endpoint, outcome) => calls.push(`${endpoint} ${outcome}`),
		});
		await refusing.getTenant(ACME);
		expect(calls).toEqual([...Array(8).fill("/tenants ok"), "/tenants unavailable", "/tenants/{id} refused"]);
	});
});

test("while one call finds out whether a hub is back, the others are told that it is away", async () => {
	const clock = new RunningClock();
	const answer = Promise.withResolvers<Response>();
	const asked = Promise.withResolvers<void>();
	let isBack = false;
	const client = newClient(
		() => {
			if (!isBack) return Promise.reject(new Error("nobody is there"));
			asked.resolve();
			return answer.promise;
		},
		{ clock },
	);
	for (let count = 0; count < HUB_LIMITS.breakerFailuresMax; count++) await codeOf(client.getTopology());
	clock.advanceSeconds(HUB_LIMITS.breakerPauseMaxMs / 1_000 + 1);
	isBack = true;
	const first = client.getTopology();
	await asked.promise;
	expect(await codeOf(client.getTopology())).toBe("HUB_UNAVAILABLE");
	answer.resolve(Response.json({ version: 1, members: [] }));
	expect((await first).version).toBe(1);
});

describe("call slots", () => {
	test("go to who waits longest, come back from who gives up, and are not waited for without bound", async () => {
		const slots = new CallSlots(1);
		const release = await slots.take(never);
		const order: string[] = [];
		const takeAs = async (name: string) => {
			const giveBack = await slots.take(never);
			order.push(name);
			return giveBack;
		};
		const first = takeAs("first");
		const controller = new AbortController();
		const gone = slots.take(controller.signal);
		const second = takeAs("second");
		controller.abort(new Error("gave up"));
		expect(String(await rejectionOf(gone))).toContain("gave up");
		expect(String(await rejectionOf(slots.take(controller.signal)))).toContain("gave up");
		release();
		(await first)();
		(await second)();
		expect(order).toEqual(["first", "second"]);

		const full = new CallSlots(1);
		await full.take(never);
		const crowd = new AbortController();
		const waiting = Array.from({ length: HUB_LIMITS.callsWaitingMax }, () => codeOf(full.take(crowd.signal)));
		expect(await codeOf(full.take(never))).toBe("OVERLOADED");
		crowd.abort();
		await Promise.all(waiting);
	});
});
