import { expect, test } from "bun:test";
import type { NodeId } from "../../../src/base/ids.ts";
import { nodeIdOf } from "./memory-nodes.ts";
import { never, RepairRig, written } from "./repair-rig.ts";

const ACTIVE = { a: "active", b: "active", c: "active", d: "active" } as const;
const D = nodeIdOf("d");

/** Three hold the shard, and d has a copy from before. */
async function leftOver() {
	const rig = new RepairRig(ACTIVE);
	const shard = rig.shardOn(3, ({ current }) => !current.includes(D));
	const holders = rig.world.node("d").view().placement(shard.collectionId, 0, 3).current;
	await rig.fill(shard, holders, 1);
	await rig.fill(shard, [D], 1, 2);
	const settle = () => rig.partsOf("d").surplus.settle(shard, never);
	return { rig, shard, holders, settle, node: rig.world.node("d"), world: rig.world };
}

const nameOf = (nodeId: NodeId): string => nodeId.charAt("node_".length);

test("a copy goes when all holders have one, and its last word is theirs before", async () => {
	const { shard, holders, settle, node, world, rig } = await leftOver();
	expect(await settle()).toBe(true);
	expect(await node.state(shard)).toBe("none");
	for (const nodeId of holders) expect(world.nodes.get(nodeId)!.rows(shard).vectorCount).toBe(2);
	expect(node.settledVersions).toEqual([1]);
	expect(rig.logged.at(-1)).toContain("was dropped");
});

test("a copy stays while one of the holders is not complete, or does not answer", async () => {
	const { shard, holders, settle, node, world } = await leftOver();
	const [first, second] = holders.map((nodeId) => world.nodes.get(nodeId)!);
	await first!.drop(shard);
	await first!.make(shard, "incoming");
	expect(await settle()).toBe(false);
	await first!.markComplete(shard);
	world.setDown(nameOf(second!.self), true);
	expect(await settle()).toBe(false);
	expect(await node.state(shard)).toBe("complete");
});

test("a copy stays while members come and go: others may be filled from it", async () => {
	const { rig, shard, settle, node } = await leftOver();
	rig.change({ ...ACTIVE, e: "joining" });
	expect(await settle()).toBe(false);
	expect(await node.state(shard)).toBe("complete");
});

test("a copy stays that the topology gives back while its last word is told", async () => {
	const { rig, shard, settle, node, world } = await leftOver();
	world.before = (_node, method) => {
		if (method !== "merge" || node.view().version > 1) return;
		rig.change({ a: "active", d: "active" });
	};
	expect(await settle()).toBe(false);
	expect(await node.state(shard)).toBe("complete");
});

test("a copy that belongs here stays, and so does one that no hub names or whose node is no member", async () => {
	const { rig, shard, holders, node, world } = await leftOver();
	const holder = nameOf(holders[0]!);
	expect(await rig.partsOf(holder).surplus.settle(shard, never)).toBe(true);
	rig.change({ a: "active", b: "active", c: "active" });
	expect(await rig.partsOf("d").surplus.settle(shard, never)).toBe(true);
	world.shards.length = 0;
	expect(await rig.partsOf("d").surplus.settle(shard, never)).toBe(true);
	expect(await node.state(shard)).toBe("complete");
	expect(world.nodes.get(holders[0]!)!.rows(shard).rows.get(1)).toEqual(written(1));
});
