import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { HiveError } from "../../src/base/errors.ts";
import type {
	ClusterControl,
	ClusterState,
	NodeInfo,
	NodeServices,
	Readiness,
} from "../../src/operations/node-services.ts";
import { OPERATIONS } from "../../src/operations/operation-table.ts";
import { OperationsNode, type Output, thrownBy } from "./operations-fixture.ts";

const NODE: NodeInfo = {
	node_id: "node_a",
	state: "active",
	addresses: [],
	url: "http://10.0.0.1:7801",
	version: "1.2.3",
	ring_share: 1,
	self: true,
	last_heard_seconds: 0,
	hub: { serves: true, connected: true },
	shards_open: 0,
	stored_gb: 0,
	transfers: [],
	transfers_waiting: 0,
	hints_pending: 0,
	replication_lag_seconds: 0,
};

const STATE: ClusterState = {
	topology_version: 3,
	is_changing: false,
	has_majority: true,
	stored_bytes: 0,
	nodes: [NODE],
};

const other = (changes: Partial<NodeInfo>): NodeInfo => ({ ...NODE, node_id: "node_b", self: false, ...changes });

/** An operation over services that a test makes up. */
async function run(name: string, services: object, input: object = {}): Promise<Output> {
	const operation = OPERATIONS.find((each) => each.name === name)!;
	const context = { services: services as NodeServices } as Parameters<typeof operation.run>[0];
	return operation.output.parse(await operation.run(context, operation.input.parse(input)));
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
	const health = (changes: { hub?: object; connected?: boolean; state?: Partial<ClusterState> }) =>
		run("cluster.health", {
			clock: { nowMs: () => 90_500 },
			startedAtMs: 1_000,
			version: "1.2.3",
			isClusterMode: true,
			directory: {
				connected: changes.connected ?? true,
				hub: changes.hub ?? { listTenants: async () => ({ tenants: [], next: null }) },
			},
			cluster: { state: () => ({ ...STATE, ...changes.state }) },
		});

	test("counts tenants over all pages, whole seconds and gigabytes", async () => {
		const hub = {
			listTenants: async ({ after }: { after?: string }) =>
				after === undefined ? { tenants: Array(1_000), next: "m" } : { tenants: Array(17), next: null },
		};
		expect(await health({ hub, state: { stored_bytes: 1_234_567_890 } })).toMatchObject({
			tenant_count: 1_017,
			uptime_seconds: 89,
			total_storage_gb: 1.234568,
			status: "healthy",
			problems: [],
			topology_version: 3,
			is_changing: false,
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

	test("is degraded while a member is down or dead, misses writes or has lost the hub, and says so in sentences", async () => {
		const problems = async (...nodes: NodeInfo[]): Promise<string[]> => {
			const { status, problems: told } = await health({ state: { nodes: [NODE, ...nodes] } });
			expect(status).toBe(told.length === 0 ? "healthy" : "degraded");
			return told;
		};
		expect(await problems(other({ state: "down", last_heard_seconds: 12.4, hints_pending: 3 }))).toEqual([
			"node_b is down: it was last heard of 12 seconds ago",
		]);
		expect(await problems(other({ state: "down", last_heard_seconds: null }))).toEqual([
			"node_b is down: it has not been heard of since this node started",
		]);
		expect(await problems(other({ state: "removed" }))).toEqual([
			"node_b is dead and removed: copies of what it held are being made",
		]);
		expect(await problems(other({ hints_pending: 2, hub: { serves: false, connected: false } }))).toEqual([
			"node_b keeps 2 hints for copies that have missed writes",
			"node_b does not reach the hub",
		]);
		expect(await problems(other({ state: "joining", transfers_waiting: 4 }), other({ state: "draining" }))).toEqual([]);
		expect((await health({ state: { has_majority: false } })).problems).toEqual([
			"this node reaches no majority of the members: much is refused with NO_QUORUM",
		]);
	});

	test("does not hide a defect", async () => {
		const defect = new HiveError("INTERNAL", "broken");
		expect(await thrownBy(() => health({ hub: { listTenants: () => Promise.reject(defect) } }))).toBe(defect);
	});
});

describe("changes of the cluster", () => {
	class RecordedCluster implements ClusterControl {
		readonly calls: unknown[] = [];
		nodes: readonly NodeInfo[] = [NODE, other({})];

		state = (): ClusterState => ({ ...STATE, is_changing: true, nodes: this.nodes });

		async drain(...args: unknown[]): Promise<void> {
			this.calls.push(["drain", ...args]);
			this.nodes = [NODE, other({ state: "draining" })];
		}

		async cancelDrain(...args: unknown[]): Promise<void> {
			this.calls.push(["cancel", ...args]);
			this.nodes = [NODE, other({})];
		}

		async remove(...args: unknown[]): Promise<void> {
			this.calls.push(["remove", ...args]);
			this.nodes = [NODE];
		}

		async rebalance(): Promise<void> {
			this.calls.push(["rebalance"]);
		}

		async shards(...args: unknown[]) {
			this.calls.push(["shards", ...args]);
			return [
				{
					tenant_id: "acme",
					collection: "docs",
					shard: 0,
					copies: [
						{ node_id: "node_a", state: "complete" as const, vectors: 2, digest: "ab" },
						{ node_id: "node_b", state: "unknown" as const },
					],
				},
			];
		}
	}

	test("a drain answers how the node stands from now on", async () => {
		const cluster = new RecordedCluster();
		expect(await run("cluster.drain", { cluster }, { node_id: "node_b" })).toEqual({
			node_id: "node_b",
			state: "draining",
			topology_version: 3,
		});
		expect(cluster.calls).toEqual([["drain", "node_b"]]);
	});

	test("a drain that is called off answers that the node stays", async () => {
		const cluster = new RecordedCluster();
		await run("cluster.drain", { cluster }, { node_id: "node_b" });
		const kept = await run("cluster.drain", { cluster }, { node_id: "node_b", cancel: true });
		expect([kept.state, cluster.calls.at(-1)]).toEqual(["active", ["cancel", "node_b"]]);
	});

	test("a removal accepts no loss unless it is told to, and a node that held nothing is gone at once", async () => {
		const cluster = new RecordedCluster();
		const removed = await run("cluster.remove", { cluster }, { node_id: "node_b" });
		expect(removed.state).toBe("gone");
		await run("cluster.remove", { cluster }, { node_id: "node_b", accept_loss: true });
		expect(cluster.calls).toEqual([
			["remove", "node_b", false],
			["remove", "node_b", true],
		]);
	});

	test("a rebalance answers what is left to move", async () => {
		const cluster = new RecordedCluster();
		const transfer = {
			tenant_id: "acme",
			collection_id: "c1",
			shard: 0,
			from: "node_a",
			rows_done: 1,
			rows_total: 2,
			bytes_done: 10,
		};
		cluster.nodes = [NODE, other({ transfers: [transfer], transfers_waiting: 4 })];
		expect(await run("cluster.rebalance", { cluster })).toEqual({
			moves_running: 1,
			moves_waiting: 4,
			topology_version: 3,
			is_changing: true,
		});
		expect((await run("cluster.nodes", { cluster })).nodes[1].transfers).toEqual([transfer]);
	});

	test("the copies of one collection can be asked for alone", async () => {
		const cluster = new RecordedCluster();
		const { shards } = await run("cluster.shards", { cluster }, { tenant_id: "acme", collection: "docs" });
		expect(shards[0].copies).toHaveLength(2);
		expect(cluster.calls).toEqual([["shards", "acme", "docs"]]);
	});
});

describe("a node alone", () => {
	test("is told that there is nothing to leave, in single-tenant mode", async () => {
		const node = await OperationsNode.start({
			HIVE_VECTOR_CLUSTER_ENABLED: "false",
			HIVE_VECTOR_AUTH_REQUIRED: "true",
		});
		try {
			const key = node.adminKey;
			const own = (await node.asAdmin("cluster.nodes", {})).nodes[0].node_id;
			const drained = await node.refusal("cluster.drain", { node_id: own }, { key });
			expect([drained.code, drained.message]).toEqual([
				"CONFLICT",
				"this node is single-tenant and alone: there is no cluster that it could leave",
			]);
			expect((await node.refusal("cluster.remove", { node_id: "node_b" }, { key })).code).toBe("NOT_FOUND");
			expect((await node.refusal("cluster.drain", { node_id: "../x" }, { key })).details?.field).toBe("node_id");
		} finally {
			await node.stop();
		}
	});
});
