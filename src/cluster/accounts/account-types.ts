import type { TenantId } from "../../base/ids.ts";
import type { CollectionRecord } from "../../hub/models.ts";
import type { WriteResult } from "../../storage/shard-types.ts";
import type { Reservation, TenantUsage, WriteDemand } from "../tenant-types.ts";

/**
 * What tenants use in the whole cluster, each vector counted once however many copies it has. One node keeps a tenant's account
 * (its home, `TopologyView.homes`); the others ask it before they write.
 */
export interface TenantAccounts {
	usage(tenantId: TenantId, collections: ReadonlyMap<string, CollectionRecord>): Promise<TenantUsage>;
	/**
	 * Sets room aside for a write.
	 * @throws QUOTA_EXCEEDED, TENANT_NOT_FOUND, HUB_UNAVAILABLE, NO_QUORUM when the home does not answer and no other may take over
	 */
	reserve(
		tenantId: TenantId,
		collections: ReadonlyMap<string, CollectionRecord>,
		demand: WriteDemand,
	): Promise<Reservation>;
	/** To be called when the answer to a write arrives; the function it returns makes the write count. */
	stage(record: CollectionRecord, shardIndex: number, result: WriteResult): () => void;
	/** What the shard holds is not what was counted, perhaps: it is asked again. */
	doubt(record: CollectionRecord, shardIndex: number): void;
	forget(tenantId: TenantId, collectionId: CollectionRecord["id"]): void;
	forgetTenant(tenantId: TenantId): void;
}
