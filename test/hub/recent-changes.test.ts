import { beforeEach, describe, expect, test } from "bun:test";
import type { ApiKeyId, TenantId } from "../../src/base/ids.ts";
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
