import type { CollectionRecord } from "../hub/models.ts";
import type { ShardRef } from "../shards/pool-types.ts";
import type { ShardConfig } from "../storage/shard-types.ts";

/**
 * The shards of a collection, by index.
 *
 * @param isClusterMode whether other nodes may have copies, now or later
 */
export function shardRefsOf(record: CollectionRecord, isClusterMode: boolean): readonly ShardRef[] {
	const config: ShardConfig = {
		dimension: record.dimension,
		metric: record.metric,
		quantization: record.quantization,
		index: record.index,
		hnsw: record.hnsw,
		payloadIndexes: record.payload_indexes,
		...(record.text !== undefined && { lexical: { fields: record.text.fields, language: record.text.language } }),
		isReplicated: isClusterMode,
	};
	return Array.from({ length: record.shards }, (_, shardIndex) => ({
		tenantId: record.tenant_id,
		collectionId: record.id,
		shardIndex,
		config,
		configRevision: record.revision,
	}));
}
