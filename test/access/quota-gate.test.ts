import { describe, expect, test } from "bun:test";
import { QuotaGate } from "../../src/access/quota-gate.ts";
import type { TenantId } from "../../src/base/ids.ts";
import type { WriteDemand } from "../../src/cluster/tenant-types.ts";
import type { Quota } from "../../src/hub/models.ts";
import { seededRandom } from "../system/random.ts";
import { errorOf, MemoryDirectory, tenantId, tenantRecord } from "./access-fixture.ts";

const ACME = tenantId("acme");
const BETA = tenantId("beta");

/** What tenants have on disk: the numbers live, as the ledger tells them. */
class Disk {
	storageBytes = 0;
	vectorCount = 0;
	readonly collectionCount = 1;

	write({ bytes, vectorCount }: WriteDemand): void {
		this.storageBytes += bytes;
		this.vectorCount += vectorCount;
	}
}

function gateOver(quota: Partial<Quota>) {
	const directory = new MemoryDirectory();
	const setQuota = (id: TenantId, changed: Partial<Quota>) =>
		directory.tenants.set(
			id,
			tenantRecord(id, { quota: { max_storage_bytes: null, max_vectors: null, max_collections: null, ...changed } }),
		);
	setQuota(ACME, quota);
	return { directory, setQuota, gate: new QuotaGate(directory) };
}

describe("the quota gate", () => {
	test("sets room aside until it is released, once", async () => {
		const { gate } = gateOver({ max_storage_bytes: 100, max_vectors: 10 });
		const disk = new Disk();
		const first = await gate.reserve(ACME, disk, { bytes: 60, vectorCount: 6 });
		expect((await errorOf(() => gate.reserve(ACME, disk, { bytes: 41, vectorCount: 1 }))).code).toBe("QUOTA_EXCEEDED");
		const second = await gate.reserve(ACME, disk, { bytes: 40, vectorCount: 4 });
		first.release();
		first.release();
		expect((await errorOf(() => gate.reserve(ACME, disk, { bytes: 61, vectorCount: 1 }))).code).toBe("QUOTA_EXCEEDED");
		await gate.reserve(ACME, disk, { bytes: 60, vectorCount: 6 });
		second.release();
	});

	test("says which quota would be passed, and by how much", async () => {
		const { gate } = gateOver({ max_storage_bytes: 100, max_vectors: 3 });
		const disk = new Disk();
		disk.write({ bytes: 50, vectorCount: 1 });
		await gate.reserve(ACME, disk, { bytes: 20, vectorCount: 1 });
		const storage = await errorOf(() => gate.reserve(ACME, disk, { bytes: 31, vectorCount: 1 }));
		expect(storage.code).toBe("QUOTA_EXCEEDED");
		expect(storage.details).toEqual({
			quota: "max_storage_bytes",
			usage: { current_bytes: 70, quota_bytes: 100, requested_bytes: 31, available_bytes: 30 },
		});
		const vectors = await errorOf(() => gate.reserve(ACME, disk, { bytes: 1, vectorCount: 2 }));
		expect(vectors.details).toEqual({
			quota: "max_vectors",
			usage: { current: 2, limit: 3, requested: 2, available: 1 },
		});
	});

	test("never tells of less than no room", async () => {
		const { gate } = gateOver({ max_storage_bytes: 10, max_vectors: 1 });
		const disk = new Disk();
		disk.write({ bytes: 50, vectorCount: 5 });
		const storage = await errorOf(() => gate.reserve(ACME, disk, { bytes: 1, vectorCount: 0 }));
		expect(storage.details?.usage).toMatchObject({ available_bytes: 0 });
		const vectors = await errorOf(() => gate.reserve(ACME, disk, { bytes: 0, vectorCount: 1 }));
		expect(vectors.details?.usage).toMatchObject({ available: 0 });
	});

	test("lets a tenant past its quota write what adds nothing", async () => {
		const { gate } = gateOver({ max_storage_bytes: 10, max_vectors: 1 });
		const disk = new Disk();
		disk.write({ bytes: 50, vectorCount: 5 });
		(await gate.reserve(ACME, disk, { bytes: 0, vectorCount: 0 })).release();
		(await gate.reserve(ACME, disk, { bytes: -20, vectorCount: -2 })).release();
	});

	test("room that a write would free is not given away before it is free", async () => {
		const { gate } = gateOver({ max_storage_bytes: 100 });
		const disk = new Disk();
		disk.write({ bytes: 100, vectorCount: 1 });
		await gate.reserve(ACME, disk, { bytes: -60, vectorCount: -1 });
		expect((await errorOf(() => gate.reserve(ACME, disk, { bytes: 10, vectorCount: 1 }))).code).toBe("QUOTA_EXCEEDED");
	});

	test("without quotas everything fits, and a quota of nothing takes nothing", async () => {
		const { gate, setQuota } = gateOver({});
		const disk = new Disk();
		(await gate.reserve(ACME, disk, { bytes: 1e15, vectorCount: 1e12 })).release();
		setQuota(ACME, { max_storage_bytes: 0 });
		expect((await errorOf(() => gate.reserve(ACME, disk, { bytes: 1, vectorCount: 1 }))).code).toBe("QUOTA_EXCEEDED");
	});

	test("tenants do not take each other's room", async () => {
		const { gate, setQuota } = gateOver({ max_vectors: 5 });
		setQuota(BETA, { max_vectors: 5 });
		await gate.reserve(ACME, new Disk(), { bytes: 0, vectorCount: 5 });
		await gate.reserve(BETA, new Disk(), { bytes: 0, vectorCount: 5 });
	});

	test("a changed quota holds from the next write on", async () => {
		const { gate, setQuota } = gateOver({ max_vectors: 5 });
		const disk = new Disk();
		await gate.reserve(ACME, disk, { bytes: 0, vectorCount: 5 });
		setQuota(ACME, { max_vectors: 7 });
		await gate.reserve(ACME, disk, { bytes: 0, vectorCount: 2 });
		setQuota(ACME, { max_vectors: 1 });
		expect((await errorOf(() => gate.reserve(ACME, disk, { bytes: 0, vectorCount: 1 }))).code).toBe("QUOTA_EXCEEDED");
	});

	test("without a quota to go by nothing is written", async () => {
		const { gate, directory } = gateOver({});
		directory.isAway = true;
		expect((await errorOf(() => gate.reserve(ACME, new Disk(), { bytes: 1, vectorCount: 1 }))).code).toBe(
			"HUB_UNAVAILABLE",
		);
		directory.isAway = false;
		directory.tenants.delete(ACME);
		expect((await errorOf(() => gate.reserve(ACME, new Disk(), { bytes: 1, vectorCount: 1 }))).code).toBe(
			"TENANT_NOT_FOUND",
		);
	});

	test("what is written and released while the quota is asked for counts once", async () => {
		const { directory } = gateOver({ max_vectors: 10 });
		let answer = Promise.resolve();
		const gate = new QuotaGate({
			tenant: async (id) => {
				await answer;
				return directory.tenant(id);
			},
		});
		const disk = new Disk();
		const early = await gate.reserve(ACME, disk, { bytes: 0, vectorCount: 4 });
		const { promise, resolve } = Promise.withResolvers<void>();
		answer = promise;
		const late = gate.reserve(ACME, disk, { bytes: 0, vectorCount: 6 });
		disk.write({ bytes: 0, vectorCount: 4 });
		early.release();
		resolve();
		await late;
		expect((await errorOf(() => gate.reserve(ACME, disk, { bytes: 0, vectorCount: 1 }))).code).toBe("QUOTA_EXCEEDED");
	});

	test("random writers together never pass a quota, and use it to the last vector", async () => {
		for (let seed = 1; seed <= 20; seed++) {
			const random = seededRandom(seed);
			const quota = { max_storage_bytes: 1_500, max_vectors: 40 };
			const { directory } = gateOver(quota);
			const turns = async (): Promise<void> => {
				for (let turn = Math.floor(random() * 4); turn > 0; turn--) await Promise.resolve();
			};
			const gate = new QuotaGate({
				tenant: async (id) => {
					await turns();
					return directory.tenant(id);
				},
			});
			const disk = new Disk();
			const holdsQuota = (): void => {
				expect(disk.storageBytes).toBeLessThanOrEqual(quota.max_storage_bytes);
				expect(disk.vectorCount).toBeLessThanOrEqual(quota.max_vectors);
			};
			let refusedCount = 0;
			const writer = async (): Promise<void> => {
				for (let write = 0; write < 30; write++) {
					const vectorCount = 1 + Math.floor(random() * 6);
					const demand = { vectorCount, bytes: vectorCount * Math.floor(random() * 60) };
					const reservation = await gate.reserve(ACME, disk, demand).catch(() => undefined);
					await turns();
					if (reservation === undefined) {
						refusedCount++;
						continue;
					}
					const outcome = random();
					// Some fail; some replace what is there and add less than was feared.
					if (outcome > 0.2) disk.write({ vectorCount: outcome > 0.6 ? vectorCount : 1, bytes: demand.bytes });
					reservation.release();
					holdsQuota();
					if (random() < 0.1) {
						disk.write({
							bytes: -Math.floor(disk.storageBytes / 2),
							vectorCount: -Math.floor(disk.vectorCount / 2),
						});
					}
				}
			};
			await Promise.all(Array.from({ length: 8 }, writer));
			expect(refusedCount).toBeGreaterThan(0);
			// Nothing stayed set aside.
			const rest = {
				bytes: quota.max_storage_bytes - disk.storageBytes,
				vectorCount: quota.max_vectors - disk.vectorCount,
			};
			(await gate.reserve(ACME, disk, rest)).release();
		}
	});
});
