import { expect, test } from "bun:test";
import type { NodeId } from "../../../src/base/ids.ts";
import { REPAIR_LIMITS } from "../../../src/cluster/repair/repair-limits.ts";
import { nodeIdOf, shardRef, topologyOf } from "./memory-nodes.ts";
import { RepairRig, written } from "./repair-rig.ts";

const [A, B, C, D] = ["a", "b", "c", "d"].map(nodeIdOf) as [NodeId, NodeId, NodeId, NodeId];
const ACTIVE = { a: "active", b: "active", c: "active" } as const;

/** d joins three that hold a shard which it shall hold too. */
async function joining() {
	const rig = new RepairRig({ ...ACTIVE, d: "joining" });
	const shard = rig.shardOn(3, ({ next }) => next.includes(D));
	await rig.fill(shard, [A, B, C], 1, 2);
	return { rig, shard, moves: rig.moves("d"), node: rig.world.node("d"), world: rig.world, time: rig.time };
}

test("a node says that it has settled only when it holds all it has to hold", async () => {
	const { rig, shard, moves, node, world, time } = await joining();
	world.setDown("a", true);
	world.setDown("b", true);
	let settledCount = 0;
	moves.onSettled(() => settledCount++);
	moves.start();
	await time.pass(120_000);
	expect(moves.settledVersion).toBe(-1);
	expect(await node.state(shard)).toBe("incoming");
	for (const name of ["a", "b"]) world.setDown(name, false);
	expect(await time.until(() => moves.settledVersion === 1, 60_000)).toBe(true);
	expect(settledCount).toBe(1);
	expect(await node.state(shard)).toBe("complete");
	expect(node.rows(shard).content).toBe(world.node("a").rows(shard).content);
	// Holding more, later, is no news.
	rig.world.add(shardRef("another"), 1);
	await moves.stop();
});

test("a node does not settle before every member goes by the topology", async () => {
	const { moves, world, time } = await joining();
	world.node("b").methods.set("repair.topology", async () => ({ version: 0 }));
	moves.start();
	await time.pass(60_000);
	expect(moves.settledVersion).toBe(-1);
	world.node("b").methods.set("repair.topology", async () => ({ version: 1 }));
	expect(await time.until(() => moves.settledVersion === 1, REPAIR_LIMITS.moveRetryMaxMs + 1_000)).toBe(true);
	await moves.stop();
});

test("a move that was interrupted is taken up by the next start, and nothing is fetched twice", async () => {
	const { rig, shard, moves, node, world, time } = await joining();
	const merged: number[] = [];
	world.before = async (nodeId, method, args) => {
		if (nodeId !== D || method !== "merge") return;
		merged.push((args[0] as { ids: readonly number[] }).ids.length);
	};
	world.node("b").methods.set("repair.settled", async () => {
		await moves.stop();
		return { version: 0 };
	});
	for (const name of ["a", "c"])
		world.node(name).methods.set("repair.settled", async () => ({ version: name === "a" ? 1 : 0 }));
	moves.start();
	await time.pass(5_000);
	expect(await node.state(shard)).toBe("incoming");
	for (const name of ["a", "b", "c"]) world.node(name).methods.set("repair.settled", async () => ({ version: 1 }));
	const again = rig.moves("d");
	again.start();
	expect(await time.until(() => again.settledVersion === 1, 60_000)).toBe(true);
	expect(merged.reduce((sum, count) => sum + count, 0)).toBe(2);
	await again.stop();
});

test("a move is undone when the node need not hold the shard after all", async () => {
	const { rig, shard, moves, node, world, time } = await joining();
	for (const name of ["a", "b", "c"]) world.node(name).methods.set("repair.settled", async () => ({ version: 0 }));
	moves.start();
	await time.pass(5_000);
	expect(await node.state(shard)).toBe("incoming");
	// It has the place of another one, and this shard is elsewhere.
	rig.world.shards[0] = { shard, replicas: 1 };
	const home = node.view().placement(shard.collectionId, 0, 1).next[0]!;
	if (home !== D) {
		rig.change({ ...ACTIVE, d: "active" });
		expect(await time.until(() => !node.copies.has(`acme/${shard.collectionId}/0`), 120_000)).toBe(true);
	}
	await moves.stop();
});

test("a copy that was complete, and had no place here for a while, is not complete any more", async () => {
	const { rig, shard, moves, node, world, time } = await joining();
	moves.start();
	expect(await time.until(() => moves.settledVersion === 1, 60_000)).toBe(true);
	expect(await node.state(shard)).toBe("complete");
	// Others take its place, and acknowledge a write among them; then it is back.
	const crowd = { ...ACTIVE, d: "joining", e: "joining", f: "joining", g: "joining", h: "joining" } as const;
	rig.change(crowd);
	const isGone = !node.view().placement(shard.collectionId, 0, 3).writers.includes(D);
	for (const name of ["a", "b", "c"])
		world
			.node(name)
			.rows(shard)
			.put([written(3)]);
	rig.change({ ...ACTIVE, d: "joining" });
	expect(await time.until(() => moves.settledVersion === 3, 60_000)).toBe(true);
	expect(isGone).toBe(true);
	expect(node.rows(shard).content).toBe(world.node("a").rows(shard).content);
	await moves.stop();
});

test("a node that did not see a version of the topology trusts no copy that came before", async () => {
	const { rig, shard, moves, node, world, time } = await joining();
	moves.start();
	expect(await time.until(() => moves.settledVersion === 1, 60_000)).toBe(true);
	for (const name of ["a", "b", "c"])
		world
			.node(name)
			.rows(shard)
			.put([written(3)]);
	world.topology = topologyOf(5, { ...ACTIVE, d: "joining" });
	rig.change({ ...ACTIVE, d: "joining" });
	expect(await time.until(() => moves.settledVersion === 6, 60_000)).toBe(true);
	expect(node.rows(shard).content).toBe(world.node("a").rows(shard).content);
	await moves.stop();
});

test("a copy that is under way shows how far it is, and those that wait are counted", async () => {
	const { rig, moves, world, time } = await joining();
	for (let index = 0; index < 5; index++) {
		const shard = rig.shardOn(3, ({ next }) => next.includes(D));
		await rig.fill(shard, [A, B, C], 1);
	}
	const { promise, resolve } = Promise.withResolvers<void>();
	world.before = async (nodeId, method) => {
		if (nodeId === D && method === "merge") await promise;
	};
	moves.start();
	expect(await time.until(() => moves.transfers().length > 0, 5_000)).toBe(true);
	const [transfer] = moves.transfers();
	expect(transfer).toMatchObject({ tenantId: "acme", rowsDone: 0 });
	expect(transfer!.rowsTotal).toBeGreaterThan(0);
	expect(moves.transfers().length + moves.waitingCount).toBeGreaterThan(0);
	resolve();
	expect(await time.until(() => moves.settledVersion === 1, 60_000)).toBe(true);
	expect([moves.transfers(), moves.waitingCount]).toEqual([[], 0]);
	await moves.stop();
});

test("a node that leaves hands over what only it has before it says that it has settled", async () => {
	const rig = new RepairRig({ a: "active", b: "active", c: "active", d: "draining" });
	const shard = rig.shardOn(3, ({ current, next }) => current.includes(D) && !next.includes(D));
	const { current, next } = rig.world.node("d").view().placement(shard.collectionId, 0, 3);
	await rig.fill(shard, current, 1);
	rig.world
		.node("d")
		.rows(shard)
		.put([written(2)]);
	rig.hintCount = 1;
	const moves = rig.moves("d");
	moves.start();
	await rig.time.pass(60_000);
	// Who shall hold it does not do so yet.
	expect(moves.settledVersion).toBe(-1);
	await rig.fill(shard, next, 1);
	await rig.time.pass(60_000);
	for (const nodeId of next) expect(rig.world.nodes.get(nodeId)!.rows(shard).vectorCount).toBe(2);
	// Hints for others are its to give yet.
	expect(moves.settledVersion).toBe(-1);
	rig.hintCount = 0;
	expect(await rig.time.until(() => moves.settledVersion === 1, 60_000)).toBe(true);
	await moves.stop();
});

test("who is left of a shard's holders has what was acknowledged with one that is given up, before it says that it has settled", async () => {
	const rig = new RepairRig({ a: "active", b: "removed", c: "active" });
	const { shard } = rig.world.add(shardRef("docs"), 3);
	await rig.fill(shard, [A, B, C], 1);
	// Acknowledged by b and c, when the disk of a was full.
	rig.world
		.node("c")
		.rows(shard)
		.put([written(2)]);
	const moves = rig.moves("a");
	rig.world.setDown("c", true);
	moves.start();
	await rig.time.pass(60_000);
	expect(moves.settledVersion).toBe(-1);
	let failures = 2;
	rig.world.before = (nodeId, method) => {
		if (nodeId === C && method === "digest" && failures-- > 0) throw new Error("it hangs");
	};
	rig.world.setDown("c", false);
	expect(await rig.time.until(() => moves.settledVersion === 1, 120_000)).toBe(true);
	expect(rig.world.node("a").rows(shard).vectorCount).toBe(2);
	expect(rig.logged.some((line) => line.includes("one that is left"))).toBe(true);
	await moves.stop();
});

test("what the topology took away is dropped once it is in place, and tried again until it can be", async () => {
	const rig = new RepairRig({ ...ACTIVE, d: "active" });
	const shard = rig.shardOn(3, ({ current }) => !current.includes(D));
	const { current } = rig.world.node("d").view().placement(shard.collectionId, 0, 3);
	await rig.fill(shard, current.slice(1), 1);
	await rig.fill(shard, [D], 1);
	const moves = rig.moves("d");
	moves.start();
	await rig.time.pass(10_000);
	expect(await rig.world.node("d").state(shard)).toBe("complete");
	await rig.fill(shard, current, 1);
	const isGone = (): boolean => rig.world.node("d").copies.size === 0;
	expect(await rig.time.until(isGone, 2 * REPAIR_LIMITS.moveRetryMaxMs)).toBe(true);
	await moves.stop();
});

test("a topology that changes meanwhile is gone by at once", async () => {
	const { rig, moves, world, time } = await joining();
	for (const name of ["a", "b", "c"]) {
		world.node(name).methods.set("repair.settled", () => new Promise(() => {}));
	}
	moves.start();
	await time.pass(1_000);
	rig.change(ACTIVE);
	expect(world.node("d").view().version).toBe(2);
	const other = rig.moves("a");
	other.start();
	expect(await time.until(() => other.settledVersion === 2, 10_000)).toBe(true);
	await other.stop();
});

test("a node that knows no topology yet, or is no member, holds nothing by it", async () => {
	const rig = new RepairRig(ACTIVE);
	rig.shardOn(1, ({ current }) => current[0] === A);
	rig.world.node("a").learn(topologyOf(0, { a: "active" }));
	const moves = rig.moves("a");
	moves.start();
	await rig.time.pass(60_000);
	rig.world.node("a").learn(topologyOf(3, { b: "active" }));
	await rig.time.pass(60_000);
	expect([moves.settledVersion, rig.world.node("a").copies.size]).toEqual([-1, 0]);
	await moves.stop();
});

test("a hub that does not answer, and a disk that refuses, are tried again ever less often", async () => {
	const { moves, node, shard, world, time, rig } = await joining();
	const { all } = world.catalog;
	let askedCount = 0;
	Object.assign(world.catalog, {
		all: (signal: AbortSignal) => {
			if (askedCount++ < 8) throw new Error("the hub is away");
			return all(signal);
		},
	});
	const make = node.make.bind(node);
	let refusals = 2;
	node.make = async (...args) => {
		if (refusals-- > 0) throw new Error("no space left on the device");
		await make(...args);
	};
	moves.start();
	await time.pass(10_000);
	expect(askedCount).toBeLessThan(8);
	expect(await time.until(() => moves.settledVersion === 1, 10 * REPAIR_LIMITS.moveRetryMaxMs)).toBe(true);
	expect(await node.state(shard)).toBe("complete");
	expect(rig.logged.some((line) => line.includes("could not be looked through"))).toBe(true);
	expect(rig.logged.some((line) => line.includes("could not be moved"))).toBe(true);
	await moves.stop();
});
