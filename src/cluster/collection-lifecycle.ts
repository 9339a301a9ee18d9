import { LRUCache } from "lru-cache";
import type { CollectionId, TenantId } from "../base/ids.ts";
import type { CollectionRecord } from "../hub/models.ts";
import type { ShardPool } from "../shards/pool-types.ts";
import type { CollectionFolders } from "./collection-folders.ts";
import type { CollectionShards } from "./collection-shards.ts";

/** Beyond these it is looked up on disk again. */
const MADE_REMEMBERED_MAX = 100_000;
/** Handles from before a deletion are as old as the longest request; ids are never reused. */
const DELETED_REMEMBERED_MAX = 20_000;

export interface CollectionLifecycleParts {
	readonly folders: CollectionFolders;
	readonly pool: ShardPool;
}

/**
 * Makes collections' shards and removes them. Its callers see to it that only one of them is at work on a tenant.
 */
export class CollectionLifecycle {
	readonly #folders: CollectionFolders;
	readonly #pool: ShardPool;
	readonly #made = new LRUCache<CollectionId, true>({ max: MADE_REMEMBERED_MAX });
	readonly #deleted = new LRUCache<CollectionId, true>({ max: DELETED_REMEMBERED_MAX });

	constructor(parts: CollectionLifecycleParts) {
		this.#folders = parts.folders;
		this.#pool = parts.pool;
	}

	isDeleted(collectionId: CollectionId): boolean {
		return this.#deleted.has(collectionId);
	}

	/** Whether this process has seen all shards made: then there is nothing to look after. */
	isKnownMade(collectionId: CollectionId): boolean {
		return this.#made.get(collectionId) === true;
	}

	/**
	 * Makes the shards unless they were made before. What a crash left of an attempt is thrown away: nobody was told of it.
	 */
	async make(shards: CollectionShards): Promise<void> {
		const { tenant_id: tenantId, id } = shards.record;
		if (!(await this.#folders.isMarked(tenantId, id))) {
			if (await this.#folders.exists(tenantId, id)) await this.#dropShards(tenantId, id);
			await shards.callAll("create");
			await this.#folders.mark(tenantId, id);
		}
		this.#made.set(id, true);
	}

	/** Closes the shards and removes all files; handles from before answer COLLECTION_NOT_FOUND from now on. */
	async remove(tenantId: TenantId, collectionId: CollectionId): Promise<void> {
		this.#deleted.set(collectionId, true);
		this.#made.delete(collectionId);
		await this.#dropShards(tenantId, collectionId);
		await this.#folders.discardCollection(tenantId, collectionId);
	}

	async #dropShards(tenantId: TenantId, collectionId: CollectionId): Promise<void> {
		const indexes = await this.#folders.shards(tenantId, collectionId);
		await Promise.all(indexes.map((shardIndex) => this.#pool.call({ tenantId, collectionId, shardIndex }, "drop")));
	}
}

/** The collection a record tells of, if the hub still names it. */
export function sameCollection(
	collections: ReadonlyMap<string, CollectionRecord>,
	record: CollectionRecord,
): CollectionRecord | undefined {
	const current = collections.get(record.name);
	return current?.id === record.id ? current : undefined;
}
