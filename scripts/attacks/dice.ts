/** Seeded choices (mulberry32): the same seed makes the same ones. */
export class Dice {
	#state: number;

	constructor(seed: number) {
		this.#state = seed >>> 0;
	}

	/** In [0, 1). */
	next(): number {
		this.#state = (this.#state + 0x6d2b79f5) >>> 0;
		let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
		mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
		return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
	}

	/** A seed for a generator of its own. */
	seed(): number {
		return Math.floor(this.next() * 4_294_967_296);
	}

	/** 0..below-1 */
	below(below: number): number {
		return Math.floor(this.next() * below);
	}

	chance(probability: number): boolean {
		return this.next() < probability;
	}

	pick<T>(choices: readonly T[]): T {
		if (choices.length === 0) throw new Error("nothing to pick from");
		return choices[this.below(choices.length)]!;
	}

	text(alphabet: string, length: number): string {
		let text = "";
		while (text.length < length) text += alphabet[this.below(alphabet.length)];
		return text;
	}
}

export const LOWER_ALPHANUMERIC = "abcdefghijklmnopqrstuvwxyz0123456789";
export const ALPHANUMERIC = `ABCDEFGHIJKLMNOPQRSTUVWXYZ${LOWER_ALPHANUMERIC}`;
export const DIGITS = "0123456789";
/** Latin letters that Cyrillic ones look like. */
export const LOOKED_ALIKE = "aceopxy";
