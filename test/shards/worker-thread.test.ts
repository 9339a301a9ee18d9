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
