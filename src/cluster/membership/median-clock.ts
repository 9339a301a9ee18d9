import type { Clock } from "../../base/clock.ts";
import type { NodeId } from "../../base/ids.ts";
import type { Membership } from "./membership-types.ts";

export interface MedianClockParts {
	readonly clock: Clock;
	readonly membership: Pick<Membership, "self" | "view" | "isLive">;
	/** A node's wall clock minus this one's, in milliseconds; undefined: not known. */
	readonly offsetMs: (nodeId: NodeId) => number | undefined;
}

/**
 * A wall clock that members agree on, more or less: the median of those that are known, so that one which is off by an hour, be it
 * this node's own, counts for nothing as long as most are right. Time that passes is this node's own.
 */
export class MedianClock implements Clock {
	readonly #parts: MedianClockParts;

	constructor(parts: MedianClockParts) {
		this.#parts = parts;
	}

	nowMs(): number {
		return this.#parts.clock.nowMs() + this.#offsetMs();
	}

	monotonicMs(): number {
		return this.#parts.clock.monotonicMs();
	}

	#offsetMs(): number {
		const { membership, offsetMs } = this.#parts;
		const { members } = membership.view();
		if (members.length <= 1) return 0;
		const offsets = [0];
		for (const { node_id } of members) {
			const nodeId = node_id as NodeId;
			if (nodeId === membership.self || !membership.isLive(nodeId)) continue;
			const offset = offsetMs(nodeId);
			if (offset !== undefined) offsets.push(offset);
		}
		offsets.sort((a, b) => a - b);
		// Of two the earlier: a clock that is ahead would drag all others along.
		return offsets[(offsets.length - 1) >> 1]!;
	}
}
