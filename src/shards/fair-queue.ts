/** How much may wait. Each bound is a count but for `bytesMax`. */
export interface FairQueueBounds {
	readonly perKeyMax: number;
	readonly totalMax: number;
	/** Sum of the `bytes` of what waits. */
	readonly bytesMax: number;
}

/** Below this many lines none is looked for that could be forgotten. */
const LINES_KEPT = 1_024;

interface Waiting<Item> {
	readonly item: Item;
	readonly cost: number;
	readonly bytes: number;
	/** The virtual time at which it may start. */
	readonly start: number;
	readonly sequence: number;
}

class Line<Item> {
	/** Where the last item put into this line ends, in virtual time. */
	finish = 0;
	#items: Waiting<Item>[] = [];
	#head = 0;

	get length(): number {
		return this.#items.length - this.#head;
	}

	first(): Waiting<Item> {
		return this.#items[this.#head]!;
	}

	push(waiting: Waiting<Item>): void {
		this.#items.push(waiting);
	}

	shift(): Waiting<Item> {
		const waiting = this.#items[this.#head]!;
		this.#head++;
		// What was taken is let go in batches: shifting an array moves all of it.
		if (this.#head >= 64 && this.#head * 2 >= this.#items.length) {
			this.#items = this.#items.slice(this.#head);
			this.#head = 0;
		}
		return waiting;
	}
}

/**
 * One line a key (a tenant); the lines take turns by cost, so that a key with a thousand items waiting delays another's
 * first item by one turn, not by a thousand.
 *
 * Each item starts, in virtual time, where its line's last one ended or now, whichever is later; the earliest start is
 * served next. Unlike round-robin with a quantum, a key that just arrived needs not wait for the others' quanta.
 * Source: Start-time Fair Queuing, Goyal, Vin and Cheng, SIGCOMM 1996.
 */
export class FairQueue<Item> {
	readonly #bounds: FairQueueBounds;
	/** Lines that have, or recently had, something waiting. */
	readonly #lines = new Map<string, Line<Item>>();
	/** Binary heap of the lines with something waiting, by their first item's start. */
	readonly #heap: Line<Item>[] = [];
	#now = 0;
	#sequence = 0;
	#size = 0;
	#bytes = 0;
	#linesBeforeSweep = LINES_KEPT;

	constructor(bounds: FairQueueBounds) {
		this.#bounds = bounds;
	}

	get size(): number {
		return this.#size;
	}

	/**
	 * @param cost  more than 0, in any unit
	 * @param bytes memory the item holds
	 * @returns     false when a bound would be passed: the item was not taken
	 */
	push(key: string, item: Item, cost: number, bytes: number): boolean {
		const { perKeyMax, totalMax, bytesMax } = this.#bounds;
		// One item larger than the whole bound may still pass alone, or it never would.
		if (this.#size >= totalMax || (this.#bytes > 0 && this.#bytes + bytes > bytesMax)) return false;
		let line = this.#lines.get(key);
		if (line === undefined) {
			line = new Line<Item>();
			this.#lines.set(key, line);
		}
		if (line.length >= perKeyMax) return false;
		const start = Math.max(this.#now, line.finish);
		line.finish = start + cost;
		line.push({ item, cost, bytes, start, sequence: this.#sequence++ });
		this.#size++;
		this.#bytes += bytes;
		if (line.length === 1) this.#rise(this.#heap.push(line) - 1);
		return true;
	}

	/** The item whose turn it is, left where it is; undefined when nothing waits. */
	first(): Item | undefined {
		return this.#heap[0]?.first().item;
	}

	/** Takes the item whose turn it is; undefined when nothing waits. */
	shift(): { readonly item: Item; readonly cost: number } | undefined {
		const line = this.#heap[0];
		if (line === undefined) return undefined;
		const waiting = line.shift();
		this.#now = Math.max(this.#now, waiting.start);
		this.#size--;
		this.#bytes -= waiting.bytes;
		if (line.length === 0) this.#removeTop();
		else this.#sink(0);
		this.#forgetIdleLines();
		return waiting;
	}

	/**
	 * A line's end must be remembered while it lies ahead, or a key could jump the queue by letting its line run empty.
	 */
	#forgetIdleLines(): void {
		if (this.#size === 0) {
			this.#lines.clear();
			this.#now = 0;
			return;
		}
		if (this.#lines.size < this.#linesBeforeSweep) return;
		for (const [key, line] of this.#lines) {
			if (line.length === 0 && line.finish <= this.#now) this.#lines.delete(key);
		}
		this.#linesBeforeSweep = Math.max(LINES_KEPT, 2 * this.#lines.size);
	}

	#before(a: Line<Item>, b: Line<Item>): boolean {
		const first = a.first();
		const second = b.first();
		return first.start < second.start || (first.start === second.start && first.sequence < second.sequence);
	}

	#removeTop(): void {
		const last = this.#heap.pop()!;
		if (this.#heap.length === 0) return;
		this.#heap[0] = last;
		this.#sink(0);
	}

	#rise(from: number): void {
		const heap = this.#heap;
		let index = from;
		while (index > 0) {
			const parent = (index - 1) >> 1;
			if (!this.#before(heap[index]!, heap[parent]!)) return;
			[heap[index], heap[parent]] = [heap[parent]!, heap[index]!];
			index = parent;
		}
	}

	#sink(from: number): void {
		const heap = this.#heap;
		let index = from;
		for (;;) {
			const left = 2 * index + 1;
			if (left >= heap.length) return;
			const right = left + 1;
			const child = right < heap.length && this.#before(heap[right]!, heap[left]!) ? right : left;
			if (!this.#before(heap[child]!, heap[index]!)) return;
			[heap[index], heap[child]] = [heap[child]!, heap[index]!];
			index = child;
		}
	}
}
