import type { Clock } from "../base/clock.ts";
import { type RowSource, scanNearest } from "./exact-scan.ts";
import { Graph } from "./graph.ts";
import { loadSnapshot, removeSnapshot, saveSnapshot } from "./index-snapshot.ts";
import { type Candidate, NearestHeap } from "./ranking.ts";
import type { Query, Scorer } from "./scorer.ts";
import type { ShardConfig } from "./shard-types.ts";
import type { SlotTable } from "./slot-table.ts";
import type { StorageLog } from "./storage-log.ts";
import { TimeSlice } from "./time-slice.ts";
import type { VectorFile } from "./vector-file.ts";

/** Numbers that are scanned in about a millisecond. */
const SCAN_NUMBERS_MAX = 3_840_000;
const EXACT_VECTORS_MAX = 10_000;
const EXACT_VECTORS_MIN = 256;
const SNAPSHOT_CHANGES_MIN = 20_000;
const SNAPSHOT_SHARE = 0.5;
/** On closing, fewer changes than this share are replayed on opening more cheaply than the graph is saved. */
const CLOSE_SHARE_MIN = 0.01;
const IDLE_MS = 2_000;
/** A snapshot that is due waits no longer than this for an idle moment. */
const IDLE_WAIT_MAX_MS = 60_000;

/** How many vectors are searched without a graph: while a scan costs about a millisecond. */
export function exactVectorCountMax(dimension: number): number {
	return Math.max(EXACT_VECTORS_MIN, Math.min(EXACT_VECTORS_MAX, Math.floor(SCAN_NUMBERS_MAX / dimension)));
}

export interface GraphKeeperOptions {
	readonly folder: string;
	readonly config: ShardConfig;
	readonly clock: Clock;
	readonly log: StorageLog;
	readonly slots: SlotTable;
	readonly vectors: VectorFile;
	readonly scorer: Scorer;
	/** Vectors that are searched without a graph. */
	readonly exactVectorCountMax: number;
	/** The last commit that is applied. */
	readonly seq: () => number;
}

/** Candidates of a search over everything, and where they come from. */
export interface Nearest {
	/** Nearest first, ties by id, scored in double precision. */
	readonly candidates: Candidate[];
	readonly isExact: boolean;
	readonly scoredCount: number;
	readonly tailCount: number;
}

/**
 * Keeps the graph of a shard: begins it when the shard outgrows exact search, feeds it in slices between other work,
 * builds it anew beside the old one when it has gone stale, saves and loads it. Searches are right at any moment: what
 * the graph lacks is scanned.
 */
export class GraphKeeper {
	readonly #options: GraphKeeperOptions;
	#serving: Graph | undefined;
	/** Built beside the serving one, which it is to replace. */
	#next: Graph | undefined;
	#work: Promise<void> | undefined;
	#isStopped = false;
	#hasFailed = false;
	/** The shortest the serving graph's pending tail has been: what was pending from the start keeps no writer waiting. */
	#pendingFloor = 0;
	#roomWaiters: (() => void)[] = [];
	/** What the snapshot on disk covers, when it is of this graph. */
	#snapshotSeq: number | undefined;
	#changesSinceSnapshot = 0;
	/** Save as soon as the graph is whole. */
	#isFirstSaveDue = false;
	/** Save at the next turn. */
	#isSaveDue = false;
	#snapshotDueMs: number | undefined;
	#idleTimer: Timer | undefined;
	#rebuildReason: string | undefined;

	constructor(options: GraphKeeperOptions) {
		this.#options = options;
	}

	get rebuildReason(): string | undefined {
		return this.#rebuildReason;
	}

	/** Redo records up to here are of no more use. */
	get coveredSeq(): number | undefined {
		return this.#serving === undefined && this.#next === undefined ? undefined : (this.#snapshotSeq ?? 0);
	}

	get indexState(): "exact" | "building" | "ready" {
		const graph = this.#serving;
		if (graph === undefined) return "exact";
		const isScanned = this.#isScanned(graph);
		const isBehind = graph.pending.count > (isScanned ? 0 : this.#options.exactVectorCountMax / 2);
		if (isBehind || this.#next !== undefined) return "building";
		// Most of the data is beyond what one graph can tell apart.
		return isScanned ? "exact" : "ready";
	}

	get indexedCount(): number {
		return this.#serving?.index.count ?? 0;
	}

	get tombstoneCount(): number {
		return this.#serving?.index.tombstoneCount ?? 0;
	}

	/** Bytes that the graphs take in memory, estimated. */
	get memoryBytes(): number {
		const { dimension, hnsw } = this.#options.config;
		let bytes = 0;
		for (const graph of [this.#serving, this.#next]) {
			if (graph === undefined) continue;
			const numberBytes = { f32: 4, f16: 2, bf16: 2, i8: 1 }[graph.quantizer.state.kind];
			const nodeBytes = dimension * numberBytes + hnsw.m * 2 * 4 + 64;
			bytes += (graph.index.count + graph.index.tombstoneCount) * nodeBytes + graph.tailCount * dimension * 4;
		}
		return bytes;
	}

	/**
	 * Load the snapshot, or begin anew where there is none that fits.
	 *
	 * @param trimmedSeq  redo records up to here are gone.
	 * @param touchedFrom the slots that commits after a given one touched.
	 */
	async open(trimmedSeq: number, touchedFrom: (seq: number) => Iterable<number>): Promise<void> {
		const { folder, config, slots, vectors, exactVectorCountMax: exactMax } = this.#options;
		const isWanted = config.index === "hnsw" ? slots.count > 0 : config.index === "auto" && slots.count > exactMax / 2;
		if (!isWanted) {
			removeSnapshot(folder);
			return;
		}
		const loaded = await loadSnapshot(folder, config, vectors, 2 * exactMax);
		if ("reason" in loaded) {
			if (config.index === "hnsw" || slots.count > exactMax) this.#rebuild(loaded.reason);
			return;
		}
		const { graph, seq, members } = loaded;
		if (seq < trimmedSeq || seq > this.#options.seq()) {
			this.#rebuild("the snapshot does not fit the database");
			return;
		}
		const present = new Uint8Array(slots.slotCount);
		for (const slot of members) present[slot] = 1;
		let memberCount = members.length;
		for (const slot of touchedFrom(seq)) {
			this.#changesSinceSnapshot++;
			if (!graph.index.remove(slot)) continue;
			if (slot < present.length) present[slot] = 0;
			memberCount--;
		}
		let liveMemberCount = 0;
		for (const slot of slots.liveSlots()) {
			if (present[slot] === 1) liveMemberCount++;
			else graph.add(slot);
		}
		if (liveMemberCount !== memberCount) {
			this.#rebuild("the snapshot holds vectors that the database does not");
			return;
		}
		this.#serve(graph);
		this.#snapshotSeq = seq;
		this.#wake();
	}

	/** After a commit: what it vacated and what it brought to live. The slot table and the vector file are up to date. */
	noteCommit(vacated: readonly number[], assigned: readonly number[]): void {
		const { config, slots, exactVectorCountMax: exactMax } = this.#options;
		this.#changesSinceSnapshot += vacated.length + assigned.length;
		for (const graph of [this.#serving, this.#next]) {
			if (graph === undefined) continue;
			for (const slot of vacated) graph.drop(slot);
			for (const slot of assigned) graph.add(slot);
		}
		this.#pendingFloor = Math.min(this.#pendingFloor, this.#serving?.pending.count ?? 0);
		const isOutgrown = config.index === "hnsw" ? slots.count > 0 : config.index === "auto" && slots.count > exactMax;
		if (this.#serving === undefined && isOutgrown) {
			this.#serve(Graph.begin(config, this.#options.vectors, [...slots.liveSlots()], 2 * exactMax));
			this.#isFirstSaveDue = true;
		}
		this.#considerSnapshot();
		this.#wake();
	}

	/** Resolves when the graph has caught up enough for more to be written: the tail is searched exactly, so it must stay short. */
	async room(): Promise<void> {
		while (!this.#hasRoom()) await new Promise<void>((resolve) => this.#roomWaiters.push(resolve));
	}

	/**
	 * The nearest of all vectors.
	 *
	 * @param k  candidates wanted.
	 * @param ef how widely the graph is searched; at least `k` is used.
	 */
	nearest(query: Query, k: number, ef: number): Nearest {
		const { slots, scorer, vectors } = this.#options;
		const graph = this.#serving;
		const matches = graph === undefined || this.#isScanned(graph) ? undefined : graph.search(query, this.#width(k, ef));
		if (graph === undefined || matches === undefined) return this.scan(query, k);
		const heap = new NearestHeap(k, slots);
		const { rows } = vectors;
		let scoredCount = 0;
		for (; scoredCount < matches.count; scoredCount++) {
			if (matches.distances[scoredCount]! > graph.reach(heap.distanceMax)) break;
			const slot = matches.keys[scoredCount]!;
			heap.push(slot, scorer.distance(rows, slot, query));
		}
		for (const tail of [graph.pending, graph.outliers]) {
			const source = tail.count === 0 ? undefined : tail.source;
			if (source === undefined) continue;
			for (const { slot, distance } of scanNearest(source, query, k, scorer, slots)) heap.push(slot, distance);
			scoredCount += tail.count;
		}
		return { candidates: heap.ranked(), isExact: false, scoredCount, tailCount: graph.tailCount };
	}

	/** The nearest of all vectors, without the graph. */
	scan(query: Query, k: number): Nearest {
		const { slots, scorer } = this.#options;
		const candidates = scanNearest(this.#everything, query, k, scorer, slots);
		return { candidates, isExact: true, scoredCount: slots.count, tailCount: 0 };
	}

	/** Stop building, and save the graph when that is worth it. */
	async close(): Promise<void> {
		this.#isStopped = true;
		clearTimeout(this.#idleTimer);
		this.#freeWaiters();
		await this.#work;
		const graph = this.#serving;
		if (graph === undefined || graph.index.count === 0 || this.#snapshotSeq === this.#options.seq()) return;
		const isWorth = this.#snapshotSeq === undefined || this.#changesSinceSnapshot > graph.index.count * CLOSE_SHARE_MIN;
		if (isWorth) await this.#save();
	}

	get #everything(): RowSource {
		const { slots, vectors } = this.#options;
		return {
			rows: vectors.rows,
			rowCount: slots.slotCount,
			deadCount: slots.slotCount - slots.count,
			normMax: vectors.normMax,
			slotAt: (row) => (slots.isLive(row) ? row : undefined),
		};
	}

	/** While most of the shard is not in the graph yet, scanning all of it is the better way. */
	#isScanned(graph: Graph): boolean {
		const { slots, exactVectorCountMax: exactMax } = this.#options;
		return graph.outliers.count > 2 * exactMax || graph.pending.count > Math.min(2 * exactMax, slots.count / 2);
	}

	/** Coarse numbers rank badly near the top, so that more are scored again. */
	#width(k: number, ef: number): number {
		return this.#options.config.quantization === "i8" ? Math.max(ef, 2 * k + 32) : Math.max(ef, k + (k >> 2));
	}

	#hasRoom(): boolean {
		if (this.#isStopped || this.#hasFailed || this.#serving === undefined) return true;
		const bound = 2 * this.#options.exactVectorCountMax;
		return this.#serving.pending.count <= Math.max(bound, this.#pendingFloor + bound / 2);
	}

	#freeWaiters(): void {
		const waiters = this.#roomWaiters;
		this.#roomWaiters = [];
		for (const resolve of waiters) resolve();
	}

	#rebuild(reason: string): void {
		const { config, slots, vectors, exactVectorCountMax: exactMax, log } = this.#options;
		this.#rebuildReason = reason;
		log("the index is built anew", { reason, vectors: slots.count });
		this.#serve(Graph.begin(config, vectors, [...slots.liveSlots()], 2 * exactMax));
		this.#isFirstSaveDue = true;
		this.#wake();
	}

	#serve(graph: Graph): void {
		this.#serving = graph;
		this.#pendingFloor = graph.pending.count;
	}

	#wake(): void {
		if (this.#work !== undefined || this.#isStopped || this.#hasFailed || !this.#hasWork()) return;
		this.#work = this.#build()
			.catch((error) => {
				// Searches go on exactly; writers must not wait for a graph that will not come.
				this.#hasFailed = true;
				this.#options.log("building the index failed", { error });
			})
			.finally(() => {
				this.#work = undefined;
				this.#freeWaiters();
				this.#wake();
			});
	}

	#hasWork(): boolean {
		const graph = this.#serving;
		if (graph === undefined) return false;
		return (
			graph.pending.count > 0 ||
			this.#next !== undefined ||
			this.#isSaveDue ||
			this.#isFirstSaveDue ||
			this.#needsNext(graph)
		);
	}

	#needsNext(graph: Graph): boolean {
		return this.#next === undefined && graph.staleReason !== undefined && this.#options.slots.count > 0;
	}

	async #build(): Promise<void> {
		const slice = new TimeSlice(this.#options.clock);
		// Let the commit that woke us be acknowledged first.
		await slice.rest();
		while (!this.#isStopped && this.#hasWork()) {
			const graph = this.#serving!;
			const isWhole = graph.pending.count === 0 && this.#next === undefined && !this.#needsNext(graph);
			if (this.#isSaveDue || (this.#isFirstSaveDue && isWhole)) await this.#save();
			else this.#step(graph);
			if (!slice.isSpent) continue;
			if (this.#hasRoom()) this.#freeWaiters();
			await slice.rest();
		}
	}

	#step(graph: Graph): void {
		const { config, slots, vectors, exactVectorCountMax: exactMax } = this.#options;
		if (this.#needsNext(graph)) {
			this.#options.log("the index is built anew", { reason: graph.staleReason, vectors: slots.count });
			this.#next = Graph.begin(config, vectors, [...slots.liveSlots()], 2 * exactMax);
		}
		// The tail of the serving graph costs every search, so that it must not grow long while the next is built.
		if (this.#next === undefined || graph.pending.count > exactMax / 2) graph.step();
		else if (!this.#next.step()) {
			this.#serve(this.#next);
			this.#next = undefined;
			// The snapshot on disk stays good for opening until this one is saved: its redo records are kept.
			this.#snapshotSeq = undefined;
			this.#isFirstSaveDue = true;
		}
		this.#pendingFloor = Math.min(this.#pendingFloor, this.#serving!.pending.count);
	}

	#considerSnapshot(): void {
		if (this.#serving === undefined || this.#isStopped) return;
		const dueAt = Math.max(SNAPSHOT_CHANGES_MIN, this.#serving.index.count * SNAPSHOT_SHARE);
		if (this.#changesSinceSnapshot < dueAt) return;
		const nowMs = this.#options.clock.monotonicMs();
		this.#snapshotDueMs ??= nowMs;
		clearTimeout(this.#idleTimer);
		const waitMs = nowMs - this.#snapshotDueMs > IDLE_WAIT_MAX_MS ? 0 : IDLE_MS;
		this.#idleTimer = setTimeout(() => {
			this.#isSaveDue = true;
			this.#wake();
		}, waitMs);
		this.#idleTimer.unref();
	}

	/** A snapshot that can't be saved costs time on the next opening, nothing else. */
	async #save(): Promise<void> {
		const { folder, config, slots, log } = this.#options;
		const graph = this.#serving!;
		const seq = this.#options.seq();
		this.#isSaveDue = false;
		this.#isFirstSaveDue = false;
		this.#snapshotDueMs = undefined;
		this.#changesSinceSnapshot = 0;
		try {
			await saveSnapshot(folder, config, graph, seq, slots.slotCount, (slot) => {
				return slots.isLive(slot) && !graph.pending.has(slot) && !graph.outliers.has(slot);
			});
			this.#snapshotSeq = seq;
		} catch (error) {
			log("saving the index failed", { error });
		}
	}
}
