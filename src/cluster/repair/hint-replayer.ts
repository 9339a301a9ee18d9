import type { Clock } from "../../base/clock.ts";
import type { NodeId } from "../../base/ids.ts";
import type { Timers } from "../../base/timers.ts";
import type { ShardName, ShardRef } from "../../shards/pool-types.ts";
import type { Membership } from "../membership/membership-types.ts";
import { newerTopology } from "../replication/copy-failure.ts";
import type { Reconciler, RemoteReconciler, ReplicaPort } from "../replication/replica-types.ts";
import { factsOf } from "../shard-facts.ts";
import { BackgroundTask } from "./background-task.ts";
import type { HintBook, PendingHint } from "./hint-book.ts";
import { REPAIR_LIMITS } from "./repair-limits.ts";
import type { ClusterShard, RepairLog, ShardCatalog } from "./repair-types.ts";

/** When nothing is pending, looked at all the same: membership may have changed without word of it. */
const IDLE_MS = 60_000;

export interface HintReplayerParts {
	readonly book: HintBook;
	readonly membership: Membership;
	readonly catalog: ShardCatalog;
	readonly port: Pick<ReplicaPort, "copyState"> & RemoteReconciler;
	readonly reconciler: Reconciler;
	readonly clock: Clock;
	readonly timers: Timers;
	readonly log: RepairLog;
}

/** When a node may be tried again. */
interface Attempts {
	failureCount: number;
	notBeforeMs: number;
	wasLive: boolean;
}

/** Has nodes that are back brought up to what they missed, by comparing with copies that did not miss it. */
export class HintReplayer {
	readonly #parts: HintReplayerParts;
	readonly #task: BackgroundTask;
	readonly #attempts = new Map<NodeId, Attempts>();

	constructor(parts: HintReplayerParts) {
		this.#parts = parts;
		this.#task = new BackgroundTask(parts.timers, (signal) => this.#run(signal));
		parts.membership.onChange(() => this.#task.kick());
		parts.book.onMissed(() => this.#task.kick());
	}

	start(): void {
		this.#task.start();
	}

	async stop(): Promise<void> {
		await this.#task.stop();
	}

	async #run(signal: AbortSignal): Promise<number> {
		const { book } = this.#parts;
		this.#forgetRetired();
		const waits = await Promise.all(Array.from(book.pendingByNode().keys(), (nodeId) => this.#tend(nodeId, signal)));
		return Math.min(IDLE_MS, ...waits);
	}

	/** Whoever has left, or is given up, needs nothing any more; a node that drains can't wait for it. */
	#forgetRetired(): void {
		const { book, membership } = this.#parts;
		const view = membership.view();
		// A node that knows no topology yet knows of nobody who left.
		if (view.version === 0 || view.member(membership.self) === undefined) return;
		for (const nodeId of book.pendingByNode().keys()) {
			const member = view.member(nodeId);
			if (member !== undefined && member.state !== "removed") continue;
			book.forgetNode(nodeId);
			this.#attempts.delete(nodeId);
		}
	}

	/** @returns milliseconds until it is worth looking again */
	async #tend(nodeId: NodeId, signal: AbortSignal): Promise<number> {
		const { membership, clock } = this.#parts;
		const attempts = this.#attemptsOf(nodeId);
		const isLive = membership.isLive(nodeId);
		// Back after an absence: what failed before says nothing.
		if (isLive && !attempts.wasLive)
			Object.assign(attempts, { failureCount: 0, notBeforeMs: Number.NEGATIVE_INFINITY });
		attempts.wasLive = isLive;
		if (!isLive) return IDLE_MS;
		const waitMs = attempts.notBeforeMs - clock.monotonicMs();
		if (waitMs > 0) return waitMs;
		const isDone = await this.#replay(nodeId, signal);
		attempts.failureCount = isDone ? 0 : attempts.failureCount + 1;
		// After a success too: a node that misses writes one after the other is not compared after each.
		const { hintRetryFirstMs, hintRetryMaxMs } = REPAIR_LIMITS;
		const pauseMs = Math.min(hintRetryFirstMs * 2 ** Math.min(attempts.failureCount, 16), hintRetryMaxMs);
		attempts.notBeforeMs = clock.monotonicMs() + pauseMs;
		return this.#parts.book.pendingByNode().has(nodeId) ? pauseMs : IDLE_MS;
	}

	#attemptsOf(nodeId: NodeId): Attempts {
		let attempts = this.#attempts.get(nodeId);
		if (attempts === undefined) {
			attempts = { failureCount: 0, notBeforeMs: Number.NEGATIVE_INFINITY, wasLive: false };
			this.#attempts.set(nodeId, attempts);
		}
		return attempts;
	}

	/** @returns whether nothing is left of what the node missed until now */
	async #replay(nodeId: NodeId, signal: AbortSignal): Promise<boolean> {
		const { book } = this.#parts;
		const { shards, everything } = book.pending(nodeId);
		if (everything !== undefined) {
			const isDone = await this.#replayEverything(nodeId, signal);
			if (isDone) book.doneEverything(nodeId, everything.generation);
			return isDone;
		}
		let next = 0;
		let failureCount = 0;
		const replayer = async (): Promise<void> => {
			// Each failure may have cost a deadline: the node is not what it seems.
			while (next < shards.length && failureCount < REPAIR_LIMITS.hintsInFlightPerNode && !signal.aborted) {
				const hint = shards[next++]!;
				if (await this.#replayHint(nodeId, hint, signal)) book.done(nodeId, hint);
				else failureCount++;
			}
		};
		await Promise.all(Array.from({ length: REPAIR_LIMITS.hintsInFlightPerNode }, replayer));
		return failureCount === 0 && !signal.aborted;
	}

	async #replayHint(nodeId: NodeId, hint: PendingHint, signal: AbortSignal): Promise<boolean> {
		return await this.#attempt(nodeId, hint.shard, async () => {
			const found = await this.#parts.catalog.find(hint.shard);
			return found === undefined || (await this.#bringUp(nodeId, found, signal));
		});
	}

	async #replayEverything(nodeId: NodeId, signal: AbortSignal): Promise<boolean> {
		let isDone = true;
		try {
			for await (const found of this.#parts.catalog.all(signal)) {
				if (signal.aborted) return false;
				const isUp = await this.#attempt(nodeId, found.shard, () => this.#bringUp(nodeId, found, signal));
				isDone = isDone && isUp;
			}
		} catch (error) {
			this.#parts.log("warn", "the shards of which a node missed something could not be listed", {
				node_id: nodeId,
				error: String(error),
			});
			return false;
		}
		return isDone;
	}

	/** @returns whether the node's copy now holds what it missed, or need not */
	async #bringUp(nodeId: NodeId, { shard, replicas }: ClusterShard, signal: AbortSignal): Promise<boolean> {
		const { book, membership } = this.#parts;
		const { writers } = membership.view().placement(shard.collectionId, shard.shardIndex, replicas);
		if (!writers.includes(nodeId)) return true;
		const others = writers.filter((other) => other !== nodeId);
		const clean = others.filter((other) => !book.isMissed(other, shard));
		const livePeers = (nodes: readonly NodeId[]) => nodes.filter((other) => membership.isLive(other));
		for (const holder of livePeers(clean)) {
			if (await this.#attempt(nodeId, shard, () => this.#compare(nodeId, holder, shard, signal))) return true;
		}
		if (clean.length > 0) return false;
		// Each of the others has missed something too: together they have it all.
		let reachedCount = 0;
		for (const holder of livePeers(others)) {
			if (await this.#attempt(nodeId, shard, () => this.#compare(nodeId, holder, shard, signal))) reachedCount++;
		}
		return reachedCount === others.length;
	}

	/** @returns whether the two copies were compared; not so when the holder is itself being filled */
	async #compare(nodeId: NodeId, holder: NodeId, shard: ShardRef, signal: AbortSignal): Promise<boolean> {
		const { membership, port, reconciler } = this.#parts;
		if ((await port.copyState(holder, shard, REPAIR_LIMITS.copyStateMs)) !== "complete") return false;
		if (holder === membership.self) await reconciler.reconcile(shard, nodeId, signal);
		else if (nodeId === membership.self) await reconciler.reconcile(shard, holder, signal);
		else await port.reconcile(holder, shard, nodeId, { timeoutMs: REPAIR_LIMITS.remoteReconcileMs, signal });
		return true;
	}

	/** A failure is no more than a reason to try again. */
	async #attempt(nodeId: NodeId, shard: ShardName, work: () => Promise<boolean>): Promise<boolean> {
		try {
			return await work();
		} catch (error) {
			const { membership, log } = this.#parts;
			const version = newerTopology([error]);
			if (version !== undefined) await membership.refresh(version);
			log("info", "a copy could not be brought up to what it missed yet", {
				...factsOf(shard, nodeId),
				error: String(error),
			});
			return false;
		}
	}
}
