import type { Filter } from "../base/filter.ts";
import type { TenantId, VectorId } from "../base/ids.ts";
import type { Consistency, PayloadIndexType } from "../base/schemas.ts";
import type { CollectionPatch, CollectionRecord, NewCollection } from "../hub/models.ts";
import type {
	ReadOptions,
	SearchAnswer,
	SearchRequest,
	Selector,
	ShardStats,
	StoredVector,
	UpdateRequest,
	UpsertBatch,
	WriteResult,
} from "../storage/shard-types.ts";

/**
 * One collection of one tenant, wherever its shards are. Handed out by `Tenant` only.
 *
 * `consistency` is how many copies must have a write, or are asked for a read; the node's settings decide where it is left out.
 * All throw NO_QUORUM when too few copies answer.
 */
export interface Collection {
	readonly record: CollectionRecord;
	/** Splits by shard; each shard writes its part atomically. @throws QUOTA_EXCEEDED before anything is written. */
	upsert(batch: UpsertBatch, consistency?: Consistency): Promise<WriteResult>;
	/** @throws VECTOR_NOT_FOUND */
	update(request: UpdateRequest, consistency?: Consistency): Promise<WriteResult>;
	delete(selector: Selector, consistency?: Consistency): Promise<WriteResult>;
	/** In the order of `ids`; undefined where there is none. */
	get(
		ids: readonly VectorId[],
		options: ReadOptions,
		consistency?: Consistency,
	): Promise<readonly (StoredVector | undefined)[]>;
	count(filter: Filter | undefined, consistency?: Consistency): Promise<number>;
	/**
	 * In id order over all shards. `cursor` is opaque, made by the page before; VALIDATION_FAILED when it is not. Instead of it, `after` may
	 * name an id, which need not be there.
	 */
	scroll(
		request: ReadOptions & { filter?: Filter; limit: number; cursor?: string; after?: VectorId },
		consistency?: Consistency,
	): Promise<{ vectors: readonly StoredVector[]; cursor: string | null }>;
	/** One answer a request, each merged over the shards. */
	search(requests: readonly SearchRequest[], consistency?: Consistency): Promise<readonly SearchAnswer[]>;
	/** Counts summed over shards, index state the least ready. */
	stats(): Promise<ShardStats>;
	createPayloadIndex(field: string, type: PayloadIndexType): Promise<CollectionRecord>;
	dropPayloadIndex(field: string): Promise<CollectionRecord>;
	reconfigure(patch: CollectionPatch): Promise<CollectionRecord>;
}

/** Of the moment at which each number is read. */
export interface TenantUsage {
	readonly storageBytes: number;
	readonly vectorCount: number;
	readonly collectionCount: number;
}

/**
 * What an operation gets to work with: everything of one tenant and nothing of another. The only source of a `Collection`.
 */
export interface Tenant {
	readonly id: TenantId;
	listCollections(): Promise<readonly CollectionRecord[]>;
	/** @throws COLLECTION_NOT_FOUND, with the same body for a name never used. */
	collection(name: string): Promise<Collection>;
	/** @throws COLLECTION_EXISTS, QUOTA_EXCEEDED, HUB_UNAVAILABLE */
	createCollection(collection: NewCollection): Promise<Collection>;
	/** Gone with all files when the promise settles. */
	deleteCollection(name: string): Promise<void>;
	/** What it has now. */
	usage(): Promise<TenantUsage>;
	/** As `usage`, of at most a second ago where that can be had soon, else as known last: what answers carry. */
	recentUsage(): Promise<TenantUsage>;
}

/** What a write would add at most. */
export interface WriteDemand {
	readonly vectorCount: number;
	readonly bytes: number;
}

export interface Reservation {
	/** Called once the write is on disk and counted, or has failed. Idempotent. */
	release(): void;
}

/** Hands out `Tenant`s. Only the pipeline holds one. */
export interface TenantSource {
	tenant(tenantId: TenantId): Tenant;
	/** Removes everything of a tenant from this node's disk. Idempotent. */
	dropTenant(tenantId: TenantId): Promise<void>;
}
