import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { TenantUsage } from "../../src/cluster/tenant-types.ts";
import type { NodeServices } from "../../src/operations/node-services.ts";
import { OPERATIONS } from "../../src/operations/operation-table.ts";
import { tenantId, tenantRecord } from "../access/access-fixture.ts";
import { linesOf, OperationsNode, type Output } from "./operations-fixture.ts";

describe("usage", () => {
	let node: OperationsNode;
	beforeAll(async () => {
		node = await OperationsNode.start();
	});
	afterAll(() => node.stop());

	test("shows what a tenant stores and spends, to itself and to an admin alike", async () => {
		const acme = await node.newTenant("acme", {
			quota: { max_storage_bytes: 1_000 },
			// A token of these takes its time to come back, however slowly this runs.
			rate_limits: { requests_per_minute: 4, requests_per_hour: 40 },
		});
		await acme.ask("collections.create", { name: "docs", dimension: 2 });
		await acme.ask("vectors.upsert", { collection: "docs", vectors: [{ id: 1, vector: [1, 0], payload: { a: 1 } }] });
		const own = await acme.ask("usage.own", {});
		const bytes = 2 * 4 + 64 + 7;
		expect(own).toMatchObject({
			tenant_id: "acme",
			storage: { used_bytes: bytes, quota_bytes: 1_000, usage_percent: bytes / 10 },
			rate_limits: {
				requests_per_minute: { used: 3, limit: 4 },
				requests_per_hour: { used: 3, limit: 40 },
			},
			collections: 1,
			vectors: 1,
			api_keys_count: 1,
			activity: { requests: 3, searches: 0, vectors_written: 1 },
		});
		expect(Date.parse(own.last_request_at)).toBeGreaterThan(Date.parse(own.created_at) - 1);
		await node.asAdmin("tenants.update", { tenant_id: "acme", rate_limits: null });
		const shown = [
			await acme.ask("cluster.usage", {}),
			await acme.ask("cluster.usage", { tenant_id: "acme" }),
			await node.asAdmin("usage.own", {}, "acme"),
			await node.asAdmin("cluster.usage", { tenant_id: "acme" }),
		];
		for (const usage of shown) {
			expect(usage).toMatchObject({ tenant_id: "acme", storage: own.storage, collections: 1, vectors: 1 });
		}
	});

	test("tells what the tenant did since it was made: each request, search and vector, and nothing of its namesake", async () => {
		const busy = await node.newTenant("busy");
		await busy.ask("collections.create", { name: "docs", dimension: 2 });
		await busy.ask("vectors.upsert", {
			collection: "docs",
			vectors: [
				{ id: 1, vector: [1, 0] },
				{ id: 2, vector: [1, 1] },
			],
		});
		await busy.ask("vectors.update", { collection: "docs", id: 1, payload: { a: 1 } });
		await busy.ask("search.query", { collection: "docs", vector: [1, 0] });
		await busy.ask("search.batch", { collection: "docs", searches: [{ vector: [1, 0] }, { vector: [1, 1] }] });
		const lines = linesOf(['{"id":3,"vector":[1,2]}', "{}", '{"id":4,"vector":[2,1]}']);
		await busy.ask("vectors.import", { collection: "docs", lines });
		// Refused, but admitted and looked into.
		await busy.refusal("collections.get", { collection: "none" });
		const activity = { requests: 8, searches: 3, vectors_written: 5 };
		expect((await busy.ask("usage.own", {})).activity).toEqual(activity);
		expect((await node.asAdmin("cluster.usage", { tenant_id: "busy" })).activity).toEqual(activity);

		await node.asAdmin("tenants.delete", { tenant_id: "busy" });
		const namesake = await node.newTenant("busy");
		expect((await namesake.ask("usage.own", {})).activity).toEqual({ requests: 1, searches: 0, vectors_written: 0 });
	});

	test("of one that was never seen says so", async () => {
		await node.asAdmin("tenants.create", { id: "quiet" });
		expect(await node.asAdmin("cluster.usage", { tenant_id: "quiet" })).toMatchObject({
			last_request_at: null,
			activity: { requests: 0, searches: 0, vectors_written: 0 },
			storage: { used_bytes: 0, quota_bytes: null, usage_percent: 0 },
			collections: 0,
			vectors: 0,
		});
	});

	test("of no tenant is not there, and of no tenant's name is refused", async () => {
		const ask = (tenant_id: string) => node.refusal("cluster.usage", { tenant_id }, { key: node.adminKey });
		expect((await ask("nobody")).code).toBe("TENANT_NOT_FOUND");
		expect((await ask("../acme")).details?.field).toBe("tenant_id");
	});

	test("goes down when vectors and collections go", async () => {
		const shrinking = await node.newTenant("shrinking");
		for (const name of ["a", "b"]) {
			await shrinking.ask("collections.create", { name, dimension: 2 });
			await shrinking.ask("vectors.upsert", {
				collection: name,
				vectors: [
					{ id: 1, vector: [1, 0] },
					{ id: 2, vector: [1, 1] },
				],
			});
		}
		await shrinking.ask("vectors.delete_one", { collection: "a", id: 1 });
		expect(await shrinking.ask("usage.own", {})).toMatchObject({ vectors: 3, storage: { used_bytes: 3 * 72 } });
		await shrinking.ask("collections.delete", { collection: "b" });
		expect(await shrinking.ask("usage.own", {})).toMatchObject({
			vectors: 1,
			collections: 1,
			storage: { used_bytes: 72 },
		});
	});
});

describe("the numbers of a usage answer", () => {
	const answer = async (usedBytes: number, quotaBytes: number | null, nowIso: string): Promise<Output> => {
		const unlimited = { used: 0, limit: null, reset_in_seconds: 0 };
		const tenant = tenantRecord("acme", {
			quota: { max_storage_bytes: quotaBytes, max_vectors: null, max_collections: null },
		});
		const usage: TenantUsage = { storageBytes: usedBytes, vectorCount: 0, collectionCount: 0 };
		const services = {
			clock: { nowMs: () => Date.parse(nowIso) },
			limiter: { usage: () => ({ requests_per_minute: unlimited, requests_per_hour: unlimited }) },
			meter: {
				lastRequestMs: () => undefined,
				activity: () => ({ requests: 0, searches: 0, vectorsWritten: 0 }),
			},
		} as unknown as NodeServices;
		const { run, output } = OPERATIONS.find(({ name }) => name === "usage.own")!;
		const context = {
			services,
			caller: { tenant },
			tenant: { id: tenantId("acme"), usage: async () => usage },
		} as unknown as Parameters<typeof run>[0];
		return output.parse(await run(context, {}));
	};

	test.each([
		[0, null, 0],
		[500, null, 0],
		[0, 0, 0],
		[1, 0, 100],
		[1, 3, 33.33],
		[2, 3, 66.67],
		[3, 2, 150],
		[1, 1e9, 0],
	])("%d bytes of %p are %d percent", async (used, quota, percent) => {
		expect((await answer(used, quota, "2030-05-05T00:00:00Z")).storage.usage_percent).toBe(percent);
	});

	test.each([
		["2030-01-31T23:59:59.999Z", "2030-01-01T00:00:00.000Z", "2030-02-01T00:00:00.000Z"],
		["2030-12-31T12:00:00Z", "2030-12-01T00:00:00.000Z", "2031-01-01T00:00:00.000Z"],
		["2028-02-29T00:00:00Z", "2028-02-01T00:00:00.000Z", "2028-03-01T00:00:00.000Z"],
	])("at %s the period is the calendar month", async (now, start, end) => {
		expect(await answer(0, null, now)).toMatchObject({ period_start: start, period_end: end });
	});
});

test("in single-tenant mode the default tenant's usage is shown without a key", async () => {
	const node = await OperationsNode.start({ HIVE_VECTOR_CLUSTER_ENABLED: "false" });
	expect(await node.ask("usage.own", {})).toMatchObject({ tenant_id: "default", collections: 0, api_keys_count: 0 });
	expect((await node.refusal("usage.own", {}, { actingTenant: "system" })).code).toBe("TENANT_NOT_FOUND");
	expect((await node.ask("cluster.nodes", {})).nodes).toHaveLength(1);
	await node.stop();
});
