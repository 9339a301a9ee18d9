import type { NodeId } from "../../base/ids.ts";
import type { Timers } from "../../base/timers.ts";
import type { TransferProgress } from "../gossip/gossip-types.ts";
import type { Membership, TopologyView } from "../membership/membership-types.ts";
import type { LocalCopies, ReplicaPort } from "../replication/replica-types.ts";
import { factsOf, shardKey } from "../shard-facts.ts";
import { BackgroundTask } from "./background-task.ts";
import { CopySurvey } from "./copy-survey.ts";
import type { RepairCalls } from "./repair-calls.ts";
import { REPAIR_LIMITS } from "./repair-limits.ts";
import type { ClusterShard, RepairLog, ShardCatalog } from "./repair-types.ts";
import { copiesBefore, type FillProgress, type ShardFiller } from "./shard-filler.ts";
import type { ShardReconciler } from "./shard-reconciler.ts";
import type { SurplusCopies } from "./surplus-copies.ts";

export interface MoveRunnerParts {
	readonly membership: Membership;
	readonly port: Pick<ReplicaPort, "copyState">;
	readonly copies: LocalCopies;
	readonly catalog: ShardCatalog;
	readonly filler: Pick<ShardFiller, "fill" | "mend">;
	readonly surplus: Pick<SurplusCopies, "settle">;
	readonly reconciler: Pick<ShardReconciler, "handOver">;
	readonly calls: Pick<RepairCalls, "hasTopology">;
	/** Marks of what other nodes missed: a node does not leave with them. */
	readonly hintCount: () => number;
	/** Told of the bytes that came here. */
	readonly onMoved?: (byteCount: number) => void;
	readonly timers: Timers;
	readonly log: RepairLog;
}

/** What this node must do with one shard before the topology is in place as far as it is concerned. */
interface Move {
	readonly kind: "fill" | "mend" | "hand over";
	readonly item: ClusterShard;
}

/**
 * Brings to this node what the topology gives it, and lets go of what it takes away. Each run looks through all shards; what an
 * interruption left undone, the next one finds.
 */
export class MoveRunner {
	readonly #parts: MoveRunnerParts;
	readonly #task: BackgroundTask;
	readonly #transfers = new Map<string, TransferProgress>();
	readonly #listeners: (() => void)[] = [];
	#waitingCount = 0;
	#settledVersion = -1;
	/** All shards were looked through by this version, and nothing was left to do. */
	#surveyedVersion = -1;
	/** Newest version that every member was seen to go by. */
	#knownVersion = -1;
	/**
	 * Shards that came here in the change of topology under way and have taken every write since, with the copies their collections
	 * want. A copy that was complete once and then had no place here for a while is none of them: it lacks what was written meanwhile.
	 */
	readonly #arrived = new Map<string, ClusterShard>();
	#followedVersion: number;
	/** By version: shards that this node has mended, or handed over because it is leaving. */
	#settledShards = { version: -1, keys: new Set<string>() };
	#failureCount = 0;
	#run: { readonly version: number; readonly abort: AbortController } | undefined;

	constructor(parts: MoveRunnerParts) {
		this.#parts = parts;
		this.#task = new BackgroundTask(parts.timers, (signal) => this.#round(signal));
		this.#followedVersion = parts.membership.view().version;
		parts.membership.onChange(() => {
			this.#follow();
			if (parts.membership.view().version > this.#surveyedVersion) this.kick();
			// Who could not be asked may be back.
			else if (this.#failureCount > 0) this.#task.kick();
		});
	}

	start(): void {
		this.#task.start();
	}

	/** Looks through all shards now: the topology or a collection changed. */
	kick(): void {
		this.#surveyedVersion = -1;
		const { version } = this.#parts.membership.view();
		// What the run under way is about is out of date.
		if (this.#run !== undefined && this.#run.version !== version) this.#run.abort.abort();
		this.#task.kick();
	}

	async stop(): Promise<void> {
		await this.#task.stop();
	}

	/** The newest version of the topology of which this node holds all it has to hold; -1: none yet. */
	get settledVersion(): number {
		return this.#settledVersion;
	}

	/** Called when `settledVersion` has risen. */
	onSettled(listener: () => void): void {
		this.#listeners.push(listener);
	}

	/** Under way now. */
	transfers(): readonly TransferProgress[] {
		return [...this.#transfers.values()];
	}

	/** Shards that have to come or be handed over, besides those under way. */
	get waitingCount(): number {
		return Math.max(0, this.#waitingCount - this.#transfers.size);
	}

	/** Takes note of shards that have no place here any more, were it for one version of the topology only. */
	#follow(): void {
		const { membership } = this.#parts;
		const view = membership.view();
		if (view.version === this.#followedVersion) return;
		const isNext = view.version === this.#followedVersion + 1;
		this.#followedVersion = view.version;
		// What a version was like that this node never saw nobody can tell.
		if (!isNext || !view.isChanging) this.#arrived.clear();
		for (const [key, { shard, replicas }] of this.#arrived) {
			const { writers } = view.placement(shard.collectionId, shard.shardIndex, replicas);
			if (!writers.includes(membership.self)) this.#arrived.delete(key);
		}
	}

	async #round(stopping: AbortSignal): Promise<number> {
		const view = this.#parts.membership.view();
		// A node that knows no topology yet is by itself, and nothing is its to hold.
		if (view.version === 0 || view.member(this.#parts.membership.self) === undefined) return REPAIR_LIMITS.moveRoundMs;
		const abort = new AbortController();
		const onStop = (): void => abort.abort();
		stopping.addEventListener("abort", onStop);
		this.#run = { version: view.version, abort };
		try {
			const isDone = await this.#settle(view, abort.signal);
			this.#failureCount = isDone ? 0 : this.#failureCount + 1;
		} catch (error) {
			if (!abort.signal.aborted) {
				this.#failureCount++;
				this.#parts.log("warn", "the shards that this node has to hold could not be looked through", {
					error: String(error),
				});
			}
		} finally {
			this.#run = undefined;
			this.#waitingCount = 0;
			stopping.removeEventListener("abort", onStop);
		}
		if (abort.signal.aborted) return 0;
		if (this.#failureCount === 0) return REPAIR_LIMITS.moveRoundMs;
		const { moveRetryFirstMs, moveRetryMaxMs } = REPAIR_LIMITS;
		return Math.min(moveRetryFirstMs * 2 ** Math.min(this.#failureCount - 1, 16), moveRetryMaxMs);
	}

	/** @returns whether nothing is left to do */
	async #settle(view: TopologyView, signal: AbortSignal): Promise<boolean> {
		if (this.#surveyedVersion < view.version) {
			this.#surveyedVersion = view.version;
			const isHere = await this.#bringHere(view, signal).catch((error: unknown) => {
				this.#surveyedVersion = -1;
				throw error;
			});
			if (!isHere) this.#surveyedVersion = -1;
			if (!isHere) return false;
		}
		// While nodes come and go, it may be what others are filled from.
		return view.isChanging || (await this.#dropSurplus(signal));
	}

	/** @returns whether this node holds all it has to hold, and every member knows that it has to */
	async #bringHere(view: TopologyView, signal: AbortSignal): Promise<boolean> {
		// Before the shards are listed: from then on, whoever makes a collection makes its copies here too where they belong here.
		const isKnown = await this.#isKnownToAll(view, signal);
		for (;;) {
			const { moves, count } = await this.#survey(view, signal);
			this.#waitingCount = count;
			const isMoved = await this.#moveAll(moves, view, signal);
			signal.throwIfAborted();
			if (!isMoved) return false;
			if (count === moves.length) break;
		}
		if (!isKnown || (this.#isLeaving(view) && this.#parts.hintCount() > 0)) return false;
		if (this.#settledVersion < view.version) {
			this.#settledVersion = view.version;
			for (const listener of this.#listeners) listener();
		}
		return true;
	}

	async #isKnownToAll({ version, members }: TopologyView, signal: AbortSignal): Promise<boolean> {
		const { membership, calls } = this.#parts;
		if (this.#knownVersion >= version) return true;
		const others = members.filter(({ node_id, state }) => node_id !== membership.self && state !== "removed");
		const known = await Promise.all(
			others.map(async ({ node_id }) => {
				const nodeId = node_id as NodeId;
				if (!membership.isLive(nodeId)) return false;
				return await calls.hasTopology(nodeId, version, signal).catch(() => false);
			}),
		);
		const isKnown = known.every(Boolean);
		if (isKnown) this.#knownVersion = version;
		return isKnown;
	}

	/** @returns what is to be done, of which `moves` is only the beginning when it is much */
	async #survey(view: TopologyView, signal: AbortSignal): Promise<{ moves: readonly Move[]; count: number }> {
		const { catalog } = this.#parts;
		const moves: Move[] = [];
		let count = 0;
		for await (const item of catalog.all(signal)) {
			signal.throwIfAborted();
			const kind = await this.#moveOf(item, view);
			if (kind === undefined) continue;
			count++;
			if (moves.length < REPAIR_LIMITS.movesQueuedMax) moves.push({ kind, item });
		}
		return { moves, count };
	}

	async #moveOf({ shard, replicas }: ClusterShard, view: TopologyView): Promise<Move["kind"] | undefined> {
		const { membership, copies } = this.#parts;
		const { self } = membership;
		const { writers, current, next } = view.placement(shard.collectionId, shard.shardIndex, replicas);
		if (!writers.includes(self)) return undefined;
		if ((await copies.state(shard)) !== "complete") return "fill";
		if (!current.includes(self) && this.#arrived.get(shardKey(shard))?.replicas !== replicas) return "fill";
		if (this.#isShardSettled(shardKey(shard), view.version)) return undefined;
		if (!next.includes(self)) return this.#isLeaving(view) ? "hand over" : undefined;
		const count = view.replicaCount(shard.collectionId);
		// Those who go on hold what others had acknowledged with those who don't.
		const isShrinking = count !== undefined && count.to < count.from;
		return isShrinking || current.length < copiesBefore(view, shard, replicas) ? "mend" : undefined;
	}

	/** @returns whether all were done */
	async #moveAll(moves: readonly Move[], view: TopologyView, signal: AbortSignal): Promise<boolean> {
		let next = 0;
		let failureCount = 0;
		const mover = async (): Promise<void> => {
			while (next < moves.length && !signal.aborted) {
				const move = moves[next++]!;
				if (!(await this.#move(move, view, signal))) failureCount++;
				this.#waitingCount--;
			}
		};
		await Promise.all(Array.from({ length: REPAIR_LIMITS.movesInFlight }, mover));
		return failureCount === 0 && !signal.aborted;
	}

	async #move({ kind, item }: Move, view: TopologyView, signal: AbortSignal): Promise<boolean> {
		const { shard } = item;
		const key = shardKey(shard);
		try {
			if (kind !== "fill") {
				const isDone =
					kind === "mend"
						? await this.#parts.filler.mend(item, view, signal)
						: await this.#handOver(item, view, signal);
				if (isDone) this.#noteSettled(key, view.version);
				return isDone;
			}
			const isFilled = await this.#parts.filler.fill(item, view, signal, (progress) => {
				const before = this.#transfers.get(key);
				const bytesBefore = before?.from === progress.from ? before.bytesDone : 0;
				this.#parts.onMoved?.(progress.bytesDone - bytesBefore);
				this.#transfers.set(key, transferOf(item, progress));
			});
			if (!isFilled || this.#parts.membership.view().version !== view.version) return false;
			this.#arrived.set(key, item);
			return true;
		} catch (error) {
			if (!signal.aborted) {
				this.#parts.log("warn", "a shard could not be moved yet", {
					...factsOf(shard),
					error: String(error),
				});
			}
			return false;
		} finally {
			this.#transfers.delete(key);
		}
	}

	/** Before this node leaves: what only its copy holds, acknowledged while the others were away. */
	async #handOver({ shard, replicas }: ClusterShard, view: TopologyView, signal: AbortSignal): Promise<boolean> {
		const { copies, reconciler } = this.#parts;
		const { next } = view.placement(shard.collectionId, shard.shardIndex, replicas);
		const survey = await CopySurvey.of(this.#parts, shard, next);
		if (!survey.allSaid("complete")) return false;
		await copies.settled(shard, view.version);
		await reconciler.handOver(shard, next, { signal });
		return true;
	}

	/** @returns whether nothing lies here that belongs elsewhere */
	async #dropSurplus(signal: AbortSignal): Promise<boolean> {
		const { copies, surplus, log } = this.#parts;
		let isClean = true;
		for await (const name of copies.list()) {
			signal.throwIfAborted();
			try {
				isClean = (await surplus.settle(name, signal)) && isClean;
			} catch (error) {
				signal.throwIfAborted();
				isClean = false;
				log("info", "a copy that is held elsewhere now could not be dropped yet", {
					...factsOf(name),
					error: String(error),
				});
			}
		}
		return isClean;
	}

	#isLeaving(view: TopologyView): boolean {
		return view.member(this.#parts.membership.self)?.state === "draining";
	}

	#isShardSettled(key: string, version: number): boolean {
		return this.#settledShards.version === version && this.#settledShards.keys.has(key);
	}

	#noteSettled(key: string, version: number): void {
		if (this.#settledShards.version !== version) this.#settledShards = { version, keys: new Set() };
		this.#settledShards.keys.add(key);
	}
}

const transferOf = ({ shard }: ClusterShard, progress: FillProgress): TransferProgress => ({
	tenantId: shard.tenantId,
	collectionId: shard.collectionId,
	shard: shard.shardIndex,
	from: progress.from,
	rowsDone: progress.rowsDone,
	rowsTotal: progress.rowsTotal,
	bytesDone: progress.bytesDone,
});
