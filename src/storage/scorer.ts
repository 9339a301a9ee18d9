import { HiveError } from "../base/errors.ts";
import type { Metric } from "../base/schemas.ts";

/** A query vector, made ready once for all that it is compared with. */
export interface Query {
	/** Double precision: what scores come from. A unit vector for cosine. */
	readonly exact: Float64Array;
	/** The same in float32, for USearch. byteOffset 0. */
	readonly single: Float32Array;
	readonly norm: number;
	readonly magnitudeMax: number;
}

/**
 * Scores in double precision of float32 rows. Everything inside the shard ranks by `distance`, lower first: the negative
 * inner product, or the squared euclidean distance.
 */
export class Scorer {
	readonly metric: Metric;
	readonly dimension: number;

	constructor(metric: Metric, dimension: number) {
		this.metric = metric;
		this.dimension = dimension;
	}

	/**
	 * Check one row of vectors as it came in, and write what is stored for searching: a unit vector for cosine, itself otherwise.
	 *
	 * @throws HiveError INVALID_VECTOR when it holds NaN or an infinity, or is zero and the metric is cosine.
	 */
	normalise(row: Float32Array, into: Float32Array | Float64Array, field: string): void {
		const norm = this.#checkedNorm(row, field);
		if (this.metric !== "cosine") {
			into.set(row);
			return;
		}
		for (let at = 0; at < row.length; at++) into[at] = row[at]! / norm;
	}

	/** @throws HiveError DIMENSION_MISMATCH, INVALID_VECTOR */
	query(vector: Float32Array, field: string): Query {
		if (vector.length !== this.dimension) {
			throw new HiveError(
				"DIMENSION_MISMATCH",
				`the collection stores ${this.dimension} dimensions, the query has ${vector.length}`,
				{ field, expected: this.dimension, actual: vector.length },
			);
		}
		const exact = new Float64Array(this.dimension);
		this.normalise(vector, exact, field);
		return finishQuery(exact);
	}

	/** A query from a row of the vector file. */
	storedQuery(rows: Float32Array, slot: number): Query {
		return finishQuery(new Float64Array(rows.subarray(slot * this.dimension, (slot + 1) * this.dimension)));
	}

	/** Of row `at` in a row-major matrix. Lower is nearer. */
	distance(rows: Float32Array, at: number, query: Query): number {
		return this.metric === "euclidean"
			? squaredDistance(rows, at * this.dimension, query.exact)
			: -innerProduct(rows, at * this.dimension, query.exact);
	}

	/** What the user sees of a distance. */
	score(distance: number): number {
		if (this.metric === "euclidean") return Math.sqrt(distance);
		// -(-0) is 0, and rounding may pass 1 by a hair.
		return this.metric === "dot" ? 0 - distance : Math.max(-1, Math.min(1, 0 - distance));
	}

	/** Whether the score of a distance is as good as the threshold, or better. */
	isWithin(distance: number, scoreThreshold: number | undefined): boolean {
		if (scoreThreshold === undefined) return true;
		const score = this.score(distance);
		return this.metric === "euclidean" ? score <= scoreThreshold : score >= scoreThreshold;
	}

	#checkedNorm(row: Float32Array, field: string): number {
		let sum = 0;
		for (let at = 0; at < row.length; at++) sum += row[at]! * row[at]!;
		// Squares of finite float32 fit a double with room to spare, so only NaN and infinities end up here.
		if (!Number.isFinite(sum)) {
			throw new HiveError("INVALID_VECTOR", "every number in a vector must be finite", { field });
		}
		if (sum === 0 && this.metric === "cosine") {
			throw new HiveError("INVALID_VECTOR", "a zero vector has no direction, which the metric cosine needs", { field });
		}
		return Math.sqrt(sum);
	}
}

function finishQuery(exact: Float64Array): Query {
	let sum = 0;
	let magnitudeMax = 0;
	for (let at = 0; at < exact.length; at++) {
		const number = exact[at]!;
		sum += number * number;
		magnitudeMax = Math.max(magnitudeMax, Math.abs(number));
	}
	return { exact, single: new Float32Array(exact), norm: Math.sqrt(sum), magnitudeMax };
}

// Four sums side by side: the additions needn't wait for each other.
function innerProduct(rows: Float32Array, start: number, query: Float64Array): number {
	let a = 0;
	let b = 0;
	let c = 0;
	let d = 0;
	const length = query.length;
	const even = length - (length % 4);
	let at = 0;
	for (; at < even; at += 4) {
		a += rows[start + at]! * query[at]!;
		b += rows[start + at + 1]! * query[at + 1]!;
		c += rows[start + at + 2]! * query[at + 2]!;
		d += rows[start + at + 3]! * query[at + 3]!;
	}
	for (; at < length; at++) a += rows[start + at]! * query[at]!;
	return a + b + c + d;
}

function squaredDistance(rows: Float32Array, start: number, query: Float64Array): number {
	let a = 0;
	let b = 0;
	let c = 0;
	let d = 0;
	const length = query.length;
	const even = length - (length % 4);
	let at = 0;
	for (; at < even; at += 4) {
		const p = rows[start + at]! - query[at]!;
		const q = rows[start + at + 1]! - query[at + 1]!;
		const r = rows[start + at + 2]! - query[at + 2]!;
		const s = rows[start + at + 3]! - query[at + 3]!;
		a += p * p;
		b += q * q;
		c += r * r;
		d += s * s;
	}
	for (; at < length; at++) a += (rows[start + at]! - query[at]!) ** 2;
	return a + b + c + d;
}
