/** Numbers that come the same again for the same seed. Source: mulberry32. */
export class SeededRandom {
	#state: number;

	constructor(seed: number) {
		this.#state = seed >>> 0;
	}

	/** 0 to below 1. */
	next(): number {
		this.#state = (this.#state + 0x6d2b79f5) >>> 0;
		let mixed = this.#state;
		mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
		mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
		return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
	}

	/** 0 to below `limit`, whole. */
	below(limit: number): number {
		return Math.floor(this.next() * limit);
	}

	pick<Item>(items: readonly Item[]): Item {
		return items[this.below(items.length)]!;
	}

	chance(probability: number): boolean {
		return this.next() < probability;
	}
}
