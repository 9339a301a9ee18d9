import type { CollectionId, TenantId } from "../../base/ids.ts";
import type { CollectionRecord } from "../../hub/models.ts";
import type { ShardName } from "../../shards/pool-types.ts";
import type { WriteResult } from "../../storage/shard-types.ts";
import type { Reservation, TenantUsage, WriteDemand } from "../tenant-types.ts";

/** A write on its way as its tenant's account sees it: from before it starts until what it did is counted. */
export interface AccountedWrite extends Reservation {
	/**
	 * To be called when a shard's answer to the write arrives; the function it returns makes it count. All of a write's, and
	 * `release` after them, are to be called in one tick: what was set aside and what was written never count both, nor neither.
	 */
	stage(record: CollectionRecord, shardIndex: number, result: WriteResult): () => void;
}

/**
 * What tenants use in the whole cluster, each vector counted once however many copies it has. One node keeps a tenant's account
 * (its home, `TopologyView.homes`); the others ask it before they write.
 */
export interface TenantAccounts {
	/**
	 * What the tenant uses now, asked of its home.
	 *
	 * @throws HUB_UNAVAILABLE, OVERLOADED, NODE_DRAINING; NO_QUORUM when neither the home nor the next one answers
	 */
	usage(tenantId: TenantId, collections: ReadonlyMap<string, CollectionRecord>): Promise<TenantUsage>;
	/** As `usage`, of at most a second ago where the home answers soon, else as known last: for headers. */
	recentUsage(tenantId: TenantId, collections: ReadonlyMap<string, CollectionRecord>): Promise<TenantUsage>;
	/**
	 * Sets room aside for a write. To be called before any part of it starts.
	 *
	 * @throws QUOTA_EXCEEDED, TENANT_NOT_FOUND, HUB_UNAVAILABLE, NO_QUORUM when the home does not answer and no other may take over
	 */
	reserve(
		tenantId: TenantId,
		collections: ReadonlyMap<string, CollectionRecord>,
		demand: WriteDemand,
	): Promise<AccountedWrite>;
	/** As `reserve`, for a write that needs no room: one that can only free some. */
	begin(tenantId: TenantId): AccountedWrite;
	/** What the shard holds is not what was counted, perhaps: it is asked again. */
	doubt(shard: ShardName): void;
	/** The collection is gone. */
	forget(tenantId: TenantId, collectionId: CollectionId): void;
	/** The tenant is gone. */
	forgetTenant(tenantId: TenantId): void;
}

/** Stands before every write of a tenant at its home. */
export interface AccountGate {
	/**
	 * Sets room aside under the tenant's quota, counting what is committed (`used`, read once the quota is known) and what others
	 * have reserved.
	 *
	 * @param share of what was free when the share began to be less than 1 that may be granted until it is 1 again, 0..1
	 * @throws QUOTA_EXCEEDED, with `usage` in its details; TENANT_NOT_FOUND, HUB_UNAVAILABLE
	 */
	reserve(tenantId: TenantId, used: TenantUsage, demand: WriteDemand, share?: number): Promise<Reservation>;
	/** Sets room aside that another node granted, whether there is any or not. */
	hold(tenantId: TenantId, demand: WriteDemand): Reservation;
	/** Whether any quota limits what the tenant stores. @throws TENANT_NOT_FOUND, HUB_UNAVAILABLE */
	isLimited(tenantId: TenantId): Promise<boolean>;
}
