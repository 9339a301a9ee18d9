import { HiveError } from "../base/errors.ts";
import type { TenantId } from "../base/ids.ts";
import type { HubDirectory } from "../hub/hub-client-types.ts";
import type { CollectionRecord } from "../hub/models.ts";
import type { ShardName } from "../shards/pool-types.ts";
import type { DeletedCollections } from "./deleted-collections.ts";
import type { Membership } from "./membership/membership-types.ts";
import { reachTopology } from "./membership/reach-topology.ts";
import type { ClusterShard, ShardCatalog } from "./repair/repair-types.ts";
import { shardRefsOf } from "./shard-refs.ts";

const TENANTS_PER_PAGE = 1_000;

export interface HubShardCatalogParts {
	readonly directory: Pick<HubDirectory, "collections" | "hub">;
	readonly deleted: DeletedCollections;
	readonly membership: Pick<Membership, "view" | "refresh">;
}

/** The cluster's shards as the hub names their collections. */
export class HubShardCatalog implements ShardCatalog {
	readonly #parts: HubShardCatalogParts;

	constructor(parts: HubShardCatalogParts) {
		this.#parts = parts;
	}

	async *all(signal: AbortSignal): AsyncGenerator<ClusterShard> {
		const { directory, membership } = this.#parts;
		const { hub } = directory;
		for (let after: string | null | undefined; after !== null; ) {
			signal.throwIfAborted();
			const page = await hub.listTenants({ limit: TENANTS_PER_PAGE, ...(after !== undefined && { after }) });
			for (const { id } of page.tenants) {
				signal.throwIfAborted();
				for (const record of await this.#listed(id as TenantId)) {
					await reachTopology(membership, record.topology_version);
					yield* shardsOf(record);
				}
			}
			after = page.next;
		}
	}

	async #listed(tenantId: TenantId): Promise<readonly CollectionRecord[]> {
		try {
			return await this.#parts.directory.hub.listCollections(tenantId);
		} catch (error) {
			return [...noneOfNoTenant(error).values()];
		}
	}

	async find({ tenantId, collectionId, shardIndex }: ShardName): Promise<ClusterShard | undefined> {
		const { directory, deleted, membership } = this.#parts;
		if (deleted.has(collectionId)) return undefined;
		const named = (records: Iterable<CollectionRecord>): CollectionRecord | undefined =>
			Array.from(records).find(({ id }) => id === collectionId);
		// What is only missing in a cache may be new.
		const record =
			named((await directory.collections(tenantId).catch(noneOfNoTenant)).values()) ??
			named(await this.#listed(tenantId));
		if (record === undefined) return undefined;
		await reachTopology(membership, record.topology_version);
		return shardsOf(record)[shardIndex];
	}
}

/** Of a tenant that is gone there is nothing. @throws what else went wrong */
function noneOfNoTenant(error: unknown): ReadonlyMap<string, CollectionRecord> {
	if (error instanceof HiveError && error.code === "TENANT_NOT_FOUND") return new Map();
	throw error;
}

const shardsOf = (record: CollectionRecord): ClusterShard[] =>
	shardRefsOf(record, true).map((shard) => ({ shard, replicas: record.replicas }));
