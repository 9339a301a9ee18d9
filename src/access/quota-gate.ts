import { HiveError } from "../base/errors.ts";
import type { TenantId } from "../base/ids.ts";
import type { Reservation, TenantUsage, WriteDemand, WriteGate } from "../cluster/tenant-types.ts";
import type { HubDirectory } from "../hub/hub-client-types.ts";
import type { Quota } from "../hub/models.ts";

interface Room {
	bytes: number;
	vectorCount: number;
}

/** Granted and not yet released. */
interface TenantReservations {
	readonly reserved: Room;
	grantedCount: number;
}

/**
 * Keeps every tenant within its storage and vector quota, however many writes run at once: what is on disk, what others have
 * reserved and what is asked for together never pass the quota. Without a quota to go by (hub away, nothing cached) it refuses.
 */
export class QuotaGate implements WriteGate {
	readonly #directory: Pick<HubDirectory, "tenant">;
	readonly #byTenant = new Map<TenantId, TenantReservations>();

	constructor(directory: Pick<HubDirectory, "tenant">) {
		this.#directory = directory;
	}

	/**
	 * @param used what is committed, read once the quota is known: what is written and released meanwhile is in it.
	 * @throws QUOTA_EXCEEDED, TENANT_NOT_FOUND, HUB_UNAVAILABLE
	 */
	async reserve(tenantId: TenantId, used: TenantUsage, demand: WriteDemand): Promise<Reservation> {
		const tenant = await this.#directory.tenant(tenantId);
		if (tenant === undefined) throw new HiveError("TENANT_NOT_FOUND", "no such tenant");
		const state = this.#byTenant.get(tenantId) ?? { reserved: { bytes: 0, vectorCount: 0 }, grantedCount: 0 };
		requireRoom(tenant.quota, used, demand, state.reserved);
		state.grantedCount++;
		add(state.reserved, demand, 1);
		this.#byTenant.set(tenantId, state);
		let isReleased = false;
		return {
			release: () => {
				if (isReleased) return;
				isReleased = true;
				state.grantedCount--;
				add(state.reserved, demand, -1);
				if (state.grantedCount === 0) this.#byTenant.delete(tenantId);
			},
		};
	}
}

function add(room: Room, demand: WriteDemand, sign: 1 | -1): void {
	// A write that frees room gives it back when it is on disk, not before.
	room.bytes += sign * Math.max(0, demand.bytes);
	room.vectorCount += sign * Math.max(0, demand.vectorCount);
}

function requireRoom(quota: Quota, used: TenantUsage, demand: WriteDemand, reserved: Room): void {
	const storageTaken = used.storageBytes + reserved.bytes;
	if (quota.max_storage_bytes !== null && demand.bytes > 0 && storageTaken + demand.bytes > quota.max_storage_bytes) {
		throw new HiveError("QUOTA_EXCEEDED", "the write would pass the tenant's storage quota", {
			quota: "max_storage_bytes",
			usage: {
				current_bytes: storageTaken,
				quota_bytes: quota.max_storage_bytes,
				requested_bytes: demand.bytes,
				available_bytes: Math.max(0, quota.max_storage_bytes - storageTaken),
			},
		});
	}
	const vectorsTaken = used.vectorCount + reserved.vectorCount;
	if (quota.max_vectors !== null && demand.vectorCount > 0 && vectorsTaken + demand.vectorCount > quota.max_vectors) {
		throw new HiveError("QUOTA_EXCEEDED", "the write would pass the tenant's quota of vectors", {
			quota: "max_vectors",
			usage: {
				current: vectorsTaken,
				limit: quota.max_vectors,
				requested: demand.vectorCount,
				available: Math.max(0, quota.max_vectors - vectorsTaken),
			},
		});
	}
}
