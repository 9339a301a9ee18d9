import type { Timers } from "../../base/timers.ts";
import type { CollectionRecord } from "../../hub/models.ts";
import type { ShardName } from "../../shards/pool-types.ts";
import type { Membership } from "../membership/membership-types.ts";
import type { LocalCopies } from "../replication/replica-types.ts";
import { shardKey } from "../shard-facts.ts";
import { shardRefsOf } from "../shard-refs.ts";
import { REPAIR_LIMITS } from "./repair-limits.ts";
import type { RepairLog, ShardCatalog } from "./repair-types.ts";

export interface PlacementWatchParts {
	readonly membership: Membership;
	readonly catalog: Pick<ShardCatalog, "find">;
	readonly copies: Pick<LocalCopies, "state">;
	readonly timers: Timers;
	/** Looks through all shards. */
	readonly look: () => void;
	readonly log: RepairLog;
}

/**
 * Sees whether this node holds of a shard what it should, a moment after a collection was made or changed, or a copy was made here:
 * the number of copies may be another, its maker could not reach this node, or went by an older topology.
 */
export class PlacementWatch {
	readonly #parts: PlacementWatchParts;
	readonly #waiting = new Map<string, ShardName>();
	#callOff: (() => void) | undefined;
	#isStopped = false;

	constructor(parts: PlacementWatchParts) {
		this.#parts = parts;
	}

	/** The hub says that the collection is like this. */
	changed(record: CollectionRecord): void {
		for (const shard of shardRefsOf(record, true)) this.made(shard);
	}

	/** A copy of the shard was made here. */
	made({ tenantId, collectionId, shardIndex }: ShardName): void {
		const { membership, timers } = this.#parts;
		if (this.#isStopped || membership.view().version === 0) return;
		// Beyond, what is not remembered is looked at together with what is.
		if (this.#waiting.size < REPAIR_LIMITS.placementsMax) {
			const name = { tenantId, collectionId, shardIndex };
			this.#waiting.set(shardKey(name), name);
		}
		this.#callOff ??= timers.after(REPAIR_LIMITS.placementPatienceMs, () => {
			this.#callOff = undefined;
			void this.#look();
		});
	}

	stop(): void {
		this.#isStopped = true;
		this.#callOff?.();
		this.#waiting.clear();
	}

	/** Never rejects. */
	async #look(): Promise<void> {
		const { look, log } = this.#parts;
		let isRight = this.#waiting.size < REPAIR_LIMITS.placementsMax;
		const shards = [...this.#waiting.values()];
		this.#waiting.clear();
		try {
			for (const shard of shards) isRight &&= await this.#isRight(shard);
		} catch (error) {
			isRight = false;
			log("info", "it could not be seen whether new collections have their copies here", { error: String(error) });
		}
		if (!isRight && !this.#isStopped) look();
	}

	async #isRight(name: ShardName): Promise<boolean> {
		const { membership, copies, catalog } = this.#parts;
		const found = await catalog.find(name);
		// What was deleted goes another way.
		if (found === undefined) return true;
		const { writers } = membership.view().placement(name.collectionId, name.shardIndex, found.replicas);
		const wanted = writers.includes(membership.self) ? "complete" : "none";
		return (await copies.state(name)) === wanted;
	}
}
