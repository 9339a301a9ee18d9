/** A seeded generator (mulberry32): the same seed gives the same run. Numbers in [0, 1). */
export function seededRandom(seed: number): () => number {
	let state = seed >>> 0;
	return () => {
		state = (state + 0x6d2b79f5) >>> 0;
		let mixed = Math.imul(state ^ (state >>> 15), state | 1);
		mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
		return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
	};
}

export const randomVector = (random: () => number, dimension: number): number[] =>
	Array.from({ length: dimension }, () => Math.fround(random() * 2 - 1));

export const cosine = (a: readonly number[], b: readonly number[]): number => {
	let dot = 0;
	for (let axis = 0; axis < a.length; axis++) dot += (a[axis] as number) * (b[axis] as number);
	return dot / (Math.hypot(...a) * Math.hypot(...b));
};
