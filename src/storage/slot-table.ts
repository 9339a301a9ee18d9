import type { VectorId } from "../base/ids.ts";

/** Slots whose document changed while someone looked: what a sliced scan or an awaited plan must look at again. */
export interface ChangeWatch {
	readonly touched: ReadonlySet<number>;
	end(): void;
}

/** Told of each change, at once. */
export interface SlotObserver {
	/** The slot holds a document in this version now. */
	came(slot: number, stamp: number): void;
	/** It is about to hold it no more. */
	went(slot: number, stamp: number): void;
}

/**
 * Who owns which slot. A slot numbers a vector: its row in the vector file, its key in the graph. Slots from 0 to
 * `slotCount` have been used; those not live are free and are used again, lowest first.
 */
export class SlotTable {
	readonly #ids: (VectorId | undefined)[] = [];
	/** By slot: what tells the document's version. */
	readonly #stamps: number[] = [];
	readonly #slots = new Map<VectorId, number>();
	/** Binary min-heap. */
	readonly #free: number[] = [];
	readonly #watches = new Set<Set<number>>();
	#observer: SlotObserver | undefined;
	#slotCount = 0;
	/** The next slot never handed out. */
	#fresh = 0;

	/** Documents that live. */
	get count(): number {
		return this.#slots.size;
	}

	/** One more than the highest slot that was ever live; rows beyond mean nothing. */
	get slotCount(): number {
		return this.#slotCount;
	}

	isLive(slot: number): boolean {
		return this.#ids[slot] !== undefined;
	}

	idOf(slot: number): VectorId | undefined {
		return this.#ids[slot];
	}

	/** The version of the document in a live slot, see `versionStamp`: any other that is read is not what was written last. */
	stampOf(slot: number): number | undefined {
		return this.#stamps[slot];
	}

	slotOf(id: VectorId): number | undefined {
		return this.#slots.get(id);
	}

	/** Live slots, ascending. */
	*liveSlots(): Generator<number, void> {
		for (let slot = 0; slot < this.#slotCount; slot++) if (this.#ids[slot] !== undefined) yield slot;
	}

	/** Take the lowest free slot. It is not live before `assign`; `release` gives it back. */
	reserve(): number {
		return this.#popFree() ?? this.#fresh++;
	}

	/** Give back a slot that was reserved, and not assigned. */
	release(slot: number): void {
		this.#pushFree(slot);
	}

	/** A reserved slot becomes live. */
	assign(slot: number, id: VectorId, stamp: number): void {
		this.#extend(slot);
		this.#ids[slot] = id;
		this.#stamps[slot] = stamp;
		this.#slots.set(id, slot);
		this.#slotCount = Math.max(this.#slotCount, slot + 1);
		this.#observer?.came(slot, stamp);
		this.#touch(slot);
	}

	/** A live slot becomes free. */
	vacate(slot: number): void {
		const id = this.#ids[slot];
		if (id !== undefined) this.#observer?.went(slot, this.#stamps[slot]!);
		this.#ids[slot] = undefined;
		if (id !== undefined && this.#slots.get(id) === slot) this.#slots.delete(id);
		this.#pushFree(slot);
		this.#touch(slot);
	}

	/** The document in a live slot changed, and keeps its slot. */
	restamp(slot: number, stamp: number): void {
		this.#observer?.went(slot, this.#stamps[slot]!);
		this.#stamps[slot] = stamp;
		this.#observer?.came(slot, stamp);
		this.#touch(slot);
	}

	#touch(slot: number): void {
		for (const watch of this.#watches) watch.add(slot);
	}

	/** From now on this one is told of changes. There is one. */
	observe(observer: SlotObserver): void {
		this.#observer = observer;
	}

	watch(): ChangeWatch {
		const touched = new Set<number>();
		this.#watches.add(touched);
		return { touched, end: () => void this.#watches.delete(touched) };
	}

	/** Fill from the owner rows on opening, in ascending order of slots. */
	restore(slot: number, id: VectorId, stamp: number): void {
		// Ascending, so the heap's order holds without sifting.
		for (; this.#fresh < slot; this.#fresh++) this.#free.push(this.#fresh);
		this.#fresh = slot + 1;
		this.assign(slot, id, stamp);
	}

	#extend(slot: number): void {
		while (this.#ids.length < slot) {
			this.#ids.push(undefined);
			this.#stamps.push(0);
		}
	}

	#pushFree(slot: number): void {
		const heap = this.#free;
		let at = heap.push(slot) - 1;
		while (at > 0) {
			const parent = (at - 1) >> 1;
			if (heap[parent]! <= slot) break;
			heap[at] = heap[parent]!;
			at = parent;
		}
		heap[at] = slot;
	}

	#popFree(): number | undefined {
		const heap = this.#free;
		const lowest = heap[0];
		const last = heap.pop();
		if (lowest === undefined || last === undefined || heap.length === 0) return lowest;
		let at = 0;
		for (;;) {
			let child = 2 * at + 1;
			if (child >= heap.length) break;
			if (child + 1 < heap.length && heap[child + 1]! < heap[child]!) child++;
			if (heap[child]! >= last) break;
			heap[at] = heap[child]!;
			at = child;
		}
		heap[at] = last;
		return lowest;
	}
}
