import { expect, test } from "bun:test";
import type { NodeId } from "../../../src/base/ids.ts";
import { PlacementWatch } from "../../../src/cluster/repair/placement-watch.ts";
import { REPAIR_LIMITS } from "../../../src/cluster/repair/repair-limits.ts";
import type { CollectionRecord } from "../../../src/hub/models.ts";
import { nodeIdOf } from "./memory-nodes.ts";
import { RepairRig } from "./repair-rig.ts";

const D = nodeIdOf("d");
const FOUR = { a: "active", b: "active", c: "active", d: "active" } as const;

function watched(isHeld: boolean) {
	const rig = new RepairRig(FOUR);
	const shard = rig.shardOn(2, ({ current }) => current.includes(D) === isHeld);
	let lookCount = 0;
	const watch = new PlacementWatch({ ...rig.partsOf("d"), look: () => lookCount++ });
	return { rig, shard, watch, looks: () => lookCount, node: rig.world.node("d") };
}
const PATIENCE_MS = REPAIR_LIMITS.placementPatienceMs + 100;

test("a copy that should be here a moment after its collection was made, and is not, has all looked through", async () => {
	const { rig, shard, watch, looks } = watched(true);
	watch.made(shard);
	await rig.time.pass(PATIENCE_MS);
	expect(looks()).toBe(1);
	await rig.time.pass(10 * PATIENCE_MS);
	expect(looks()).toBe(1);
});

test("what is in place, and what was deleted meanwhile, is no matter", async () => {
	const { rig, shard, watch, looks, node } = watched(true);
	await node.make(shard, "complete");
	watch.made(shard);
	await rig.time.pass(PATIENCE_MS);
	rig.world.shards.length = 0;
	await node.drop(shard);
	watch.made(shard);
	await rig.time.pass(PATIENCE_MS);
	expect(looks()).toBe(0);
});

test("a copy that was made here and belongs elsewhere has all looked through, as has one that is not filled", async () => {
	const elsewhere = watched(false);
	await elsewhere.node.make(elsewhere.shard, "incoming");
	elsewhere.watch.made(elsewhere.shard);
	await elsewhere.rig.time.pass(PATIENCE_MS);
	expect(elsewhere.looks()).toBe(1);
	const unfilled = watched(true);
	await unfilled.node.make(unfilled.shard, "incoming");
	unfilled.watch.made(unfilled.shard);
	await unfilled.rig.time.pass(PATIENCE_MS);
	expect(unfilled.looks()).toBe(1);
});

test("a collection's record stands for all its shards", async () => {
	const { rig, shard, watch, looks, node } = watched(true);
	await node.make(shard, "complete");
	const { config } = shard;
	const record = {
		id: shard.collectionId,
		tenant_id: shard.tenantId,
		shards: 1,
		revision: 2,
		payload_indexes: config.payloadIndexes,
		...config,
	} as unknown as CollectionRecord;
	watch.changed(record);
	await rig.time.pass(PATIENCE_MS);
	expect(looks()).toBe(0);
	// Fewer copies are wanted, and this is none of them.
	const [wanted] = rig.world.shards;
	const first = node.view().placement(shard.collectionId, 0, 1).current[0] as NodeId;
	rig.world.shards[0] = { ...wanted!, replicas: first === D ? 2 : 1 };
	watch.changed(record);
	await rig.time.pass(PATIENCE_MS);
	expect(looks()).toBe(first === D ? 0 : 1);
});

test("a hub that can't be asked has all looked through, which goes on until it can; a stop ends it", async () => {
	const { rig, shard, watch, looks } = watched(true);
	rig.world.catalog.find = async () => {
		throw new Error("the hub is away");
	};
	watch.made(shard);
	await rig.time.pass(PATIENCE_MS);
	expect(looks()).toBe(1);
	watch.made(shard);
	watch.stop();
	watch.made(shard);
	await rig.time.pass(PATIENCE_MS);
	expect(looks()).toBe(1);
});
