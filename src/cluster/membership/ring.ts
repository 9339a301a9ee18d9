import type { NodeId } from "../../base/ids.ts";

/** Points of each node on the ring: many, so that shares are even. */
const POINTS_PER_NODE = 128;

const hashOf = (text: string): bigint => Bun.hash.xxHash64(text);

/**
 * Consistent hashing: each node owns many points of a circle of 64-bit numbers, and what falls between two points belongs to
 * the later one. The same members give the same ring on every node. Source: Karger et al., Consistent Hashing and Random Trees.
 */
export class Ring {
	readonly nodeCount: number;
	/** Ascending. */
	readonly #points: BigUint64Array;
	readonly #owners: readonly NodeId[];

	constructor(nodes: Iterable<NodeId>) {
		const points: { readonly at: bigint; readonly owner: NodeId }[] = [];
		const distinct = new Set(nodes);
		for (const owner of distinct) {
			for (let index = 0; index < POINTS_PER_NODE; index++) points.push({ at: hashOf(`${owner}#${index}`), owner });
		}
		// Two points in one place, should that ever be, are in the same order everywhere.
		points.sort((a, b) => (a.at === b.at ? (a.owner < b.owner ? -1 : 1) : a.at < b.at ? -1 : 1));
		this.nodeCount = distinct.size;
		this.#points = BigUint64Array.from(points, ({ at }) => at);
		this.#owners = points.map(({ owner }) => owner);
	}

	/** The next `count` distinct nodes from where the subject falls, all when there are fewer. A new array. */
	nodesFor(subject: string, count: number): NodeId[] {
		const found: NodeId[] = [];
		const wanted = Math.min(count, this.nodeCount);
		const start = this.#firstFrom(hashOf(subject));
		for (let step = 0; found.length < wanted; step++) {
			const owner = this.#owners[(start + step) % this.#owners.length]!;
			if (!found.includes(owner)) found.push(owner);
		}
		return found;
	}

	/** Share of the circle that each node owns; together 1. */
	shares(): ReadonlyMap<NodeId, number> {
		// What adds up to the whole is not quite 1.
		if (this.nodeCount === 1) return new Map([[this.#owners[0]!, 1]]);
		const shares = new Map<NodeId, number>();
		const last = this.#points.length - 1;
		for (const [index, point] of this.#points.entries()) {
			const before = this.#points[index === 0 ? last : index - 1]!;
			const length = Number(BigInt.asUintN(64, point - before)) / 2 ** 64;
			const owner = this.#owners[index]!;
			shares.set(owner, (shares.get(owner) ?? 0) + length);
		}
		return shares;
	}

	#firstFrom(at: bigint): number {
		let low = 0;
		let high = this.#points.length;
		while (low < high) {
			const middle = (low + high) >>> 1;
			if (this.#points[middle]! < at) low = middle + 1;
			else high = middle;
		}
		return low === this.#points.length ? 0 : low;
	}
}
