import { expect, test } from "bun:test";
import { HiveError } from "../../../src/base/errors.ts";
import type { NodeId, TenantId } from "../../../src/base/ids.ts";
import type { CollectionRecord } from "../../../src/hub/models.ts";
import { codeOf } from "../cluster-fixture.ts";
import { AccountsRig, NODES, tenantsOf, VECTOR_BYTES } from "./accounts-rig.ts";

const ACME = "acme" as TenantId;
const QUOTA = 3_000;

function limitedRig(nodeIds = NODES): AccountsRig {
	const rig = new AccountsRig(ACME, nodeIds);
	rig.quota = { ...rig.quota, max_vectors: QUOTA };
	return rig;
}

const firstOf = (rig: AccountsRig): CollectionRecord => [...rig.collections.values()][0]!;

/** Several writers on every node that lives, for so long. */
const hammerAll = (rig: AccountsRig, ms: number, vectorCount = 9): Promise<unknown> => {
	const untilMs = rig.time.monotonicMs() + ms;
	return Promise.all([...rig.nodes.values()].flatMap((node) => [1, 2, 3].map(() => node.hammer(vectorCount, untilMs))));
};

test("three nodes hammered at once fill a quota to the brim and never pass it", async () => {
	const rig = limitedRig();
	await rig.time.until(hammerAll(rig, 4_000));
	expect(rig.vectorCountMax).toBeLessThanOrEqual(QUOTA);
	expect(rig.total.vectorCount).toBeGreaterThan(QUOTA - 9);
	expect(await rig.usages()).toEqual([1, 2, 3].map(() => rig.total.vectorCount));
	for (const { refusals, writtenCount } of rig.nodes.values()) {
		expect([...refusals.keys()]).toEqual(["QUOTA_EXCEEDED"]);
		expect(writtenCount).toBeGreaterThan(0);
	}
});

test("what is deleted through one node can be written through another at once", async () => {
	const rig = limitedRig();
	const [home, second, third] = rig.homes;
	const record = firstOf(rig);
	await rig.time.until(second!.write(record, QUOTA));
	expect(await rig.time.until(codeOf(third!.write(record, 3)))).toBe("QUOTA_EXCEEDED");
	await rig.time.until(third!.write(record, -300));
	await rig.time.pass(10);
	await rig.time.until(second!.write(record, 300));
	expect(await rig.time.until(codeOf(home!.write(record, 3)))).toBe("QUOTA_EXCEEDED");
	expect(await rig.usages()).toEqual([QUOTA, QUOTA, QUOTA]);
});

test("a home that is killed under load is followed by the next, and the quota holds", async () => {
	const rig = limitedRig();
	const [home] = rig.homes;
	const load = hammerAll(rig, 20_000);
	await rig.time.pass(150);
	expect(rig.total.vectorCount).toBeGreaterThan(0);
	expect(rig.total.vectorCount).toBeLessThan(QUOTA / 2);
	const killed = rig.kill(home!.nodeId);
	await rig.time.until(Promise.all([load, killed]));
	expect(rig.vectorCountMax).toBeLessThanOrEqual(QUOTA * 1.01);
	expect(rig.total.vectorCount).toBeGreaterThan(QUOTA * 0.98);
	await rig.time.pass(70_000);
	expect(await rig.usages()).toEqual([rig.total.vectorCount, rig.total.vectorCount]);
});

test("a node that joins and becomes the home learns what is granted before it grants", async () => {
	const joiner = ["node_d", "node_e", "node_f", "node_g", "node_h"].find((name) => {
		const all = new AccountsRig(ACME, [...NODES, name as NodeId]);
		return all.homes[0]!.nodeId === name;
	}) as NodeId;
	const rig = limitedRig();
	const load = hammerAll(rig, 6_000);
	await rig.time.pass(150);
	rig.network.change(new Map([...NODES.map((nodeId) => [nodeId, "active"] as const), [joiner, "joining"]]));
	const node = rig.start(rig.network.join(joiner));
	const more = Promise.all([1, 2, 3].map(() => node.hammer(9, rig.time.monotonicMs() + 5_000)));
	// The others hear of it one after the other.
	for (const nodeId of NODES) {
		await rig.time.pass(40);
		rig.network.peers.get(nodeId)!.learn();
	}
	await rig.time.until(Promise.all([load, more]));
	expect(rig.homes[0]!.nodeId).toBe(joiner);
	expect(rig.vectorCountMax).toBeLessThanOrEqual(QUOTA * 1.01);
	expect(rig.total.vectorCount).toBeGreaterThan(QUOTA * 0.98);
	await rig.time.pass(70_000);
	expect(await rig.usages()).toEqual([1, 2, 3, 4].map(() => rig.total.vectorCount));
});

test("a home cut off from most members grants no more than its share of what was free", async () => {
	const rig = limitedRig();
	const [home, ...others] = rig.homes;
	const record = firstOf(rig);
	await rig.time.until(home!.write(record, 600));
	for (const { nodeId, peer } of others) {
		rig.network.cut(home!.nodeId, nodeId);
		rig.network.cut(nodeId, home!.nodeId);
		peer.sees(home!.nodeId, false);
		home!.peer.sees(nodeId, false);
	}
	const before = rig.total.vectorCount;
	await rig.time.until(home!.hammer(9, rig.time.monotonicMs() + 3_000));
	const granted = rig.total.vectorCount - before;
	expect(granted).toBeLessThanOrEqual((QUOTA - 600) / 3);
	expect(granted).toBeGreaterThan((QUOTA - 600) / 3 - 10);
	// Healed, it asks what the others did, and grants the rest.
	rig.network.heal();
	for (const { nodeId, peer } of others) {
		peer.sees(home!.nodeId, true);
		home!.peer.sees(nodeId, true);
	}
	await rig.time.until(hammerAll(rig, 3_000));
	expect(rig.vectorCountMax).toBeLessThanOrEqual(QUOTA);
	expect(await rig.usages()).toEqual([1, 2, 3].map(() => rig.total.vectorCount));
});

test("nothing is granted when neither the home nor the next one answers", async () => {
	const rig = limitedRig();
	const [home, second, third] = rig.homes;
	rig.network.kill(home!.nodeId);
	rig.network.kill(second!.nodeId);
	const record = firstOf(rig);
	expect(await rig.time.until(codeOf(third!.write(record, 3)))).toBe("NO_QUORUM");
	expect(await rig.time.until(codeOf(third!.accounts.usage(ACME, rig.collections)))).toBe("NO_QUORUM");
	expect(rig.total.vectorCount).toBe(0);
});

test("the next one does not grant in the place of a home it can reach: it passes the question on", async () => {
	const rig = limitedRig();
	const [home, second, third] = rig.homes;
	rig.network.cut(third!.nodeId, home!.nodeId);
	await rig.time.until(third!.write(firstOf(rig), 300));
	await rig.time.pass(10);
	expect((await rig.time.until(home!.accounts.usage(ACME, rig.collections))).vectorCount).toBe(300);
	expect(home!.ledger.mark).toBeGreaterThan(0);
	expect(second!.ledger.mark).toBe(0);
});

test("a tenant without a quota asks nobody before it writes, and is counted all the same", async () => {
	const rig = new AccountsRig(ACME);
	const [home, second] = rig.homes;
	expect(await rig.usages()).toEqual([0, 0, 0]);
	rig.network.calls.length = 0;
	await rig.time.until(second!.write(firstOf(rig), 30));
	await rig.time.pass(10);
	expect(rig.network.calls.map(({ method }) => method)).toEqual(["accounts.news"]);
	expect((await rig.time.until(home!.accounts.recentUsage(ACME, rig.collections))).vectorCount).toBe(30);
	expect(await rig.usages()).toEqual([30, 30, 30]);
});

test("news that arrived and whose answer was lost counts once", async () => {
	const rig = limitedRig();
	const [home, second] = rig.homes;
	await rig.time.until(second!.write(firstOf(rig), 30));
	let lostCount = 0;
	rig.network.losesAnswer = (method) => method === "accounts.news" && ++lostCount <= 2;
	const askedCount = rig.asked.length;
	await rig.time.until(second!.write(firstOf(rig), 30));
	await rig.time.pass(5_000);
	expect(lostCount).toBeGreaterThan(2);
	const usage = await rig.time.until(home!.accounts.usage(ACME, rig.collections));
	expect([usage.vectorCount, usage.storageBytes, usage.collectionCount]).toEqual([60, 60 * VECTOR_BYTES, 2]);
	expect(rig.asked.length).toBe(askedCount);
});

test("a part of a write that failed is asked after before its room is given back", async () => {
	const rig = limitedRig();
	const [, second] = rig.homes;
	const record = firstOf(rig);
	for (const fault of ["before", "after"] as const) {
		let faultCount = 0;
		rig.fault = () => (++faultCount === 1 ? fault : undefined);
		expect(await rig.time.until(codeOf(second!.write(record, 300)))).toBe("INTERNAL");
	}
	expect(rig.total.vectorCount).toBe(500);
	expect(await rig.usages()).toEqual([500, 500, 500]);
	await rig.time.until(second!.write(record, QUOTA - 500));
	expect(await rig.time.until(codeOf(second!.write(record, 3)))).toBe("QUOTA_EXCEEDED");
});

test("room of a node that died before it told is given back after a minute, its shards having been asked", async () => {
	const rig = limitedRig();
	const [home, second] = rig.homes;
	const writing = second!.write(firstOf(rig), QUOTA);
	await rig.time.pass(8);
	writing.catch(() => {});
	await rig.time.pass(1);
	rig.network.kill(second!.nodeId);
	for (const { peer } of [home!, rig.homes[2]!]) peer.sees(second!.nodeId, false);
	const stored = rig.total.vectorCount;
	expect(await rig.time.until(codeOf(home!.write(firstOf(rig), 30)))).toBe("QUOTA_EXCEEDED");
	await rig.time.pass(70_000);
	await rig.time.until(home!.write(firstOf(rig), QUOTA - rig.total.vectorCount));
	expect(rig.total.vectorCount).toBe(QUOTA);
	expect(stored).toBeLessThanOrEqual(QUOTA);
});

test("what is written to a collection that the home has not heard of yet counts", async () => {
	const rig = limitedRig();
	const [home, second] = rig.homes;
	await rig.time.until(second!.write(firstOf(rig), 300));
	const known = rig.collections;
	home!.collections = () => known;
	const record = rig.newRecord("new");
	rig.collections = new Map([...known, ["new", record]]);
	await rig.time.until(second!.hammer(9, rig.time.monotonicMs() + 100));
	await rig.time.until(second!.write(record, 2_100));
	await rig.time.pass(10);
	expect(await rig.time.until(codeOf(second!.write(record, 900)))).toBe("QUOTA_EXCEEDED");
	home!.collections = () => rig.collections;
	expect(await rig.usages()).toEqual([1, 2, 3].map(() => rig.total.vectorCount));
});

test("a collection that is dropped through one node gives its room back at the home", async () => {
	const rig = limitedRig();
	const [home, second] = rig.homes;
	const [first, other] = rig.collections.values();
	await rig.time.until(second!.write(first!, 2_700));
	second!.accounts.forget(ACME, first!.id);
	rig.collections = new Map([[other!.name, other!]]);
	for (const name of [...rig.stored.keys()]) if (name.startsWith(first!.id)) rig.stored.delete(name);
	await rig.time.pass(10);
	await rig.time.until(second!.write(other!, 2_700));
	expect(await rig.usages()).toEqual([2_700, 2_700, 2_700]);
	home!.accounts.forgetTenant(ACME);
	expect(await rig.usages()).toEqual([2_700, 2_700, 2_700]);
});

test("headers cost a question a second at most, carry one's own writes, and don't wait for a home that hangs", async () => {
	const rig = limitedRig();
	const [home, second] = rig.homes;
	const record = firstOf(rig);
	const read = () => rig.time.until(second!.accounts.recentUsage(ACME, rig.collections));
	expect(await read()).toEqual({ storageBytes: 0, vectorCount: 0, collectionCount: 2 });
	rig.network.calls.length = 0;
	for (let round = 0; round < 50; round++) await read();
	expect(rig.network.calls).toEqual([]);
	await rig.time.until(second!.write(record, 30));
	expect((await read()).vectorCount).toBe(30);
	await rig.time.until(rig.homes[2]!.write(record, 30));
	await rig.time.pass(1_001);
	expect((await read()).vectorCount).toBe(60);
	rig.network.kill(home!.nodeId);
	await rig.time.pass(2_000);
	const startMs = rig.time.monotonicMs();
	expect((await read()).vectorCount).toBe(60);
	expect(rig.time.monotonicMs() - startMs).toBeLessThanOrEqual(250);
	// Of a tenant of which nothing is known nothing can be said.
	const [unknown] = [...tenantsOf(home!.nodeId, rig.network)].filter((tenantId) => tenantId !== ACME);
	const unknownUsage = second!.accounts.recentUsage(unknown!, new Map());
	expect(await rig.time.until(codeOf(unknownUsage))).toBe("NO_QUORUM");
});

test("a shard that can't be asked stops a write only where nothing is known of it", async () => {
	const rig = limitedRig();
	const [home, second] = rig.homes;
	const record = firstOf(rig);
	rig.askFault = new HiveError("NO_QUORUM", "no copy answers");
	expect(await rig.time.until(codeOf(second!.write(record, 3)))).toBe("NO_QUORUM");
	rig.askFault = undefined;
	await rig.time.until(second!.write(record, 30));
	// Members come and go: everything is asked anew, and what does not answer counts as known last.
	home!.peer.sees(rig.homes[2]!.nodeId, false);
	rig.askFault = new HiveError("NO_QUORUM", "no copy answers");
	await rig.time.until(second!.write(record, 30));
	expect(rig.logged).toContain("a shard did not tell what it holds");
	expect(await rig.time.until(codeOf(second!.write(record, QUOTA)))).toBe("QUOTA_EXCEEDED");
});

test("a node alone asks nobody, and does not look at the shards again", async () => {
	const rig = limitedRig([NODES[0]!]);
	const [alone] = rig.homes;
	await rig.time.until(hammerAll(rig, 1_000));
	expect(rig.total.vectorCount).toBeGreaterThan(QUOTA - 9);
	expect(rig.vectorCountMax).toBeLessThanOrEqual(QUOTA);
	await rig.time.pass(700_000);
	await rig.time.until(alone!.accounts.recentUsage(ACME, rig.collections));
	expect(await rig.usages()).toEqual([rig.total.vectorCount]);
	expect(rig.asked).toHaveLength(6);
	expect(rig.network.calls).toEqual([]);
});

test("while a tenant is used its shards are asked again now and then: copies may hold another number than was counted", async () => {
	const rig = limitedRig();
	const [home, second] = rig.homes;
	const record = firstOf(rig);
	await rig.time.until(second!.write(record, 30));
	rig.shard(record.id, 0).vectorCount += 5;
	await rig.time.until(second!.write(record, 30));
	expect(await rig.usages()).toEqual([60, 60, 60]);
	await rig.time.pass(600_001);
	await rig.time.until(second!.write(record, 30));
	await rig.time.pass(10);
	expect((await rig.time.until(home!.accounts.usage(ACME, rig.collections))).vectorCount).toBe(95);
});

test("more news than can wait for a home that hangs has its shards asked instead", async () => {
	const rig = new AccountsRig(ACME);
	const [home, second] = rig.homes;
	const record = firstOf(rig);
	expect(await rig.usages()).toEqual([0, 0, 0]);
	for (const { nodeId } of rig.homes.slice(1)) rig.network.cut(nodeId, home!.nodeId);
	rig.asked.length = 0;
	for (let count = 0; count < 10_600; count++) {
		const write = second!.accounts.begin(ACME);
		const result = { vectorCountDelta: 1, bytesDelta: VECTOR_BYTES, affectedCount: 1 };
		write.stage(record, 0, result)();
		rig.shard(record.id, 0).vectorCount++;
		write.release();
		write.release();
	}
	await rig.time.pass(3_000);
	rig.network.heal();
	await rig.time.pass(20_000);
	expect(await rig.usages()).toEqual([10_600, 10_600, 10_600]);
	expect(rig.asked.length).toBeGreaterThan(0);
	for (const { accounts } of rig.nodes.values()) accounts.close();
});
