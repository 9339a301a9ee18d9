import type { TenantId } from "../base/ids.ts";
import type { HubDirectory } from "../hub/hub-client-types.ts";
import { collectionsIfThere, tenantPages, unlessTenantGone } from "../hub/hub-listing.ts";
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
		signal.throwIfAborted();
		const { directory, membership } = this.#parts;
		const { hub } = directory;
		for await (const tenants of tenantPages(hub, TENANTS_PER_PAGE)) {
			for (const { id } of tenants) {
				signal.throwIfAborted();
				for (const record of await collectionsIfThere(hub, id as TenantId)) {
					await reachTopology(membership, record.topology_version);
					yield* shardsOf(record);
				}
			}
			signal.throwIfAborted();
		}
	}

	async find({ tenantId, collectionId, shardIndex }: ShardName): Promise<ClusterShard | undefined> {
		const { directory, deleted, membership } = this.#parts;
		if (deleted.has(collectionId)) return undefined;
		const named = (records: Iterable<CollectionRecord> = []): CollectionRecord | undefined =>
			Array.from(records).find(({ id }) => id === collectionId);
		// What is only missing in a cache may be new.
		const record =
			named((await unlessTenantGone(directory.collections(tenantId)))?.values()) ??
			named(await collectionsIfThere(directory.hub, tenantId));
		if (record === undefined) return undefined;
		await reachTopology(membership, record.topology_version);
		return shardsOf(record)[shardIndex];
	}
}

const shardsOf = (record: CollectionRecord): ClusterShard[] =>
	shardRefsOf(record, true).map((shard) => ({ shard, replicas: record.replicas }));
