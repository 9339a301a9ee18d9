import { existsSync } from "node:fs";
import { join } from "node:path";
import { readWordVectors } from "../word-vectors.ts";

const SLICE = join(import.meta.dir, "..", "data", "glove-100d-20k.hvwv");
const WHOLE = join(import.meta.dir, "..", "..", ".cache", "glove-100d.hvwv");
const QUERY_COUNT = 500;

export interface Dataset {
	readonly name: string;
	readonly dimension: number;
	readonly count: number;
	readonly words: readonly string[];
	/** [count × dimension], unit length. */
	readonly vectors: Float32Array;
	/** [query count × dimension], unit length; words that are not among `words`. */
	readonly queries: readonly Float32Array[];
	/** For each query the rows of its 10 nearest, by brute force in double precision. */
	readonly nearest: readonly ReadonlySet<number>[];
}

/**
 * The most frequent GloVe words; the queries are the words that follow them in frequency.
 *
 * @param count rows wanted; past some 19,000 the whole set must have been fetched (scripts/fetch-glove)
 */
export function loadGlove(count: number): Dataset {
	const needed = count + QUERY_COUNT;
	const path = needed <= 20_000 ? SLICE : WHOLE;
	if (!existsSync(path)) throw new Error(`${count} vectors need the whole set: run scripts/fetch-glove first`);
	const data = readWordVectors(path, needed);
	const { dimension } = data;
	normaliseRows(data.vectors, dimension);
	const vectors = data.vectors.slice(0, count * dimension);
	const queries = Array.from({ length: QUERY_COUNT }, (_, query) =>
		data.vectors.slice((count + query) * dimension, (count + query + 1) * dimension),
	);
	return {
		name: `GloVe-100 ${(count / 1000).toFixed(1).replace(/\.0$/, "")}k`,
		dimension,
		count,
		words: data.words.slice(0, count),
		vectors,
		queries,
		nearest: queries.map((query) => new Set(nearestRows(vectors, dimension, query, 10))),
	};
}

/** Rows nearest to a unit query by inner product, nearest first; rows that `admits` refuses are passed over. */
export function nearestRows(
	vectors: Float32Array,
	dimension: number,
	query: Float32Array,
	k: number,
	admits: (row: number) => boolean = () => true,
): number[] {
	const best: { row: number; score: number }[] = [];
	for (let row = 0; row * dimension < vectors.length; row++) {
		if (!admits(row)) continue;
		let score = 0;
		const offset = row * dimension;
		for (let axis = 0; axis < dimension; axis++) score += (vectors[offset + axis] as number) * (query[axis] as number);
		if (best.length === k && score <= (best[k - 1] as { score: number }).score) continue;
		let place = best.length;
		while (place > 0 && (best[place - 1] as { score: number }).score < score) place--;
		best.splice(place, 0, { row, score });
		if (best.length > k) best.pop();
	}
	return best.map((hit) => hit.row);
}

function normaliseRows(vectors: Float32Array, dimension: number): void {
	for (let offset = 0; offset < vectors.length; offset += dimension) {
		const row = vectors.subarray(offset, offset + dimension);
		const norm = Math.hypot(...row);
		for (let axis = 0; axis < dimension; axis++) row[axis] = (row[axis] as number) / norm;
	}
}
