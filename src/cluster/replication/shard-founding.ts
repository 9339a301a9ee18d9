import type { NodeId } from "../../base/ids.ts";
import type { Placement } from "../membership/membership-types.ts";
import { factsOf } from "../shard-facts.ts";
import { isCopyFailure, newerTopology, tooFew } from "./copy-failure.ts";
import type { CopyState } from "./replica-types.ts";
import { REPLICATION_LIMITS } from "./replication-limits.ts";
import type { ReplicatedShardSubject, ReplicationContext } from "./replication-types.ts";
import { requiredCount, WriteQuorum } from "./write-quorum.ts";

/** What the nodes say that hold a shard now, or shall. */
export interface CopyCensus {
	readonly states: ReadonlyMap<NodeId, CopyState>;
	/** Of those that did not say. */
	readonly failures: ReadonlyMap<NodeId, unknown>;
}

/**
 * Makes the copies of a shard that nobody has written to yet: when its collection is created, or on its first use where a crash
 * came between the hub's yes and that.
 */
export class ShardFounding {
	readonly #context: ReplicationContext;
	readonly #subject: ReplicatedShardSubject;

	constructor(context: ReplicationContext, subject: ReplicatedShardSubject) {
		this.#context = context;
		this.#subject = subject;
	}

	/**
	 * Makes empty, complete copies of a shard of which the caller knows that it is new.
	 *
	 * @throws NO_QUORUM when most of its nodes did not make one; what they threw
	 */
	async found(): Promise<void> {
		const { port, hints } = this.#context;
		const { shard } = this.#subject;
		const placement = this.#placement();
		const quorum = new WriteQuorum(placement, "quorum");
		const failures = new Map<NodeId, unknown>();
		await Promise.all(
			placement.writers.map(async (nodeId) => {
				try {
					await port.make(nodeId, shard, "complete", REPLICATION_LIMITS.makeMs);
					quorum.done(nodeId);
				} catch (error) {
					failures.set(nodeId, error);
				}
			}),
		);
		if (!quorum.isReached) {
			const version = newerTopology(failures.values());
			if (version !== undefined) await this.#context.membership.refresh(version);
			const { required, answered } = quorum.worst;
			throw tooFew(required, answered, [...failures.values()], false);
		}
		for (const nodeId of failures.keys()) await hints.missed(nodeId, shard);
	}

	/**
	 * Nodes that should hold a copy said that they have none.
	 *
	 * @throws NO_QUORUM when it can't be told whether the shard was written to; COLLECTION_NOT_FOUND
	 */
	async establish(): Promise<void> {
		const placement = this.#placement();
		const census = await this.census(placement);
		if (isUnwritten(placement, census)) {
			// A late caller must not bring back what was deleted.
			await this.#subject.confirm();
			await this.found();
			return;
		}
		const holders = [...census.states].filter(([, state]) => state !== "none");
		if (holders.length === 0) {
			const { current } = placement;
			const answered = current.filter((nodeId) => census.states.has(nodeId)).length;
			throw tooFew(requiredCount("quorum", current.length), answered, [...census.failures.values()], false);
		}
		const lacking = [...census.states].flatMap(([nodeId, state]) => (state === "none" ? [nodeId] : []));
		await Promise.all(lacking.map((nodeId) => this.#add(nodeId)));
	}

	async census({ writers }: Placement): Promise<CopyCensus> {
		const { port } = this.#context;
		const states = new Map<NodeId, CopyState>();
		const failures = new Map<NodeId, unknown>();
		await Promise.all(
			writers.map(async (nodeId) => {
				try {
					states.set(nodeId, await port.copyState(nodeId, this.#subject.shard, REPLICATION_LIMITS.copyStateMs));
				} catch (error) {
					if (!isCopyFailure(error)) throw error;
					failures.set(nodeId, error);
				}
			}),
		);
		return { states, failures };
	}

	/** A copy that takes writes from now on, and is filled by and by. */
	async #add(nodeId: NodeId): Promise<void> {
		const { port, hints, log } = this.#context;
		const { shard } = this.#subject;
		try {
			await port.make(nodeId, shard, "incoming", REPLICATION_LIMITS.makeMs);
			await hints.missed(nodeId, shard);
		} catch (error) {
			log("a copy could not be added", { ...factsOf(shard, nodeId), error: String(error) });
		}
	}

	#placement(): Placement {
		const { shard, replicas } = this.#subject;
		return this.#context.membership.view().placement(shard.collectionId, shard.shardIndex, replicas);
	}
}

/**
 * Whether no write to the shard was ever acknowledged: most of those that hold it know nothing of it, and nobody else does.
 */
export function isUnwritten({ current }: Placement, { states }: CopyCensus): boolean {
	if ([...states.values()].some((state) => state !== "none")) return false;
	return current.filter((nodeId) => states.has(nodeId)).length >= requiredCount("quorum", current.length);
}
