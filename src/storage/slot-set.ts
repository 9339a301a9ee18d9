const CHUNK_BITS = 12;
const CHUNK_MASK = (1 << CHUNK_BITS) - 1;
const CHUNK_WORDS = 1 << (CHUNK_BITS - 5);

/**
 * A set of slots (unsigned 32-bit integers): bitmaps of 4,096 slots each, kept only where a slot is set. A full range
 * costs one bit a slot, a scattered one at most 512 bytes a slot.
 */
export class SlotSet implements Iterable<number> {
	readonly #chunks = new Map<number, Uint32Array>();
	#count = 0;

	static of(slots: Iterable<number>): SlotSet {
		const set = new SlotSet();
		for (const slot of slots) set.add(slot);
		return set;
	}

	get count(): number {
		return this.#count;
	}

	has(slot: number): boolean {
		const chunk = this.#chunks.get(slot >>> CHUNK_BITS);
		return chunk !== undefined && ((chunk[(slot & CHUNK_MASK) >>> 5] as number) & (1 << (slot & 31))) !== 0;
	}

	/** @returns whether the slot was new. */
	add(slot: number): boolean {
		const chunkIndex = slot >>> CHUNK_BITS;
		let chunk = this.#chunks.get(chunkIndex);
		if (chunk === undefined) {
			chunk = new Uint32Array(CHUNK_WORDS);
			this.#chunks.set(chunkIndex, chunk);
		}
		const word = (slot & CHUNK_MASK) >>> 5;
		const before = chunk[word] as number;
		const after = (before | (1 << (slot & 31))) >>> 0;
		if (after === before) return false;
		chunk[word] = after;
		this.#count++;
		return true;
	}

	/** Keep only what is in the other set too. In place; returns this. */
	and(other: SlotSet): this {
		for (const [chunkIndex, chunk] of this.#chunks) {
			const otherChunk = other.#chunks.get(chunkIndex);
			let bitCount = 0;
			for (let word = 0; word < CHUNK_WORDS; word++) {
				const bits = chunk[word] as number;
				const kept = otherChunk === undefined ? 0 : bits & (otherChunk[word] as number);
				chunk[word] = kept;
				this.#count += popCount(kept) - popCount(bits);
				bitCount |= kept;
			}
			if (bitCount === 0) this.#chunks.delete(chunkIndex);
		}
		return this;
	}

	/** Take in what the other set has. In place; returns this. */
	or(other: SlotSet): this {
		for (const [chunkIndex, otherChunk] of other.#chunks) {
			const chunk = this.#chunks.get(chunkIndex);
			if (chunk === undefined) {
				this.#chunks.set(chunkIndex, otherChunk.slice());
				for (const bits of otherChunk) this.#count += popCount(bits);
				continue;
			}
			for (let word = 0; word < CHUNK_WORDS; word++) {
				const bits = chunk[word] as number;
				const joined = bits | (otherChunk[word] as number);
				chunk[word] = joined;
				this.#count += popCount(joined) - popCount(bits);
			}
		}
		return this;
	}

	/** Ascending. The set must not change meanwhile. */
	*[Symbol.iterator](): Generator<number, void> {
		for (const chunkIndex of [...this.#chunks.keys()].sort((a, b) => a - b)) {
			const chunk = this.#chunks.get(chunkIndex) as Uint32Array;
			for (let word = 0; word < CHUNK_WORDS; word++) {
				let bits = chunk[word] as number;
				while (bits !== 0) {
					const bit = 31 - Math.clz32(bits & -bits);
					// Multiplied, not shifted: a slot past 2^31 must stay positive.
					yield chunkIndex * (CHUNK_MASK + 1) + word * 32 + bit;
					bits = (bits & (bits - 1)) >>> 0;
				}
			}
		}
	}

	/** Ascending; a new array of `count` slots. */
	toUint32Array(): Uint32Array {
		const slots = new Uint32Array(this.#count);
		let at = 0;
		for (const slot of this) slots[at++] = slot;
		return slots;
	}
}

/** Set bits of a 32-bit word. Source: Warren, Hacker's Delight, 5-1. */
function popCount(word: number): number {
	let bits = word - ((word >>> 1) & 0x55555555);
	bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333);
	return Math.imul((bits + (bits >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
