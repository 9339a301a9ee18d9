import { type Candidate, NearestHeap, rank } from "./ranking.ts";
import type { Query, Scorer } from "./scorer.ts";
import type { SlotTable } from "./slot-table.ts";
import { nearestRows } from "./vector-index.ts";

/** Rows to scan: the vector file, or a part of it gathered in a matrix. */
export interface RowSource {
	/** Row-major, byteOffset 0. */
	readonly rows: Float32Array;
	readonly rowCount: number;
	/** Rows among them that belong to no live slot. */
	readonly deadCount: number;
	/** At least the length of the longest row. */
	readonly normMax: number;
	/** The slot of a row, undefined for a dead one. */
	slotAt(row: number): number | undefined;
}

/** Float32 keeps 24 bits. */
const ROUNDING = 2 ** -24;
const SMALLEST_NORMAL = 2 ** -126;
/** Squares and sums of float32 overflow beyond. */
const NORM_MAX = 1e17;
const SCALED_NORM_MAX = 1e37;
/** Products are scaled to this size, so that the engine's `1 - product` keeps their digits. */
const PRODUCT_SIZE = 2 ** 20;
const SPARE_ROWS = 8;
const WIDEN_FACTOR = 4;
/** Beyond this share of the rows, scanning in double precision is no dearer. */
const WIDEN_SHARE_MAX = 1 / 4;

/**
 * The nearest rows, exactly: scanned in float32 by USearch with some to spare and scored again in double precision.
 * Where rounding could have kept a row out (near ties, huge or tiny numbers), more are asked for, and in the end all rows
 * are scored in double precision.
 *
 * @returns at most `k`, nearest first, ties by id.
 * Cost: O(rows × dimension) time. Never awaits.
 */
export function scanNearest(source: RowSource, query: Query, k: number, scorer: Scorer, slots: SlotTable): Candidate[] {
	const liveCount = source.rowCount - source.deadCount;
	if (liveCount === 0 || k < 1) return [];
	const scale = productScale(source, query, scorer);
	const isSafe = query.norm * scale <= SCALED_NORM_MAX && query.norm <= NORM_MAX && source.normMax <= NORM_MAX;
	const askedMax = source.rowCount * WIDEN_SHARE_MAX;
	let asked = source.deadCount + k + SPARE_ROWS + (k >> 3);
	for (; isSafe && asked <= askedMax; asked *= WIDEN_FACTOR) {
		const candidates = tryScan(source, query, scale, k, asked, scorer, slots);
		if (candidates !== undefined) return candidates;
	}
	const heap = new NearestHeap(k, slots);
	for (let row = 0; row < source.rowCount; row++) {
		const slot = source.slotAt(row);
		if (slot === undefined) continue;
		const distance = scorer.distance(source.rows, row, query);
		if (distance <= heap.distanceMax) heap.push(slot, distance);
	}
	return heap.ranked();
}

/** @returns undefined when rounding leaves it open whether these are the nearest. */
function tryScan(
	source: RowSource,
	query: Query,
	scale: number,
	k: number,
	asked: number,
	scorer: Scorer,
	slots: SlotTable,
): Candidate[] | undefined {
	const isProduct = scorer.metric !== "euclidean";
	const productMax = query.norm * source.normMax;
	const single = scale === 1 ? query.single : query.single.map((number) => number * scale);
	const matches = nearestRows(source.rows, source.rowCount, single, asked, isProduct ? "ip" : "l2sq");
	const candidates: Candidate[] = [];
	for (let at = 0; at < matches.count; at++) {
		const row = matches.keys[at]!;
		const slot = source.slotAt(row);
		if (slot !== undefined) candidates.push({ slot, distance: scorer.distance(source.rows, row, query) });
	}
	rank(candidates, slots);
	const last = candidates[k - 1];
	if (last === undefined) return undefined;
	// Rows not returned are, in float32, no nearer than the farthest that was.
	const reached = matches.distances[matches.count - 1]!;
	const additions = scorer.dimension / 8 + 16;
	const needed = isProduct ? 1 + last.distance * scale : last.distance;
	const error = isProduct
		? ROUNDING * (additions * productMax * scale + 2)
		: ROUNDING * additions * last.distance + SMALLEST_NORMAL;
	if (!(reached - needed > error)) return undefined;
	candidates.length = k;
	return candidates;
}

/** Products rank alike whatever the query's length. */
function productScale(source: RowSource, query: Query, scorer: Scorer): number {
	const productMax = query.norm * source.normMax;
	if (scorer.metric !== "dot" || productMax === 0) return 1;
	return 2 ** Math.floor(Math.log2(PRODUCT_SIZE / productMax));
}
