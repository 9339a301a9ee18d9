import { afterAll, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HiveError } from "../../src/base/errors.ts";
import type { ApiKeyId, TenantId } from "../../src/base/ids.ts";
import type { ShareMoment } from "../../src/cluster/accounts/own-shares.ts";
import type { TenantUsage } from "../../src/cluster/tenant-types.ts";
import type { TenantRecord, UsageReport } from "../../src/hub/models.ts";
import { FakeClock, tenantRecord } from "../access/access-fixture.ts";
import { CountingProcess } from "./usage-rig.ts";

const acme = "acme" as TenantId;
const beta = "beta" as TenantId;
const keyId = "key_0123456789abcdef" as ApiKeyId;
const MADE = "2023-01-01T00:00:00.000Z";

const root = mkdtempSync(join(tmpdir(), "hive-reporter-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
/** What a promise is rejected with. */
const failureOf = (promise: Promise<unknown>): Promise<string> =>
	promise.then(
		() => "nothing",
		(error: Error) => error.message,
	);

let folder = "";
let folderCount = 0;
let clock: FakeClock;
let received: UsageReport[] = [];
let hubFault: HiveError | undefined;
let tenants: Map<TenantId, TenantRecord>;
let storedBy: (tenantId: TenantId) => Promise<TenantUsage>;

beforeEach(() => {
	folder = join(root, String(folderCount++));
	mkdirSync(folder);
	clock = new FakeClock();
	clock.wallMs = 1_700_000_000_000;
	received = [];
	hubFault = undefined;
	tenants = new Map([acme, beta].map((id) => [id, tenantRecord(id, { created_at: MADE })]));
	storedBy = async () => ({ storageBytes: 100, vectorCount: 3, collectionCount: 1 });
});

/** The process that is there now; the one before was killed. */
const start = (changedShares: readonly ShareMoment[] = []): CountingProcess =>
	new CountingProcess({
		changedShares,
		folder,
		clock,
		send: async (report) => {
			received.push(structuredClone(report));
			if (hubFault !== undefined) throw hubFault;
		},
		tenant: async (tenantId) => tenants.get(tenantId),
		storedBy: (tenantId) => storedBy(tenantId),
	});

const away = (): HiveError => new HiveError("HUB_UNAVAILABLE", "no answer");
const requestsOf = (report: UsageReport | undefined) =>
	report?.entries.map((entry) => [entry.tenant_id, entry.requests]);

test("a report says what each tenant did in the period and what it has stored", async () => {
	const { meter, reporter } = start();
	meter.countRequest(acme, keyId, MADE);
	meter.countSearches(acme, 2);
	meter.countRequest(beta, undefined, MADE);
	meter.countVectorsWritten(beta, 5);
	clock.advance(60_000);
	await reporter.report();
	const period = { period_start: "2023-11-14T22:13:20.000Z", period_end: "2023-11-14T22:14:20.000Z" };
	const rest = { tenant_created_at: MADE, storage_bytes: 100, vectors: 3, ...period };
	expect(received).toEqual([
		{
			node_id: "node_a",
			sequence: 1_700_000_061,
			entries: [
				{ tenant_id: acme, requests: 1, searches: 2, vectors_written: 0, ...rest },
				{ tenant_id: beta, requests: 1, searches: 0, vectors_written: 5, ...rest },
			],
			keys: [{ api_key_id: keyId, last_used_at: "2023-11-14T22:13:20.000Z" }],
		},
	]);
	// The next goes on where this ended.
	clock.advance(1_000);
	meter.countRequest(acme, undefined, MADE);
	await reporter.report();
	expect(received[1]).toMatchObject({
		sequence: 1_700_000_062,
		entries: [{ requests: 1, searches: 0, period_start: period.period_end, period_end: "2023-11-14T22:14:21.000Z" }],
		keys: [],
	});
});

test("nothing done is nothing reported", async () => {
	const { reporter, outbox } = start();
	await reporter.report();
	expect([received, outbox.sequence]).toEqual([[], undefined]);
});

test("a report whose fate is unknown is sent again as it was, before anything newer, also by the next process", async () => {
	let process = start();
	process.meter.countRequest(acme, keyId, MADE);
	hubFault = away();
	expect(await failureOf(process.reporter.report())).toContain("no answer");
	process.meter.countRequest(acme, undefined, MADE);
	process.meter.countRequest(acme, undefined, MADE);
	process.meter.settle(acme);
	expect(await failureOf(process.reporter.report())).toContain("no answer");
	clock.advance(3_600_000);
	process = start();
	expect(await failureOf(process.reporter.report())).toContain("no answer");
	hubFault = undefined;
	await process.reporter.report();
	const first = received[0]!;
	const last = received.at(-1)!;
	expect(received).toHaveLength(5);
	for (const report of received.slice(0, -1)) expect(report).toEqual(first);
	expect(requestsOf(first)).toEqual([[acme, 1]]);
	expect(last.sequence).toBe(first.sequence + 1);
	expect(requestsOf(last)).toEqual([[acme, 2]]);
});

test("however long the hub is away, one report waits and nothing grows", async () => {
	const { meter, reporter, outbox } = start();
	hubFault = away();
	for (let interval = 0; interval < 50; interval++) {
		meter.countRequest(acme, undefined, MADE);
		await reporter.report().catch(() => undefined);
	}
	expect(outbox.batch?.report).toEqual(received[0]!);
	hubFault = undefined;
	await reporter.report();
	expect(new Set(received.map(({ sequence }) => sequence)).size).toBe(2);
	expect(requestsOf(received.at(-1))).toEqual([[acme, 49]]);
});

test("a node that lost its number goes on past every number it can have used, and one that has it does not jump", async () => {
	let process = start();
	process.meter.countRequest(acme, undefined, MADE);
	await process.reporter.report();
	clock.wallMs -= 1_000_000_000;
	process = start();
	process.meter.countRequest(acme, undefined, MADE);
	await process.reporter.report();
	expect(received.map(({ sequence }) => sequence)).toEqual([1_700_000_001, 1_700_000_002]);
	// Its clock was set back: the period is empty, not negative.
	expect(received[1]!.entries[0]!.period_start).toBe(received[1]!.entries[0]!.period_end);
});

test("calls at the same time are one report", async () => {
	const { meter, reporter } = start();
	meter.countRequest(acme, undefined, MADE);
	await Promise.all([reporter.report(), reporter.report()]);
	expect(received).toHaveLength(1);
});

test("a tenant that is gone is forgotten, and the others are reported", async () => {
	const { meter, reporter } = start();
	const gone = "gone" as TenantId;
	for (const id of [acme, gone]) meter.countRequest(id, undefined, MADE);
	await reporter.report();
	expect(requestsOf(received[0])).toEqual([[acme, 1]]);
	expect(meter.lastRequestMs(gone, MADE)).toBeUndefined();
});

test("counts of a tenant that is gone are not those of the next of its name", async () => {
	const { meter, reporter } = start();
	const madeLater = "2023-02-01T00:00:00.000Z";
	meter.countRequest(acme, undefined, MADE);
	meter.countRequest(beta, undefined, madeLater);
	for (const id of [acme, beta]) tenants.set(id, tenantRecord(id, { created_at: madeLater }));
	await reporter.report();
	expect(received[0]!.entries).toMatchObject([{ tenant_id: beta, tenant_created_at: madeLater, requests: 1 }]);
	expect(meter.activity(acme, MADE).requests).toBe(0);
});

test("what can't be told now is told with the next report, and holds up nobody", async () => {
	const { meter, reporter } = start();
	for (const id of [acme, beta]) meter.countRequest(id, undefined, MADE);
	storedBy = async (tenantId) => {
		if (tenantId === acme) throw new HiveError("OVERLOADED", "later");
		return { storageBytes: -5, vectorCount: 3, collectionCount: 1 };
	};
	await reporter.report();
	expect(received[0]!.entries).toMatchObject([{ tenant_id: beta, storage_bytes: 0 }]);
	storedBy = async () => ({ storageBytes: 7, vectorCount: 1, collectionCount: 1 });
	await reporter.report();
	expect(received[1]!.entries).toMatchObject([{ tenant_id: acme, requests: 1, storage_bytes: 7 }]);
	// With the hub away there is nobody to tell.
	meter.countRequest(acme, undefined, MADE);
	storedBy = async () => {
		throw away();
	};
	expect(await failureOf(reporter.report())).toContain("no answer");
	expect(received).toHaveLength(2);
});

test("more tenants or keys than one report may hold go into several, each with a number of its own", async () => {
	const { meter, reporter } = start();
	for (let index = 0; index < 1_500; index++) {
		const id = `t${index}` as TenantId;
		tenants.set(id, tenantRecord(id, { created_at: MADE }));
		meter.countRequest(id, `key_${index}` as ApiKeyId, MADE);
	}
	for (let index = 0; index < 1_000; index++) meter.countRequest("t0" as TenantId, `more_${index}` as ApiKeyId, MADE);
	await reporter.report();
	expect(received.map(({ entries, keys }) => [entries.length, keys?.length])).toEqual([
		[1_000, 1_000],
		[500, 1_000],
		[0, 500],
	]);
	expect(received[1]!.sequence).toBe(received[0]!.sequence + 1);
	await reporter.report();
	expect(received).toHaveLength(3);
});

test("a disk that takes no report loses nothing of it", async () => {
	const { meter, reporter } = start();
	meter.countRequest(acme, keyId, MADE);
	mkdirSync(join(folder, "usage.outbox.new"));
	expect(await failureOf(reporter.report())).toContain("EISDIR");
	expect(received).toEqual([]);
	rmdirSync(join(folder, "usage.outbox.new"));
	await reporter.report();
	expect(received[0]).toMatchObject({ entries: [{ requests: 1 }], keys: [{ api_key_id: keyId }] });
});

test("a report that arrives after the counters were closed stays on its way", async () => {
	let process = start();
	const { promise: arrives, resolve: arrive } = Promise.withResolvers<void>();
	process = new CountingProcess({
		folder,
		clock,
		send: async (report) => {
			received.push(report);
			await arrives;
		},
		tenant: async (tenantId) => tenants.get(tenantId),
	});
	process.meter.countRequest(acme, undefined, MADE);
	const reporting = process.reporter.report();
	while (received.length === 0) await Bun.sleep(1);
	await process.slots.close();
	arrive();
	expect(await failureOf(reporting)).toContain("closed");
	await start().reporter.report();
	expect(received).toHaveLength(2);
	expect(received[1]).toEqual(received[0]!);
});

test("what others wrote here of a tenant that did nothing on this node is reported, and is not reported again", async () => {
	const moments = [acme, beta, "gone" as TenantId].map((tenantId, change) => ({ tenantId, change }));
	const { meter, reporter, reportedShares } = start(moments);
	meter.countRequest(beta, undefined, MADE);
	await reporter.report();
	expect(received[0]!.entries).toMatchObject([
		{ tenant_id: beta, requests: 1, storage_bytes: 100 },
		{ tenant_id: acme, requests: 0, storage_bytes: 100, vectors: 3, tenant_created_at: MADE },
	]);
	expect(reportedShares.map(({ tenantId }) => tenantId)).toEqual([beta, acme]);
	expect([...meter.unreported()]).toEqual([]);
});
