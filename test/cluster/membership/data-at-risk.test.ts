import { expect, test } from "bun:test";
import { HiveError } from "../../../src/base/errors.ts";
import { isDataAtRisk } from "../../../src/cluster/membership/data-at-risk.ts";
import type { CollectionRecord, TenantRecord } from "../../../src/hub/models.ts";
import { refusalOf } from "./keeper-rig.ts";
import { COLLECTION, node, topology } from "./topology-fixture.ts";

/** A hub with so many tenants, of which the last has one collection of 64 shards. */
function hub(replicas: number, tenantCount = 1) {
	let listCount = 0;
	return {
		lists: () => listCount,
		listTenants: async ({ limit, after }: { limit: number; after?: string }) => {
			const start = after === undefined ? 0 : Number(after) + 1;
			const tenants = Array.from(
				{ length: Math.min(limit, tenantCount - start) },
				(_, index) => ({ id: String(start + index) }) as TenantRecord,
			);
			const last = start + tenants.length;
			return { tenants, next: last < tenantCount ? String(last - 1) : null };
		},
		listCollections: async (tenantId: string) => {
			listCount++;
			if (tenantId !== String(tenantCount - 1)) throw new HiveError("TENANT_NOT_FOUND", "deleted meanwhile");
			return [{ id: COLLECTION, shards: 64, replicas } as CollectionRecord];
		},
	};
}

const atRisk = (text: string, letter: string, replicas: number): Promise<boolean> =>
	isDataAtRisk(hub(replicas), topology(text), node(letter));

test("data is at risk when most copies of some shard would be gone", async () => {
	expect(await atRisk("a b c", "c", 1)).toBe(true);
	expect(await atRisk("a b c", "c", 2)).toBe(false);
	expect(await atRisk("a b c:x", "b", 2)).toBe(true);
	expect(await atRisk("a b c d", "d", 3)).toBe(false);
	expect(await atRisk("a b c d:x", "c", 3)).toBe(true);
	expect(await atRisk("a b:d", "b", 3)).toBe(false);
	expect(await atRisk("a", "a", 3)).toBe(true);
});

test("a node that joins holds nothing of its own, unless it takes the place of removed ones", async () => {
	expect(await atRisk("a b:j", "b", 1)).toBe(false);
	expect(await atRisk("a b:j c:x", "b", 1)).toBe(true);
	expect(await atRisk("a d b:j c:x", "b", 3)).toBe(false);
	expect(await atRisk("a", "z", 1)).toBe(false);
});

test("all tenants are looked through, those excepted that are deleted meanwhile", async () => {
	const many = hub(1, 1_200);
	expect(await isDataAtRisk(many, topology("a b"), node("b"))).toBe(true);
	expect(many.lists()).toBe(1_200);
	expect(await isDataAtRisk(hub(2, 1_200), topology("a b"), node("b"))).toBe(false);
});

test("with too many tenants to look through, and without a hub, nothing is thought safe", async () => {
	const { listTenants } = hub(2, 100_000);
	const many = { listTenants, listCollections: async () => [] };
	expect(await isDataAtRisk(many, topology("a b"), node("b"))).toBe(true);
	const away = {
		listTenants,
		listCollections: async (): Promise<never> => {
			throw new HiveError("HUB_UNAVAILABLE", "away");
		},
	};
	expect(await refusalOf(isDataAtRisk(away, topology("a b"), node("b")))).toBe("HUB_UNAVAILABLE");
});
