import type { TenantId } from "../base/ids.ts";
import type { HubDirectory } from "../hub/hub-client-types.ts";
import type { CollectionRecord } from "../hub/models.ts";
import type { ShardName } from "../shards/pool-types.ts";
import type { DeletedCollections } from "./deleted-collections.ts";
import type { ClusterShard, ShardCatalog } from "./repair/repair-types.ts";
import { shardRefsOf } from "./shard-refs.ts";

const TENANTS_PER_PAGE = 1_000;

export interface HubShardCatalogParts {
	readonly directory: Pick<HubDirectory, "collections" | "hub">;
	readonly deleted: DeletedCollections;
}

/** The cluster's shards as the hub names their collections. */
export class HubShardCatalog implements ShardCatalog {
	readonly #parts: HubShardCatalogParts;

	constructor(parts: HubShardCatalogParts) {
		this.#parts = parts;
	}

	async *all(signal: AbortSignal): AsyncGenerator<ClusterShard> {
		const { hub } = this.#parts.directory;
		for (let after: string | null | undefined; after !== null; ) {
			signal.throwIfAborted();
			const page = await hub.listTenants({ limit: TENANTS_PER_PAGE, ...(after !== undefined && { after }) });
			for (const { id } of page.tenants) {
				signal.throwIfAborted();
				for (const record of await hub.listCollections(id as TenantId)) yield* shardsOf(record);
			}
			after = page.next;
		}
	}

	async find({ tenantId, collectionId, shardIndex }: ShardName): Promise<ClusterShard | undefined> {
		const { directory, deleted } = this.#parts;
		if (deleted.has(collectionId)) return undefined;
		const named = (records: Iterable<CollectionRecord>): CollectionRecord | undefined =>
			Array.from(records).find(({ id }) => id === collectionId);
		// What is only missing in a cache may be new.
		const record =
			named((await directory.collections(tenantId)).values()) ?? named(await directory.hub.listCollections(tenantId));
		if (record === undefined) return undefined;
		return shardsOf(record)[shardIndex];
	}
}

const shardsOf = (record: CollectionRecord): ClusterShard[] =>
	shardRefsOf(record, true).map((shard) => ({ shard, replicas: record.replicas }));
