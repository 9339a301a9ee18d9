import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { HiveError } from "../../src/base/errors.ts";
import type { NodeInfo, NodeServices, Readiness } from "../../src/operations/node-services.ts";
import { OPERATIONS } from "../../src/operations/operation-table.ts";
import { OperationsNode, type Output, thrownBy } from "./operations-fixture.ts";

const NODE: NodeInfo = { node_id: "node_a", state: "active", addresses: [], ring_share: 1, self: true };

/** An operation over services that a test makes up. */
async function run(name: string, services: object): Promise<Output> {
	const operation = OPERATIONS.find((each) => each.name === name)!;
	const context = { services: services as NodeServices } as Parameters<typeof operation.run>[0];
	return operation.output.parse(await operation.run(context, {}));
}

describe("a node that is up", () => {
	let node: OperationsNode;
	beforeAll(async () => {
		node = await OperationsNode.start();
	});
	afterAll(() => node.stop());

	test("is live and ready, and tells anyone so", async () => {
		expect(await node.ask("health.live", {})).toEqual({
			status: "ok",
			version: "1.2.3",
			uptime_seconds: expect.any(Number),
		});
		expect(await node.ask("health.ready", {})).toMatchObject({
			ready: true,
			state: "ready",
			checks: { hub: "connected" },
		});
		expect((await node.refusal("health.live", { verbose: true })).details?.field).toBe("verbose");
	});

	test("shows an admin the cluster it is alone in", async () => {
		const health = await node.asAdmin("cluster.health", {});
		expect(health).toMatchObject({
			status: "healthy",
			cluster_mode: true,
			hivehub_connection: "connected",
			tenant_count: 1,
			total_storage_gb: 0,
			version: "1.2.3",
		});
		expect(health.nodes).toEqual((await node.asAdmin("cluster.nodes", {})).nodes);
		expect(health.nodes).toMatchObject([{ node_id: node.node.nodeId, state: "active", self: true, ring_share: 1 }]);
	});

	test("shows an admin its metrics", async () => {
		await node.refusal("collections.list", {});
		const metrics = await node.asAdmin("metrics.read", {});
		expect(metrics).toContain('hive_vector_auth_failures_total{reason="AUTH_MISSING"} 1\n');
		expect((await node.refusal("metrics.read", {})).code).toBe("AUTH_MISSING");
	});
});

describe("readiness", () => {
	const ready = (readiness: Readiness) => run("health.ready", { readiness: () => readiness });

	test("is refused while the node starts, and while it drains, with the reasons", async () => {
		const checks = { hub: "disconnected", open_shards: 0 };
		for (const [state, code] of [
			["starting", "OVERLOADED"],
			["draining", "NODE_DRAINING"],
		] as const) {
			const error = (await thrownBy(() => ready({ state, checks }))) as HiveError;
			expect(error.code).toBe(code);
			expect(error.details).toEqual({ ready: false, state, checks });
		}
	});
});

describe("the cluster's health", () => {
	const health = (changes: { hub?: object; connected?: boolean; nodes?: readonly NodeInfo[]; storedBytes?: number }) =>
		run("cluster.health", {
			clock: { nowMs: () => 90_500 },
			startedAtMs: 1_000,
			version: "1.2.3",
			isClusterMode: true,
			directory: {
				connected: changes.connected ?? true,
				hub: changes.hub ?? { listTenants: async () => ({ tenants: [], next: null }) },
			},
			nodes: async () => changes.nodes ?? [NODE],
			storedBytes: async () => changes.storedBytes ?? 0,
		});

	test("counts tenants over all pages, whole seconds and gigabytes", async () => {
		const hub = {
			listTenants: async ({ after }: { after?: string }) =>
				after === undefined ? { tenants: Array(1_000), next: "m" } : { tenants: Array(17), next: null },
		};
		expect(await health({ hub, storedBytes: 1_234_567_890 })).toMatchObject({
			tenant_count: 1_017,
			uptime_seconds: 89,
			total_storage_gb: 1.234568,
			status: "healthy",
		});
	});

	test("is degraded while the hub is away, which is no error", async () => {
		const hub = { listTenants: () => Promise.reject(new HiveError("HUB_UNAVAILABLE", "away")) };
		expect(await health({ hub })).toMatchObject({
			status: "degraded",
			hivehub_connection: "disconnected",
			tenant_count: null,
		});
		expect(await health({ connected: false })).toMatchObject({ status: "degraded" });
	});

	test("is degraded while a member is not active", async () => {
		const nodes = [NODE, { ...NODE, node_id: "node_b", state: "down" as const, self: false }];
		expect(await health({ nodes })).toMatchObject({ status: "degraded", hivehub_connection: "connected" });
	});

	test("does not hide a defect", async () => {
		const defect = new HiveError("INTERNAL", "broken");
		expect(await thrownBy(() => health({ hub: { listTenants: () => Promise.reject(defect) } }))).toBe(defect);
	});
});
