import { expect, test } from "bun:test";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { HiveError } from "../../src/base/errors.ts";
import { systemRandom } from "../../src/base/ids.ts";
import { exists, shardFolder, trashFolder } from "../../src/shards/data-folder.ts";
import { ShardHost } from "../../src/shards/shard-host.ts";
import { Trash } from "../../src/shards/trash.ts";
import type { ShardCall } from "../../src/shards/worker-messages.ts";
import {
	CONFIG,
	closeCall,
	countCall,
	createCall,
	dropCall,
	refOf,
	Signal,
	TestFolder,
	upsertCall,
} from "./fixtures.ts";
import { ShardProbe } from "./memory-shard.ts";

function hostIn(folder: TestFolder, bounds: { openShardsMax?: number; memoryBudgetBytes?: number } = {}) {
	const probe = new ShardProbe();
	const logged: string[] = [];
	const host = new ShardHost({
		dataDir: folder.path,
		memoryBudgetBytes: bounds.memoryBudgetBytes ?? 1_000_000,
		openShardsMax: bounds.openShardsMax ?? 100,
		openShard: probe.openShard,
		createShard: probe.createShard,
		trash: new Trash(folder.path, systemRandom),
		log: (_level, message, facts) => logged.push(`${message} ${Bun.inspect(facts)}`),
		changed: () => {},
	});
	return { host, probe, logged };
}

async function codeOf(call: Promise<unknown>): Promise<string> {
	try {
		await call;
	} catch (error) {
		return error instanceof HiveError ? error.code : String(error);
	}
	return "done";
}

const shard = refOf("acme", "docs");
const folderOf = (folder: TestFolder, ref = shard): string => shardFolder(folder.path, ref);
const count = (events: readonly string[], prefix: string): number =>
	events.filter((event) => event.startsWith(prefix)).length;

test("a shard is opened by its first call, once however many come at the same time", async () => {
	using folder = new TestFolder();
	const { host, probe } = hostIn(folder);
	await host.call(createCall(shard));
	await host.call(upsertCall(shard, "a", 1));
	await host.call(closeCall(shard));
	expect(host.gauges().openShards).toBe(0);
	const counts = await Promise.all([1, 2, 3].map(() => host.call(countCall(shard))));
	expect(counts).toEqual([2, 2, 2]);
	expect(count(probe.events, "open ")).toBe(1);
});

test("calls reach a shard in the order in which they came, also while it opens, closes or is reconfigured", async () => {
	using folder = new TestFolder();
	const { host, probe } = hostIn(folder);
	await host.call(createCall(shard));
	await host.call(closeCall(shard));
	probe.events.length = 0;
	const changed = { ...shard, config: { ...CONFIG, hnsw: { ...CONFIG.hnsw, ef_search: 99 } }, configRevision: 2 };
	await Promise.all([
		host.call(upsertCall(shard, 1)),
		host.call(countCall(changed)),
		host.call({ ref: changed, method: "scroll", args: [{ limit: 1, withPayload: false, withVector: false }] }),
		host.call(closeCall(shard)),
		host.call({ ref: shard, method: "get", args: [[1], { withPayload: false, withVector: false }] }),
	]);
	expect(probe.events.map((event) => event.split(" ")[0])).toEqual([
		"open",
		"upsert",
		"reconfigure",
		"count",
		"scroll",
		"close",
		"open",
		"get",
	] as string[]);
});

test("create makes the folder, and is a conflict where there is one", async () => {
	using folder = new TestFolder();
	const { host } = hostIn(folder);
	const twice = [host.call(createCall(shard)), host.call(createCall(shard))];
	expect(await Promise.all(twice.map(codeOf))).toEqual(["done", "CONFLICT"]);
	expect(existsSync(folderOf(folder))).toBe(true);
	await host.call(closeCall(shard));
	expect(await codeOf(host.call(createCall(shard)))).toBe("CONFLICT");
	expect(await host.call(countCall(shard))).toBe(0);
});

test("a shard whose files are missing is an INTERNAL error that names no path", async () => {
	using folder = new TestFolder();
	const { host, logged } = hostIn(folder);
	const call = countCall(shard);
	const error = await host.call(call).then(
		() => undefined,
		(thrown: unknown) => thrown,
	);
	const wire = host.report(call, error);
	expect(JSON.stringify(wire)).not.toContain(folder.path);
	expect(wire.code).toBe("INTERNAL");
	expect(logged.join()).toContain(folder.path);
	expect(host.gauges().openShards).toBe(0);
});

test("a shard that failed to open is tried again by the next call", async () => {
	using folder = new TestFolder();
	const { host, probe } = hostIn(folder);
	await host.call(createCall(shard));
	await host.call(closeCall(shard));
	probe.before = (_, method) => {
		if (method === "open") throw new Error("disk on fire");
	};
	const both = await Promise.all([codeOf(host.call(countCall(shard))), codeOf(host.call(countCall(shard)))]);
	expect(both).toEqual(["Error: disk on fire", "Error: disk on fire"]);
	probe.before = () => {};
	expect(await host.call(countCall(shard))).toBe(0);
});

test("closing a shard that never opened is no failure", async () => {
	using folder = new TestFolder();
	const { host, probe, logged } = hostIn(folder);
	const held = new Signal();
	probe.before = async () => {
		await held.promise;
		throw new Error("no");
	};
	const create = codeOf(host.call(createCall(shard)));
	const close = host.call(closeCall(shard));
	held.settle();
	expect(await create).toBe("Error: no");
	await close;
	await host.call(closeCall(shard));
	expect(logged).toEqual([]);
});

test("drop waits for calls in flight, removes the folder and leaves nothing in the trash", async () => {
	using folder = new TestFolder();
	const { host, probe } = hostIn(folder);
	await host.call(createCall(shard));
	const held = new Signal();
	probe.before = (_, method) => (method === "upsert" ? held.promise : undefined);
	const write = host.call(upsertCall(shard, "a"));
	const drop = host.call(dropCall(shard));
	const late = codeOf(host.call(countCall(shard)));
	held.settle();
	await Promise.all([write, drop]);
	expect(await late).toBe("INTERNAL");
	expect(existsSync(folderOf(folder))).toBe(false);
	expect(readdirSync(trashFolder(folder.path))).toEqual([]);
	await host.call(dropCall(shard));
	await host.call(createCall(shard));
	expect(await host.call(countCall(shard))).toBe(0);
});

test("who waited for a shard to close comes on in order, a drop among them included", async () => {
	using folder = new TestFolder();
	const { host, probe } = hostIn(folder);
	await host.call(createCall(shard));
	const held = new Signal();
	probe.before = (_, method) => (method === "close" ? held.promise : undefined);
	const outcomes = [closeCall(shard), countCall(shard), dropCall(shard), countCall(shard), createCall(shard)].map(
		(call) => codeOf(host.call(call)),
	);
	held.settle();
	expect(await Promise.all(outcomes)).toEqual(["done", "done", "done", "INTERNAL", "CONFLICT"]);
});

test("no more shards stay open than allowed: the least recently used are closed with what they hold saved", async () => {
	using folder = new TestFolder();
	const { host, probe } = hostIn(folder, { openShardsMax: 2 });
	const [first, second, third] = [refOf("acme", "a"), refOf("acme", "b"), refOf("acme", "c")];
	await host.call(createCall(first));
	await host.call(upsertCall(first, "x"));
	await host.call(createCall(second));
	await host.call(countCall(first));
	await host.call(createCall(third));
	expect(host.gauges().openShards).toBe(2);
	expect(probe.events.filter((event) => event.startsWith("close"))).toEqual([`close ${folderOf(folder, second)}`]);
	await host.call(countCall(second));
	expect(await host.call(countCall(first))).toBe(1);
	expect(host.gauges().openShards).toBe(2);
});

test("a shard with a call in flight is never closed to make room", async () => {
	using folder = new TestFolder();
	const { host, probe } = hostIn(folder, { openShardsMax: 1, memoryBudgetBytes: 1 });
	const [busy, other] = [refOf("acme", "a"), refOf("acme", "b")];
	await host.call(createCall(busy));
	const held = new Signal();
	probe.before = (_, method) => (method === "upsert" ? held.promise : undefined);
	const write = host.call(upsertCall(busy, "x"));
	await host.call(createCall(other));
	await host.call(countCall(other));
	expect(count(probe.events, "close")).toBe(0);
	held.settle();
	await write;
	expect(await host.call(countCall(busy))).toBe(1);
});

test("idle shards are closed while together they take more memory than they may, but not the one used last", async () => {
	using folder = new TestFolder();
	const { host, probe } = hostIn(folder, { memoryBudgetBytes: 2_500 });
	const refs = ["a", "b", "c", "d"].map((id) => refOf("acme", id));
	for (const ref of refs) {
		await host.call(createCall(ref));
		await host.call(countCall(ref));
	}
	await host.close();
	const closed = probe.events.filter((event) => event.startsWith("close"));
	expect(closed.slice(0, 2)).toEqual(refs.slice(0, 2).map((ref) => `close ${folderOf(folder, ref)}`));
	expect(closed).toHaveLength(4);
	expect(host.gauges()).toEqual({ openShards: 0, memoryBytes: 0 });

	const large = hostIn(folder, { memoryBudgetBytes: 1 });
	await large.host.call(countCall(refs[0]!));
	await large.host.call(countCall(refs[0]!));
	expect(large.host.gauges()).toEqual({ openShards: 1, memoryBytes: 1_000 });
});

test("what a shard takes is asked anew after some writes", async () => {
	using folder = new TestFolder();
	const { host, probe } = hostIn(folder);
	await host.call(createCall(shard));
	await host.call(countCall(shard));
	probe.memoryBytesPerShard = 5_000;
	for (let index = 0; index < 40; index++) await host.call(upsertCall(shard, index));
	expect(host.gauges().memoryBytes).toBe(5_000);
});

test("a shard that can't tell its size is a line in the log, not a failed call", async () => {
	using folder = new TestFolder();
	const { host, probe, logged } = hostIn(folder);
	await host.call(createCall(shard));
	Object.defineProperty(probe, "memoryBytesPerShard", {
		get: () => {
			throw new Error("unreadable");
		},
	});
	expect(await host.call(countCall(shard))).toBe(0);
	await host.close();
	expect(logged).toHaveLength(1);
	expect(logged[0]).toContain("unreadable");
});

test("what the file system refuses is not taken for absence", async () => {
	using folder = new TestFolder();
	const trash = new Trash(folder.path, systemRandom);
	const endless = join(folder.path, "x".repeat(5_000));
	expect(await codeOf(exists(endless))).toContain("ENAMETOOLONG");
	expect(await codeOf(trash.discard(endless))).toContain("ENAMETOOLONG");
	expect(await exists(join(folder.path, "nothing"))).toBe(false);
});

test("a newer config is applied once, and a late call with an older one does not undo it", async () => {
	using folder = new TestFolder();
	const { host, probe } = hostIn(folder);
	await host.call(createCall(shard));
	const newer = { ...shard, config: { ...CONFIG, hnsw: { ...CONFIG.hnsw, ef_search: 99 } }, configRevision: 2 };
	const search = (ref: typeof shard): ShardCall => ({
		ref,
		method: "search",
		args: [[{ vector: new Float32Array(2), k: 1, withPayload: false, withVector: false }]],
	});
	await Promise.all([host.call(search(newer)), host.call(search(newer))]);
	const answer = (await host.call(search(shard))) as { plan: { candidateCount: number } }[];
	expect(answer[0]?.plan.candidateCount).toBe(99);
	expect(count(probe.events, "reconfigure")).toBe(1);
});

test("a config that can't be applied fails the call that brought it and is tried again by the next", async () => {
	using folder = new TestFolder();
	const { host, probe } = hostIn(folder);
	await host.call(createCall(shard));
	const bad = { ...shard, config: { ...CONFIG, hnsw: { ...CONFIG.hnsw, ef_search: 13 } }, configRevision: 2 };
	expect(await codeOf(host.call(countCall(bad)))).toBe("VALIDATION_FAILED");
	expect(await host.call(countCall(shard))).toBe(0);
	expect(await codeOf(host.call(countCall(bad)))).toBe("VALIDATION_FAILED");
	expect(count(probe.events, "reconfigure")).toBe(2);
});

test("a host that closes waits for what is in flight, closes all, and refuses what comes later", async () => {
	using folder = new TestFolder();
	const { host, probe, logged } = hostIn(folder);
	const refs = Array.from({ length: 20 }, (_, index) => refOf("acme", `c${index}`));
	for (const ref of refs) await host.call(createCall(ref));
	const held = new Signal();
	probe.before = (shardPath, method) => {
		if (method === "close" && shardPath === folderOf(folder, refs[3]!)) throw new Error("cannot save");
		return method === "upsert" ? held.promise : undefined;
	};
	const write = host.call(upsertCall(refs[0]!, "x"));
	const closed = host.close();
	expect(await codeOf(host.call(countCall(refs[1]!)))).toBe("NODE_DRAINING");
	held.settle();
	await Promise.all([write, closed]);
	expect(count(probe.events, "close")).toBe(19);
	expect(logged).toHaveLength(1);
	expect(host.gauges().openShards).toBe(0);
});

test("an error that is none of ours is logged with its cause and answered without it", async () => {
	using folder = new TestFolder();
	const { host, logged } = hostIn(folder);
	const call = countCall(shard);
	expect(host.report(call, new Error("secret path"))).toEqual({
		code: "INTERNAL",
		message: "the shard failed; the log has the cause",
	});
	expect(host.report(call, "just text")).toHaveProperty("code", "INTERNAL");
	expect(logged[0]).toContain("secret path");
	const known = new HiveError("VECTOR_NOT_FOUND", "no such vector", { id: 1 });
	expect(host.report(call, known)).toEqual(known.toWire());
	expect(logged).toHaveLength(2);
});

test("a name that would leave the data folder reaches no file", async () => {
	using folder = new TestFolder();
	const { host } = hostIn(folder);
	for (const ref of [refOf("../acme", "docs"), refOf("acme", "../docs"), refOf("acme", "docs", -1)]) {
		expect(await codeOf(host.call(createCall(ref)))).toContain("not a");
		expect(await codeOf(host.call(dropCall(ref)))).toContain("not a");
	}
	expect(readdirSync(folder.path)).toEqual([]);
});

test("the trash is emptied of what an earlier run left", async () => {
	using folder = new TestFolder();
	const { host } = hostIn(folder);
	const trash = new Trash(folder.path, systemRandom);
	await trash.empty();
	await host.call(createCall(shard));
	await host.close();
	await Bun.write(join(trashFolder(folder.path), "old", "file"), "x");
	await trash.empty();
	expect(readdirSync(trashFolder(folder.path))).toEqual([]);
	expect(existsSync(folderOf(folder))).toBe(true);
	rmSync(trashFolder(folder.path), { recursive: true });
	await trash.discard(join(folder.path, "nothing"));
});
