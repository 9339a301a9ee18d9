import type { Clock } from "../../base/clock.ts";
import type { Consistency } from "../../base/schemas.ts";
import type { Timers } from "../../base/timers.ts";
import type { ShardRef } from "../../shards/pool-types.ts";
import type { Membership } from "../membership/membership-types.ts";
import type { CopyLatencies } from "./copy-latencies.ts";
import type { HedgeBudget } from "./hedge-budget.ts";
import type { HintSink, Reconciler, RemoteReconciler, ReplicaPort } from "./replica-types.ts";
import type { Stragglers } from "./stragglers.ts";
import type { VersionClock } from "./version-clock.ts";

/** What a node needs to read and write copies of shards, wherever they are. */
export interface ReplicationParts {
	readonly membership: Membership;
	readonly port: ReplicaPort;
	/** Compares this node's copies with others'. */
	readonly reconciler: Reconciler;
	readonly remote: RemoteReconciler;
	readonly versions: VersionClock;
	readonly hints: HintSink;
	readonly clock: Clock;
	readonly timers: Timers;
	/** Where a request does not say. */
	readonly defaults: { readonly write: Consistency; readonly read: Consistency };
	readonly log: (message: string, facts: Readonly<Record<string, unknown>>) => void;
}

/** Shared by all shards of a node. */
export interface ReplicationContext extends ReplicationParts {
	readonly latencies: CopyLatencies;
	readonly budget: HedgeBudget;
	readonly stragglers: Stragglers;
}

/** One shard, and what its collection says of it. */
export interface ReplicatedShardSubject {
	readonly shard: ShardRef;
	/** Copies wanted. */
	readonly replicas: number;
	/** What a write changed is not known for sure. */
	readonly doubt: () => void;
	/** Settles when the hub still names the collection. @throws COLLECTION_NOT_FOUND, HUB_UNAVAILABLE */
	readonly confirm: () => Promise<void>;
}
