import { compareIds } from "./id-order.ts";
import type { SlotTable } from "./slot-table.ts";

export interface Candidate {
	readonly slot: number;
	/** Double precision, lower is nearer. */
	readonly distance: number;
}

/** Nearest first, ties by id: the same data gives the same order, whatever way it was found. */
export function rank(candidates: Candidate[], slots: SlotTable): Candidate[] {
	return candidates.sort((a, b) => a.distance - b.distance || compareSlots(a.slot, b.slot, slots));
}

/** Keeps the `k` nearest of any number of candidates, in a heap with the farthest on top. */
export class NearestHeap {
	readonly #k: number;
	readonly #slots: SlotTable;
	readonly #heap: Candidate[] = [];

	constructor(k: number, slots: SlotTable) {
		this.#k = k;
		this.#slots = slots;
	}

	get count(): number {
		return this.#heap.length;
	}

	/** A candidate farther than this would not be kept. */
	get distanceMax(): number {
		return this.#heap.length < this.#k ? Number.POSITIVE_INFINITY : this.#heap[0]!.distance;
	}

	push(slot: number, distance: number): void {
		const heap = this.#heap;
		if (heap.length < this.#k) {
			const candidate = { slot, distance };
			let at = heap.push(candidate) - 1;
			while (at > 0) {
				const parent = (at - 1) >> 1;
				if (!this.#isFarther(candidate, heap[parent]!)) break;
				heap[at] = heap[parent]!;
				at = parent;
			}
			heap[at] = candidate;
			return;
		}
		if (this.#k === 0 || distance > heap[0]!.distance) return;
		const candidate = { slot, distance };
		if (!this.#isFarther(heap[0]!, candidate)) return;
		let at = 0;
		for (;;) {
			let child = 2 * at + 1;
			if (child >= heap.length) break;
			if (child + 1 < heap.length && this.#isFarther(heap[child + 1]!, heap[child]!)) child++;
			if (!this.#isFarther(heap[child]!, candidate)) break;
			heap[at] = heap[child]!;
			at = child;
		}
		heap[at] = candidate;
	}

	/** Nearest first. The heap is used up. */
	ranked(): Candidate[] {
		return rank(this.#heap, this.#slots);
	}

	#isFarther(a: Candidate, b: Candidate): boolean {
		return a.distance > b.distance || (a.distance === b.distance && compareSlots(a.slot, b.slot, this.#slots) > 0);
	}
}

// Two slots never have the same id; slots without one (freed meanwhile) are dropped later, so that their order is of no account.
function compareSlots(a: number, b: number, slots: SlotTable): number {
	const left = slots.idOf(a);
	const right = slots.idOf(b);
	return left === undefined || right === undefined ? a - b : compareIds(left, right);
}
