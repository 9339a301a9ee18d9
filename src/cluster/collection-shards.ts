import { HiveError } from "../base/errors.ts";
import type { CollectionRecord } from "../hub/models.ts";
import type { ShardCalls, ShardMethod, ShardPool, ShardRef } from "../shards/pool-types.ts";
import type { ShardConfig } from "../storage/shard-types.ts";

/** @see CollectionShards */
export interface CollectionShardsParts {
	readonly pool: ShardPool;
	/** Whether the collection was deleted, which a handle from before can't know. */
	readonly isDeleted: (record: CollectionRecord) => boolean;
	/** A call ended in a way that leaves open what it did. */
	readonly doubt: (record: CollectionRecord, shardIndex: number) => void;
}

/**
 * The shards of one collection, by index: the one place that decides who runs a call on a shard.
 */
export class CollectionShards {
	readonly record: CollectionRecord;
	readonly #parts: CollectionShardsParts;
	readonly #refs: readonly ShardRef[];

	constructor(record: CollectionRecord, parts: CollectionShardsParts) {
		this.record = record;
		this.#parts = parts;
		const config = shardConfig(record);
		this.#refs = Array.from({ length: record.shards }, (_, shardIndex) => ({
			tenantId: record.tenant_id,
			collectionId: record.id,
			shardIndex,
			config,
			configRevision: record.revision,
		}));
	}

	get count(): number {
		return this.#refs.length;
	}

	/** @throws COLLECTION_NOT_FOUND once the collection is deleted; else what the shard or its pool threw */
	async call<M extends Exclude<ShardMethod, "drop" | "close">>(
		shardIndex: number,
		method: M,
		...args: Parameters<ShardCalls[M]>
	): Promise<ReturnType<ShardCalls[M]>> {
		if (this.#parts.isDeleted(this.record)) throw collectionNotFound(this.record.name);
		try {
			return await this.#parts.pool.call(this.#refs[shardIndex] as never, method, ...args);
		} catch (error) {
			if (this.#parts.isDeleted(this.record)) throw collectionNotFound(this.record.name);
			if (!(error instanceof HiveError) || error.code === "INTERNAL") this.#parts.doubt(this.record, shardIndex);
			throw error;
		}
	}

	/**
	 * The same call on every shard, in the order of their indexes.
	 *
	 * @throws the first failure, once all shards have answered: nothing goes on behind the caller's back
	 */
	async callAll<M extends Exclude<ShardMethod, "drop" | "close">>(
		method: M,
		...args: Parameters<ShardCalls[M]>
	): Promise<ReturnType<ShardCalls[M]>[]> {
		const outcomes = await Promise.allSettled(this.#refs.map((ref) => this.call(ref.shardIndex, method, ...args)));
		return outcomes.map((outcome) => {
			if (outcome.status === "rejected") throw outcome.reason;
			return outcome.value;
		});
	}
}

/** The same for a collection that was deleted, one of another tenant and one that never was. */
export function collectionNotFound(name: string): HiveError {
	return new HiveError("COLLECTION_NOT_FOUND", `collection ${name} does not exist`);
}

function shardConfig(record: CollectionRecord): ShardConfig {
	return {
		dimension: record.dimension,
		metric: record.metric,
		quantization: record.quantization,
		index: record.index,
		hnsw: record.hnsw,
		payloadIndexes: record.payload_indexes,
	};
}
