import { expect, test } from "bun:test";
import type { NodeId } from "../../../src/base/ids.ts";
import type { DigestFact } from "../../../src/cluster/gossip/gossip-types.ts";
import { DigestWatch } from "../../../src/cluster/repair/digest-watch.ts";
import { REPAIR_LIMITS } from "../../../src/cluster/repair/repair-limits.ts";
import { shardKey } from "../../../src/cluster/shard-facts.ts";
import type { ShardName } from "../../../src/shards/pool-types.ts";
import { nodeIdOf } from "./memory-nodes.ts";
import { RepairRig, written } from "./repair-rig.ts";

const [A, B] = ["a", "b"].map(nodeIdOf) as [NodeId, NodeId];
const QUIET_MS = REPAIR_LIMITS.digestQuietMs + 3 * REPAIR_LIMITS.digestLookMs;

/** Two nodes with a copy each, whose watches hear of each other at once. */
async function watched() {
	const rig = new RepairRig({ a: "active", b: "active" });
	const shard = rig.shardOn(2, () => true);
	await rig.fill(shard, [A, B], 1, 2);
	const told = new Map<NodeId, DigestFact>();
	const differing: (ShardName & { readonly by: NodeId })[] = [];
	const watches = new Map<NodeId, DigestWatch>();
	for (const [name, nodeId] of [
		["a", A],
		["b", B],
	] as const) {
		const gossip = {
			publishDigest: (digest: { shard: string; root: string }) => {
				const fact = { ...digest, nodeId, incarnation: 1, sequence: 1 };
				told.set(nodeId, fact);
				for (const [other, watch] of watches) if (other !== nodeId) watch.heard(fact);
			},
			digestsOf: (key: string) => [...told.values()].filter((fact) => fact.shard === key),
		};
		const onDifference = (name: ShardName): void => void differing.push({ ...name, by: nodeId });
		watches.set(nodeId, new DigestWatch({ ...rig.partsOf(name), gossip, onDifference }));
	}
	const touched = (nodeId: NodeId): void => watches.get(nodeId)!.touched(shard);
	return { rig, shard, told, differing, watches, touched };
}

test("what a copy comes to is told when nobody has written to it for a while, and equal ones are no matter", async () => {
	const { rig, told, differing, touched, shard } = await watched();
	for (let second = 0; second < 10; second++) {
		touched(A);
		touched(B);
		await rig.time.pass(1_000);
	}
	expect(told.size).toBe(0);
	await rig.time.pass(QUIET_MS);
	expect([...told.values()].map(({ shard: key }) => key)).toEqual([shardKey(shard), shardKey(shard)]);
	expect(told.get(A)!.root).toBe(told.get(B)!.root);
	expect(differing).toEqual([]);
});

test("a copy that missed something without anybody taking note is found", async () => {
	const { rig, shard, differing, touched } = await watched();
	rig.world
		.node("a")
		.rows(shard)
		.put([written(3)]);
	touched(A);
	touched(B);
	await rig.time.pass(QUIET_MS);
	expect(differing.length).toBeGreaterThan(0);
	expect(differing[0]).toMatchObject({ tenantId: shard.tenantId, collectionId: shard.collectionId, shardIndex: 0 });
});

test("a copy that is being written to is not compared with what others told before, nor is one of a node that is dead", async () => {
	const { rig, shard, differing, touched } = await watched();
	touched(A);
	touched(B);
	await rig.time.pass(QUIET_MS);
	rig.world
		.node("a")
		.rows(shard)
		.put([written(3)]);
	rig.world.setDown("b", true);
	touched(A);
	await rig.time.pass(QUIET_MS);
	expect(differing.filter(({ by }) => by === A)).toEqual([]);
});

test("copies that are gone, not filled, or can't be read are passed over; a stop ends it", async () => {
	const { rig, shard, told, touched, watches } = await watched();
	rig.world.before = (_nodeId, method) => {
		if (method === "digest") throw new Error("the disk is full");
	};
	touched(A);
	await rig.time.pass(QUIET_MS);
	expect(rig.logged).toContain("what a copy comes to could not be worked out");
	rig.world.before = () => {};
	rig.world.shards.length = 0;
	touched(A);
	await rig.world.node("b").drop(shard);
	touched(B);
	await rig.time.pass(QUIET_MS);
	for (const watch of watches.values()) watch.stop();
	touched(A);
	await rig.time.pass(QUIET_MS);
	expect(told.size).toBe(0);
});
