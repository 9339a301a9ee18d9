import { GOSSIP_LIMITS } from "./gossip-limits.ts";

/** How much a fact is worth keeping; compared from left to right. The last is of the fact's key, so that no two are the same. */
export type Rank = readonly [number, number, number];

export const LOWEST_RANK: Rank = [-1, -1, -1];

/** What makes facts of one kind the same, newer, and more worth keeping. */
export interface FactRules<Fact> {
	readonly keyOf: (fact: Fact) => string;
	/** Names what the fact says; facts with the same key and version are the same. */
	readonly versionOf: (fact: Fact) => string;
	/** Where there is no room those of the lowest worth go. Never falls by a join. */
	readonly worthOf: (fact: Fact) => readonly [number, number];
	/** Commutative, associative, idempotent. @returns `known` itself when `told` adds nothing to it */
	readonly join: (known: Fact, told: Fact) => Fact;
	readonly countMax: number;
}

interface Kept<Fact> {
	readonly fact: Fact;
	readonly hash: bigint;
}

/** Where the next page of a difference begins. */
export interface FactPlace {
	readonly bucket: number;
	/** The last key that was told of; empty: none of that bucket. */
	readonly key: string;
}

/**
 * The facts of one kind, one a key. Whatever order they come in, and however often, the same facts make the same set. Bounded: when
 * there are too many, the lowest go and a floor rises, below which nothing is taken any more; so what went does not come back,
 * neither as it was nor older. Two sets that exchange their floors and what differs are equal.
 */
export class FactSet<Fact> {
	readonly #rules: FactRules<Fact>;
	readonly #buckets: Map<string, Kept<Fact>>[] = [];
	/** Of each bucket, low and high half: exclusive or of the hashes of its facts. */
	#sums = new Uint32Array(2 * GOSSIP_LIMITS.bucketCount);
	#floor: Rank = LOWEST_RANK;
	#count = 0;

	constructor(rules: FactRules<Fact>) {
		this.#rules = rules;
		for (let index = 0; index < GOSSIP_LIMITS.bucketCount; index++) this.#buckets.push(new Map());
	}

	get count(): number {
		return this.#count;
	}

	/** Facts of this rank and below are not kept. */
	get floor(): Rank {
		return this.#floor;
	}

	/** Two numbers a bucket. A copy. */
	get sums(): Uint32Array {
		return this.#sums.slice();
	}

	get(key: string): Fact | undefined {
		return this.#bucketOf(key).get(key)?.fact;
	}

	*values(): Generator<Fact> {
		for (const bucket of this.#buckets) for (const { fact } of bucket.values()) yield fact;
	}

	/** @returns what is known of the key now; undefined: it was known already, or there is no room for anything so old */
	merge(told: Fact): Fact | undefined {
		const { keyOf, join, versionOf } = this.#rules;
		if (!isAbove(this.#rankOf(told), this.#floor)) return undefined;
		const key = keyOf(told);
		const bucket = bucketIndex(key);
		const known = this.#buckets[bucket]!.get(key);
		const fact = known === undefined ? told : join(known.fact, told);
		if (fact === known?.fact) return undefined;
		const hash = Bun.hash.xxHash64(`${key}\n${versionOf(fact)}`);
		this.#buckets[bucket]!.set(key, { fact, hash });
		if (known === undefined) this.#count += 1;
		if (hash === known?.hash) return undefined;
		this.#sum(bucket, hash);
		if (known !== undefined) this.#sum(bucket, known.hash);
		return fact;
	}

	/** Drops the lowest facts when there are too many. Cost: a sort of all, but not soon again. */
	trim(): void {
		const { countMax } = this.#rules;
		if (this.#count <= countMax) return;
		const ranks = Array.from(this.values(), (fact) => this.#rankOf(fact)).sort(compareRanks);
		const dropCount = ranks.length - Math.floor(countMax * (1 - GOSSIP_LIMITS.trimShare));
		this.#raiseFloor(ranks[dropCount - 1]!);
	}

	/**
	 * Takes over how far up another set had to go for want of room: what it keeps no more would differ for ever. Only where this
	 * set holds as much above that as one that is full: nobody's word alone empties it. Cost: all facts, in a set that is full.
	 */
	adoptFloor(floor: Rank): void {
		const enough = Math.floor(this.#rules.countMax * (1 - 2 * GOSSIP_LIMITS.trimShare));
		if (this.#count < enough || !isAbove(floor, this.#floor)) return;
		let aboveCount = 0;
		for (const fact of this.values()) if (isAbove(this.#rankOf(fact), floor)) aboveCount += 1;
		if (aboveCount >= enough) this.#raiseFloor(floor);
	}

	/** For what can't come back by other means. Cost: all facts. */
	deleteWhere(matches: (fact: Fact) => boolean): void {
		this.#buckets.forEach((bucket, index) => {
			for (const [key, { fact, hash }] of bucket) {
				if (!matches(fact)) continue;
				bucket.delete(key);
				this.#sum(index, hash);
				this.#count -= 1;
			}
		});
	}

	/** Facts in buckets whose sums are others, in an order that does not change, each with the place after it. */
	*difference(sums: Uint32Array, from: FactPlace): Generator<{ readonly fact: Fact; readonly after: FactPlace }> {
		for (let bucket = from.bucket; bucket < this.#buckets.length; bucket++) {
			if (sums[2 * bucket] === this.#sums[2 * bucket] && sums[2 * bucket + 1] === this.#sums[2 * bucket + 1]) continue;
			const keys = [...this.#buckets[bucket]!.keys()].sort();
			for (const key of keys) {
				if (bucket === from.bucket && key <= from.key) continue;
				yield { fact: this.#buckets[bucket]!.get(key)!.fact, after: { bucket, key } };
			}
		}
	}

	/** Forgets everything, the floor as well: what was told belongs to another history. */
	reset(): void {
		for (const bucket of this.#buckets) bucket.clear();
		this.#sums = new Uint32Array(2 * GOSSIP_LIMITS.bucketCount);
		this.#floor = LOWEST_RANK;
		this.#count = 0;
	}

	#raiseFloor(floor: Rank): void {
		this.#floor = floor;
		this.deleteWhere((fact) => !isAbove(this.#rankOf(fact), floor));
	}

	#rankOf(fact: Fact): Rank {
		return [...this.#rules.worthOf(fact), Bun.hash.xxHash32(this.#rules.keyOf(fact))];
	}

	#bucketOf(key: string): Map<string, Kept<Fact>> {
		return this.#buckets[bucketIndex(key)]!;
	}

	#sum(bucket: number, hash: bigint): void {
		this.#sums[2 * bucket]! ^= Number(hash & 0xffff_ffffn);
		this.#sums[2 * bucket + 1]! ^= Number(hash >> 32n);
	}
}

const bucketIndex = (key: string): number => Bun.hash.xxHash32(key) % GOSSIP_LIMITS.bucketCount;

const compareRanks = (a: Rank, b: Rank): number => a[0] - b[0] || a[1] - b[1] || a[2] - b[2];

const isAbove = (rank: Rank, floor: Rank): boolean => compareRanks(rank, floor) > 0;
