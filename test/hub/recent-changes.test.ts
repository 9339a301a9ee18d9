import { beforeEach, describe, expect, test } from "bun:test";
import type { ApiKeyId, TenantId } from "../../src/base/ids.ts";
import { HUB_LIMITS } from "../../src/hub/hub-limits.ts";
import type { ChangePage, KeyRecord, TenantRecord } from "../../src/hub/models.ts";
import { RecentChanges } from "../../src/hub/recent-changes.ts";
import { ACME } from "./hub-rig.ts";

const keyId = (name: string) => `key_${name.padEnd(16, "0")}` as ApiKeyId;
const key = (name: string, revision: number): KeyRecord => ({
	api_key_id: keyId(name),
	tenant_id: ACME,
	name,
	permissions: ["READ_WRITE"],
	created_at: "2030-01-01T00:00:00Z",
	expires_at: null,
	last_used_at: null,
	rotation_status: "active",
	rate_limit_override: null,
	allowed_ips: null,
	signing_required: false,
	signing_public_key: null,
	revision,
});
const tenant = (revision: number): TenantRecord => ({
	id: ACME,
	name: "Acme",
	active: true,
	quota: { max_storage_bytes: null, max_vectors: null, max_collections: null },
	rate_limits: null,
	metadata: {},
	created_at: "2030-01-01T00:00:00Z",
	api_keys_count: 1,
	revision,
});
const page = (cursor: number, reset = false): ChangePage => ({ changes: [], cursor, reset });

describe("what was heard of changes", () => {
	let recent: RecentChanges;
	const counts = (name: string, revision: number, askedAt: number) =>
		recent.countsKey(name, { record: key(name, revision), askedAt });
	const countsTenant = (revision: number, askedAt: number) =>
		recent.countsTenant({ record: tenant(revision), askedAt });
	const keyChange = (name: string, cursor: number) =>
		recent.heard({ cursor, kind: "key", key_hash: name, tenant_id: ACME, record: key(name, cursor) });
	const tenantEnd = (cursor: number) => recent.heard({ cursor, kind: "tenant", tenant_id: ACME, record: null });

	beforeEach(() => {
		recent = new RecentChanges();
		recent.pageRead(undefined, page(10));
	});

	test("nothing shared counts before the feed was read, and then what was asked for since", () => {
		const fresh = new RecentChanges();
		expect(fresh.readTo).toBeUndefined();
		expect(fresh.countsKey("a", { record: key("a", 1), askedAt: 1_000 })).toBe(false);
		expect([counts("a", 1, 9), counts("a", 1, 10)]).toEqual([false, true]);
		expect([countsTenant(1, 9), countsTenant(1, 10)]).toEqual([false, true]);
		recent.pageRead(10, page(20));
		expect(recent.readTo).toBe(20);
		expect(counts("a", 1, 10)).toBe(true);
	});

	test("the newest record heard of wins over an older answer, and an older change changes nothing", () => {
		keyChange("a", 12);
		keyChange("a", 11);
		expect(recent.newestKey("a", key("a", 5))?.revision).toBe(12);
		expect(recent.newestKey("a", key("a", 13))?.revision).toBe(13);
		expect(recent.newestKey("b", key("b", 5))?.revision).toBe(5);
		recent.heard({ cursor: 14, kind: "tenant", tenant_id: ACME, record: tenant(14) });
		expect(recent.newestTenant(tenant(3)).revision).toBe(14);
		expect([counts("a", 11, 12), counts("a", 12, 12), countsTenant(13, 14), countsTenant(14, 14)]).toEqual([
			false,
			true,
			false,
			true,
		]);
	});

	test("a key that ended never comes back, whatever comes after", () => {
		recent.heard({ cursor: 12, kind: "key", key_hash: "a", tenant_id: ACME, record: null });
		keyChange("a", 13);
		recent.hashUnsure("a");
		expect(recent.newestKey("a", key("a", 99))).toBeUndefined();
		expect(counts("a", 99, 99)).toBe(false);
	});

	test("what is unsure here counts again once the feed has told of it, from there on", () => {
		recent.keyUnsure(keyId("a"));
		recent.hashUnsure("b");
		recent.tenantUnsure(ACME);
		expect([counts("a", 9, 1_000), counts("b", 9, 1_000), countsTenant(9, 1_000)]).toEqual([false, false, false]);
		keyChange("a", 12);
		keyChange("b", 13);
		recent.heard({ cursor: 14, kind: "tenant", tenant_id: ACME, record: tenant(14) });
		expect([counts("a", 12, 11), counts("b", 13, 12), countsTenant(14, 13)]).toEqual([false, false, false]);
		expect([counts("a", 12, 12), counts("b", 13, 13), countsTenant(14, 14)]).toEqual([true, true, true]);
	});

	test("what was written here wins over what others had before, whoever asked when", () => {
		recent.keyWritten(key("a", 20));
		recent.tenantWritten(tenant(21));
		expect([counts("a", 19, 1_000), counts("a", 20, 10)]).toEqual([false, true]);
		expect([countsTenant(20, 1_000), countsTenant(21, 10)]).toEqual([false, true]);
		expect(recent.newestKey("a", key("a", 19))?.revision).toBe(20);
		// It was known already that it is newer still.
		recent.keyUnsure(keyId("a"));
		expect(recent.newestKey("a", key("a", 19))?.revision).toBe(20);
	});

	test("keys of a tenant that ended don't reach another that has its id", () => {
		recent.tenantGone(ACME);
		expect([counts("a", 9, 1_000), countsTenant(9, 1_000)]).toEqual([false, false]);
		tenantEnd(15);
		expect([counts("a", 9, 14), countsTenant(9, 14), counts("a", 9, 15), countsTenant(9, 15)]).toEqual([
			false,
			false,
			true,
			true,
		]);
		// Said to be gone, but it was only suspended.
		recent.tenantGone(ACME);
		recent.heard({ cursor: 18, kind: "tenant", tenant_id: ACME, record: tenant(18) });
		expect([counts("a", 9, 17), counts("a", 9, 18), countsTenant(18, 18)]).toEqual([false, true, true]);
	});

	test("collections and topology are none of its business", () => {
		recent.heard({ cursor: 11, kind: "topology", version: 1 });
		recent.heard({
			cursor: 12,
			kind: "collection",
			tenant_id: ACME as TenantId,
			collection_id: "c",
			name: "docs",
			record: null,
		});
		expect([counts("a", 1, 10), countsTenant(1, 10)]).toEqual([true, true]);
	});

	test("it is bounded, and what it forgets makes all that was asked for before count for nothing", () => {
		recent = new RecentChanges(2);
		recent.pageRead(undefined, page(10));
		keyChange("a", 11);
		keyChange("b", 12);
		expect(counts("z", 1, 10)).toBe(true);
		keyChange("c", 13);
		expect([counts("z", 1, 10), counts("z", 1, 11), counts("a", 5, 10)]).toEqual([false, true, false]);
		recent.pageRead(10, page(13));
		recent.keyUnsure(keyId("d"));
		recent.keyUnsure(keyId("e"));
		recent.keyUnsure(keyId("f"));
		expect([counts("z", 1, 13), counts("z", 1, 14)]).toEqual([false, true]);
	});

	test("after a gap only what was asked for since counts; what was heard before stands", () => {
		keyChange("a", 12);
		expect(recent.pageRead(12, page(50, true))).toBe(false);
		expect([counts("z", 1, 49), counts("z", 1, 50)]).toEqual([false, true]);
		expect(recent.newestKey("a", key("a", 5))?.revision).toBe(12);
	});

	test("a hub that went back to an older state has the last word", () => {
		keyChange("a", 30);
		recent.pageRead(10, page(30));
		expect(recent.pageRead(30, page(20, true))).toBe(true);
		expect(recent.readTo).toBe(20);
		expect(recent.newestKey("a", key("a", 5))?.revision).toBe(5);
		expect([counts("a", 5, 19), counts("a", 5, 20)]).toEqual([false, true]);
	});
});

describe("what other nodes tell of changes", () => {
	let recent: RecentChanges;
	const key1 = (revision: number) => ({ record: key("a", revision), askedAt: revision });
	const tell = (cursor: number, record: KeyRecord | null) =>
		recent.heardFromPeer({ cursor, kind: "key", key_hash: "hash", tenant_id: ACME, record });
	const tellTenant = (cursor: number, record: TenantRecord | null) =>
		recent.heardFromPeer({ cursor, kind: "tenant", tenant_id: ACME, record });

	beforeEach(() => {
		recent = new RecentChanges();
		recent.pageRead(undefined, page(10));
	});

	test("counts in whatever order it comes: nothing older comes back", () => {
		tell(30, key("a", 30));
		tell(20, key("a", 20));
		expect(recent.countsKey("hash", { ...key1(20), askedAt: 29 })).toBe(false);
		expect(recent.countsKey("hash", key1(30))).toBe(true);
		expect(recent.newestKey("hash", key("a", 20))).toEqual(key("a", 30));
		tell(31, null);
		tell(30, key("a", 30));
		expect(recent.newestKey("hash", key("a", 30))).toBeUndefined();
		tellTenant(50, tenant(50));
		tellTenant(40, null);
		expect(recent.newestTenant(tenant(45))).toEqual(tenant(50));
		expect(recent.countsTenant({ record: tenant(50), askedAt: 50 })).toBe(true);
		tellTenant(60, null);
		expect(recent.countsTenant({ record: tenant(50), askedAt: 59 })).toBe(false);
		expect(recent.countsKey("b", { record: key("b", 9), askedAt: 59 })).toBe(false);
		// Its own feed tells it all again, later.
		recent.heard({ cursor: 20, kind: "key", key_hash: "other", tenant_id: ACME, record: key("a", 20) });
		expect(recent.newestKey("other", key("a", 20))).toEqual(key("a", 30));
	});

	test("does not settle what is unsure here, which may be younger", () => {
		recent.keyUnsure(keyId("a"));
		tell(30, key("a", 30));
		expect(recent.countsKey("hash", key1(30))).toBe(false);
		recent.heard({ cursor: 31, kind: "key", key_hash: "hash", tenant_id: ACME, record: key("a", 31) });
		expect(recent.countsKey("hash", key1(31))).toBe(true);
	});

	test("carries a node on that can't read the feed itself", () => {
		expect(recent.known).toEqual({ from: 10, to: 10 });
		expect(recent.peerKnows({ from: 5, to: 20 }, 0)).toBe(false);
		expect([recent.known, recent.readTo]).toEqual([{ from: 10, to: 20 }, 20]);
		expect(recent.peerKnows({ from: 5, to: 15 }, 0)).toBe(false);
		expect(recent.known).toEqual({ from: 10, to: 20 });
		// And the feed goes on from where it was.
		recent.pageRead(10, page(12));
		expect(recent.known).toEqual({ from: 10, to: 20 });
		recent.pageRead(12, page(22));
		recent.heard({ cursor: 22, kind: "topology", version: 2 });
		expect(recent.known).toEqual({ from: 10, to: 22 });
	});

	test("starts a node that never could, unless they know less than it knew before it was started again", () => {
		const restarted = new RecentChanges(100, 50);
		expect(restarted.known).toBeUndefined();
		expect(restarted.peerKnows({ from: 10, to: 49 }, 0)).toBe(false);
		expect([restarted.known, restarted.readTo]).toEqual([undefined, undefined]);
		expect(restarted.peerKnows({ from: 10, to: 50 }, 0)).toBe(true);
		expect([restarted.known, restarted.readTo]).toEqual([{ from: 10, to: 50 }, 50]);
		expect(restarted.countsKey("hash", key1(10))).toBe(true);
		// A feed that is still behind makes nobody count who is older than what was heard.
		const behind = new RecentChanges(100, 50);
		behind.pageRead(20, page(30));
		expect(behind.known).toBeUndefined();
		expect(behind.countsKey("hash", key1(30))).toBe(false);
		expect(behind.countsKey("hash", key1(50))).toBe(true);
	});

	test("with a gap counts as missed once the feed had its time to close it", () => {
		expect(recent.peerKnows({ from: 15, to: 20 }, 0)).toBe(false);
		expect(recent.peerKnows({ from: 16, to: 21 }, HUB_LIMITS.gapMsMax - 1)).toBe(false);
		expect(recent.known).toEqual({ from: 10, to: 10 });
		expect(recent.peerKnows({ from: 17, to: 22 }, HUB_LIMITS.gapMsMax)).toBe(true);
		expect(recent.known).toEqual({ from: 17, to: 22 });
		// One that the feed closes is none.
		expect(recent.peerKnows({ from: 30, to: 40 }, 0)).toBe(false);
		recent.pageRead(22, page(35));
		for (let cursor = 23; cursor <= 35; cursor++) recent.heard({ cursor, kind: "topology", version: cursor });
		expect(recent.peerKnows({ from: 36, to: 40 }, HUB_LIMITS.gapMsMax)).toBe(false);
		expect(recent.known).toEqual({ from: 17, to: 35 });
	});

	test("counts from where nothing was forgotten, and for nothing after a hub that went back", () => {
		const little = new RecentChanges(2);
		little.pageRead(undefined, page(10));
		for (const cursor of [20, 21, 22]) {
			little.heardFromPeer({ cursor, kind: "key", key_hash: `h${cursor}`, tenant_id: ACME, record: null });
		}
		little.peerKnows({ from: 10, to: 25 }, 0);
		expect(little.known).toEqual({ from: 20, to: 25 });
		little.forget();
		expect([little.known, little.readTo]).toEqual([undefined, undefined]);
		expect(little.newestKey("h22", key("a", 1))).toEqual(key("a", 1));
		expect(little.peerKnows({ from: 1, to: 3 }, 0)).toBe(true);
		expect(little.known).toEqual({ from: 1, to: 3 });
	});
});
