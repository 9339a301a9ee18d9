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
	bench.ledger.doubt(docs, 0);
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
		bench.ledger.doubt(docs, 0);
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
	bench.ledger.doubt(docs, 0);
	bench.answer = async () => ({ vectorCount: 2, bytes: 200 });
	const view = await bench.ledger.usage(ACME, map);
	commit();
	expect(view.vectorCount).toBe(2);
	expect(bench.asked).toHaveLength(2);
});
