import type { ShardName } from "../../shards/pool-types.ts";
import type { Membership, TopologyView } from "../membership/membership-types.ts";
import type { LocalCopies, ReplicaPort } from "../replication/replica-types.ts";
import { factsOf } from "../shard-facts.ts";
import { CopySurvey } from "./copy-survey.ts";
import type { ClusterShard, RepairLog, ShardCatalog } from "./repair-types.ts";
import type { ShardReconciler } from "./shard-reconciler.ts";

export interface SurplusCopiesParts {
	readonly membership: Membership;
	readonly port: Pick<ReplicaPort, "copyState">;
	readonly copies: LocalCopies;
	readonly catalog: Pick<ShardCatalog, "find">;
	readonly reconciler: Pick<ShardReconciler, "handOver">;
	readonly log: RepairLog;
}

/** Drops copies that the topology no longer gives to this node, after their last word. */
export class SurplusCopies {
	readonly #parts: SurplusCopiesParts;

	constructor(parts: SurplusCopiesParts) {
		this.#parts = parts;
	}

	/**
	 * @returns whether the copy is where it should be: kept because it is this node's to hold, or dropped; false: it is to go, and
	 *          could not yet
	 * @throws HUB_UNAVAILABLE, ReplicaFailure, HiveError
	 */
	async settle(name: ShardName, signal: AbortSignal): Promise<boolean> {
		const { membership, copies, reconciler, log } = this.#parts;
		const view = membership.view();
		const found = await this.#findSurplus(name, view);
		if (found === undefined) return true;
		const { shard, replicas } = found;
		// While nodes come and go, it may be the one that others are filled from.
		if (view.isChanging) return false;
		const { current } = view.placement(shard.collectionId, shard.shardIndex, replicas);
		const survey = await CopySurvey.of(this.#parts, shard, current);
		if (!survey.allSaid("complete")) return false;
		await copies.settled(shard, view.version);
		// What was acknowledged by this copy alone, while the others were away.
		await reconciler.handOver(shard, current, { signal });
		// That took a while: another topology, or a collection of more copies, may have it back.
		if ((await this.#findSurplus(name, view)) === undefined || membership.view().version !== view.version) return false;
		await copies.drop(shard);
		log("info", "a copy that is held elsewhere now was dropped", factsOf(shard));
		return true;
	}
	/** The shard when it is none of this node's any more, and the hub still names its collection: what was deleted goes another way. */
	async #findSurplus(name: ShardName, view: TopologyView): Promise<ClusterShard | undefined> {
		const { membership, catalog } = this.#parts;
		const found = await catalog.find(name);
		// A node that is no member has no say.
		if (found === undefined || view.member(membership.self) === undefined) return undefined;
		const { writers } = view.placement(name.collectionId, name.shardIndex, found.replicas);
		return writers.includes(membership.self) ? undefined : found;
	}
}
