import { expect, test } from "bun:test";
import { HiveError } from "../../src/base/errors.ts";
import { WorkerPool } from "../../src/shards/worker-pool.ts";
import { startWorkerThread, type WorkerPort } from "../../src/shards/worker-thread.ts";
import { batchOf, refOf, TestFolder } from "./fixtures.ts";

const READ = { withPayload: true, withVector: true };

function threadsIn(folder: TestFolder, workerCount: number) {
	const ports: WorkerPort[] = [];
	const logged: string[] = [];
	const pool = new WorkerPool({
		workerCount,
		settings: {
			dataDir: folder.path,
			nodeTag: new Uint8Array(8),
			memoryBudgetBytes: 100_000_000,
			openShardsMax: 10,
			exactVectorCountMax: 10_000,
		},
		startWorker: (events) => {
			const port = startWorkerThread(events);
			ports.push(port);
			return port;
		},
		observer: { log: (_level, message) => logged.push(message) },
	});
	return { pool, ports, logged };
}

test("shards live in threads, take calls from many tenants at once, and keep what they acknowledged", async () => {
	using folder = new TestFolder();
	const refs = Array.from({ length: 8 }, (_, index) => refOf(`tenant${index}`, "docs", index % 2));
	const first = threadsIn(folder, 2);
	await Promise.all(refs.map((ref) => first.pool.call(ref, "create")));
	await Promise.all(
		refs.flatMap((ref) =>
			Array.from({ length: 20 }, (_, id) => first.pool.call(ref, "upsert", batchOf(id, `s${id}`), {})),
		),
	);
	expect(first.ports).toHaveLength(2);
	await first.pool.close();
	const second = threadsIn(folder, 1);
	for (const ref of refs) expect(await second.pool.call(ref, "count", undefined)).toBe(40);
	const [stored] = await second.pool.call(refs[0]!, "get", [3], READ);
	expect(stored).toEqual({ id: 3, vector: new Float32Array([1, 1]) });
	const [answer] = await second.pool.call(refs[0]!, "search", [{ ...READ, vector: new Float32Array([1, 0]), k: 2 }]);
	expect(answer?.hits.map((hit) => hit.id)).toEqual([0, 1]);
	await second.pool.close();
});

test("shards of two nodes exchange what differs, across threads", async () => {
	using here = new TestFolder();
	using there = new TestFolder();
	const pools = [threadsIn(here, 1).pool, threadsIn(there, 1).pool] as const;
	const ref = refOf("acme", "docs");
	const [one, other] = pools;
	const version = (ms: number) => {
		const bytes = new Uint8Array(16);
		new DataView(bytes.buffer).setUint32(2, ms);
		return bytes;
	};
	for (const pool of pools) await pool.call(ref, "create");
	await one.call(ref, "upsert", batchOf(1, 2, 3), {}, version(1));
	await other.call(ref, "upsert", batchOf(3, 4), {}, version(2));
	await one.call(ref, "delete", { ids: [4] }, version(3));
	// What one node lacks it takes over from the other first, and it writes in the version that it is given.
	await other.call(ref, "upsert", batchOf(5), {}, version(2));
	const patch = { id: 5, payloadPatch: '{"a":1}' };
	const stamp = { version: version(9), known: await other.call(ref, "rows", [5]) };
	const { row } = await one.call(ref, "update", patch, {}, stamp);
	expect(row).toMatchObject({ ids: [5], versions: version(9), payloads: ['{"a":1}'] });
	expect(await other.call(ref, "merge", row)).toMatchObject({ vectorCountDelta: 0, affectedCount: 1 });
	expect((await other.call(ref, "update", patch, {}, { ...stamp, version: version(8) })).supersededBy).toEqual(
		version(9),
	);
	expect((await one.call(ref, "upsert", batchOf(4), {}, version(2))).supersededBy).toEqual(version(3));
	for (const [from, to] of [pools, [other, one]] as const) {
		const { ids } = await from.call(ref, "versions", 4, [0, 1, 2, 3]);
		await to.call(ref, "merge", await from.call(ref, "rows", ids));
	}
	const [first, second] = await Promise.all(pools.map((pool) => pool.call(ref, "digest", 4)));
	expect(first?.sums).toEqual(second!.sums);
	for (const pool of pools) {
		const [four, five] = await pool.call(ref, "get", [4, 5], READ);
		expect([four, five?.payload]).toEqual([undefined, '{"a":1}']);
		await pool.call(ref, "allowPurge", 1);
		await pool.close();
	}
});

test("a thread that ends is replaced, and its successor opens the same shards with all that was acknowledged", async () => {
	using folder = new TestFolder();
	const { pool, ports, logged } = threadsIn(folder, 1);
	const ref = refOf("acme", "docs");
	await pool.call(ref, "create");
	await pool.call(ref, "upsert", batchOf("a", "b"), {});
	const ended = pool.call(ref, "count", undefined).catch((error: unknown) => error);
	ports[0]?.terminate();
	const outcome = await ended;
	expect(outcome instanceof HiveError ? outcome.code : outcome).toBeOneOf(["INTERNAL", 2]);
	expect(await pool.call(ref, "count", undefined)).toBe(2);
	expect(ports).toHaveLength(2);
	expect(logged).toContain("a shard worker stopped");
	await pool.close();
});

test("a message that may not come ends the thread and says why", async () => {
	const causes: unknown[] = [];
	await new Promise<void>((resolve) => {
		const port = startWorkerThread({
			message: () => {},
			ended: (cause) => {
				causes.push(cause);
				resolve();
			},
		});
		port.post({ type: "close" }, []);
	});
	expect(String(causes[0])).toContain("a call came before the settings");
});
