import type { Metric, Quantization } from "../base/schemas.ts";
import type { Query } from "./scorer.ts";

export interface QuantizerState {
	/** How numbers lie in the graph: as configured, or bf16 where the data spans more than that can hold. */
	readonly kind: Quantization;
	readonly scale: number;
	/** Largest magnitudes, before scaling, of rows that the graph can tell apart. A row of zeros always fits. */
	readonly magnitudeMin: number;
	readonly magnitudeMax: number;
	/** Subtracted before scaling where distances, not products, are compared. [dimension] */
	readonly center?: readonly number[];
}

/**
 * The numbers of each kind, in bits: where the largest typical row lands, how far above it rows still fit, and how far
 * below. i8: 127 steps, of which the weakest row should have 4. f16: 2^-14 to 2^15. The others have float32's range,
 * whose squares and sums must not overflow.
 */
const WINDOW: Record<Quantization, { readonly top: number; readonly above: number; readonly below: number }> = {
	i8: { top: 0, above: 0, below: 5 },
	f16: { top: 7, above: 8, below: 20 },
	bf16: { top: 0, above: 40, below: 40 },
	f32: { top: 0, above: 40, below: 40 },
};
const I8_MAX = 127;
/** Below this share of fitting rows a narrow kind is given up for bf16. */
const COVERAGE_MIN = 0.995;
/** A first guess from few rows leaves room for larger ones. */
const FEW_ROWS = 256;
const FEW_ROWS_ROOM = 1.5;
const CENTER_NUMBERS_MAX = 200_000;
/** An i8 query may be clipped so far before its distances mislead. */
const CLIPPED_QUERY_MAX = 1.5;
const QUERY_MAGNITUDE_MAX = { i8: I8_MAX * CLIPPED_QUERY_MAX, f16: 65_000, bf16: 2 ** 50, f32: 2 ** 50 } as const;

/**
 * Turns vectors into the numbers that a graph holds. USearch alone would scale each i8 vector by its own length, which is
 * wrong for all but cosine, and let f16 overflow: here one scale serves the whole graph. Rows outside its range are not
 * for the graph (`encodeRow` says so): the caller searches them exactly, and chooses anew when they become many.
 */
export class Quantizer {
	readonly state: QuantizerState;
	readonly metric: Metric;
	readonly #center: Float64Array | undefined;

	constructor(metric: Metric, state: QuantizerState) {
		this.state = state;
		this.metric = metric;
		this.#center = state.center === undefined ? undefined : Float64Array.from(state.center);
	}

	/**
	 * @param sample row-major, as stored for searching, at least one row.
	 */
	static choose(metric: Metric, quantization: Quantization, sample: Float32Array, dimension: number): Quantizer {
		// Unit vectors suit every kind of float as they are.
		if (metric === "cosine" && quantization !== "i8") {
			return new Quantizer(metric, { kind: quantization, scale: 1, magnitudeMin: 0, magnitudeMax: 2 });
		}
		const center = metric === "euclidean" ? medians(sample, dimension) : undefined;
		const magnitudes = rowMagnitudes(sample, dimension, center).sort();
		let kind = quantization;
		let best = bestTop(magnitudes, kind);
		if (best.coverage < COVERAGE_MIN && (kind === "i8" || kind === "f16")) {
			kind = "bf16";
			best = bestTop(magnitudes, kind);
		}
		const room = magnitudes.length < FEW_ROWS ? FEW_ROWS_ROOM : 1;
		const top = kind === "i8" ? best.top * room : 2 ** Math.ceil(Math.log2(best.top));
		const window = WINDOW[kind];
		return new Quantizer(metric, {
			kind,
			scale: kind === "i8" ? I8_MAX / top : 2 ** window.top / top,
			magnitudeMin: top / 2 ** window.below,
			magnitudeMax: top * 2 ** window.above,
			...(center === undefined ? {} : { center: Array.from(center) }),
		});
	}

	/** An array of the graph's kind for so many numbers. */
	buffer(numberCount: number): Float32Array | Int8Array {
		return this.state.kind === "i8" ? new Int8Array(numberCount) : new Float32Array(numberCount);
	}

	/**
	 * @param start where the row begins in `rows`.
	 * @param at    where it goes in `into`, which is of the graph's kind.
	 * @returns     false when the row is out of range; `into` is then of no use there.
	 */
	encodeRow(rows: Float32Array, start: number, dimension: number, into: Float32Array | Int8Array, at: number): boolean {
		const { scale, magnitudeMin, magnitudeMax, kind } = this.state;
		const center = this.#center;
		const isInteger = kind === "i8";
		let largest = 0;
		for (let column = 0; column < dimension; column++) {
			const number = center === undefined ? rows[start + column]! : rows[start + column]! - center[column]!;
			const magnitude = Math.abs(number);
			if (magnitude > largest) largest = magnitude;
			into[at + column] = isInteger ? clip(Math.round(number * scale)) : number * scale;
		}
		return largest === 0 || (largest >= magnitudeMin && largest <= magnitudeMax);
	}

	/** @returns undefined when the graph can't answer this query: too far out. */
	encodeQuery(query: Query): Float32Array | Int8Array | undefined {
		// Unit vectors go in as they are.
		if (this.metric === "cosine" && this.state.kind !== "i8") return query.single;
		const dimension = query.exact.length;
		const into = this.buffer(dimension);
		const isInteger = this.state.kind === "i8";
		// Products rank alike whatever the query's length, so it takes the length that fits best.
		const productScale = query.magnitudeMax === 0 ? 1 : (isInteger ? I8_MAX : 1) / query.magnitudeMax;
		const scale = this.metric === "euclidean" ? this.state.scale : productScale;
		let largest = 0;
		for (let column = 0; column < dimension; column++) {
			const number = (query.exact[column]! - (this.#center?.[column] ?? 0)) * scale;
			largest = Math.max(largest, Math.abs(number));
			into[column] = isInteger ? clip(Math.round(number)) : number;
		}
		return largest <= QUERY_MAGNITUDE_MAX[this.state.kind] ? into : undefined;
	}
}

function clip(number: number): number {
	return Math.max(-I8_MAX, Math.min(I8_MAX, number));
}

/** The top of the window that takes in most rows; among equals the highest. @param magnitudes ascending */
function bestTop(magnitudes: Float64Array, kind: Quantization): { readonly top: number; readonly coverage: number } {
	const { above, below } = WINDOW[kind];
	let zeroCount = 0;
	while (zeroCount < magnitudes.length && magnitudes[zeroCount] === 0) zeroCount++;
	if (zeroCount === magnitudes.length) return { top: 1, coverage: 1 };
	let best = { top: 1, count: 0 };
	let low = zeroCount;
	let high = zeroCount;
	for (let at = zeroCount; at < magnitudes.length; at++) {
		const top = magnitudes[at]!;
		while (magnitudes[low]! < top / 2 ** below) low++;
		while (high < magnitudes.length && magnitudes[high]! <= top * 2 ** above) high++;
		if (high - low >= best.count) best = { top, count: high - low };
	}
	return { top: best.top, coverage: (best.count + zeroCount) / magnitudes.length };
}

function rowMagnitudes(rows: Float32Array, dimension: number, center: Float64Array | undefined): Float64Array {
	const magnitudes = new Float64Array(rows.length / dimension);
	for (let row = 0; row < magnitudes.length; row++) {
		let largest = 0;
		for (let column = 0; column < dimension; column++) {
			largest = Math.max(largest, Math.abs(rows[row * dimension + column]! - (center?.[column] ?? 0)));
		}
		magnitudes[row] = largest;
	}
	return magnitudes;
}

/** The middle of each dimension over some of the rows: a few absurd vectors don't move it, as they would a mean. */
function medians(rows: Float32Array, dimension: number): Float64Array {
	const rowCount = rows.length / dimension;
	const stride = Math.max(1, Math.ceil(rows.length / CENTER_NUMBERS_MAX));
	const column = new Float64Array(Math.ceil(rowCount / stride));
	const center = new Float64Array(dimension);
	for (let at = 0; at < dimension; at++) {
		for (let row = 0; row < column.length; row++) column[row] = rows[row * stride * dimension + at]!;
		column.sort();
		center[at] = column[column.length >> 1]!;
	}
	return center;
}
