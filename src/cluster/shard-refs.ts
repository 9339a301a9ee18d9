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
		...lexicalOf(record),
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

function lexicalOf({ text }: CollectionRecord): Pick<ShardConfig, "lexical"> {
	if (text === undefined || text.fields.length === 0) return {};
	return { lexical: { fields: text.fields, language: text.language } };
}
