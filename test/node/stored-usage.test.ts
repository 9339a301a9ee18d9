import { afterAll, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TenantId } from "../../src/base/ids.ts";
import type { KnownUsage } from "../../src/cluster/usage-ledger.ts";
import { StoredUsage } from "../../src/node/stored-usage.ts";

const root = mkdtempSync(join(tmpdir(), "hive-stored-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const path = join(root, "usage.stored");

let known: KnownUsage[] = [];
const usage = (tenantId: string, storageBytes: number, vectorCount: number): KnownUsage => ({
	tenantId: tenantId as TenantId,
	storageBytes,
	vectorCount,
});
beforeEach(() => {
	known = [];
	rmSync(path, { force: true });
});

test("tenants that nobody used since the start count as they were", async () => {
	known = [usage("acme", 100, 1), usage("beta", 20, 2)];
	const first = new StoredUsage(path, () => known);
	await first.load();
	expect(first.totalBytes()).toBe(120);
	first.save();

	known = [usage("beta", 50, 5)];
	const second = new StoredUsage(path, () => known);
	await second.load();
	expect([...second.all()]).toEqual([usage("acme", 100, 1), usage("beta", 50, 5)]);
	second.forget("acme" as TenantId);
	expect(second.totalBytes()).toBe(50);
});

test("a damaged file costs what it damaged, and no start", async () => {
	for (const [text, count] of [
		["", 0],
		["{", 0],
		["{}", 0],
		['[["acme",1,1],["beta",-1,1],["gamma",1],7,[8,1,1]]', 1],
	] as const) {
		writeFileSync(path, text);
		const stored = new StoredUsage(path, () => []);
		await stored.load();
		expect([...stored.all()]).toHaveLength(count);
	}
});
