import type { Clock } from "../../base/clock.ts";
import type { NodeId } from "../../base/ids.ts";
import { HybridClock } from "../../storage/hybrid-clock.ts";
import type { Version } from "../../storage/shard-types.ts";

/** Names a node in the versions it makes: 8 bytes. */
export const nodeTag = (nodeId: NodeId): Uint8Array =>
	new Bun.CryptoHasher("sha256").update(nodeId).digest().subarray(0, 8);

/** Stamps the writes that this node coordinates. */
export class VersionClock {
	readonly #hybrid: HybridClock;

	/** @param clock that members agree on, more or less */
	constructor(clock: Clock, nodeId: NodeId) {
		this.#hybrid = new HybridClock(clock, nodeTag(nodeId), { ms: 0, counter: 0 });
	}

	/** Newer than any it made or was shown. */
	next(): Version {
		return this.#hybrid.next();
	}

	/** @throws RangeError when no clock could have made it */
	observe(version: Version): void {
		this.#hybrid.observe(version);
	}
}
