import type { NodeId } from "../base/ids.ts";
import type { ShardName } from "../shards/pool-types.ts";

/** What a line of the log says of a shard, and of the node whose copy it is about. */
export const factsOf = ({ tenantId, collectionId, shardIndex }: ShardName, nodeId?: NodeId) => ({
	tenant_id: tenantId,
	collection_id: collectionId,
	shard: shardIndex,
	...(nodeId !== undefined && { node_id: nodeId }),
});

/** Names a shard within a process. */
export const shardKey = ({ tenantId, collectionId, shardIndex }: ShardName): string =>
	`${tenantId}/${collectionId}/${shardIndex}`;
