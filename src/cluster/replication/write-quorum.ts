import type { NodeId } from "../../base/ids.ts";
import type { Consistency } from "../../base/schemas.ts";
import type { Placement } from "../membership/membership-types.ts";

/** How many of so many copies must have a write, or are asked for a read. */
export function requiredCount(consistency: Consistency, copyCount: number): number {
	if (consistency === "one") return Math.min(1, copyCount);
	return consistency === "all" ? copyCount : Math.floor(copyCount / 2) + 1;
}

/** The lists of copies of which each must have enough: those that hold the shard, and those that shall where they are others. */
export function groupsOf({ current, next }: Placement): readonly (readonly NodeId[])[] {
	const isSame = current.length === next.length && current.every((nodeId) => next.includes(nodeId));
	return isSame ? [current] : [current, next];
}

/** The copies of one list that count, and which of them have done it. */
class Group {
	readonly required: number;
	doneCount = 0;
	failedCount = 0;

	constructor(
		readonly nodes: readonly NodeId[],
		consistency: Consistency,
	) {
		this.required = requiredCount(consistency, nodes.length);
	}

	get isReached(): boolean {
		return this.doneCount >= this.required;
	}

	get isImpossible(): boolean {
		return this.nodes.length - this.failedCount < this.required;
	}
}

/** Counts a write's copies: enough of those that hold the shard now, and enough of those that shall. */
export class WriteQuorum {
	readonly #groups: readonly Group[];

	constructor(placement: Placement, consistency: Consistency) {
		this.#groups = groupsOf(placement).map((nodes) => new Group(nodes, consistency));
	}

	done(nodeId: NodeId): void {
		for (const group of this.#of(nodeId)) group.doneCount++;
	}

	failed(nodeId: NodeId): void {
		for (const group of this.#of(nodeId)) group.failedCount++;
	}

	get isReached(): boolean {
		return this.#groups.every((group) => group.isReached);
	}

	get isImpossible(): boolean {
		return this.#groups.some((group) => group.isImpossible);
	}

	/** Of the list that is furthest from enough. */
	get worst(): { readonly required: number; readonly answered: number } {
		const lacking = (group: Group): number => group.required - group.doneCount;
		const { required, doneCount } = this.#groups.reduce((a, b) => (lacking(b) > lacking(a) ? b : a));
		return { required, answered: doneCount };
	}

	#of(nodeId: NodeId): Group[] {
		return this.#groups.filter(({ nodes }) => nodes.includes(nodeId));
	}
}
