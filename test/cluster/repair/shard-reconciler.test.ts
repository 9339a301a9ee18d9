import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ByteThrottle } from "../../../src/cluster/repair/byte-throttle.ts";
import { ShardReconciler } from "../../../src/cluster/repair/shard-reconciler.ts";
import { bucketCountFor, diffVersions } from "../../../src/cluster/repair/version-diff.ts";
import { versionAt } from "../../storage/copy-fixture.ts";
import { MemoryNodes, nodeIdOf, shardRef, topologyOf } from "./memory-nodes.ts";
import { tooLarge } from "./memory-shard.ts";
import { VirtualTime } from "./virtual-time.ts";

const [A, B] = [nodeIdOf("a"), nodeIdOf("b")];
const shard = shardRef("docs");

async function twoCopies() {
	const world = new MemoryNodes(topologyOf(1, { a: "active", b: "active" }));
	for (const node of world.nodes.values()) await node.make(shard, "complete");
	const throttle = { take: async () => {} };
	const reconciler = new ShardReconciler({ self: A, port: world.portOf(A), throttle });
	return { world, reconciler, here: world.node("a").rows(shard), there: world.node("b").rows(shard) };
}

const written = (id: string | number, ms: number, payload = `${id}@${ms}`) => ({
	id,
	version: versionAt(ms),
	document: { payload, vector: new Float32Array([1, ms]) },
});
const deleted = (id: string | number, ms: number) => ({ id, version: versionAt(ms), document: undefined });

describe("comparing two copies", () => {
	test("both hold for each id the newest of what either held, whatever that was", async () => {
		const history = fc.array(
			fc.record({ id: fc.integer({ min: 0, max: 20 }), ms: fc.integer({ min: 1, max: 50 }), isHere: fc.boolean() }),
			{ maxLength: 60 },
		);
		await fc.assert(
			fc.asyncProperty(history, async (writes) => {
				const { reconciler, here, there } = await twoCopies();
				const newest = new Map<number, number>();
				for (const { id, ms, isHere } of writes) {
					(isHere ? here : there).put([ms % 3 === 0 ? deleted(id, ms) : written(id, ms)]);
					newest.set(id, Math.max(ms, newest.get(id) ?? 0));
				}
				await reconciler.reconcile(shard, B);
				expect(there.content).toBe(here.content);
				for (const [id, ms] of newest) {
					expect(here.rows.get(id)?.document?.payload).toBe(ms % 3 === 0 ? undefined : `${id}@${ms}`);
				}
				const again = await reconciler.reconcile(shard, B);
				expect(again.pulledRows + again.pushedRows).toBe(0);
			}),
			{ numRuns: 100 },
		);
	});

	test("copies that hold the same cost two digests", async () => {
		const { world, reconciler, here, there } = await twoCopies();
		for (let id = 0; id < 100; id++) for (const copy of [here, there]) copy.put([written(id, 1)]);
		expect(await reconciler.reconcile(shard, B)).toMatchObject({ pulledRows: 0, pushedRows: 0, bytes: 0 });
		expect(world.calls).toEqual([`${A} digest`, `${B} digest`]);
	});

	test("of large copies that differ little, only the buckets that differ are listed", async () => {
		const { world, reconciler, here, there } = await twoCopies();
		for (let id = 0; id < 20_000; id++) for (const copy of [here, there]) copy.put([written(id, 1)]);
		there.put([written("one more", 2)]);
		let listedCount = 0;
		world.before = (_node, method, args) => {
			if (method !== "versions") return;
			listedCount += (args[1] as readonly number[]).length;
		};
		expect(await reconciler.reconcile(shard, B)).toMatchObject({ pulledRows: 1, pushedRows: 0 });
		expect(listedCount).toBe(2);
		expect(bucketCountFor(20_000)).toBe(128);
	});

	test("the age of the oldest row that either had to take is told", async () => {
		const { reconciler, here, there } = await twoCopies();
		there.put([written(1, 700), deleted(2, 300), written(3, 500)]);
		expect((await reconciler.fill(shard, B, {})).oldestMovedMs).toBe(300);
		expect((await reconciler.fill(shard, B, {})).oldestMovedMs).toBe(Number.POSITIVE_INFINITY);
		here.put([written(4, 200)]);
		expect((await reconciler.reconcile(shard, B)).oldestMovedMs).toBe(200);
	});

	test("rows that are too large together are asked for in smaller portions", async () => {
		const { world, reconciler, here, there } = await twoCopies();
		for (let id = 0; id < 50; id++) there.put([written(id, 1)]);
		world.before = (_node, method, args) => {
			if (method === "rows" && (args[0] as readonly number[]).length > 3) throw tooLarge();
		};
		await reconciler.reconcile(shard, B);
		expect(here.content).toBe(there.content);
	});

	test("a failure is told once nothing goes on any more, and what was exchanged stays", async () => {
		const { world, reconciler, here, there } = await twoCopies();
		for (let id = 0; id < 5_000; id++) there.put([written(id, 1)]);
		let mergeCount = 0;
		world.before = (_node, method) => {
			if (method === "merge" && ++mergeCount === 4) throw tooLarge();
		};
		expect(await failureOf(reconciler.reconcile(shard, B))).toMatchObject({ code: "PAYLOAD_TOO_LARGE" });
		const keptCount = here.vectorCount;
		expect(keptCount).toBeGreaterThan(0);
		expect(keptCount).toBeLessThan(5_000);
		expect(await reconciler.reconcile(shard, B)).toMatchObject({ pulledRows: 5_000 - keptCount });
		expect(here.content).toBe(there.content);
	});

	test("it ends although the copy is written to all the while", async () => {
		const { world, reconciler, here, there } = await twoCopies();
		for (let id = 0; id < 3_000; id++) there.put([written(id, 1)]);
		let ms = 10;
		world.before = (_node, method) => {
			if (method === "rows") there.put([written(ms % 3_000, ++ms)]);
		};
		await reconciler.reconcile(shard, B);
		expect(here.vectorCount).toBe(3_000);
	});

	test("it ends when it is called off", async () => {
		const { world, reconciler, there } = await twoCopies();
		for (let id = 0; id < 5_000; id++) there.put([written(id, 1)]);
		const abort = new AbortController();
		world.before = (_node, method) => {
			if (method === "merge") abort.abort(new Error("enough"));
		};
		expect(await failureOf(reconciler.reconcile(shard, B, abort.signal))).toMatchObject({ message: "enough" });
		expect(world.node("a").rows(shard).vectorCount).toBeLessThan(5_000);
	});
});

describe("filling a copy", () => {
	test("brings deletions too that the sums say nothing of, and takes nothing away from the source", async () => {
		const { reconciler, here, there } = await twoCopies();
		there.put([written(1, 5), deleted(2, 6)]);
		here.put([written(3, 7), written(1, 5)]);
		await reconciler.fill(shard, B, {});
		expect([...here.rows.keys()].sort()).toEqual([1, 2, 3]);
		expect([...there.rows.keys()].sort()).toEqual([1, 2]);
	});

	test("tells how far it is", async () => {
		const { reconciler, here, there } = await twoCopies();
		for (let id = 0; id < 2_500; id++) there.put([written(id, 1)]);
		for (let id = 0; id < 500; id++) here.put([written(id, 1)]);
		const told: number[] = [];
		const result = await reconciler.fill(shard, B, {
			onProgress: ({ rowsDone, rowsTotal, bytesDone }) => {
				expect(rowsTotal).toBe(2_500);
				expect(bytesDone).toBeGreaterThanOrEqual(0);
				told.push(rowsDone);
			},
		});
		expect(told.at(-1)).toBe(2_500);
		expect(told).toEqual(told.toSorted((a, b) => a - b));
		expect(result.pulledRows).toBe(2_000);
	});
});

describe("handing over", () => {
	test("gives the other copies what they lack, and takes nothing that is not known here", async () => {
		const { reconciler, here, there } = await twoCopies();
		here.put([written(1, 5), written(2, 5)]);
		there.put([written(2, 9), written(3, 9)]);
		await reconciler.handOver(shard, [B], {});
		expect([...there.rows.keys()].sort()).toEqual([1, 2, 3]);
		expect(there.rows.get(2)?.document?.payload).toBe("2@9");
		expect(here.rows.has(3)).toBe(false);
	});

	test("gives none of them what any of them knows to be deleted", async () => {
		const world = new MemoryNodes(topologyOf(1, { a: "active", b: "active", c: "active" }));
		for (const node of world.nodes.values()) await node.make(shard, "complete");
		const reconciler = new ShardReconciler({ self: A, port: world.portOf(A), throttle: { take: async () => {} } });
		const copyOf = (name: string) => world.node(name).rows(shard);
		copyOf("a").put([written(1, 5)]);
		// The first to be given something has not heard of it.
		copyOf("c").put([deleted(1, 9)]);
		await reconciler.handOver(shard, [B, nodeIdOf("c")], {});
		for (const name of ["a", "b", "c"]) expect(copyOf(name).vectorCount).toBe(0);
	});
});

test("ids that look alike are kept apart: 1 is not '1'", () => {
	const listOf = (id: string | number) => ({ ids: [id], versions: versionAt(1), deleted: new Uint8Array(1) });
	expect(diffVersions(listOf(1), listOf("1"))).toEqual({ newerThere: ["1"], newerHere: [1] });
});

describe("the throttle", () => {
	test("lets so many bytes a second through, and a small burst at once", async () => {
		const time = new VirtualTime();
		const throttle = new ByteThrottle({ bytesPerSecond: 1_000, clock: time, timers: time });
		await time.wait(throttle.take(200));
		expect(time.monotonicMs()).toBe(0);
		for (let turn = 0; turn < 10; turn++) await time.wait(throttle.take(1_000));
		expect(time.monotonicMs()).toBe(9_950);
	});

	test("lets go at once what is called off", async () => {
		const time = new VirtualTime();
		const throttle = new ByteThrottle({ bytesPerSecond: 1, clock: time, timers: time });
		const abort = new AbortController();
		const taken = throttle.take(1_000_000, abort.signal);
		abort.abort();
		await taken;
		await throttle.take(1_000_000, abort.signal);
		expect(time.monotonicMs()).toBe(0);
	});
});

async function failureOf(promise: Promise<unknown>): Promise<unknown> {
	try {
		await promise;
	} catch (error) {
		return error;
	}
	throw new Error("it did not fail");
}
