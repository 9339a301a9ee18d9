import { expect, test } from "bun:test";
import { HintBook } from "../../../src/cluster/repair/hint-book.ts";
import { HintReplayer } from "../../../src/cluster/repair/hint-replayer.ts";
import { ShardReconciler } from "../../../src/cluster/repair/shard-reconciler.ts";
import { ReplicaFailure } from "../../../src/cluster/replication/replica-types.ts";
import { versionAt } from "../../storage/copy-fixture.ts";
import { MemoryHints } from "./memory-hints.ts";
import { MemoryNodes, nodeIdOf, shardRef, topologyOf } from "./memory-nodes.ts";
import { VirtualTime } from "./virtual-time.ts";

const active = { a: "active", b: "active", c: "active" } as const;
const [A, B, C] = [nodeIdOf("a"), nodeIdOf("b"), nodeIdOf("c")];
const document = (ms: number) => ({ payload: `${ms}`, vector: new Float32Array([1, ms]) });

/** Three nodes; the one called `a` has the book. */
async function rig(options: { readonly marksPerNodeMax?: number } = {}) {
	const time = new VirtualTime();
	const world = new MemoryNodes(topologyOf(1, active));
	const book = await HintBook.open({ storage: new MemoryHints(), clock: time, log: () => {}, ...options });
	const port = world.portOf(A);
	const logged: string[] = [];
	const replayer = new HintReplayer({
		book,
		membership: world.node("a"),
		catalog: world.catalog,
		port,
		reconciler: new ShardReconciler({ self: A, port, throttle: { take: async () => {} } }),
		clock: time,
		timers: time,
		log: (_level, message) => logged.push(message),
	});
	/** A collection of which all nodes named have a complete copy with one vector, which `missing` lacks. */
	const collection = async (name: string, holders: readonly string[], missing: readonly string[], shardIndex = 0) => {
		const { shard } = world.add(shardRef(name, shardIndex), 3);
		for (const holder of holders) {
			const node = world.node(holder);
			await node.make(shard, "complete");
			if (!missing.includes(holder)) node.rows(shard).put([{ id: 1, version: versionAt(1), document: document(1) }]);
		}
		return shard;
	};
	const isDone = () => book.count === 0;
	return { time, world, book, replayer, collection, isDone, logged };
}

test("what a node missed it has once it is back, from this node's copy", async () => {
	const { time, world, book, replayer, collection, isDone } = await rig();
	const shard = await collection("docs", ["a", "b", "c"], ["c"]);
	world.setDown("c", true);
	await book.missed(C, shard);
	replayer.start();
	await time.pass(300_000);
	expect(isDone()).toBe(false);
	world.setDown("c", false);
	expect(await time.until(isDone, 5_000)).toBe(true);
	expect(world.node("c").rows(shard).vectorCount).toBe(1);
	await replayer.stop();
});

test("a node without a copy of its own has a holder bring it up", async () => {
	const { time, world, book, replayer, collection, isDone } = await rig();
	world.change(topologyOf(2, { ...active, d: "active", e: "active" }));
	// Of five nodes three hold it.
	let name = "";
	const view = world.node("a").view();
	for (let index = 0; view.placement(shardRef(name).collectionId, 0, 3).writers.includes(A); index++)
		name = `docs${index}`;
	const writers = view.placement(shardRef(name).collectionId, 0, 3).writers;
	const letters = [..."abcde"].filter((letter) => writers.includes(nodeIdOf(letter)));
	const [missing] = letters;
	const shard = await collection(name, letters, [missing!]);
	await book.missed(nodeIdOf(missing!), shard);
	replayer.start();
	expect(await time.until(isDone, 5_000)).toBe(true);
	expect(world.node(missing!).rows(shard).vectorCount).toBe(1);
	await replayer.stop();
});

test("this node itself catches up from another", async () => {
	const { time, world, book, replayer, collection, isDone } = await rig();
	const shard = await collection("docs", ["a", "b", "c"], ["a"]);
	await book.missed(A, shard);
	replayer.start();
	expect(await time.until(isDone, 5_000)).toBe(true);
	expect(world.node("a").rows(shard).vectorCount).toBe(1);
	await replayer.stop();
});

test("whoever missed something too does not count as having it: only a copy that did not miss it settles the mark", async () => {
	const { time, world, book, replayer, collection, isDone } = await rig();
	const shard = await collection("docs", ["a", "b", "c"], ["b", "c"]);
	world.setDown("a", true);
	// From the point of view of a node that is not the one that has it.
	await book.missed(B, shard);
	await book.missed(C, shard);
	world.down.clear();
	world.before = (nodeId) => {
		if (nodeId === A) throw new ReplicaFailure("timeout", A, "it hangs");
	};
	replayer.start();
	await time.pass(60_000);
	expect(isDone()).toBe(false);
	world.before = () => {};
	expect(await time.until(isDone, 120_000)).toBe(true);
	for (const name of ["b", "c"]) expect(world.node(name).rows(shard).vectorCount).toBe(1);
	await replayer.stop();
});

test("when every copy missed something, all have to be compared with each other", async () => {
	const { time, world, book, replayer, collection, isDone } = await rig();
	const shard = await collection("docs", ["a", "b", "c"], ["b", "c"]);
	for (const nodeId of [A, B, C]) await book.missed(nodeId, shard);
	world.setDown("c", true);
	replayer.start();
	await time.pass(60_000);
	expect(book.isMissed(A, shard)).toBe(true);
	world.setDown("c", false);
	expect(await time.until(isDone, 120_000)).toBe(true);
	expect(world.node("c").rows(shard).vectorCount).toBe(1);
	await replayer.stop();
});

test("a copy that is being filled brings nobody up", async () => {
	const { time, world, book, replayer, collection, isDone } = await rig();
	const shard = await collection("docs", ["b", "c"], ["b", "c"]);
	await world.node("a").make(shard, "incoming");
	world.setDown("b", true);
	await book.missed(C, shard);
	replayer.start();
	await time.pass(30_000);
	expect(isDone()).toBe(false);
	world.setDown("b", false);
	expect(await time.until(isDone, 60_000)).toBe(true);
	await replayer.stop();
});

test("what needs nothing any more is forgotten: deleted collections, copies elsewhere, nodes that have left", async () => {
	const { time, world, book, replayer, collection, isDone } = await rig();
	await book.missed(C, shardRef("deleted"));
	const moved = await collection("moved", ["a"], []);
	world.shards[0] = { shard: moved, replicas: 1 };
	const [holder] = world.node("a").view().placement(moved.collectionId, 0, 1).writers;
	await book.missed([A, B, C].find((nodeId) => nodeId !== holder)!, moved);
	await book.missed(nodeIdOf("gone"), moved);
	replayer.start();
	expect(await time.until(isDone, 5_000)).toBe(true);
	await replayer.stop();
});

test("a node that knows no topology yet forgets nobody", async () => {
	const { time, world, book, replayer, collection } = await rig();
	const shard = await collection("docs", ["a"], []);
	world.setDown("c", true);
	await book.missed(C, shard);
	world.node("a").learn(topologyOf(0, { a: "active" }));
	replayer.start();
	await time.pass(120_000);
	expect(book.count).toBe(1);
	await replayer.stop();
});

test("a node that missed too much has all its shards compared", async () => {
	const { time, world, book, replayer, collection, isDone } = await rig({ marksPerNodeMax: 2 });
	const shards = await Promise.all(
		Array.from({ length: 6 }, (_, index) => collection("docs", ["a", "b", "c"], ["c"], index)),
	);
	for (const shard of shards) await book.missed(C, shard);
	const { all } = world.catalog;
	let hubFailures = 1;
	Object.assign(world.catalog, {
		all: (signal: AbortSignal) => {
			if (hubFailures-- > 0) throw new Error("the hub is away");
			return all(signal);
		},
	});
	replayer.start();
	expect(await time.until(isDone, 60_000)).toBe(true);
	for (const shard of shards) expect(world.node("c").rows(shard).vectorCount).toBe(1);
	await replayer.stop();
});

test("a node that seems to live and does not answer is tried ever less often", async () => {
	const { time, world, book, replayer, collection } = await rig();
	const shards = await Promise.all(
		Array.from({ length: 50 }, (_, index) => collection("docs", ["a", "b", "c"], ["c"], index)),
	);
	for (const shard of shards) await book.missed(C, shard);
	world.before = (nodeId) => {
		if (nodeId === C) throw new ReplicaFailure("timeout", C, "it hangs");
	};
	replayer.start();
	await time.pass(600_000);
	const asked = world.calls.filter((call) => call.startsWith(C)).length;
	expect(asked).toBeGreaterThan(10);
	expect(asked).toBeLessThan(400);
	await replayer.stop();
});

test("a call that was refused for an old topology has the new one read", async () => {
	const { time, world, book, replayer, collection, isDone } = await rig();
	const shard = await collection("docs", ["a", "b", "c"], ["c"]);
	world.topology = topologyOf(2, active);
	world.before = (nodeId) => {
		if (nodeId === C && world.node("a").view().version < 2) throw new ReplicaFailure("stale_topology", C, "old", 2);
	};
	await book.missed(C, shard);
	replayer.start();
	expect(await time.until(isDone, 60_000)).toBe(true);
	expect(world.node("a").view().version).toBe(2);
	await replayer.stop();
});
