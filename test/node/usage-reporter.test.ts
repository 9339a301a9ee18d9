import { beforeEach, expect, test } from "bun:test";
import { UsageMeter } from "../../src/access/usage-meter.ts";
import { HiveError } from "../../src/base/errors.ts";
import type { ApiKeyId, NodeId, TenantId } from "../../src/base/ids.ts";
import type { TenantUsage } from "../../src/cluster/tenant-types.ts";
import type { UsageReport } from "../../src/hub/models.ts";
import { UsageReporter } from "../../src/node/usage-reporter.ts";

const acme = "acme" as TenantId;
const beta = "beta" as TenantId;
const keyId = "key_0123456789abcdef" as ApiKeyId;

let nowMs = 0;
const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs };
let sequence: number | undefined;
let received: UsageReport[] = [];
let hubFault: HiveError | undefined;
let stored = new Map<TenantId, TenantUsage>();

beforeEach(() => {
	nowMs = 1_700_000_000_000;
	sequence = undefined;
	received = [];
	hubFault = undefined;
	stored = new Map([acme, beta].map((id) => [id, { storageBytes: 100, vectorCount: 3, collectionCount: 1 }]));
});

function reporterFor(meter: UsageMeter): UsageReporter {
	return new UsageReporter({
		nodeId: "node_a" as NodeId,
		meter,
		clock,
		hub: {
			reportUsage: async (report) => {
				received.push(report);
				if (hubFault !== undefined) throw hubFault;
			},
		},
		sequences: {
			read: () => sequence,
			write: (next) => {
				sequence = next;
			},
		},
		storedBy: async (tenantId) => {
			if (tenantId === ("broken" as TenantId)) throw new HiveError("INTERNAL", "its disk is gone");
			return stored.get(tenantId);
		},
	});
}

test("a report says what each tenant did in the period and what it has stored", async () => {
	const meter = new UsageMeter(clock);
	meter.countRequest(acme, keyId);
	meter.countSearches(acme, 2);
	meter.countVectorsWritten(beta, 5);
	nowMs += 60_000;
	sequence = 41;
	await reporterFor(meter).report();
	const period = { period_start: "2023-11-14T22:13:20.000Z", period_end: "2023-11-14T22:14:20.000Z" };
	const storage = { storage_bytes: 100, vectors: 3 };
	expect(received).toEqual([
		{
			node_id: "node_a",
			sequence: 42,
			entries: [
				{ tenant_id: acme, requests: 1, searches: 2, vectors_written: 0, ...storage, ...period },
				{ tenant_id: beta, requests: 0, searches: 0, vectors_written: 5, ...storage, ...period },
			],
			keys: [{ api_key_id: keyId, last_used_at: "2023-11-14T22:13:20.000Z" }],
		},
	]);
	expect(sequence).toBe(42);
});

test("nothing done is nothing reported", async () => {
	await reporterFor(new UsageMeter(clock)).report();
	expect(received).toEqual([]);
	expect(sequence).toBeUndefined();
});

test("a report whose fate is unknown is sent again as it was, before anything newer", async () => {
	const meter = new UsageMeter(clock);
	const reporter = reporterFor(meter);
	meter.countRequest(acme, undefined);
	hubFault = new HiveError("HUB_UNAVAILABLE", "no answer");
	expect(reporter.report()).rejects.toThrow("no answer");
	await reporter.report().catch(() => undefined);
	meter.countRequest(acme, undefined);
	meter.countRequest(acme, undefined);
	await reporter.report().catch(() => undefined);
	hubFault = undefined;
	await reporter.report();
	const first = received[0]!;
	const last = received.at(-1)!;
	expect(received.slice(0, -1).every((report) => Bun.deepEquals(report, first))).toBe(true);
	expect(first.entries[0]!.requests).toBe(1);
	expect(last.sequence).toBe(first.sequence + 1);
	expect(last.entries[0]!.requests).toBe(2);
});

test("a node that lost its number goes on past every number it can have used", async () => {
	const meter = new UsageMeter(clock);
	meter.countRequest(acme, undefined);
	await reporterFor(meter).report();
	expect(received[0]!.sequence).toBe(1_700_000_001);
});

test("calls at the same time are one report", async () => {
	const meter = new UsageMeter(clock);
	const reporter = reporterFor(meter);
	meter.countRequest(acme, undefined);
	await Promise.all([reporter.report(), reporter.report()]);
	expect(received).toHaveLength(1);
});

test("a tenant that is gone or can't be read is left out, and the others are reported", async () => {
	const meter = new UsageMeter(clock);
	for (const id of [acme, "gone" as TenantId, "broken" as TenantId]) meter.countRequest(id, undefined);
	await reporterFor(meter).report();
	expect(received[0]!.entries.map((entry) => entry.tenant_id)).toEqual([acme]);
});

test("more tenants than one report may hold go into several, each with a number of its own", async () => {
	const meter = new UsageMeter(clock);
	for (let index = 0; index < 10_001; index++) {
		const id = `t${index}` as TenantId;
		stored.set(id, { storageBytes: 1, vectorCount: 1, collectionCount: 1 });
		meter.countRequest(id, undefined);
	}
	await reporterFor(meter).report();
	expect(received.map((report) => report.entries.length)).toEqual([10_000, 1]);
	expect(received[1]!.sequence).toBe(received[0]!.sequence + 1);
});
