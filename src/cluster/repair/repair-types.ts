import type { ShardName, ShardRef } from "../../shards/pool-types.ts";

/** A shard of some collection, wherever its copies are. */
export interface ClusterShard {
	readonly shard: ShardRef;
	/** Of the collection: copies wanted. */
	readonly replicas: number;
}

/** What repair must know of shards from elsewhere. */
export interface ShardCatalog {
	/**
	 * Every shard of every collection of the cluster, as the hub itself names them. Ends early only by throwing: what is not
	 * told of here may be taken for not there.
	 *
	 * @throws HUB_UNAVAILABLE
	 */
	all(signal: AbortSignal): AsyncIterable<ClusterShard>;
	/** undefined: the collection was deleted, the hub says so. @throws HUB_UNAVAILABLE when that can't be told */
	find(name: ShardName): Promise<ClusterShard | undefined>;
}

export type RepairLog = (
	level: "info" | "warn" | "error",
	message: string,
	facts: Readonly<Record<string, unknown>>,
) => void;
