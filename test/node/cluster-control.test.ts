import { describe, expect, test } from "bun:test";
import type { HiveError } from "../../src/base/errors.ts";
import type { CollectionId, NodeId, TenantId } from "../../src/base/ids.ts";
import type { HeardHeartbeat } from "../../src/cluster/gossip/gossip-state.ts";
import type { Heartbeat } from "../../src/cluster/gossip/gossip-types.ts";
import type { Membership } from "../../src/cluster/membership/membership-types.ts";
import { RingTopologyView } from "../../src/cluster/membership/ring-topology-view.ts";
import { SoloMembership } from "../../src/cluster/membership/solo-membership.ts";
import type { CollectionRecord, MemberState, Topology } from "../../src/hub/models.ts";
import { NodeClusterControl, type NodeClusterControlParts } from "../../src/node/cluster-control.ts";
import { NodeState } from "../../src/node/node-state.ts";
import { EventLoopLag } from "../../src/observe/event-loop-lag.ts";
import type { ShardRef } from "../../src/shards/pool-types.ts";

const [SELF, LIVE, DEAD, GONE, NEW] = ["a", "b", "c", "d", "e"].map((letter) => `node_${letter.repeat(16)}`) as [
	NodeId,
	NodeId,
	NodeId,
	NodeId,
	NodeId,
];
const NOW_MS = 1_000_000;

const member = (node_id: NodeId, state: MemberState, serves_hub = false) => ({
	node_id,
	peer_id: `12D3${node_id}`,
	state,
	addresses: [`/dns4/${node_id}/tcp/7802`],
	serves_hub,
});

const TOPOLOGY: Topology = {
	version: 9,
	members: [
		member(SELF, "active", true),
		member(LIVE, "active"),
		member(DEAD, "draining"),
		member(GONE, "removed"),
		member(NEW, "joining"),
	],
	retired: [],
};

const beat = (nodeId: NodeId, changes: Partial<Heartbeat> = {}): Heartbeat => ({
	nodeId,
	incarnation: 1,
	sequence: 1,
	url: `http://${nodeId}:7801`,
	addresses: [`/ip4/10.0.0.1/tcp/7802`],
	version: "1.2.3",
	protocol: "1.0",
	topologyVersion: 9,
	settledVersion: 8,
	isStopping: false,
	hasHub: false,
	isHubUp: true,
	load: { openShards: 4, queueDepth: 0, eventLoopLagSeconds: 0, storedBytes: 1_500_000_000, vectorCount: 10 },
	transfers: [],
	transfersWaiting: 0,
	hintsPending: 0,
	...changes,
});

const heardAgo = (heartbeat: Heartbeat, agoMs: number): HeardHeartbeat => ({ heartbeat, heardAtMs: NOW_MS - agoMs });

function membershipOf(topology: Topology, live: readonly NodeId[]): Membership {
	const view = new RingTopologyView(topology);
	return {
		self: SELF,
		view: () => view,
		isLive: (nodeId) => live.includes(nodeId),
		hasMajority: () => 2 * live.length > topology.members.length,
		onChange: () => {},
		refresh: async () => {},
	};
}

function control(parts: Partial<NodeClusterControlParts> = {}, live: readonly NodeId[] = [SELF, LIVE, NEW]) {
	const heard = new Map<NodeId, HeardHeartbeat>([
		[LIVE, heardAgo(beat(LIVE, { hintsPending: 2 }), 1_250)],
		[DEAD, heardAgo(beat(DEAD), 30_000)],
	]);
	return new NodeClusterControl({
		membership: membershipOf(TOPOLOGY, live),
		own: () => beat(SELF, { hasHub: true }),
		heard: (nodeId) => heard.get(nodeId),
		lagSeconds: (nodeId) => (nodeId === DEAD ? 28 : 0),
		rebalance: async () => {},
		collections: async () => [],
		shardRefs: () => [],
		copies: async () => [],
		clock: { nowMs: () => 0, monotonicMs: () => NOW_MS },
		...parts,
	});
}

describe("the cluster as a node sees it", () => {
	test("shows who is down, whatever was planned for them, and who was never heard of", () => {
		const { nodes, ...facts } = control().state();
		expect(nodes.map(({ state }) => state)).toEqual(["active", "active", "down", "removed", "joining"]);
		expect(nodes.map(({ last_heard_seconds }) => last_heard_seconds)).toEqual([0, 1.3, 30, null, null]);
		expect(facts).toEqual({
			topology_version: 9,
			is_changing: true,
			has_majority: true,
			stored_bytes: 4_500_000_000,
		});
		expect(nodes.reduce((sum, { ring_share }) => sum + ring_share, 0)).toBeCloseTo(1, 6);
		expect(nodes[1]).toMatchObject({
			self: false,
			url: `http://${LIVE}:7801`,
			addresses: ["/ip4/10.0.0.1/tcp/7802"],
			version: "1.2.3",
			hub: { serves: false, connected: true },
			shards_open: 4,
			stored_gb: 1.5,
			hints_pending: 2,
			replication_lag_seconds: 0,
		});
		expect(nodes[2]?.replication_lag_seconds).toBe(28);
		expect(nodes[4]).toMatchObject({
			url: null,
			version: null,
			addresses: [`/dns4/${NEW}/tcp/7802`],
			hub: { serves: false, connected: null },
			shards_open: null,
			stored_gb: null,
		});
		expect(control({}, [SELF]).state().has_majority).toBe(false);
	});

	test("shows a node that says it is stopping as down, and its own transfers", () => {
		const transfer = {
			tenantId: "acme",
			collectionId: "c1",
			shard: 2,
			from: LIVE,
			rowsDone: 5,
			rowsTotal: 10,
			bytesDone: 4_096,
		};
		const { nodes } = control({
			own: () => beat(SELF, { transfers: [transfer], transfersWaiting: 3 }),
			heard: (nodeId) => (nodeId === LIVE ? heardAgo(beat(LIVE, { isStopping: true }), 0) : undefined),
		}).state();
		expect(nodes[1]?.state).toBe("down");
		expect(nodes[0]).toMatchObject({
			transfers_waiting: 3,
			transfers: [
				{
					tenant_id: "acme",
					collection_id: "c1",
					shard: 2,
					from: LIVE,
					rows_done: 5,
					rows_total: 10,
					bytes_done: 4_096,
				},
			],
		});
	});

	test("is counted by state and by peer in the metrics", () => {
		const lag = new EventLoopLag(
			() => 0,
			() => () => {},
		);
		const state = new NodeState(lag);
		expect([state.clusterMembers(), [...state.peers()], state.hintsPending().size]).toEqual([{}, [], 0]);
		const parts = {
			directory: { connected: true },
			pool: { stats: () => [] },
			stored: { all: () => [] },
			hints: { pendingByNode: () => new Map() },
		};
		state.wire({ ...parts, cluster: control(), hints: { pendingByNode: () => new Map([[DEAD, 7]]) } });
		expect(state.clusterMembers()).toEqual({ active: 2, down: 1, removed: 1, joining: 1 });
		expect([...state.peers()].find(({ nodeId }) => nodeId === DEAD)).toEqual({ nodeId: DEAD, lagSeconds: 28 });
		expect([...state.peers()]).toHaveLength(4);
		expect(Object.fromEntries(state.hintsPending())).toEqual({ [LIVE]: 0, [DEAD]: 7, [GONE]: 0, [NEW]: 0 });
		state.wire({ ...parts, cluster: control(), hints: { pendingByNode: () => new Map() } });
		expect([...state.hintsPending().values()]).toEqual([0, 0, 0, 0]);
		lag.stop();
	});
});

describe("changes of the cluster", () => {
	test("go to whoever keeps the topology", async () => {
		const calls: unknown[] = [];
		const keeper = {
			drain: async (...args: unknown[]) => void calls.push(["drain", ...args]),
			cancelDrain: async (...args: unknown[]) => void calls.push(["cancel", ...args]),
			remove: async (...args: unknown[]) => void calls.push(["remove", ...args]),
		};
		const cluster = control({ keeper, rebalance: async () => void calls.push(["rebalance"]) });
		await cluster.drain(LIVE);
		await cluster.cancelDrain(LIVE);
		await cluster.remove(DEAD, true);
		await cluster.rebalance();
		expect(calls).toEqual([["drain", LIVE], ["cancel", LIVE], ["remove", DEAD, true], ["rebalance"]]);
	});

	test("never take away the node that runs the hub, unless another runs one too", async () => {
		const calls: unknown[] = [];
		const keeper = {
			drain: async (nodeId: NodeId) => void calls.push(nodeId),
			cancelDrain: async () => {},
			remove: async () => {},
		};
		const refusal = await control({ keeper })
			.drain(SELF)
			.catch((error: unknown) => error);
		expect([(refusal as HiveError).code, calls]).toEqual(["CONFLICT", []]);
		const members = [member(SELF, "active", true), member(LIVE, "active", true)];
		const two = control({ keeper, membership: membershipOf({ version: 1, members, retired: [] }, [SELF, LIVE]) });
		await two.drain(SELF);
		expect(calls).toEqual([SELF]);
	});

	test("are refused where there is no cluster", async () => {
		const cluster = control({ membership: new SoloMembership(SELF) });
		expect(cluster.state()).toMatchObject({ is_changing: false, has_majority: true, nodes: [{ ring_share: 1 }] });
		const code = (work: Promise<void>) => work.catch((error: unknown) => (error as HiveError).code);
		expect(await code(cluster.drain(SELF))).toBe("CONFLICT");
		expect(await code(cluster.cancelDrain(SELF))).toBe("CONFLICT");
		expect(await code(cluster.remove(SELF, true))).toBe("CONFLICT");
		expect(await code(cluster.drain(LIVE))).toBe("NOT_FOUND");
	});
});

const shard = (collectionId: string, shardIndex: number): ShardRef => ({
	tenantId: "acme" as TenantId,
	collectionId: collectionId as CollectionId,
	shardIndex,
	config: {} as ShardRef["config"],
	configRevision: 1,
});

describe("the copies of shards", () => {
	test("are listed by collection and shard, of one collection if that is wanted", async () => {
		const records = ["docs", "more"].map((name) => ({ id: name, name, shards: 10, replicas: 2 }) as unknown);
		const cluster = control({
			collections: async () => records as CollectionRecord[],
			shardRefs: (record) => Array.from({ length: record.shards }, (_, index) => shard(record.id, index)),
			copies: async (_, replicas) => [
				{ nodeId: SELF, state: "complete", vectorCount: replicas, digest: "ab" },
				{ nodeId: LIVE, state: "unknown" },
			],
		});
		const all = await cluster.shards("acme" as TenantId, undefined);
		expect(all.map((each) => `${each.collection}/${each.shard}`)).toEqual([
			...Array.from({ length: 10 }, (_, index) => `docs/${index}`),
			...Array.from({ length: 10 }, (_, index) => `more/${index}`),
		]);
		expect(all[0]).toEqual({
			tenant_id: "acme",
			collection: "docs",
			shard: 0,
			copies: [
				{ node_id: SELF, state: "complete", vectors: 2, digest: "ab" },
				{ node_id: LIVE, state: "unknown" },
			],
		});
		expect(await cluster.shards("acme" as TenantId, "more")).toHaveLength(10);
		const refusal = await cluster.shards("acme" as TenantId, "none").catch((error: unknown) => error);
		expect((refusal as HiveError).code).toBe("COLLECTION_NOT_FOUND");
	});
});
