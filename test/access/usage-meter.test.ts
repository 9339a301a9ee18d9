import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SlotFile } from "../../src/access/slot-file.ts";
import { SubjectSlots } from "../../src/access/subject-slots.ts";
import { type TenantTotals, UsageMeter } from "../../src/access/usage-meter.ts";
import type { ApiKeyId, NodeId } from "../../src/base/ids.ts";
import { FakeClock, START_MS, tenantId } from "./access-fixture.ts";

const ACME = tenantId("acme");
const BETA = tenantId("beta");
const KEY = "key_a" as ApiKeyId;
const MADE = new Date(START_MS).toISOString();
const MADE_LATER = new Date(START_MS + 1).toISOString();
const NOTHING = { requests: 0, searches: 0, vectorsWritten: 0 };

const root = mkdtempSync(join(tmpdir(), "hive-meter-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const path = join(root, "usage.counters");
/** A meter on the same file as the one before, which was killed. */
function meterOnDisk(): UsageMeter {
	const clock = new FakeClock();
	const open = (onSlot: (position: number, slot: Uint8Array) => void) =>
		SlotFile.open(path, onSlot, { onDamage: () => {} });
	return new UsageMeter(clock, new SubjectSlots(clock, { warn: () => {} }, open));
}

function meterWithWork() {
	const clock = new FakeClock();
	const meter = new UsageMeter(clock);
	clock.advance(1_000);
	meter.countRequest(ACME, KEY, MADE);
	meter.countRequest(ACME, undefined, MADE);
	meter.countSearches(ACME, 5);
	meter.countRequest(BETA, undefined, MADE);
	meter.countVectorsWritten(BETA, 7);
	return { clock, meter };
}

const totalsOf = (meter: UsageMeter): TenantTotals[] => [...meter.unreported()].map(({ totals }) => totals);

test("what each tenant did is counted since it was made, and told from what the hub knows", () => {
	const { meter } = meterWithWork();
	expect(meter.activity(ACME, MADE)).toEqual({ requests: 2, searches: 5, vectorsWritten: 0 });
	const first = [...meter.unreported()];
	expect(first).toEqual([
		{
			totals: { tenantId: ACME, createdAtMs: START_MS, requests: 2, searches: 5, vectorsWritten: 0 },
			unreported: { requests: 2, searches: 5, vectorsWritten: 0 },
		},
		{
			totals: { tenantId: BETA, createdAtMs: START_MS, requests: 1, searches: 0, vectorsWritten: 7 },
			unreported: { requests: 1, searches: 0, vectorsWritten: 7 },
		},
	]);
	meter.countSearches(ACME, 1);
	meter.acknowledge(first.map(({ totals }) => totals));
	expect([...meter.unreported()]).toEqual([
		{
			totals: { tenantId: ACME, createdAtMs: START_MS, requests: 2, searches: 6, vectorsWritten: 0 },
			unreported: { requests: 0, searches: 1, vectorsWritten: 0 },
		},
	]);
	expect(meter.activity(BETA, MADE)).toEqual({ requests: 1, searches: 0, vectorsWritten: 7 });
});

test("taking note of a report twice is as once", () => {
	const { meter } = meterWithWork();
	const totals = totalsOf(meter);
	meter.acknowledge(totals);
	meter.countRequest(ACME, undefined, MADE);
	meter.acknowledge(totals);
	expect([...meter.unreported()].map(({ unreported }) => unreported.requests)).toEqual([1]);
});

test("vectors are on disk as soon as they are counted, the rest once settled", () => {
	const meter = meterOnDisk();
	meter.countRequest(ACME, KEY, MADE);
	meter.settle(ACME);
	meter.countRequest(ACME, KEY, MADE);
	expect(meterOnDisk().activity(ACME, MADE)).toEqual({ ...NOTHING, requests: 1 });
	meter.countVectorsWritten(ACME, 3);
	expect(meterOnDisk().activity(ACME, MADE)).toEqual({ requests: 2, searches: 0, vectorsWritten: 3 });
	expect(meterOnDisk().lastRequestMs(ACME, MADE)).toBe(START_MS);
});

test("a tenant of the same name made later inherits nothing, not even of a report on its way", () => {
	const { meter } = meterWithWork();
	const totals = totalsOf(meter);
	expect(meter.activity(ACME, MADE_LATER)).toEqual(NOTHING);
	meter.countRequest(ACME, undefined, MADE_LATER);
	meter.acknowledge(totals);
	expect(meter.activity(ACME, MADE_LATER)).toEqual({ ...NOTHING, requests: 1 });
	expect([...meter.unreported()].map(({ unreported }) => unreported)).toEqual([{ ...NOTHING, requests: 1 }]);
});

test("a tenant that is gone is forgotten, one that was made since under its name is not", () => {
	const { meter } = meterWithWork();
	meter.forget(BETA, MADE);
	expect(meter.activity(BETA, MADE).requests).toBe(1);
	meter.forget(BETA);
	meter.forget(BETA);
	expect(meter.activity(BETA, MADE)).toEqual(NOTHING);
	meter.forget(ACME, MADE_LATER);
	expect(meter.lastRequestMs(ACME, MADE)).toBeUndefined();
	// What a request of a tenant that is gone still does is nobody's.
	meter.countSearches(ACME, 1);
	meter.countVectorsWritten(ACME, 1);
	meter.acknowledge([{ tenantId: ACME, createdAtMs: START_MS, ...NOTHING }]);
	expect([...meter.unreported()]).toEqual([]);
});

test("counts whose slot was damaged go on from what the hub knows", () => {
	const { meter } = meterWithWork();
	const totals = totalsOf(meter);
	const restarted = new UsageMeter(new FakeClock());
	restarted.countRequest(ACME, undefined, MADE);
	restarted.acknowledge(totals);
	restarted.acknowledge(totals);
	expect(restarted.activity(ACME, MADE)).toEqual({ requests: 3, searches: 5, vectorsWritten: 0 });
	expect([...restarted.unreported()].map(({ unreported }) => unreported.requests)).toEqual([1]);
});

test("when a tenant was last seen is known beyond reports, and to no other tenant's credit", () => {
	const { meter } = meterWithWork();
	meter.acknowledge(totalsOf(meter));
	expect(meter.lastRequestMs(ACME, MADE)).toBe(START_MS + 1_000);
	expect(meter.lastRequestMs(tenantId("quiet"), MADE)).toBeUndefined();
});

test("a key's use is told until it was reported, and again when it was used since", () => {
	const { clock, meter } = meterWithWork();
	const uses = meter.keyUses(10);
	expect(uses).toEqual([{ apiKeyId: KEY, lastUsedAtMs: START_MS + 1_000 }]);
	expect(meter.keyUses(0)).toEqual([]);
	clock.advance(5);
	meter.countRequest(ACME, KEY, MADE);
	meter.keysReported(uses);
	expect(meter.keyUses(10)).toEqual([{ apiKeyId: KEY, lastUsedAtMs: START_MS + 1_005 }]);
	meter.keysReported(meter.keyUses(10));
	expect(meter.keyUseCount).toBe(0);
});

test("of very many keys the longest unused are forgotten, and no count is", () => {
	const meter = new UsageMeter(new FakeClock());
	for (let index = 0; index <= 100_000; index++) {
		meter.countRequest(tenantId(`t${index}`), `key_${index}` as ApiKeyId, MADE);
		// Used again and again, the first stays.
		if (index === 99_999) meter.countRequest(tenantId("t0"), "key_0" as ApiKeyId, MADE);
	}
	const keys = meter.keyUses(200_000);
	expect(keys).toHaveLength(100_000);
	expect(keys.some(({ apiKeyId }) => apiKeyId === "key_1")).toBe(false);
	expect([...meter.unreported()]).toHaveLength(100_001);
});

test("a sync brings to disk what was not settled", async () => {
	const meter = meterOnDisk();
	meter.countRequest(BETA, undefined, MADE);
	await meter.sync();
	expect(meterOnDisk().activity(BETA, MADE).requests).toBe(1);
});

test("other nodes are told of each tenant that did something since, so many at a time, with its whole counts", () => {
	const { meter } = meterWithWork();
	const node = "node_a" as NodeId;
	const [first] = meter.changedFacts(node, 1);
	const rest = meter.changedFacts(node, 10);
	expect([first!, ...rest].map((fact) => fact.tenantId).sort()).toEqual([ACME, BETA]);
	expect(first).toMatchObject({
		nodeId: node,
		tenantId: ACME,
		requests: 2,
		searches: 5,
		createdAtMs: Date.parse(MADE),
	});
	expect(meter.changedFacts(node, 10)).toEqual([]);
	meter.countVectorsWritten(ACME, 3);
	expect(meter.changedFacts(node, 10)).toMatchObject([{ tenantId: ACME, requests: 2 }]);
	expect([...meter.facts(node)].map((fact) => fact.tenantId).sort()).toEqual([ACME, BETA]);
	meter.countSearches(ACME, 1);
	meter.forget(ACME);
	expect(meter.changedFacts(node, 10)).toEqual([]);
});

test("what a tenant did is what it did on all nodes, seen last wherever that was", () => {
	const clock = new FakeClock();
	const others = new Map([
		[Date.parse(MADE), { requests: 4, searches: 3, vectorsWritten: 2, lastRequestMs: START_MS + 5 }],
	]);
	const meter = new UsageMeter(clock, undefined, (_tenantId, createdAtMs) => others.get(createdAtMs));
	meter.countRequest(ACME, undefined, MADE);
	expect(meter.activity(ACME, MADE)).toEqual({ requests: 5, searches: 3, vectorsWritten: 2 });
	expect(meter.lastRequestMs(ACME, MADE)).toBe(START_MS + 5);
	expect(meter.activity(ACME, MADE_LATER)).toEqual({ requests: 0, searches: 0, vectorsWritten: 0 });
	// What is reported to the hub is this node's own.
	expect([...meter.unreported()].map(({ unreported }) => unreported.requests)).toEqual([1]);
});
