import type { Filter } from "../base/filter.ts";
import type { CollectionId, TenantId, VectorId } from "../base/ids.ts";
import type { PayloadIndexType } from "../base/schemas.ts";
import type { TextStatistics } from "../storage/bm25.ts";
import type {
	ReadOptions,
	ScrollPage,
	ScrollRequest,
	SearchAnswer,
	SearchRequest,
	Selector,
	ShardConfig,
	ShardDigest,
	ShardStats,
	StoredVector,
	UpdateRequest,
	UpdateResult,
	UpdateStamp,
	UpsertBatch,
	Version,
	VersionedRows,
	VersionList,
	WriteAllowance,
	WriteResult,
} from "../storage/shard-types.ts";

/** Names one shard. `<data_dir>/tenants/<tenantId>/<collectionId>/<shardIndex>/` is its folder. */
export interface ShardName {
	readonly tenantId: TenantId;
	readonly collectionId: CollectionId;
	readonly shardIndex: number;
}

/** A shard, with what it must know to be opened. */
export interface ShardRef extends ShardName {
	readonly config: ShardConfig;
	/** Of the collection record the config comes from: a late call with an older config never undoes a newer one. */
	readonly configRevision: number;
}

/** What a shard can be asked. The worker calls the method of the same name on its open `Shard`. */
export interface ShardCalls {
	/** Makes the folder; fails with CONFLICT when it exists. */
	create(): void;
	/** What `upsert` or `update` would change, exactly; writes nothing. */
	measure(write: { readonly upsert: UpsertBatch } | { readonly update: UpdateRequest }): WriteResult;
	/** @param version of all its documents, for which the newest version wins; without one the shard gives it a newer one than any. */
	upsert(batch: UpsertBatch, allowance: WriteAllowance, version?: Version): WriteResult;
	/** VECTOR_NOT_FOUND when the id is absent. @param stamp of copies; without it the shard gives the version */
	update(request: UpdateRequest, allowance: WriteAllowance, stamp?: UpdateStamp): UpdateResult;
	/** @param version only with ids: deletes what is older, and leaves word of it also where there is nothing (yet). */
	delete(selector: Selector, version?: Version): WriteResult;
	/** Takes over rows of another copy: for each id the newest version wins. Idempotent. */
	merge(rows: VersionedRows): WriteResult;
	/** What is known of these ids, deleted ones included; ids never heard of are left out. In no order. */
	rows(ids: readonly VectorId[]): VersionedRows;
	/** @param bucketCount a power of two, 1..65536 */
	digest(bucketCount: number): ShardDigest;
	versions(bucketCount: number, buckets: readonly number[]): VersionList;
	/** Word of deletions before this time, unix milliseconds, may go once it is old enough: all copies have heard of them. */
	allowPurge(beforeMs: number): void;
	get(ids: readonly VectorId[], options: ReadOptions): readonly (StoredVector | undefined)[];
	count(filter: Filter | undefined): number;
	scroll(request: ScrollRequest): ScrollPage;
	search(requests: readonly SearchRequest[]): readonly SearchAnswer[];
	/** Of each text, as searches by its words need them of all shards of a collection. */
	textStatistics(texts: readonly string[]): readonly TextStatistics[];
	stats(): ShardStats;
	createPayloadIndex(field: string, type: PayloadIndexType): void;
	dropPayloadIndex(field: string): void;
	/** Closes the shard if it is open and removes its folder. Idempotent. */
	drop(): void;
	/** Saves the index snapshot and closes the shard. */
	close(): void;
}

export type ShardMethod = keyof ShardCalls;

/** What can be asked of a shard of which only the name is known. */
export type NameOnlyMethod = "drop" | "close";

/** Runs calls on shards, each in the worker thread that owns the shard, tenants taking turns. */
export interface ShardPool {
	/**
	 * @throws HiveError what the shard threw; OVERLOADED when the tenant's or the worker's queue is full;
	 *         INTERNAL when the worker died under the call; NODE_DRAINING after `close` began.
	 */
	call<M extends ShardMethod>(
		ref: M extends NameOnlyMethod ? ShardName : ShardRef,
		method: M,
		...args: Parameters<ShardCalls[M]>
	): Promise<ReturnType<ShardCalls[M]>>;
	/** Waits for what is queued, closes every shard (snapshots saved, LevelDB closed), then ends the workers. */
	close(): Promise<void>;
	/** For metrics and health: one entry a worker. */
	stats(): readonly {
		readonly worker: number;
		readonly queueDepth: number;
		readonly openShards: number;
		readonly memoryBytes: number;
	}[];
}
