import type { Metric } from "../base/schemas.ts";
import { Quantizer } from "./quantizer.ts";
import type { Query } from "./scorer.ts";
import type { ShardConfig } from "./shard-types.ts";
import { Tail } from "./tail.ts";
import type { VectorFile } from "./vector-file.ts";
import { type Matches, VectorIndex } from "./vector-index.ts";

/** Numbers, and rows, added per call: few enough for a slice of time to be kept. */
const STEP_NUMBERS_MAX = 512;
const STEP_ROWS_MAX = 4;
/** Rows that are looked at for choosing the quantizer's range. */
const SAMPLE_ROWS_MAX = 20_000;
const SAMPLE_NUMBERS_MAX = 1_000_000;
/** So many rows beyond the quantizer's range are borne (searched exactly) before the graph is built anew with another. */
const OUTLIERS_MIN = 256;
const OUTLIER_SHARE_MAX = 0.01;
/** Searching costs more with each tombstone: 1.4 times at 40 % of all nodes. */
const TOMBSTONE_SHARE_MAX = 0.4;
const TOMBSTONES_MIN = 1_000;

/** How much rounding both of two unit vectors to a kind changes their product, at most, and then some. */
const UNIT_ERROR = { f32: 1e-4, f16: 2 ** -9, bf16: 2 ** -6 } as const;

/** A graph and what it lacks: `pending` slots wait for their turn, `outliers` do not fit its numbers. */
export class Graph {
	readonly index: VectorIndex;
	readonly quantizer: Quantizer;
	readonly pending: Tail;
	readonly outliers: Tail;
	readonly #vectors: VectorFile;
	readonly #chosenFromCount: number;
	readonly #unitError: number | undefined;
	#addedCount = 0;

	/** @param chosenFromCount how many vectors the quantizer was chosen for. */
	constructor(
		index: VectorIndex,
		quantizer: Quantizer,
		vectors: VectorFile,
		tailRowsMax: number,
		chosenFromCount: number,
	) {
		this.index = index;
		this.quantizer = quantizer;
		this.#vectors = vectors;
		this.#chosenFromCount = chosenFromCount;
		const { kind } = quantizer.state;
		this.#unitError = quantizer.metric === "cosine" && kind !== "i8" ? UNIT_ERROR[kind] : undefined;
		this.pending = new Tail(vectors, tailRowsMax);
		this.outliers = new Tail(vectors, tailRowsMax);
	}

	/**
	 * An empty graph with all of the given slots pending.
	 *
	 * @param slots live ones, at least one.
	 */
	static begin(config: ShardConfig, vectors: VectorFile, slots: readonly number[], tailRowsMax: number): Graph {
		const sample = sampleRows(vectors, slots);
		const quantizer = Quantizer.choose(config.metric, config.quantization, sample, config.dimension);
		const graph = new Graph(newIndex(config, quantizer), quantizer, vectors, tailRowsMax, slots.length);
		for (const slot of slots) graph.pending.add(slot);
		return graph;
	}

	/** Vectors searched exactly beside the graph. */
	get tailCount(): number {
		return this.pending.count + this.outliers.count;
	}

	/** Why the graph had better be built anew. */
	get staleReason(): "tombstones" | "outliers" | undefined {
		const { count, tombstoneCount } = this.index;
		if (tombstoneCount > TOMBSTONES_MIN && tombstoneCount > (count + tombstoneCount) * TOMBSTONE_SHARE_MAX) {
			return "tombstones";
		}
		// Another range helps only when other data came since this one was chosen.
		const isOutdated = this.#addedCount > Math.max(OUTLIERS_MIN, this.#chosenFromCount / 2);
		const outlierCountMax = Math.max(OUTLIERS_MIN, count * OUTLIER_SHARE_MAX);
		return isOutdated && this.outliers.count > outlierCountMax ? "outliers" : undefined;
	}

	/** A slot came to live. */
	add(slot: number): void {
		this.#addedCount++;
		this.pending.add(slot);
	}

	/** A slot was vacated. */
	drop(slot: number): void {
		if (!this.pending.remove(slot) && !this.outliers.remove(slot)) this.index.remove(slot);
	}

	/** Take a few pending vectors in. @returns whether any are left. */
	step(): boolean {
		const { dimension, rows } = this.#vectors;
		const pending = this.pending.slots;
		const rowsMax = Math.max(1, Math.min(STEP_ROWS_MAX, Math.floor(STEP_NUMBERS_MAX / dimension)));
		const buffer = this.quantizer.buffer(Math.min(rowsMax, pending.length) * dimension);
		const fitting: number[] = [];
		// Newest first: what was just written is still in the processor's cache.
		for (const slot of pending.slice(-rowsMax).reverse()) {
			const fits = this.quantizer.encodeRow(rows, slot * dimension, dimension, buffer, fitting.length * dimension);
			if (fits) fitting.push(slot);
			else {
				this.pending.remove(slot);
				this.outliers.add(slot);
			}
		}
		if (fitting.length > 0) {
			const isFull = fitting.length * dimension === buffer.length;
			this.index.add(fitting, isFull ? buffer : shortened(buffer, fitting.length * dimension));
			for (const slot of fitting) this.pending.remove(slot);
		}
		return this.pending.count > 0;
	}

	/**
	 * How far off, by the graph's own distances, a vector may seem that is at most so far off in truth: matches beyond needn't be
	 * scored. Told where the graph holds unit vectors themselves; without limit elsewhere.
	 */
	reach(distance: number): number {
		return this.#unitError === undefined ? Number.POSITIVE_INFINITY : 1 + distance + this.#unitError;
	}

	/** @returns undefined when the graph can't answer this query. */
	search(query: Query, k: number): Matches | undefined {
		const encoded = this.quantizer.encodeQuery(query);
		return encoded === undefined ? undefined : this.index.search(encoded, k);
	}
}

export function newIndex(config: ShardConfig, quantizer: Quantizer): VectorIndex {
	return new VectorIndex({
		dimension: config.dimension,
		metric: indexMetric(config.metric),
		kind: quantizer.state.kind,
		m: config.hnsw.m,
		efConstruction: config.hnsw.ef_construction,
	});
}

/** Unit vectors rank alike by inner product and by cosine. */
export function indexMetric(metric: Metric): "ip" | "l2sq" {
	return metric === "euclidean" ? "l2sq" : "ip";
}

function shortened(buffer: Float32Array | Int8Array, length: number): Float32Array | Int8Array {
	return buffer instanceof Int8Array ? Int8Array.from(buffer.subarray(0, length)) : buffer.slice(0, length);
}

function sampleRows(vectors: VectorFile, slots: readonly number[]): Float32Array {
	const { dimension, rows } = vectors;
	const rowsMax = Math.max(1, Math.min(SAMPLE_ROWS_MAX, Math.floor(SAMPLE_NUMBERS_MAX / dimension)));
	const stride = Math.ceil(slots.length / rowsMax);
	const sample = new Float32Array(Math.ceil(slots.length / stride) * dimension);
	for (let at = 0; at * stride < slots.length; at++) {
		const start = slots[at * stride]! * dimension;
		sample.set(rows.subarray(start, start + dimension), at * dimension);
	}
	return sample;
}
