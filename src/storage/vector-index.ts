import { Index, MetricKind, ScalarKind, exactSearch as usearchExact } from "usearch";
import type { Quantization } from "../base/schemas.ts";

/**
 * The one door to USearch. The binding crashes or silently errs on what it does not expect, so that everything is checked
 * here: lengths, key range, duplicates, k, detached and offset buffers. Numbers are finite when they come here, as
 * `Scorer.normalise` sees to, and a file's checksum was verified before `load`.
 */
export type IndexMetric = "ip" | "l2sq";

export interface VectorIndexOptions {
	readonly dimension: number;
	readonly metric: IndexMetric;
	/** How numbers lie in the graph; `i8` takes and searches with Int8Array, the others Float32Array. */
	readonly kind: Quantization;
	readonly m: number;
	readonly efConstruction: number;
}

export interface Matches {
	/** The first `count` are meant. Slots for a graph, row numbers for a matrix; distances ascending. */
	readonly keys: Uint32Array;
	readonly distances: Float32Array;
	readonly count: number;
}

const METRIC: Record<IndexMetric, MetricKind> = { ip: MetricKind.IP, l2sq: MetricKind.L2sq };
const KIND: Record<Quantization, ScalarKind> = {
	f32: ScalarKind.F32,
	f16: ScalarKind.F16,
	bf16: ScalarKind.BF16,
	i8: ScalarKind.I8,
};
const SLOT_MAX = 0xffff_fffe;
const NO_MATCHES: Matches = { keys: new Uint32Array(0), distances: new Float32Array(0), count: 0 };

/** An HNSW graph over slots. Calls block; one thread each. */
export class VectorIndex {
	readonly options: VectorIndexOptions;
	readonly #index: Index;
	readonly #oneKey = new BigUint64Array(1);
	#tombstoneCount = 0;

	constructor(options: VectorIndexOptions) {
		this.options = options;
		this.#index = new Index({
			dimensions: options.dimension,
			metric: METRIC[options.metric],
			quantization: KIND[options.kind],
			connectivity: options.m,
			expansion_add: options.efConstruction,
			// The engine uses the larger of this and k, so that k alone is the `ef` of a search.
			expansion_search: 1,
			multi: false,
		});
	}

	/** Vectors in the graph, removed ones not counted. */
	get count(): number {
		return Number(this.#index.size());
	}

	/** Removed vectors whose nodes are still in the graph. A later `add` uses them again. */
	get tombstoneCount(): number {
		return this.#tombstoneCount;
	}

	/** @param rows [slots.length × dimension], already in the numbers of the graph. None of the slots may be in the graph. */
	add(slots: readonly number[], rows: Float32Array | Int8Array): void {
		if (slots.length === 0) return;
		this.#checkRows(rows, slots.length);
		const keys = new BigUint64Array(slots.length);
		for (let at = 0; at < slots.length; at++) keys[at] = BigInt(checkedSlot(slots[at]!));
		if (new Set(slots).size !== slots.length || (this.#index.contains(keys) as boolean[]).includes(true)) {
			throw new Error("a slot is in the graph already");
		}
		this.#index.add(keys, passedThrough(rows), 1);
		this.#tombstoneCount = Math.max(0, this.#tombstoneCount - slots.length);
	}

	/** @returns whether it was there. */
	remove(slot: number): boolean {
		this.#oneKey[0] = BigInt(checkedSlot(slot));
		const wasThere = (this.#index.remove(this.#oneKey) as number[])[0] === 1;
		if (wasThere) this.#tombstoneCount++;
		return wasThere;
	}

	/** @param k how many to look for, which is also how widely (`ef`). */
	search(query: Float32Array | Int8Array, k: number): Matches {
		this.#checkRows(query, 1);
		const wanted = Math.min(k, this.count);
		if (!(wanted >= 1)) return NO_MATCHES;
		const found = this.#index.search(passedThrough(query), wanted, 1);
		return lowWords(found.keys, found.distances);
	}

	save(path: string): void {
		this.#index.save(path);
	}

	/**
	 * Replaces the graph. The caller verified that the file is what `save` wrote for an index of the same options.
	 *
	 * @param tombstoneCount what it was when the file was saved.
	 */
	load(path: string, tombstoneCount: number): void {
		this.#index.load(path);
		if (Number(this.#index.dimensions()) !== this.options.dimension)
			throw new Error("the file holds another dimension");
		this.#tombstoneCount = tombstoneCount;
	}

	#checkRows(rows: Float32Array | Int8Array, rowCount: number): void {
		if (rows instanceof Int8Array !== (this.options.kind === "i8"))
			throw new Error("wrong kind of numbers for the graph");
		// A detached buffer has length 0.
		if (rows.length !== rowCount * this.options.dimension) throw new Error("wrong number of numbers for the graph");
	}
}

/**
 * The nearest rows of a matrix by a scan in float32.
 *
 * @param rows     row-major, byteOffset 0, at least `rowCount` rows.
 * @param k        1..rowCount.
 */
export function nearestRows(
	rows: Float32Array,
	rowCount: number,
	query: Float32Array,
	k: number,
	metric: IndexMetric,
): Matches {
	const dimension = query.length;
	// USearch reads from the start of the buffer, whatever the view's offset, and past its end if told to.
	if (rows.byteOffset !== 0 || query.byteOffset !== 0) throw new Error("the scan takes whole buffers");
	if (dimension === 0 || rowCount * dimension > rows.length) throw new Error("wrong number of numbers for the scan");
	if (!(k >= 1 && k <= rowCount)) throw new Error("the scan can't return more rows than there are");
	const dataset = new Float32Array(rows.buffer, 0, rowCount * dimension);
	const found = usearchExact(dataset, query, dimension, k, METRIC[metric], 1) as {
		keys: BigUint64Array;
		distances: Float32Array;
	};
	return lowWords(found.keys, found.distances);
}

function checkedSlot(slot: number): number {
	if (!Number.isInteger(slot) || slot < 0 || slot > SLOT_MAX) throw new Error("a key of the graph is a slot");
	return slot;
}

/** Slots are below 2^32: their low words, without a BigInt for each. */
function lowWords(keys: BigUint64Array, distances: Float32Array): Matches {
	const words = new Uint32Array(keys.buffer, keys.byteOffset, keys.length * 2);
	const low = new Uint32Array(keys.length);
	for (let at = 0; at < low.length; at++) low[at] = words[at * 2]!;
	return { keys: low, distances, count: low.length };
}

/**
 * The package's wrapper would turn an Int8Array into floats, and the engine then scale each vector by its own length, which is
 * wrong for all but cosine. It passes on what claims to be a Float32Array; the binding beneath looks at the real type.
 */
function passedThrough(rows: Float32Array | Int8Array): Float32Array {
	if (rows instanceof Int8Array && rows.constructor !== Float32Array) {
		Object.defineProperty(rows, "constructor", { value: Float32Array });
	}
	return rows as Float32Array;
}
