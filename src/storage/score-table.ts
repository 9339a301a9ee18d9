import { type Candidate, NearestHeap } from "./ranking.ts";
import type { SlotTable } from "./slot-table.ts";

const CHUNK_BITS = 12;
const CHUNK_SLOTS = 1 << CHUNK_BITS;

/** Scores above 0 by slot; a slot without one has none. */
export class ScoreTable {
	readonly #chunks = new Map<number, Float64Array>();
	#count = 0;

	/** Slots that have a score. */
	get count(): number {
		return this.#count;
	}

	get(slot: number): number {
		return this.#chunks.get(slot >>> CHUNK_BITS)?.[slot & (CHUNK_SLOTS - 1)] ?? 0;
	}

	has(slot: number): boolean {
		return this.get(slot) > 0;
	}

	/** @param score 0 or more; 0 takes the slot's away */
	set(slot: number, score: number): void {
		let chunk = this.#chunks.get(slot >>> CHUNK_BITS);
		if (chunk === undefined) {
			if (score === 0) return;
			chunk = new Float64Array(CHUNK_SLOTS);
			this.#chunks.set(slot >>> CHUNK_BITS, chunk);
		}
		const at = slot & (CHUNK_SLOTS - 1);
		this.#count += Number(score > 0) - Number(chunk[at]! > 0);
		chunk[at] = score;
	}

	/** Takes all scores below away. */
	dropBelow(least: number): void {
		this.#each((slot, score) => {
			if (score < least) this.set(slot, 0);
		}, 0);
	}

	/** In no order. */
	slots(): number[] {
		const slots: number[] = [];
		this.#each((slot) => void slots.push(slot), 0);
		return slots;
	}

	/** The k-th best score; 0 when there are fewer. */
	kthBest(k: number, slots: SlotTable): number {
		return this.#count < k ? 0 : -this.#heapOf(k, slots, 0).distanceMax;
	}

	/** The best, which are no less than `least`, by score, ties by id. A candidate's distance is its score negated. */
	best(k: number, slots: SlotTable, least: number): Candidate[] {
		return this.#heapOf(k, slots, least).ranked();
	}

	#heapOf(k: number, slots: SlotTable, least: number): NearestHeap {
		const heap = new NearestHeap(k, slots);
		this.#each((slot, score) => {
			if (-score <= heap.distanceMax) heap.push(slot, -score);
		}, least);
		return heap;
	}

	#each(visit: (slot: number, score: number) => void, least: number): void {
		for (const [number, chunk] of this.#chunks) {
			for (let at = 0; at < CHUNK_SLOTS; at++) {
				const score = chunk[at]!;
				// Multiplied, not shifted: a slot past 2^31 must stay positive.
				if (score > 0 && score >= least) visit(number * CHUNK_SLOTS + at, score);
			}
		}
	}
}
