import { expect, test } from "bun:test";
import { HiveError } from "../../src/base/errors.ts";
import { newCollectionId, systemRandom } from "../../src/base/ids.ts";
import { UsageLedger } from "../../src/cluster/usage-ledger.ts";
import type { CollectionRecord } from "../../src/hub/models.ts";
import { Signal } from "../shards/fixtures.ts";
import { ACME, codeOf, newCollection } from "./cluster-fixture.ts";

class LedgerBench {
	nowMs = 0;
	readonly asked: string[] = [];
	answer: (record: CollectionRecord, shardIndex: number) => Promise<{ vectorCount: number; bytes: number }> =
		async () => ({
			vectorCount: 1,
			bytes: 100,
		});
	readonly ledger: UsageLedger;

	constructor(tenantsMax = 10) {
		this.ledger = new UsageLedger({
			ask: (record, shardIndex) => {
				this.asked.push(`${record.name}/${shardIndex}`);
				return this.answer(record, shardIndex);
			},
			clock: { nowMs: () => this.nowMs, monotonicMs: () => this.nowMs },
			tenantsMax,
			log: () => {},
		});
	}
}

function record(name: string, shards = 1, tenantId = ACME): CollectionRecord {
	return {
		...newCollection(name, { shards }),
		id: newCollectionId(systemRandom),
		tenant_id: tenantId,
		created_at: "",
		revision: 1,
	};
}

const mapOf = (...records: CollectionRecord[]): Map<string, CollectionRecord> =>
	new Map(records.map((item) => [item.name, item]));
const added = { vectorCountDelta: 1, bytesDelta: 100, affectedCount: 1 };

test("each shard is asked once, however many want to know", async () => {
	const bench = new LedgerBench();
	const map = mapOf(record("a", 2), record("b", 20));
	const usages = await Promise.all([1, 2, 3].map(() => bench.ledger.usage(ACME, map)));
	expect(usages.map((usage) => usage.vectorCount)).toEqual([22, 22, 22]);
	await bench.ledger.usage(ACME, map);
	expect(bench.asked).toHaveLength(22);
});

test("a write counts once, whether its answer came before or after the shard's own count", async () => {
	const bench = new LedgerBench();
	const docs = record("docs");
	const held = new Signal<{ vectorCount: number; bytes: number }>();
	bench.answer = () => held.promise;
	// Before anything was asked: the answer to come includes it.
	bench.ledger.stage(docs, 0, added)();
	const usage = bench.ledger.usage(ACME, mapOf(docs));
	const during = bench.ledger.stage(docs, 0, added);
	held.settle({ vectorCount: 2, bytes: 200 });
	const view = await usage;
	during();
	expect(view.vectorCount).toBe(2);
	const after = bench.ledger.stage(docs, 0, added);
	expect(view.vectorCount).toBe(2);
	after();
	expect([view.vectorCount, view.storageBytes]).toEqual([3, 300]);
});

test("an answer that comes between a write and its counting replaces it", async () => {
	const bench = new LedgerBench();
	const docs = record("docs");
	const map = mapOf(docs);
	const view = await bench.ledger.usage(ACME, map);
	const commit = bench.ledger.stage(docs, 0, added);
	bench.ledger.doubt(ACME, docs.id, 0);
	bench.answer = async () => ({ vectorCount: 2, bytes: 200 });
	await bench.ledger.usage(ACME, map);
	commit();
	expect(view.vectorCount).toBe(2);
});

test("a collection that is gone takes its counts along", async () => {
	const bench = new LedgerBench();
	const [a, b, c] = [record("a"), record("b"), record("c")];
	const view = await bench.ledger.usage(ACME, mapOf(a, b, c));
	const late = bench.ledger.stage(a, 0, added);
	bench.ledger.forget(ACME, a.id);
	late();
	expect(view.vectorCount).toBe(2);
	// b went without a word.
	expect((await bench.ledger.usage(ACME, mapOf(c))).vectorCount).toBe(1);
	expect(bench.asked).toHaveLength(3);
});

test("an answer about a collection that went meanwhile is not counted", async () => {
	const bench = new LedgerBench();
	const docs = record("docs");
	const held = new Signal<{ vectorCount: number; bytes: number }>();
	bench.answer = () => held.promise;
	const usage = bench.ledger.usage(ACME, mapOf(docs));
	bench.ledger.forget(ACME, docs.id);
	held.settle({ vectorCount: 5, bytes: 500 });
	expect((await usage).vectorCount).toBe(0);
});

test("a shard that fails counts as last known and is asked again after a while", async () => {
	const bench = new LedgerBench();
	const [a, b] = [record("a"), record("b")];
	const map = mapOf(a, b);
	bench.answer = async (asked) => {
		if (asked === a) throw new HiveError("INTERNAL", "damaged");
		return { vectorCount: 1, bytes: 100 };
	};
	expect((await bench.ledger.usage(ACME, map)).vectorCount).toBe(1);
	expect((await bench.ledger.usage(ACME, map)).vectorCount).toBe(1);
	expect(bench.asked).toHaveLength(2);
	bench.nowMs += 10_001;
	bench.answer = async () => ({ vectorCount: 7, bytes: 700 });
	expect((await bench.ledger.usage(ACME, map)).vectorCount).toBe(8);
});

test("what can't be asked now is an error and is asked next time", async () => {
	const bench = new LedgerBench();
	const map = mapOf(record("a", 3));
	bench.answer = async () => {
		throw new HiveError("OVERLOADED", "busy");
	};
	expect(await codeOf(bench.ledger.usage(ACME, map))).toBe("OVERLOADED");
	bench.answer = async () => ({ vectorCount: 1, bytes: 100 });
	expect((await bench.ledger.usage(ACME, map)).vectorCount).toBe(3);
});

test("a doubt that comes while a shard is asked has it asked once more", async () => {
	const bench = new LedgerBench();
	const docs = record("docs");
	const map = mapOf(docs);
	bench.answer = async () => {
		bench.ledger.doubt(ACME, docs.id, 0);
		return { vectorCount: 1, bytes: 100 };
	};
	await bench.ledger.usage(ACME, map);
	bench.answer = async () => ({ vectorCount: 2, bytes: 200 });
	expect((await bench.ledger.usage(ACME, map)).vectorCount).toBe(2);
	await bench.ledger.usage(ACME, map);
	expect(bench.asked).toHaveLength(2);
});

test("tenants beyond the bound are forgotten and asked for again", async () => {
	const bench = new LedgerBench(1);
	const docs = record("docs");
	const map = mapOf(docs);
	await bench.ledger.usage(ACME, map);
	const commit = bench.ledger.stage(docs, 0, added);
	await bench.ledger.usage("other" as typeof ACME, new Map());
	bench.ledger.doubt(ACME, docs.id, 0);
	bench.answer = async () => ({ vectorCount: 2, bytes: 200 });
	const view = await bench.ledger.usage(ACME, map);
	commit();
	expect(view.vectorCount).toBe(2);
	expect(bench.asked).toHaveLength(2);
});

const deleted = { vectorCountDelta: -1, bytesDelta: -100 };

test("a write told by another node counts at once when it began after the shard last told", async () => {
	const bench = new LedgerBench();
	const docs = record("docs");
	const usage = await bench.ledger.usage(ACME, mapOf(docs));
	bench.ledger.add(ACME, docs.id, 0, added, bench.ledger.mark);
	bench.ledger.add(ACME, docs.id, 0, deleted, bench.ledger.mark);
	bench.ledger.add(ACME, docs.id, 0, added, bench.ledger.mark);
	expect([usage.vectorCount, bench.ledger.isUnsure(ACME)]).toEqual([2, false]);
});

test("a write that may be in the shard's answer counts if it takes room, until the shard is asked again", async () => {
	const bench = new LedgerBench();
	const docs = record("docs");
	const map = mapOf(docs);
	const usage = await bench.ledger.usage(ACME, map);
	bench.ledger.add(ACME, docs.id, 0, added, -1);
	bench.ledger.add(ACME, docs.id, 0, deleted, -1);
	expect([usage.vectorCount, usage.storageBytes, bench.ledger.isUnsure(ACME)]).toEqual([2, 200, true]);
	expect((await bench.ledger.exactUsage(ACME, map)).vectorCount).toBe(1);
	expect([usage.vectorCount, bench.ledger.isUnsure(ACME)]).toEqual([1, false]);
	// Nobody asks exactly: it is asked when there is time.
	bench.ledger.add(ACME, docs.id, 0, added, -1);
	bench.nowMs += 5_000;
	await bench.ledger.usage(ACME, map);
	for (let turn = 0; turn < 20 && usage.vectorCount > 1; turn++) await Promise.resolve();
	expect([usage.vectorCount, bench.ledger.isUnsure(ACME)]).toEqual([1, false]);
});

test("a write told while the shard is asked is not lost, and the shard is asked less often the busier it is", async () => {
	const bench = new LedgerBench();
	const docs = record("docs");
	const map = mapOf(docs);
	const usage = await bench.ledger.usage(ACME, map);
	const ask = async (answer: number) => {
		const held = Promise.withResolvers<{ vectorCount: number; bytes: number }>();
		bench.answer = () => held.promise;
		const asking = bench.ledger.exactUsage(ACME, map);
		await Promise.resolve();
		bench.ledger.add(ACME, docs.id, 0, added, bench.ledger.mark);
		held.resolve({ vectorCount: answer, bytes: 100 * answer });
		await asking;
	};
	bench.ledger.suspectTenant(ACME);
	await ask(1);
	expect([usage.vectorCount, bench.ledger.isUnsure(ACME)]).toEqual([2, true]);
	bench.answer = async () => {
		throw new HiveError("OVERLOADED", "too much waits");
	};
	bench.nowMs += 10_000;
	const askedCount = bench.asked.length;
	for (let round = 0; round < 5; round++) {
		await bench.ledger.usage(ACME, map);
		for (let turn = 0; turn < 20; turn++) await Promise.resolve();
	}
	expect(bench.asked.length).toBe(askedCount + 1);
	expect([usage.vectorCount, bench.ledger.isUnsure(ACME)]).toEqual([2, true]);
});

test("what is told of a collection nobody has heard of counts for a while", async () => {
	const bench = new LedgerBench();
	const [docs, later] = [record("docs"), record("later", 2)];
	const usage = await bench.ledger.usage(ACME, mapOf(docs));
	bench.ledger.add(ACME, later.id, 1, added, bench.ledger.mark);
	expect((await bench.ledger.usage(ACME, mapOf(docs))).vectorCount).toBe(2);
	expect((await bench.ledger.usage(ACME, mapOf(docs, later))).vectorCount).toBe(3);
	bench.ledger.add(ACME, record("gone").id, 0, added, bench.ledger.mark);
	expect((await bench.ledger.usage(ACME, mapOf(docs, later))).vectorCount).toBe(4);
	bench.nowMs += 10_001;
	expect((await bench.ledger.usage(ACME, mapOf(docs, later))).vectorCount).toBe(3);
	expect(usage.vectorCount).toBe(3);
	// Of a tenant nobody asked for there is nothing to keep.
	bench.ledger.add("other" as typeof ACME, docs.id, 0, added, 0);
	bench.ledger.doubtTenant("other" as typeof ACME);
	bench.ledger.suspectTenant("other" as typeof ACME);
	expect(bench.ledger.isUnsure("other" as typeof ACME)).toBe(false);
});

test("when others may have written without a word every shard is asked, at once", async () => {
	const bench = new LedgerBench();
	const map = mapOf(record("a", 2), record("b"));
	await bench.ledger.usage(ACME, map);
	bench.ledger.doubtTenant(ACME);
	expect((await bench.ledger.usage(ACME, map)).vectorCount).toBe(3);
	expect(bench.asked).toHaveLength(6);
	// What can't be asked counts as known last.
	bench.answer = async () => {
		throw new HiveError("NO_QUORUM", "no copy answers");
	};
	bench.ledger.doubtTenant(ACME);
	expect((await bench.ledger.usage(ACME, map)).vectorCount).toBe(3);
	expect(await codeOf(bench.ledger.usage(ACME, mapOf(record("new"))))).toBe("NO_QUORUM");
});
