import type { NodeId } from "../../base/ids.ts";
import type { ShardName, ShardRef } from "../../shards/pool-types.ts";
import type { Membership, TopologyView } from "../membership/membership-types.ts";
import type { LocalCopies, ReplicaPort } from "../replication/replica-types.ts";
import { factsOf } from "../shard-facts.ts";
import { CopySurvey } from "./copy-survey.ts";
import type { RepairCalls } from "./repair-calls.ts";
import type { ClusterShard, RepairLog } from "./repair-types.ts";
import type { PassProgress, ShardReconciler } from "./shard-reconciler.ts";

export interface ShardFillerParts {
	readonly membership: Membership;
	readonly port: Pick<ReplicaPort, "copyState">;
	readonly copies: LocalCopies;
	readonly reconciler: Pick<ShardReconciler, "fill" | "reconcile">;
	readonly calls: Pick<RepairCalls, "isSettled">;
	readonly log: RepairLog;
}

export interface FillProgress extends PassProgress {
	readonly from: NodeId;
}

/** Makes this node's copy of a shard hold everything that was acknowledged, from the copies of those who have it. */
export class ShardFiller {
	readonly #parts: ShardFillerParts;

	constructor(parts: ShardFillerParts) {
		this.#parts = parts;
	}

	/**
	 * @param view by which this node is to hold the shard
	 * @returns whether the copy is complete now; if not, too few of those who have it could be asked, or the topology went on:
	 *          try again, the copy keeps what it has
	 * @throws what the disk says
	 */
	async fill(
		{ shard, replicas }: ClusterShard,
		view: TopologyView,
		signal: AbortSignal,
		onProgress: (progress: FillProgress) => void,
	): Promise<boolean> {
		const { membership, copies } = this.#parts;
		const { self } = membership;
		// From here on it takes what is written, so that only the past has to be fetched.
		if ((await copies.state(shard)) === "none") await copies.make(shard, "incoming");
		const { current } = view.placement(shard.collectionId, shard.shardIndex, replicas);
		const others = current.filter((nodeId) => nodeId !== self);
		const survey = await CopySurvey.of(this.#parts, shard, others);
		const sources = survey.whoSaid("complete");
		if (sources.length === 0) return await this.#fillWithoutHolders(shard, view, signal, onProgress);

		let filledCount = 0;
		for (const source of sources) {
			if (await this.#fillFrom(source, shard, view, signal, onProgress)) filledCount++;
		}
		// A holder without a complete copy keeps what it acknowledged itself, as this node does if it is one.
		const heardCount = current.includes(self) ? filledCount + survey.answeredCount - sources.length : filledCount;
		const enough = Math.min(sourcesNeeded(copiesBefore(view, shard, replicas)), others.length);
		if (filledCount === 0 || heardCount < enough || !this.#isCurrent(view)) return false;
		await copies.markComplete(shard);
		return true;
	}

	/**
	 * Makes this node's complete copy hold what it missed and what holders that are given up had acknowledged with others: those who
	 * are left hold it all together, and shall do so each for itself.
	 *
	 * @param view by which this node holds the shard, and goes on to
	 * @returns whether every other holder that is left was compared with; if not, try again
	 * @throws what the signal aborts with
	 */
	async mend({ shard, replicas }: ClusterShard, view: TopologyView, signal: AbortSignal): Promise<boolean> {
		const { membership, calls, reconciler, log } = this.#parts;
		const { current } = view.placement(shard.collectionId, shard.shardIndex, replicas);
		const others = current.filter((nodeId) => nodeId !== membership.self);
		const survey = await CopySurvey.of(this.#parts, shard, others);
		if (!survey.isComplete) return false;
		for (const holder of [...survey.whoSaid("complete"), ...survey.whoSaid("incoming")]) {
			try {
				if (!(await calls.isSettled(holder, shard, view.version, signal))) return false;
				await reconciler.reconcile(shard, holder, signal);
			} catch (error) {
				signal.throwIfAborted();
				log("info", "a copy could not be compared with another one that is left", {
					...factsOf(shard, holder),
					error: String(error),
				});
				return false;
			}
		}
		return this.#isCurrent(view);
	}

	/** No holder that answers has a complete copy. Perhaps some other node has, or nothing was ever acknowledged. */
	async #fillWithoutHolders(
		shard: ShardRef,
		view: TopologyView,
		signal: AbortSignal,
		onProgress: (progress: FillProgress) => void,
	): Promise<boolean> {
		const { membership, copies, log } = this.#parts;
		const members = view.members.filter(({ node_id, state }) => node_id !== membership.self && state !== "removed");
		const nodes = members.map(({ node_id }) => node_id as NodeId);
		const survey = await CopySurvey.of(this.#parts, shard, nodes);
		// Who does not answer may be the one that has it.
		if (!survey.isComplete) return false;
		const sources = survey.whoSaid("complete");
		// One that is being filled itself took writes, which may have been acknowledged on the word of such copies alone.
		for (const source of [...sources, ...survey.whoSaid("incoming")]) {
			if (!(await this.#fillFrom(source, shard, view, signal, onProgress))) return false;
		}
		if (!this.#isCurrent(view)) return false;
		await copies.markComplete(shard);
		if (sources.length > 0) return true;
		const removed = view.members.filter(({ state }) => state === "removed").map(({ node_id }) => node_id);
		const facts = { ...factsOf(shard), removed };
		if (removed.length > 0) {
			log("error", "no complete copy of a shard is left: what only the removed nodes held of it is lost", facts);
		} else log("info", "a shard that was never finished being made is made", facts);
		return true;
	}

	/** @returns whether all that the source had, and ever will have without this node, is here now */
	async #fillFrom(
		source: NodeId,
		shard: ShardRef,
		view: TopologyView,
		signal: AbortSignal,
		onProgress: (progress: FillProgress) => void,
	): Promise<boolean> {
		const { calls, reconciler, log } = this.#parts;
		try {
			// What it took from writers that did not know of this node yet is on its disk, and it takes no more of it.
			if (!(await calls.isSettled(source, shard, view.version, signal))) return false;
			await reconciler.fill(shard, source, {
				signal,
				onProgress: (progress) => onProgress({ ...progress, from: source }),
			});
			return true;
		} catch (error) {
			signal.throwIfAborted();
			log("info", "a shard could not be fetched from one of its holders yet", {
				...factsOf(shard, source),
				error: String(error),
			});
			return false;
		}
	}

	#isCurrent(view: TopologyView): boolean {
		return this.#parts.membership.view().version === view.version;
	}
}

/**
 * How many holders have to be asked so that every acknowledged write is met: a majority has each, so those without it are
 * fewer. Holders that were removed since count among the majority.
 */
function sourcesNeeded(copies: number): number {
	const majority = Math.floor(copies / 2) + 1;
	return copies - majority + 1;
}

/** How many copies there were before nodes were given up: fewer are left where these had one. */
export function copiesBefore(view: TopologyView, { collectionId }: ShardName, replicas: number): number {
	const wanted = view.replicaCount(collectionId)?.from ?? replicas;
	return Math.min(wanted, view.members.filter(({ state }) => state !== "joining").length);
}
