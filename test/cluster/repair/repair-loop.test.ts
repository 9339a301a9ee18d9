import { describe, expect, test } from "bun:test";
import type { NodeId } from "../../../src/base/ids.ts";
import { CopyAgreement } from "../../../src/cluster/repair/copy-agreement.ts";
import { REPAIR_LIMITS } from "../../../src/cluster/repair/repair-limits.ts";
import { ReplicaFailure } from "../../../src/cluster/replication/replica-types.ts";
import { nodeIdOf, topologyOf } from "./memory-nodes.ts";
import { deleted, never, RepairRig, written } from "./repair-rig.ts";

const ACTIVE = { a: "active", b: "active", c: "active" } as const;
const [A, B, C] = ["a", "b", "c"].map(nodeIdOf) as [NodeId, NodeId, NodeId];

/** A shard whose home is a, with b and c. */
async function rigged() {
	const rig = new RepairRig(ACTIVE);
	const shard = rig.shardOn(3, ({ current }) => current[0] === A);
	await rig.fill(shard, [A, B, C], 1);
	const { world, time } = rig;
	const copyOf = (name: string) => world.node(name).rows(shard);
	const areEqual = (): boolean =>
		copyOf("b").content === copyOf("a").content && copyOf("c").content === copyOf("a").content;
	const digests = (): number => world.calls.filter((call) => call.endsWith(" digest")).length;
	return { rig, world, time, shard, copyOf, areEqual, digests };
}

describe("repair", () => {
	test("finds what no hint tells of, on whichever copy it is", async () => {
		const { rig, time, copyOf, areEqual } = await rigged();
		copyOf("b").put([written(2)]);
		copyOf("c").put([written(3), deleted(1, 5)]);
		const loop = rig.repair("a");
		loop.start();
		expect(await time.until(areEqual, 5_000)).toBe(true);
		expect(copyOf("a").rows.get(1)?.document).toBeUndefined();
		expect(copyOf("a").vectorCount).toBe(2);
		await loop.stop();
	});

	test("leaves copies in peace that agree and that nobody has written to", async () => {
		const { rig, time, digests, shard } = await rigged();
		const loop = rig.repair("a");
		loop.start();
		await time.pass(5_000);
		const count = digests();
		expect(count).toBeGreaterThan(0);
		await time.pass(6 * REPAIR_LIMITS.repairRoundMs);
		expect(digests()).toBe(count);
		loop.touched(shard);
		await time.pass(2 * REPAIR_LIMITS.repairRoundMs);
		expect(digests()).toBeGreaterThan(count);
		await loop.stop();
	});

	test("compares again with a node that was away, with one that is new, and with all after a day", async () => {
		const { rig, world, time, digests } = await rigged();
		const loop = rig.repair("a");
		loop.start();
		await time.pass(5_000);
		let count = digests();
		const hasMore = (): boolean => digests() > count;
		world.setDown("b", true);
		await time.pass(5_000);
		world.setDown("b", false);
		expect(await time.until(hasMore, 5_000)).toBe(true);
		await time.pass(5_000);
		count = digests();
		expect(await time.until(hasMore, 2 * REPAIR_LIMITS.repairQuietMs)).toBe(true);
		expect(time.monotonicMs()).toBeGreaterThan(REPAIR_LIMITS.repairQuietMs);
		await loop.stop();
	});

	test("is done by the first holder that lives", async () => {
		const { rig, world, time, areEqual, copyOf } = await rigged();
		copyOf("b").put([written(2)]);
		const second = world.node("a").view().placement(world.shards[0]!.shard.collectionId, 0, 3).current[1]!;
		const loop = rig.repair(second.charAt("node_".length));
		loop.start();
		await time.pass(30 * 60_000);
		expect(areEqual()).toBe(false);
		world.setDown("a", true);
		await time.pass(2 * REPAIR_LIMITS.repairRoundMs);
		expect(copyOf("c").content).toBe(copyOf("b").content);
		await loop.stop();
	});

	test("brings what reached another holder alone to the first one", async () => {
		const { rig, time, copyOf, shard } = await rigged();
		const loop = rig.repair("b");
		loop.start();
		copyOf("b").put([written(2)]);
		loop.touched(shard);
		expect(await time.until(() => copyOf("a").vectorCount === 2, 2 * REPAIR_LIMITS.repairRoundMs)).toBe(true);
		await loop.stop();
	});

	test("tries again what could not be brought to the first one", async () => {
		const { rig, world, time, copyOf, shard } = await rigged();
		const loop = rig.repair("b");
		copyOf("b").put([written(2)]);
		loop.touched(shard);
		let failures = 2;
		world.before = (nodeId) => {
			if (nodeId === A && failures-- > 0) throw new ReplicaFailure("timeout", A, "it hangs");
		};
		loop.start();
		expect(await time.until(() => copyOf("a").vectorCount === 2, 4 * REPAIR_LIMITS.repairRoundMs)).toBe(true);
		expect(rig.logged.some((line) => line.includes("could not be compared"))).toBe(true);
		await loop.stop();
	});

	test("reads the topology that it was refused for", async () => {
		const { rig, world, time } = await rigged();
		world.topology = topologyOf(2, ACTIVE);
		world.before = (nodeId) => {
			if (nodeId === B && world.node("a").view().version < 2) throw new ReplicaFailure("stale_topology", B, "old", 2);
		};
		const loop = rig.repair("a");
		loop.start();
		await time.pass(5_000);
		expect(world.node("a").view().version).toBe(2);
		await loop.stop();
	});

	test("passes over copies that are being filled, and collections that are gone", async () => {
		const { rig, world, time, digests, shard } = await rigged();
		await world.node("a").drop(shard);
		await world.node("a").make(shard, "incoming");
		const loop = rig.repair("a");
		loop.start();
		await time.pass(5_000);
		await world.node("a").markComplete(shard);
		world.shards.length = 0;
		await time.pass(2 * REPAIR_LIMITS.repairRoundMs);
		expect(digests()).toBe(0);
		await loop.stop();
	});

	test("goes on when its copies can't be listed", async () => {
		const { rig, world, time, areEqual, copyOf } = await rigged();
		copyOf("b").put([written(2)]);
		const node = world.node("a");
		const list = node.list.bind(node);
		let failures = 1;
		node.list = () => {
			if (failures-- > 0) throw new Error("the disk does not answer");
			return list();
		};
		const loop = rig.repair("a");
		loop.start();
		expect(await time.until(areEqual, 2 * REPAIR_LIMITS.repairRoundMs)).toBe(true);
		await loop.stop();
	});

	test("ends at once when it is stopped", async () => {
		const { rig, world, time } = await rigged();
		const loop = rig.repair("a");
		loop.start();
		await time.until(() => world.calls.length > 0, 5_000);
		await loop.stop();
		const count = world.calls.length;
		world.setDown("b", true);
		world.setDown("b", false);
		await time.pass(60_000);
		expect(world.calls.length).toBe(count);
	});
});

describe("word of a deletion", () => {
	const OLD_MS = 1_000;

	/** All have heard of a deletion of long ago, or so it seems. */
	async function agreeing() {
		const made = await rigged();
		for (const name of ["a", "b", "c"]) made.copyOf(name).put([deleted(1, OLD_MS)]);
		const parts = made.rig.partsOf("a");
		const agreement = new CopyAgreement(parts);
		const reach = (): Promise<boolean> => agreement.reach({ shard: made.shard, replicas: 3 }, [B, C], never);
		const keptBy = (): string[] => ["a", "b", "c"].filter((name) => made.copyOf(name).rows.has(1));
		return { ...made, reach, keptBy };
	}

	test("goes when all copies agree, long after it", async () => {
		const { reach, keptBy } = await agreeing();
		expect(await reach()).toBe(true);
		expect(keptBy()).toEqual([]);
	});

	test("of lately stays: no clock is so wrong, no message so late", async () => {
		const { reach, copyOf, time } = await agreeing();
		const lately = time.nowMs() - REPAIR_LIMITS.purgeMarginMs + 1;
		for (const name of ["a", "b", "c"]) copyOf(name).put([deleted(2, lately)]);
		await reach();
		for (const name of ["a", "b", "c"]) expect(copyOf(name).rows.has(2)).toBe(true);
	});

	test("stays while one holder does not answer", async () => {
		const { reach, keptBy, world } = await agreeing();
		world.setDown("c", true);
		expect(await reach()).toBe(false);
		expect(keptBy()).toEqual(["a", "b", "c"]);
	});

	test("stays while a member has a copy that it should not have, or does not say", async () => {
		const { rig, world, shard, copyOf } = await agreeing();
		rig.change({ ...ACTIVE, d: "active" });
		const { current } = world.node("a").view().placement(shard.collectionId, 0, 3);
		const letterOf = (nodeId: NodeId): string => nodeId.charAt("node_".length);
		const outside = ["a", "b", "c", "d"].find((name) => !current.includes(nodeIdOf(name)))!;
		await rig.fill(shard, [...world.nodes.keys()]);
		for (const nodeId of current)
			world.nodes
				.get(nodeId)!
				.rows(shard)
				.put([deleted(1, OLD_MS)]);
		const [home, ...others] = current;
		const agreement = new CopyAgreement(rig.partsOf(letterOf(home!)));
		const reach = (): Promise<boolean> => agreement.reach({ shard, replicas: 3 }, others, never);
		const isKept = (): boolean => copyOf(letterOf(home!)).rows.has(1);
		expect(await reach()).toBe(true);
		expect(isKept()).toBe(true);
		world.setDown(outside, true);
		await reach();
		expect(isKept()).toBe(true);
		world.setDown(outside, false);
		await world.node(outside).drop(shard);
		await reach();
		expect(isKept()).toBe(false);
	});

	test("stays while members come and go", async () => {
		const { rig, reach, keptBy } = await agreeing();
		rig.change({ ...ACTIVE, d: "joining" });
		await reach();
		expect(keptBy()).toEqual(["a", "b", "c"]);
	});

	test("is taken to all before, where one has what was deleted, and none brings it back", async () => {
		const { reach, copyOf, keptBy } = await agreeing();
		copyOf("c").rows.set(1, written(1));
		expect(await reach()).toBe(true);
		expect(keptBy()).toEqual([]);
		expect(copyOf("c").vectorCount).toBe(0);
	});

	test("is not let go again at once", async () => {
		const { reach, copyOf, keptBy, time } = await agreeing();
		await reach();
		for (const name of ["a", "b", "c"]) copyOf(name).put([deleted(1, OLD_MS)]);
		await reach();
		expect(keptBy()).toEqual(["a", "b", "c"]);
		await time.pass(REPAIR_LIMITS.purgeEveryMs);
		await reach();
		expect(keptBy()).toEqual([]);
	});

	test("copies that always differ are not said to agree", async () => {
		const { reach, copyOf, world } = await agreeing();
		let ms = 2_000;
		world.before = (nodeId, method) => {
			if (nodeId === B && method === "digest") copyOf("b").put([written(++ms)]);
		};
		expect(await reach()).toBe(false);
	});

	test("a copy that refuses for an old topology has it read", async () => {
		const { reach, world } = await agreeing();
		world.topology = topologyOf(2, ACTIVE);
		world.before = (nodeId) => {
			if (nodeId === B && world.node("a").view().version < 2) throw new ReplicaFailure("stale_topology", B, "old", 2);
		};
		expect(await reach()).toBe(false);
		expect(world.node("a").view().version).toBe(2);
	});
});
