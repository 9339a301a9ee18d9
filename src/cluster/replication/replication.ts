import { CopyLatencies } from "./copy-latencies.ts";
import { HedgeBudget } from "./hedge-budget.ts";
import { ReplicatedShard } from "./replicated-shard.ts";
import type { ReplicatedShardSubject, ReplicationContext, ReplicationParts } from "./replication-types.ts";
import { Stragglers } from "./stragglers.ts";

/** How this node reads and writes shards that have copies here and elsewhere. */
export class Replication {
	readonly #context: ReplicationContext;

	constructor(parts: ReplicationParts) {
		this.#context = {
			...parts,
			latencies: new CopyLatencies(parts.clock),
			budget: new HedgeBudget(),
			stragglers: new Stragglers(),
		};
	}

	shard(subject: ReplicatedShardSubject): ReplicatedShard {
		return new ReplicatedShard(this.#context, subject);
	}

	/** Settles when no write is on its way to any copy. To be called when no request is left. */
	close(): Promise<void> {
		return this.#context.stragglers.idle();
	}
}
