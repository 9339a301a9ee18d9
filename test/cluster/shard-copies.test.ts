import { describe, expect, test } from "bun:test";
import { HiveError } from "../../src/base/errors.ts";
import type { CollectionId, NodeId, TenantId } from "../../src/base/ids.ts";
import { RingTopologyView } from "../../src/cluster/membership/ring-topology-view.ts";
import { ReplicaFailure, type ReplicaPort } from "../../src/cluster/replication/replica-types.ts";
import { copiesOfShard } from "../../src/cluster/shard-copies.ts";
import type { Topology } from "../../src/hub/models.ts";
import type { ShardRef } from "../../src/shards/pool-types.ts";

const [SELF, LIVE, DEAD] = ["a", "b", "c"].map((letter) => `node_${letter.repeat(16)}`) as [NodeId, NodeId, NodeId];

const member = (node_id: NodeId) => ({
	node_id,
	peer_id: `12D3${node_id}`,
	state: "active" as const,
	addresses: [`/dns4/${node_id}/tcp/7802`],
	serves_hub: false,
});

const shard: ShardRef = {
	tenantId: "acme" as TenantId,
	collectionId: "docs" as CollectionId,
	shardIndex: 0,
	config: {} as ShardRef["config"],
	configRevision: 1,
};

const topology: Topology = { version: 1, members: [SELF, LIVE, DEAD].map(member), retired: [] };
const view = new RingTopologyView(topology);
const ask = (port: Pick<ReplicaPort, "call" | "copyState">, replicas: number) =>
	copiesOfShard({ replicas: port, view: () => view, bucketCount: 4, timeoutMs: 100 }, shard, replicas);

describe("the copies of a shard", () => {
	test("come from every node that has one; equal contents have equal digests", async () => {
		const copies = await ask(
			{
				copyState: async (nodeId) => (nodeId === SELF ? "none" : nodeId === LIVE ? "complete" : "incoming"),
				call: (async (_nodeId: NodeId, _shard: ShardRef, method: string, args: readonly unknown[]) => {
					expect([method, args]).toEqual(["digest", [4]]);
					return { seq: 1, bucketCount: 4, sums: new Uint32Array([1, 2, 3, 4, 5, 6, 7, 8]), vectorCount: 3 };
				}) as unknown as ReplicaPort["call"],
			},
			2,
		);
		expect(copies.map(({ nodeId, state, vectorCount }) => [nodeId, state, vectorCount])).toEqual([
			[LIVE, "complete", 3],
			[DEAD, "incoming", 3],
		]);
		expect(copies[0]?.digest).toMatch(/^[0-9a-f]{32}$/);
		expect(copies[0]?.digest).toBe(copies[1]!.digest);
	});

	test("are unknown of holders that don't answer, and absent of others; a defect is not hidden", async () => {
		const holders = view.placement("docs" as CollectionId, 0, 1).writers;
		const failing = (error: Error) => ({
			copyState: async (nodeId: NodeId) => {
				if (error instanceof ReplicaFailure) throw new ReplicaFailure("timeout", nodeId, "no answer");
				throw error;
			},
			call: (() => Promise.reject(error)) as unknown as ReplicaPort["call"],
		});
		expect(await ask(failing(new ReplicaFailure("timeout", SELF, "no answer")), 1)).toEqual([
			{ nodeId: holders[0]!, state: "unknown" },
		]);
		expect(await ask(failing(new HiveError("INTERNAL", "damaged")), 3)).toHaveLength(3);
		const defect = new TypeError("a defect");
		expect(await ask(failing(defect), 1).catch((error: unknown) => error)).toBe(defect);
	});
});
