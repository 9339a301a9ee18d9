import { expect, test } from "bun:test";
import type { NodeId } from "../../../src/base/ids.ts";
import { ReplicaFailure } from "../../../src/cluster/replication/replica-types.ts";
import { nodeIdOf } from "./memory-nodes.ts";
import { deleted, never, RepairRig, written } from "./repair-rig.ts";

const [A, B, C, D] = ["a", "b", "c", "d"].map(nodeIdOf) as [NodeId, NodeId, NodeId, NodeId];

/** Three that hold the shard, and d that joins and shall hold it too. */
async function joining() {
	const rig = new RepairRig({ a: "active", b: "active", c: "active", d: "joining" });
	const shard = rig.shardOn(3, ({ next }) => next.includes(D));
	const fill = (progress = (): void => {}) =>
		rig.partsOf("d").filler.fill({ shard, replicas: 3 }, rig.world.node("d").view(), never, progress);
	return { rig, shard, fill, node: rig.world.node("d"), world: rig.world };
}

test("a new copy has what was acknowledged, deletions included, before it is called complete", async () => {
	const { rig, shard, fill, node, world } = await joining();
	await rig.fill(shard, [A, B, C], 1, 2);
	// Each was acknowledged by most of them.
	for (const name of ["a", "b"])
		world
			.node(name)
			.rows(shard)
			.put([written(3), deleted(1, 9)]);
	world.before = async (_node, method) => {
		if (method === "rows") expect(await node.state(shard)).toBe("incoming");
	};
	const told: NodeId[] = [];
	expect(
		await rig.partsOf("d").filler.fill({ shard, replicas: 3 }, node.view(), never, ({ from }) => told.push(from)),
	).toBe(true);
	expect(await fill()).toBe(true);
	expect(await node.state(shard)).toBe("complete");
	expect(node.rows(shard).content).toBe(world.node("a").rows(shard).content);
	expect(node.rows(shard).rows.get(1)?.document).toBeUndefined();
	expect(told.length).toBeGreaterThan(0);
});

test("what a holder took from writers that did not know of the new copy is on its disk before it is read", async () => {
	const { rig, shard, fill, world } = await joining();
	await rig.fill(shard, [A, B, C], 1);
	expect(await fill()).toBe(true);
	for (const name of ["a", "b", "c"]) expect(world.node(name).settledVersions).toContain(1);
});

test("one holder of three is not enough to be sure, two are", async () => {
	const { rig, shard, fill, node, world } = await joining();
	await rig.fill(shard, [A, B, C], 1);
	world.setDown("a", true);
	world.setDown("b", true);
	expect(await fill()).toBe(false);
	expect(await node.state(shard)).toBe("incoming");
	// What it has stays.
	expect(node.rows(shard).vectorCount).toBe(1);
	world.setDown("b", false);
	expect(await fill()).toBe(true);
});

test("a holder that goes by an older topology is not counted", async () => {
	const { rig, shard, fill, world } = await joining();
	await rig.fill(shard, [A, B, C], 1);
	for (const name of ["a", "b"]) {
		world.node(name).methods.set("repair.settled", async () => ({ version: 0 }));
	}
	expect(await fill()).toBe(false);
});

test("a failure half way leaves the copy incoming, and the next attempt goes on", async () => {
	const { rig, shard, fill, node, world } = await joining();
	await rig.fill(shard, [A, B, C], 1, 2, 3);
	world.before = (_node, method) => {
		if (method === "merge") throw new ReplicaFailure("timeout", D, "the disk is slow");
	};
	expect(await fill()).toBe(false);
	expect(await node.state(shard)).toBe("incoming");
	expect(rig.logged.at(-1)).toContain("could not be fetched");
	world.before = () => {};
	expect(await fill()).toBe(true);
});

test("a topology that went on meanwhile decides anew", async () => {
	const { rig, shard, node, world } = await joining();
	await rig.fill(shard, [A, B, C], 1);
	const view = node.view();
	world.before = (_node, method) => {
		if (method === "rows" && node.view().version === 1) rig.change({ a: "active", b: "active", c: "active" });
	};
	const { filler } = rig.partsOf("d");
	expect(await filler.fill({ shard, replicas: 3 }, view, never, () => {})).toBe(false);
	expect(await node.state(shard)).toBe("incoming");
});

test("what only copies hold that are being filled themselves is taken over as well", async () => {
	const { shard, fill, node, world } = await joining();
	// Made, and written to, before it was ever complete anywhere.
	for (const name of ["a", "b", "c"]) await world.node(name).make(shard, "incoming");
	world
		.node("a")
		.rows(shard)
		.put([written(1)]);
	world
		.node("b")
		.rows(shard)
		.put([written(2)]);
	expect(await fill()).toBe(true);
	expect([...node.rows(shard).rows.keys()].sort()).toEqual([1, 2]);
});

test("a shard that nobody has is made only when all members say so", async () => {
	const { rig, shard, fill, node, world } = await joining();
	world.setDown("a", true);
	expect(await fill()).toBe(false);
	world.setDown("a", false);
	expect(await fill()).toBe(true);
	expect(await node.state(shard)).toBe("complete");
	expect(rig.logged.at(-1)).toContain("never finished being made");
});

test("that the last copy went with removed nodes is told as the loss that it is", async () => {
	const rig = new RepairRig({ a: "active", b: "removed" });
	const shard = rig.shardOn(1, ({ next }) => next.includes(A));
	const { filler } = rig.partsOf("a");
	expect(await filler.fill({ shard, replicas: 1 }, rig.world.node("a").view(), never, () => {})).toBe(true);
	expect(rig.logged.at(-1)).toContain("is lost");
});

test("a complete copy in a place where none belongs is found when the holders have none", async () => {
	const rig = new RepairRig({ a: "active", b: "active", c: "active" });
	const shard = rig.shardOn(1, ({ next }) => next.includes(A));
	await rig.fill(shard, [C], 1);
	const { filler } = rig.partsOf("a");
	expect(await filler.fill({ shard, replicas: 1 }, rig.world.node("a").view(), never, () => {})).toBe(true);
	expect(rig.world.node("a").rows(shard).vectorCount).toBe(1);
});

test("a call that is called off ends at once", async () => {
	const { rig, shard, node, world } = await joining();
	await rig.fill(shard, [A, B, C], 1);
	const abort = new AbortController();
	world.before = (_node, method) => {
		if (method === "digest") abort.abort(new Error("enough"));
	};
	let why: unknown;
	try {
		await rig.partsOf("d").filler.fill({ shard, replicas: 3 }, node.view(), abort.signal, () => {});
	} catch (error) {
		why = error;
	}
	expect(String(why)).toContain("enough");
});
