import { HiveError } from "../base/errors.ts";
import type { TenantId } from "../base/ids.ts";
import { recentMap } from "../base/recent-map.ts";
import type { AccountGate } from "../cluster/accounts/account-types.ts";
import type { Reservation, TenantUsage, WriteDemand } from "../cluster/tenant-types.ts";
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

/** Tenants of which only a share may be granted that are remembered. */
const SHARED_TENANTS_MAX = 100_000;

/**
 * Keeps every tenant within its storage and vector quota, however many writes run at once: what is on disk, what others have
 * reserved and what is asked for together never pass the quota. Without a quota to go by (hub away, nothing cached) it refuses.
 */
export class QuotaGate implements AccountGate {
	readonly #directory: Pick<HubDirectory, "tenant">;
	readonly #byTenant = new Map<TenantId, TenantReservations>();
	/** What was taken of each tenant's quota when only a share of the rest began to be granted. */
	readonly #takenBefore = recentMap<TenantId, Room>(SHARED_TENANTS_MAX);

	constructor(directory: Pick<HubDirectory, "tenant">) {
		this.#directory = directory;
	}

	async reserve(tenantId: TenantId, used: TenantUsage, demand: WriteDemand, share = 1): Promise<Reservation> {
		const { quota } = await this.#tenant(tenantId);
		const reserved = this.#byTenant.get(tenantId)?.reserved ?? { bytes: 0, vectorCount: 0 };
		requireRoom(this.#shareOf(tenantId, quota, used, reserved, share), used, demand, reserved);
		return this.hold(tenantId, demand);
	}

	hold(tenantId: TenantId, demand: WriteDemand): Reservation {
		const state = this.#byTenant.get(tenantId) ?? { reserved: { bytes: 0, vectorCount: 0 }, grantedCount: 0 };
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

	async isLimited(tenantId: TenantId): Promise<boolean> {
		const { quota } = await this.#tenant(tenantId);
		return quota.max_storage_bytes !== null || quota.max_vectors !== null;
	}

	/** The quota as far as a share of it goes. */
	#shareOf(tenantId: TenantId, quota: Quota, used: TenantUsage, reserved: Room, share: number): Quota {
		if (share >= 1) {
			this.#takenBefore.delete(tenantId);
			return quota;
		}
		let taken = this.#takenBefore.get(tenantId);
		if (taken === undefined) {
			taken = {
				bytes: used.storageBytes + reserved.bytes,
				vectorCount: used.vectorCount + reserved.vectorCount,
			};
			this.#takenBefore.set(tenantId, taken);
		}
		return {
			...quota,
			max_storage_bytes: shareOfRest(quota.max_storage_bytes, taken.bytes, share),
			max_vectors: shareOfRest(quota.max_vectors, taken.vectorCount, share),
		};
	}

	async #tenant(tenantId: TenantId): Promise<{ readonly quota: Quota }> {
		const tenant = await this.#directory.tenant(tenantId);
		if (tenant === undefined) throw new HiveError("TENANT_NOT_FOUND", "no such tenant");
		return tenant;
	}
}

const shareOfRest = (quota: number | null, taken: number, share: number): number | null =>
	quota === null ? null : Math.floor(taken + Math.max(0, quota - taken) * share);

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
