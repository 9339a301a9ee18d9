import { HiveError } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import type { ShardRef } from "../shards/pool-types.ts";
import type { TopologyView } from "./membership/membership-types.ts";
import { digestText } from "./repair/version-diff.ts";
import { type CopyState, ReplicaFailure, type ReplicaPort } from "./replication/replica-types.ts";

/** One node's copy of a shard. */
export interface CopyFacts {
	readonly nodeId: NodeId;
	/** `unknown`: the node should hold a copy and does not answer. */
	readonly state: Exclude<CopyState, "none"> | "unknown";
	readonly vectorCount?: number;
	/** Equal of copies that hold the same documents in the same versions. */
	readonly digest?: string;
}

export interface ShardCopiesParts {
	readonly replicas: Pick<ReplicaPort, "call" | "copyState">;
	readonly view: () => TopologyView;
	/** As repair asks for them, so that the sums are there already. */
	readonly bucketCount: number;
	readonly timeoutMs: number;
}

/**
 * Asks every member for its copy of a shard, whether the topology gives it one or not: what a move has not dropped yet shows too.
 *
 * @param replicas of the collection
 * @returns in the order of node ids; nodes that hold nothing are left out
 */
export async function copiesOfShard(
	{ replicas: port, view, bucketCount, timeoutMs }: ShardCopiesParts,
	shard: ShardRef,
	replicas: number,
): Promise<readonly CopyFacts[]> {
	const now = view();
	const holders = new Set(now.placement(shard.collectionId, shard.shardIndex, replicas).writers);
	const copies = await Promise.all(
		now.members.map(async ({ node_id }): Promise<CopyFacts | undefined> => {
			const nodeId = node_id as NodeId;
			try {
				const state = await port.copyState(nodeId, shard, timeoutMs);
				if (state === "none") return undefined;
				const { vectorCount, sums } = await port.call(nodeId, shard, "digest", [bucketCount], { timeoutMs });
				return { nodeId, state, vectorCount, digest: digestText({ sums }) };
			} catch (error) {
				if (!(error instanceof ReplicaFailure) && !(error instanceof HiveError)) throw error;
				return holders.has(nodeId) ? { nodeId, state: "unknown" } : undefined;
			}
		}),
	);
	return copies.filter((copy) => copy !== undefined);
}
