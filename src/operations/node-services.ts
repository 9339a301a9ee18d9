import type { z } from "zod";
import type { AuditReader } from "../access/audit/audit-types.ts";
import type { Authenticator } from "../access/authenticator.ts";
import type { ClusterRateLimiter } from "../access/cluster-rate-limiter.ts";
import type { RateLimiter } from "../access/rate-limiter.ts";
import type { UsageMeter } from "../access/usage-meter.ts";
import type { Clock } from "../base/clock.ts";
import type { NodeId, RandomBytes, TenantId } from "../base/ids.ts";
import type { TenantUsage } from "../cluster/tenant-types.ts";
import type { DocumentShelf } from "../documents/document-shelf.ts";
import type { TextEmbedder } from "../embedding/text-embedder.ts";
import type { HubDirectory } from "../hub/hub-client-types.ts";
import type { HubWebhooks } from "../hub/hub-webhook.ts";
import type { RateLimits } from "../hub/models.ts";
import type { Operation } from "./operation.ts";

/** A shard on its way to the node that shows it. */
export interface TransferInfo {
	readonly tenant_id: string;
	readonly collection_id: string;
	readonly shard: number;
	/** The node it comes from. */
	readonly from: string;
	readonly rows_done: number;
	readonly rows_total: number;
	readonly bytes_done: number;
}

/** A member of the cluster as `GET /cluster/nodes` and `GET /cluster/health` show it. null: it has not been heard of since the start. */
export interface NodeInfo {
	readonly node_id: string;
	/** `down`: a member that does not answer; `removed`: dead, its copies are being replaced. */
	readonly state: "joining" | "active" | "draining" | "removed" | "down";
	/** Where other nodes reach it, as multiaddresses. */
	readonly addresses: readonly string[];
	/** Of its REST API. */
	readonly url: string | null;
	readonly version: string | null;
	/** The share of the ring's key space that the node owns first, 0..1. */
	readonly ring_share: number;
	/** Whether this is the node that answers. */
	readonly self: boolean;
	/** Seconds since its last heartbeat; 0 of oneself. */
	readonly last_heard_seconds: number | null;
	readonly hub: {
		/** Whether it runs the hub that other members use. */
		readonly serves: boolean;
		/** Whether the hub answers it. */
		readonly connected: boolean | null;
	};
	readonly shards_open: number | null;
	/** GB (10^9 bytes) that the storage quotas count, each vector at one node. */
	readonly stored_gb: number | null;
	readonly transfers: readonly TransferInfo[];
	readonly transfers_waiting: number;
	/** Shards of other nodes of which it remembers that they missed something. */
	readonly hints_pending: number;
	/** Age of the oldest write that it misses, as far as the answering node knows; 0: none. */
	readonly replication_lag_seconds: number;
}

/** The cluster as the node that answers sees it. */
export interface ClusterState {
	readonly topology_version: number;
	/** Whether members join or leave: some shards have to move. */
	readonly is_changing: boolean;
	/** Whether more than half of the members answer. */
	readonly has_majority: boolean;
	/** Bytes that the storage quotas count, of all nodes that have been heard of. */
	readonly stored_bytes: number;
	/** In the order of their ids. */
	readonly nodes: readonly NodeInfo[];
}

/** The copies of one shard, as the nodes that hold them tell. */
export interface ShardCopies {
	readonly tenant_id: string;
	/** Name of the collection. */
	readonly collection: string;
	readonly shard: number;
	readonly copies: readonly {
		readonly node_id: string;
		/** `unknown`: the node does not answer. */
		readonly state: "complete" | "incoming" | "unknown";
		readonly vectors?: number;
		/** What it came to: equal of copies that hold the same. */
		readonly digest?: string;
	}[];
}

/** What an admin may see and change of the cluster. A node alone is a cluster of one. */
export interface ClusterControl {
	/** Cheap: from what was heard last. */
	state(): ClusterState;
	/** Empties a node, which then leaves. Idempotent. @throws NOT_FOUND, CONFLICT, HUB_UNAVAILABLE, OVERLOADED */
	drain(nodeId: NodeId): Promise<void>;
	/** A node that is being emptied stays after all. Idempotent. @throws NOT_FOUND, CONFLICT, HUB_UNAVAILABLE, OVERLOADED */
	cancelDrain(nodeId: NodeId): Promise<void>;
	/** Drops a dead node, whose copies are made anew. Idempotent. @throws NOT_FOUND, CONFLICT, HUB_UNAVAILABLE, OVERLOADED */
	remove(nodeId: NodeId, acceptLoss: boolean): Promise<void>;
	/** Has every node look at once for what it lacks or holds too much, instead of when it would by itself. */
	rebalance(): Promise<void>;
	/**
	 * Asks every member for its copies, which may open them.
	 *
	 * @param collection the only one wanted; absent: all of the tenant's
	 * @throws TENANT_NOT_FOUND, COLLECTION_NOT_FOUND, HUB_UNAVAILABLE
	 */
	shards(tenantId: TenantId, collection: string | undefined): Promise<readonly ShardCopies[]>;
}

/** Whether the node takes requests: `GET /ready`. */
export interface Readiness {
	readonly state: "starting" | "ready" | "draining";
	/** Plain facts for whoever looks why, such as `{hub: "connected", open_shards: 3}`. */
	readonly checks: Readonly<Record<string, string | number | boolean>>;
}

/** What operations may ask of the node they run on, besides the tenant's own handle. Wired in `src/node/`. */
export interface NodeServices {
	readonly clock: Clock;
	readonly random: RandomBytes;
	readonly directory: HubDirectory;
	readonly authenticator: Pick<Authenticator, "identifyKey">;
	readonly limiter: Pick<ClusterRateLimiter | RateLimiter, "usage">;
	readonly meter: Pick<UsageMeter, "countSearches" | "countVectorsWritten" | "activity" | "lastRequestMs">;
	readonly version: string;
	/** Unix milliseconds. */
	readonly startedAtMs: number;
	readonly isClusterMode: boolean;
	/** `cluster.replicas`, or what single-tenant mode makes of it. */
	readonly defaultReplicaCount: number;
	/** The node's `rate_limits`: completes limits that a tenant is given in part. */
	readonly defaultRateLimits: RateLimits;
	readiness(): Readiness;
	/** undefined: the audit log is switched off. */
	readonly audit: AuditReader | undefined;
	/** undefined: HiveHub may not push. */
	readonly webhooks: HubWebhooks | undefined;
	readonly cluster: ClusterControl;
	/** undefined: this node makes no vectors of texts. */
	readonly embedder: TextEmbedder | undefined;
	readonly documents: DocumentShelf;
	/** What one tenant, not necessarily the caller's, has stored. For admin operations. */
	usageOf(tenantId: TenantId): Promise<TenantUsage>;
	/** Removes everything of a tenant from disk. Idempotent. */
	dropTenant(tenantId: TenantId): Promise<void>;
	/** Takes note of how long a search took. */
	countSearch(seconds: number): void;
	/** Prometheus text. */
	metricsText(): Promise<string>;
	/** Whether `/metrics` is open to whoever sends this `Authorization` header. */
	metricsAdmits(authorization: string | undefined): boolean;
}

/** An operation of the table, whatever its input: each validates its own before it runs. */
export type AnyOperation = Operation<NodeServices, z.ZodType, unknown>;

/** Gives an operation's `run` the type that its input schema promises. */
export const defineOperation = <InputSchema extends z.ZodType, Output>(
	operation: Operation<NodeServices, InputSchema, Output>,
): Operation<NodeServices, InputSchema, Output> => operation;
