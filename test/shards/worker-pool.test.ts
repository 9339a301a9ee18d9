import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { HiveError } from "../../src/base/errors.ts";
import { shardFolder } from "../../src/shards/data-folder.ts";
import { WorkerPool, type WorkerPoolOptions } from "../../src/shards/worker-pool.ts";
import { batchOf, refOf, Signal, TestFolder } from "./fixtures.ts";
import { InThreadWorkers } from "./in-thread-worker.ts";
import { ShardProbe } from "./memory-shard.ts";

function poolIn(folder: TestFolder, options: Partial<WorkerPoolOptions> = {}) {
	const probe = new ShardProbe();
	const workers = new InThreadWorkers(() => probe);
	const logged: string[] = [];
	const pool = new WorkerPool({
		workerCount: 1,
		settings: { dataDir: folder.path, nodeTag: new Uint8Array(8), memoryBudgetBytes: 1_000_000, openShardsMax: 100 },
		startWorker: workers.start,
		observer: {
			log: (_level, message) => logged.push(message),
		},
		...options,
	});
	return { pool, probe, workers, logged };
}

async function errorOf(call: Promise<unknown>): Promise<HiveError> {
	try {
		await call;
	} catch (error) {
		if (error instanceof HiveError) return error;
		throw error;
	}
	throw new Error("nothing was thrown");
}

const shard = refOf("acme", "docs");

test("a call's result and a shard's error come back to their caller", async () => {
	using folder = new TestFolder();
	const { pool } = poolIn(folder);
	await pool.call(shard, "create");
	expect(await pool.call(shard, "upsert", batchOf("a", 1), {})).toEqual({
		vectorCountDelta: 2,
		bytesDelta: 16,
		affectedCount: 2,
	});
	expect(await pool.call(shard, "count", undefined)).toBe(2);
	expect(await errorOf(pool.call(shard, "create"))).toMatchObject({
		code: "CONFLICT",
		message: "the shard exists already",
	});
	await pool.close();
});

test("an upsert's vectors move to the worker, and a view takes along only its own part", async () => {
	using folder = new TestFolder();
	const { pool, workers } = poolIn(folder);
	await pool.call(shard, "create");
	const whole = batchOf("a");
	await pool.call(shard, "upsert", whole, {});
	expect(whole.vectors.length).toBe(0);
	const large = new Float32Array(1_000);
	const views = { ids: ["b"], vectors: large.subarray(2, 4), payloads: [undefined] };
	await pool.call(shard, "measure", { upsert: views });
	await pool.call(shard, "measure", { update: { id: "b", vector: large.subarray(0, 2) } });
	await pool.call(shard, "update", { id: "b", vector: large.subarray(0, 2) }, {});
	await pool.call(shard, "upsert", views, {});
	await pool.call(shard, "search", [{ vector: large.subarray(8, 10), k: 1, withPayload: false, withVector: false }]);
	expect(large.length).toBe(1_000);
	const text = JSON.stringify(workers.started[0]?.received, (_key, value: unknown) =>
		value instanceof Float32Array ? value.buffer.byteLength : value,
	);
	expect(text).not.toContain("4000");
	await pool.close();
});

test("vectors in an answer come without the buffer behind them", async () => {
	using folder = new TestFolder();
	const { pool } = poolIn(folder);
	await pool.call(shard, "create");
	await pool.call(shard, "upsert", batchOf("a"), {});
	const options = { withPayload: false, withVector: true };
	const [found, missing] = await pool.call(shard, "get", ["a", "b"], options);
	const page = await pool.call(shard, "scroll", { ...options, limit: 1 });
	const [answer] = await pool.call(shard, "search", [{ ...options, id: "a", k: 1 }]);
	for (const stored of [found, page.vectors[0], answer?.hits[0]]) {
		expect(stored?.vector?.length).toBe(2);
		expect(stored?.vector?.buffer.byteLength).toBe(8);
	}
	expect(missing).toBeUndefined();
	await pool.close();
});

test("rows for a merge stay their caller's, and views of them and of versions take along only their own part", async () => {
	using folder = new TestFolder();
	const { pool, workers } = poolIn(folder);
	await pool.call(shard, "create");
	await pool.call(shard, "upsert", batchOf("a", "b"), {}, new Uint8Array(4_000).subarray(16, 32));
	await pool.call(shard, "delete", { ids: ["c"] }, new Uint8Array(4_000).subarray(16, 32));
	const rows = await pool.call(shard, "rows", ["a", "b", "c"]);
	expect(rows).toMatchObject({ ids: ["a", "b"], vectors: new Float32Array(4).fill(1) });
	for (let time = 0; time < 2; time++) await pool.call(shard, "merge", rows);
	expect(rows.vectors).toHaveLength(4);
	const [bytes, numbers] = [new Uint8Array(4_000), new Float32Array(1_000).fill(1)];
	await pool.call(shard, "merge", {
		ids: ["d"],
		versions: bytes.subarray(0, 16),
		deleted: bytes.subarray(16, 17),
		vectors: numbers.subarray(2, 4),
		payloads: [undefined],
	});
	expect([bytes.length, numbers.length]).toEqual([4_000, 1_000]);
	const text = JSON.stringify(workers.started[0]?.received, (_key, value: unknown) =>
		ArrayBuffer.isView(value) ? value.buffer.byteLength : value,
	);
	expect(text).not.toContain("4000");
	expect((await pool.call(shard, "digest", 8)).sums).toHaveLength(16);
	expect((await pool.call(shard, "versions", 8, [0])).ids).toEqual(["a", "b", "d"]);
	await pool.call(shard, "allowPurge", 1);
	await pool.close();
});

test("what can't be cloned fails its own call only", async () => {
	using folder = new TestFolder();
	const { pool, logged } = poolIn(folder);
	await pool.call(shard, "create");
	const batch = batchOf("a");
	structuredClone(batch.vectors, { transfer: [batch.vectors.buffer as ArrayBuffer] });
	expect((await errorOf(pool.call(shard, "upsert", batch, {}))).code).toBe("INTERNAL");
	expect(logged).toEqual(["a call could not be handed to a shard worker"]);
	expect(await pool.call(shard, "count", undefined)).toBe(0);
	await pool.close();
});

test("a collection's shards are spread over the workers, each shard always with the same", async () => {
	using folder = new TestFolder();
	const { pool, workers } = poolIn(folder, { workerCount: 2 });
	for (const shardIndex of [0, 1, 2, 3]) await pool.call(refOf("acme", "docs", shardIndex), "create");
	for (const shardIndex of [0, 1, 2, 3]) await pool.call(refOf("acme", "docs", shardIndex), "count", undefined);
	expect(workers.started).toHaveLength(2);
	for (const worker of workers.started) {
		const indexes = worker.received.flatMap((message) =>
			message.type === "call" ? [message.call.ref.shardIndex] : [],
		);
		expect(indexes).toHaveLength(4);
		expect(new Set(indexes).size).toBe(2);
	}
	expect(pool.stats().map((stats) => stats.openShards)).toEqual([2, 2]);
	expect(pool.stats().map((stats) => stats.memoryBytes)).toEqual([2_000, 2_000]);
	await pool.close();
});

test("what is beyond the window waits in front of the worker, and tenants take turns", async () => {
	using folder = new TestFolder();
	const { pool, probe, workers } = poolIn(folder, { window: { callsMax: 1, costMax: 100 } });
	const [flood, calm] = [refOf("flood", "docs"), refOf("calm", "docs")];
	await pool.call(flood, "create");
	await pool.call(calm, "create");
	const held = new Signal();
	probe.before = () => held.promise;
	const order: string[] = [];
	const calls = Array.from({ length: 20 }, () => pool.call(flood, "count", undefined).then(() => order.push("flood")));
	calls.push(pool.call(calm, "count", undefined).then(() => order.push("calm")));
	await Promise.resolve();
	expect(workers.started[0]?.received).toHaveLength(4);
	expect(pool.stats()[0]?.queueDepth).toBe(20);
	held.settle();
	await Promise.all(calls);
	expect(order.indexOf("calm")).toBeLessThan(3);
	expect(pool.stats()[0]?.queueDepth).toBe(0);
	await pool.close();
});

test("the window counts cost too: large calls go few at a time", async () => {
	using folder = new TestFolder();
	const { pool, probe, workers } = poolIn(folder, { window: { callsMax: 64, costMax: 32 } });
	await pool.call(shard, "create");
	const held = new Signal();
	probe.before = () => held.promise;
	const many = Array.from({ length: 100 }, (_, index) => index);
	const calls = [1, 2, 3].map(() => pool.call(shard, "upsert", batchOf(...many), {}));
	await Promise.resolve();
	expect(workers.started[0]?.received).toHaveLength(3);
	held.settle();
	await Promise.all(calls);
	await pool.close();
});

test("a full queue answers OVERLOADED and says when to retry", async () => {
	using folder = new TestFolder();
	const { pool, probe } = poolIn(folder, {
		window: { callsMax: 1, costMax: 100 },
		queueBounds: { perKeyMax: 2, totalMax: 100, bytesMax: 1_000_000 },
	});
	await pool.call(shard, "create");
	const held = new Signal();
	probe.before = () => held.promise;
	const calls = [1, 2, 3].map(() => pool.call(shard, "count", undefined));
	const refused = await errorOf(pool.call(shard, "count", undefined));
	expect(refused).toMatchObject({ code: "OVERLOADED", details: { retry_after_seconds: 1 } });
	held.settle();
	expect(await Promise.all(calls)).toEqual([0, 0, 0]);
	await pool.close();
});

test("a worker that dies fails the calls it had, is started anew, and what waited goes on", async () => {
	using folder = new TestFolder();
	const { pool, probe, workers, logged } = poolIn(folder, { window: { callsMax: 1, costMax: 100 } });
	await pool.call(shard, "create");
	await pool.call(shard, "close");
	const held = new Signal();
	probe.before = () => held.promise;
	const lost = errorOf(pool.call(shard, "upsert", batchOf("a"), {}));
	const waiting = pool.call(shard, "upsert", batchOf("b"), {});
	probe.before = () => {};
	workers.started[0]?.die(new Error("out of memory"));
	const error = await lost;
	expect(error.code).toBe("INTERNAL");
	expect(error.message).toStartWith("the shard worker stopped; retry");
	expect(await waiting).toMatchObject({ affectedCount: 1 });
	expect(workers.started).toHaveLength(2);
	expect(logged).toEqual(["a shard worker stopped"]);
	// A late word of the dead one's end changes nothing.
	workers.started[0]?.die("again");
	expect(await pool.call(shard, "count", undefined)).toBe(1);
	await pool.close();
});

test("reads do not wait for writes that are under way", async () => {
	using folder = new TestFolder();
	const { pool, probe } = poolIn(folder, { window: { callsMax: 1, costMax: 1 } });
	await pool.call(shard, "create");
	const held = new Signal();
	probe.before = (_folder, method) => (method === "upsert" ? held.promise : undefined);
	const writes = [pool.call(shard, "upsert", batchOf("a"), {}), pool.call(shard, "upsert", batchOf("b"), {})];
	expect(await pool.call(shard, "count", undefined)).toBe(0);
	held.settle();
	await Promise.all(writes);
	expect(await pool.call(shard, "count", undefined)).toBe(2);
	await pool.close();
});

test("a worker that can't start fails all who wait instead of starting for ever; the next call tries again", async () => {
	using folder = new TestFolder();
	let broken = true;
	const workers = new InThreadWorkers(() => new ShardProbe());
	const { pool } = poolIn(folder, {
		window: { callsMax: 1, costMax: 100 },
		startWorker: (events) => {
			if (!broken) return workers.start(events);
			queueMicrotask(() => events.ended("no such module"));
			return { post: () => {}, terminate: () => {} };
		},
	});
	const calls = [1, 2, 3].map(() => errorOf(pool.call(shard, "create")));
	const codes = (await Promise.all(calls)).map((error) => error.code);
	expect(codes).toEqual(["INTERNAL", "INTERNAL", "INTERNAL"]);
	broken = false;
	await pool.call(shard, "create");
	await pool.close();
});

test("closing answers what waits, refuses what comes, closes the shards and only then ends the workers", async () => {
	using folder = new TestFolder();
	const { pool, probe, workers } = poolIn(folder, { workerCount: 2, window: { callsMax: 1, costMax: 100 } });
	await pool.call(shard, "create");
	const held = new Signal();
	probe.before = () => held.promise;
	const calls = [1, 2, 3].map(() => pool.call(shard, "count", undefined));
	const closed = pool.close();
	expect((await errorOf(pool.call(shard, "count", undefined))).code).toBe("NODE_DRAINING");
	expect(workers.started[0]?.terminated).toBe(false);
	held.settle();
	await Promise.all(calls);
	await closed;
	await pool.close();
	expect(probe.events.at(-1)).toStartWith("close");
	expect(workers.started.map((worker) => worker.terminated)).toEqual([true]);
});

test("a worker that dies while it closes does not hold up the stop", async () => {
	using folder = new TestFolder();
	const { pool, probe, workers } = poolIn(folder);
	await pool.call(shard, "create");
	const closing = new Signal();
	probe.before = () => {
		closing.settle();
		return new Promise(() => {});
	};
	const closed = pool.close();
	await closing.promise;
	workers.started[0]?.die("crash");
	await closed;
});

test("what a worker logs reaches the observer", async () => {
	using folder = new TestFolder();
	const { pool, logged } = poolIn(folder);
	await errorOf(pool.call(shard, "count", undefined));
	expect(logged).toEqual(["a call on a shard failed"]);
	await pool.call(shard, "drop");
	expect(existsSync(shardFolder(folder.path, shard))).toBe(false);
	await pool.close();
});

test("every kind of call has a cost", async () => {
	using folder = new TestFolder();
	const { pool } = poolIn(folder);
	await pool.call(shard, "create");
	const options = { withPayload: false, withVector: false };
	const filter = { must: [] };
	await pool.call(shard, "count", filter);
	await pool.call(shard, "scroll", { ...options, limit: 10, filter });
	await pool.call(shard, "delete", { ids: [1] });
	await pool.call(shard, "delete", { filter });
	await pool.call(shard, "stats");
	await pool.call(shard, "search", [{ ...options, id: 1, k: 10, filter, exact: true }]);
	await pool.call(shard, "search", []);
	await pool.call(shard, "update", { id: 1, payloadPatch: "{}" }, {});
	await pool.call(shard, "upsert", { ...batchOf(1), payloads: ['{"a":1}'] }, {});
	await pool.call(shard, "createPayloadIndex", "a", "keyword");
	await pool.call(shard, "dropPayloadIndex", "a");
	await pool.close();
});
