import { HiveError } from "../base/errors.ts";
import type { CollectionRecord } from "../hub/models.ts";
import type { ShardName } from "../shards/pool-types.ts";
import type { DeletedCollections } from "./deleted-collections.ts";
import type { Membership } from "./membership/membership-types.ts";
import { reachTopology } from "./membership/reach-topology.ts";
import type { ReplicatedShard } from "./replication/replicated-shard.ts";
import type { Replication } from "./replication/replication.ts";
import { shardRefsOf } from "./shard-refs.ts";

/** @see CollectionShards */
export interface CollectionShardsParts {
	readonly replication: Pick<Replication, "shard">;
	/** Which a handle from before can't know. */
	readonly deleted: DeletedCollections;
	readonly isClusterMode: boolean;
	readonly membership: Pick<Membership, "view" | "refresh">;
	/** A call ended in a way that leaves open what it did. */
	readonly doubt: (shard: ShardName) => void;
	/** Asks the hub whether it still names the collection. @throws COLLECTION_NOT_FOUND, HUB_UNAVAILABLE */
	readonly confirm: (record: CollectionRecord) => Promise<void>;
}

/** The shards of one collection, by index. */
export class CollectionShards {
	readonly record: CollectionRecord;
	readonly #parts: CollectionShardsParts;
	readonly #shards: readonly ReplicatedShard[];

	constructor(record: CollectionRecord, parts: CollectionShardsParts) {
		this.record = record;
		this.#parts = parts;
		this.#shards = shardRefsOf(record, parts.isClusterMode).map((shard) =>
			parts.replication.shard({
				shard,
				replicas: record.replicas,
				doubt: () => parts.doubt(shard),
				confirm: () => parts.confirm(record),
			}),
		);
	}

	get count(): number {
		return this.#shards.length;
	}

	/** @throws COLLECTION_NOT_FOUND once the collection is deleted; else what the shard threw */
	async call<Answer>(shardIndex: number, ask: (shard: ReplicatedShard) => Promise<Answer>): Promise<Answer> {
		const { deleted, doubt, membership } = this.#parts;
		if (deleted.has(this.record.id)) throw collectionNotFound(this.record.name);
		await reachTopology(membership, this.record.topology_version);
		try {
			return await ask(this.#shards[shardIndex]!);
		} catch (error) {
			// The copies, or another node, may have heard of it sooner than this one.
			const isDeleted = error instanceof HiveError && error.code === "COLLECTION_NOT_FOUND";
			if (isDeleted || deleted.has(this.record.id)) throw collectionNotFound(this.record.name);
			if (!(error instanceof HiveError) || error.code === "INTERNAL")
				doubt({ tenantId: this.record.tenant_id, collectionId: this.record.id, shardIndex });
			throw error;
		}
	}

	/**
	 * The same call on every shard, in the order of their indexes.
	 *
	 * @throws the first failure, once all shards have answered: nothing goes on behind the caller's back
	 */
	async callAll<Answer>(ask: (shard: ReplicatedShard) => Promise<Answer>): Promise<Answer[]> {
		const outcomes = await Promise.allSettled(this.#shards.map((_, shardIndex) => this.call(shardIndex, ask)));
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
