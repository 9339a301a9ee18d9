import type { Clock } from "../../base/clock.ts";
import type { NodeId } from "../../base/ids.ts";
import { recentMap } from "../../base/recent-map.ts";
import type { Timers } from "../../base/timers.ts";
import type { ShardName, ShardRef } from "../../shards/pool-types.ts";
import type { Membership } from "../membership/membership-types.ts";
import { newerTopology } from "../replication/copy-failure.ts";
import type { LocalCopies, ReplicaPort } from "../replication/replica-types.ts";
import { factsOf, shardKey } from "../shard-facts.ts";
import { BackgroundTask } from "./background-task.ts";
import { CopyAgreement } from "./copy-agreement.ts";
import { REPAIR_LIMITS } from "./repair-limits.ts";
import type { RepairLog, ShardCatalog } from "./repair-types.ts";
import type { ShardReconciler } from "./shard-reconciler.ts";

export interface RepairLoopParts {
	readonly membership: Membership;
	readonly catalog: Pick<ShardCatalog, "find">;
	readonly copies: Pick<LocalCopies, "list">;
	readonly port: Pick<ReplicaPort, "call" | "copyState">;
	readonly reconciler: Pick<ShardReconciler, "reconcile">;
	readonly clock: Clock;
	/** @see CopyAgreementParts */
	readonly agreedClock: Pick<Clock, "nowMs">;
	readonly timers: Timers;
	readonly log: RepairLog;
	readonly purgeMarginMs?: number;
	/** About how often each shard is compared. */
	readonly roundMs?: number;
}

interface Agreement {
	readonly others: readonly NodeId[];
	readonly sinceMs: number;
}

/**
 * Compares this node's copies with the others', all of them in turn, for what no hint tells of. Of a shard's holders the first
 * that lives does it, and the others compare with that one what they have taken since: a write that reached none but them, and
 * that nobody acknowledged. Copies that agree with nobody having written since are left in peace: to compare them would open
 * them.
 */
export class RepairLoop {
	readonly #parts: RepairLoopParts;
	readonly #task: BackgroundTask;
	readonly #agreement: CopyAgreement;
	/** Which copies of a shard agreed last, and when, on the monotonic clock. */
	readonly #agreed = recentMap<string, Agreement>(REPAIR_LIMITS.repairAgreementsMax);
	/** Written to since this node compared them with another node's, as far as is remembered. */
	readonly #touched = recentMap<string, true>(REPAIR_LIMITS.repairAgreementsMax);
	/** Since when the nodes that live do so without interruption, as far as was seen. */
	readonly #liveSinceMs = new Map<NodeId, number>();
	/** To be compared before all others. */
	readonly #urgent = new Map<string, ShardName>();
	/** The shard that is being compared. */
	#comparing: { readonly key: string; isTouched: boolean } | undefined;
	#isHasty = true;
	#gapMs: number = REPAIR_LIMITS.repairGapMaxMs;

	constructor(parts: RepairLoopParts) {
		this.#parts = parts;
		this.#agreement = new CopyAgreement(parts);
		this.#task = new BackgroundTask(parts.timers, (signal) => this.#round(signal));
		this.#lookAround();
		parts.membership.onChange(() => {
			if (!this.#lookAround()) return;
			this.#isHasty = true;
			this.#task.kick();
		});
	}

	start(): void {
		this.#task.start();
	}

	async stop(): Promise<void> {
		await this.#task.stop();
	}

	/** This node's copy of the shard has been written to. */
	touched(shard: ShardName): void {
		const key = shardKey(shard);
		this.#agreed.delete(key);
		this.#touched.set(key, true);
		if (this.#comparing?.key === key) this.#comparing.isTouched = true;
	}

	/** The shard's copies are known to differ: they are compared next. */
	compareSoon(shard: ShardName): void {
		const key = shardKey(shard);
		if (this.#urgent.size >= REPAIR_LIMITS.urgentShardsMax && !this.#urgent.has(key)) return;
		this.#agreed.delete(key);
		this.#urgent.set(key, shard);
		this.#task.kick();
	}

	/** @returns whether a node has come (back) */
	#lookAround(): boolean {
		const { membership, clock } = this.#parts;
		const members = membership.view().members.map(({ node_id }) => node_id as NodeId);
		let hasCome = false;
		for (const nodeId of new Set([...members, ...this.#liveSinceMs.keys()])) {
			const isLive = members.includes(nodeId) && membership.isLive(nodeId);
			if (!isLive) this.#liveSinceMs.delete(nodeId);
			else if (!this.#liveSinceMs.has(nodeId)) {
				this.#liveSinceMs.set(nodeId, clock.monotonicMs());
				hasCome = true;
			}
		}
		return hasCome;
	}

	async #round(signal: AbortSignal): Promise<number> {
		const { copies, clock, log, roundMs: repairRoundMs = REPAIR_LIMITS.repairRoundMs } = this.#parts;
		const { repairGapMinMs, repairGapMaxMs } = REPAIR_LIMITS;
		const startMs = clock.monotonicMs();
		const gapMs = this.#isHasty ? repairGapMinMs : this.#gapMs;
		this.#isHasty = false;
		let comparedCount = 0;
		try {
			await this.#tendUrgent(signal);
			for await (const copy of copies.list()) {
				if (signal.aborted) return 0;
				await this.#tendUrgent(signal);
				if (copy.state !== "complete" || !(await this.#tend(copy, signal))) continue;
				comparedCount++;
				await this.#pause(gapMs, signal);
			}
		} catch (error) {
			log("warn", "the shards on this node could not be listed for repair", { error: String(error) });
		}
		// So that the next round takes about its time.
		this.#gapMs = Math.max(repairGapMinMs, Math.min(repairRoundMs / Math.max(1, comparedCount), repairGapMaxMs));
		return Math.max(repairGapMaxMs, repairRoundMs - (clock.monotonicMs() - startMs));
	}

	async #tendUrgent(signal: AbortSignal): Promise<void> {
		for (const [key, shard] of this.#urgent) {
			if (signal.aborted) return;
			this.#urgent.delete(key);
			await this.#tend(shard, signal);
		}
	}

	/** @returns whether there was something to compare */
	async #tend(name: ShardName, signal: AbortSignal): Promise<boolean> {
		const { membership, catalog, clock, log } = this.#parts;
		const key = shardKey(name);
		try {
			const found = await catalog.find(name);
			if (found === undefined) return false;
			const { shard, replicas } = found;
			const { self } = membership;
			const { current, writers } = membership.view().placement(shard.collectionId, shard.shardIndex, replicas);
			const others = writers.filter((nodeId) => nodeId !== self);
			const [first] = current.filter((nodeId) => membership.isLive(nodeId));
			if (first !== self) return writers.includes(self) && (await this.#compareWith(first, found.shard, signal));
			// Also of a shard without other copies the word of deletions has to go some day.
			if (this.#isAgreed(key, others)) return false;
			const comparing = { key, isTouched: false };
			this.#comparing = comparing;
			const startMs = clock.monotonicMs();
			const agreed = await this.#agreement.reach(found, others, signal);
			if (agreed && !comparing.isTouched) this.#agreed.set(key, { others, sinceMs: startMs });
		} catch (error) {
			if (signal.aborted) return true;
			const version = newerTopology([error]);
			if (version !== undefined) await membership.refresh(version);
			log("info", "a shard's copies could not be compared", {
				...factsOf(name),
				error: String(error),
			});
		} finally {
			this.#comparing = undefined;
		}
		return true;
	}

	/** Brings what this copy has taken since to the one that compares with all. @returns whether there was anything to compare */
	async #compareWith(first: NodeId | undefined, shard: ShardRef, signal: AbortSignal): Promise<boolean> {
		const key = shardKey(shard);
		if (first === undefined || !this.#touched.delete(key)) return false;
		try {
			await this.#parts.reconciler.reconcile(shard, first, signal);
		} catch (error) {
			this.#touched.set(key, true);
			throw error;
		}
		return true;
	}

	#isAgreed(key: string, others: readonly NodeId[]): boolean {
		const agreed = this.#agreed.get(key);
		if (agreed === undefined) return false;
		const { sinceMs } = agreed;
		if (this.#parts.clock.monotonicMs() - sinceMs > REPAIR_LIMITS.repairQuietMs) return false;
		// One that was away may have been written to by those it could see, and is not known to agree.
		const wasLive = (nodeId: NodeId): boolean => (this.#liveSinceMs.get(nodeId) ?? Number.POSITIVE_INFINITY) <= sinceMs;
		return others.every((nodeId) => agreed.others.includes(nodeId) && wasLive(nodeId));
	}

	async #pause(ms: number, signal: AbortSignal): Promise<void> {
		if (signal.aborted) return;
		const { promise, resolve } = Promise.withResolvers<void>();
		const cancel = this.#parts.timers.after(ms, resolve);
		const onAbort = (): void => {
			cancel();
			resolve();
		};
		signal.addEventListener("abort", onAbort, { once: true });
		await promise;
		signal.removeEventListener("abort", onAbort);
	}
}
