import { expect, test } from "bun:test";
import { RepairCalls } from "../../../src/cluster/repair/repair-calls.ts";
import { nodeIdOf, shardRef, topologyOf } from "./memory-nodes.ts";
import { never, RepairRig } from "./repair-rig.ts";

const ACTIVE = { a: "active", b: "active" } as const;
const [A, B] = [nodeIdOf("a"), nodeIdOf("b")];
const shard = shardRef("docs");

function asked() {
	const { world } = new RepairRig(ACTIVE);
	return { world, calls: new RepairCalls(world.peersOf(A)) };
}

test("a node that is asked for a topology it does not know reads it first", async () => {
	const { world, calls } = asked();
	expect(await calls.hasTopology(B, 1, never)).toBe(true);
	expect(await calls.hasTopology(B, 2, never)).toBe(false);
	world.topology = topologyOf(2, ACTIVE);
	expect(await calls.hasTopology(B, 2, never)).toBe(true);
});

test("a node says that it has settled once its older writes are done, and never of a topology it does not know", async () => {
	const { world, calls } = asked();
	expect(await calls.isSettled(B, shard, 5, never)).toBe(false);
	expect(world.node("b").settledVersions).toEqual([]);
	const { promise, resolve } = Promise.withResolvers<void>();
	world.node("b").settling = promise;
	let isSettled = false;
	const told = calls.isSettled(B, shard, 1, never).then((said) => {
		isSettled = said;
	});
	await Bun.sleep(0);
	expect(isSettled).toBe(false);
	resolve();
	await told;
	expect(isSettled).toBe(true);
});

test("a question that is none is refused", async () => {
	const { world } = asked();
	for (const method of ["repair.settled", "repair.topology"]) {
		let why: unknown;
		try {
			await world.peersOf(A).call(B, method, { version: -1 }, { timeoutMs: 1_000 });
		} catch (error) {
			why = error;
		}
		expect(why).toMatchObject({ code: "VALIDATION_FAILED" });
	}
});
