import type { Clock } from "../../base/clock.ts";
import type { NodeId } from "../../base/ids.ts";
import { recentMap } from "../../base/recent-map.ts";
import type { ShardRef } from "../../shards/pool-types.ts";
import type { Membership } from "../membership/membership-types.ts";
import { newerTopology } from "../replication/copy-failure.ts";
import type { ReplicaPort } from "../replication/replica-types.ts";
import { factsOf, shardKey } from "../shard-facts.ts";
import { CopySurvey } from "./copy-survey.ts";
import { REPAIR_LIMITS } from "./repair-limits.ts";
import type { ClusterShard, RepairLog } from "./repair-types.ts";
import type { ShardReconciler } from "./shard-reconciler.ts";

export interface CopyAgreementParts {
	readonly membership: Membership;
	readonly port: Pick<ReplicaPort, "call" | "copyState">;
	readonly reconciler: Pick<ShardReconciler, "reconcile">;
	readonly clock: Clock;
	/** What most members take the time to be: it decides what is old. */
	readonly agreedClock: Pick<Clock, "nowMs">;
	readonly log: RepairLog;
	/** @see REPAIR_LIMITS.purgeMarginMs */
	readonly purgeMarginMs?: number;
}

/**
 * Has all copies of a shard agree, and lets go the word of deletions that all of them have heard of.
 *
 * A deletion may be forgotten when no copy holds what it deleted any more. That is so after a round of comparisons in which
 * no copy had to take anything of that age: what was deleted by then lives on none of them. (After the round in which the last
 * copy heard of it, another one is made: others may have compared with that copy before it heard.) All nodes have to say so,
 * those that should have no copy as well: one that was to drop its copy and could not would bring back what everybody has
 * forgotten was deleted.
 */
export class CopyAgreement {
	readonly #parts: CopyAgreementParts;
	readonly #toldMs = recentMap<string, number>(REPAIR_LIMITS.repairAgreementsMax);

	constructor(parts: CopyAgreementParts) {
		this.#parts = parts;
	}

	/**
	 * @param others all holders but this node
	 * @returns whether all of them were reached, and were found to hold what this node does
	 */
	async reach({ shard, replicas }: ClusterShard, others: readonly NodeId[], signal: AbortSignal): Promise<boolean> {
		const { membership, agreedClock, purgeMarginMs = REPAIR_LIMITS.purgeMarginMs } = this.#parts;
		const { version } = membership.view();
		const beforeMs = agreedClock.nowMs() - purgeMarginMs;
		for (let round = 0; round < REPAIR_LIMITS.agreementRoundsMax; round++) {
			const oldestMs = await this.#compareAll(shard, others, signal);
			if (oldestMs === undefined) return false;
			if (oldestMs >= beforeMs) {
				const view = membership.view();
				const { writers } = view.placement(shard.collectionId, shard.shardIndex, replicas);
				if (view.version === version && !view.isChanging) await this.#allowPurge(shard, writers, beforeMs, signal);
			}
			// Copies compare with each other too: one may have taken from another what that one lost only now.
			if (oldestMs === Number.POSITIVE_INFINITY) return true;
		}
		return false;
	}

	/** @returns when the oldest row was written that any of them had to take; undefined when not all could be compared with */
	async #compareAll(shard: ShardRef, others: readonly NodeId[], signal: AbortSignal): Promise<number | undefined> {
		const { membership, reconciler, log } = this.#parts;
		let oldestMs = Number.POSITIVE_INFINITY;
		let isWhole = true;
		for (const nodeId of others) {
			if (!membership.isLive(nodeId)) {
				isWhole = false;
				continue;
			}
			try {
				const { oldestMovedMs } = await reconciler.reconcile(shard, nodeId, signal);
				oldestMs = Math.min(oldestMs, oldestMovedMs);
			} catch (error) {
				signal.throwIfAborted();
				isWhole = false;
				const version = newerTopology([error]);
				if (version !== undefined) await membership.refresh(version);
				log("info", "a copy could not be compared with another one", {
					...factsOf(shard, nodeId),
					error: String(error),
				});
			}
		}
		return isWhole ? oldestMs : undefined;
	}

	async #allowPurge(shard: ShardRef, holders: readonly NodeId[], beforeMs: number, signal: AbortSignal): Promise<void> {
		const { membership, port, clock } = this.#parts;
		const key = shardKey(shard);
		const nowMs = clock.monotonicMs();
		if (nowMs - (this.#toldMs.get(key) ?? Number.NEGATIVE_INFINITY) < REPAIR_LIMITS.purgeEveryMs) return;
		const members = membership.view().members.map(({ node_id }) => node_id as NodeId);
		const survey = await CopySurvey.of(
			this.#parts,
			shard,
			members.filter((nodeId) => !holders.includes(nodeId)),
		);
		if (!survey.allSaid("none")) return;
		for (const nodeId of holders) {
			const options = { timeoutMs: REPAIR_LIMITS.callMs, signal };
			await port.call(nodeId, shard, "allowPurge", [beforeMs], options);
		}
		this.#toldMs.set(key, nowMs);
	}
}
