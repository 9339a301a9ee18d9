import type { z } from "zod";
import type { AuditReader } from "../access/audit/audit-types.ts";
import type { Authenticator } from "../access/authenticator.ts";
import type { RateLimiter } from "../access/rate-limiter.ts";
import type { UsageMeter } from "../access/usage-meter.ts";
import type { Clock } from "../base/clock.ts";
import type { RandomBytes, TenantId } from "../base/ids.ts";
import type { TenantUsage } from "../cluster/tenant-types.ts";
import type { HubDirectory } from "../hub/hub-client-types.ts";
import type { HubWebhooks } from "../hub/hub-webhook.ts";
import type { RateLimits } from "../hub/models.ts";
import type { Operation } from "./operation.ts";

/** A member of the cluster as `GET /cluster/nodes` and `GET /cluster/health` show it. */
export interface NodeInfo {
	readonly node_id: string;
	readonly state: "active" | "draining" | "down";
	readonly addresses: readonly string[];
	/** The share of the ring's key space that the node owns first, 0..1. */
	readonly ring_share: number;
	/** Whether this is the node that answers. */
	readonly self: boolean;
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
	readonly limiter: Pick<RateLimiter, "usage">;
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
	/** Members of the cluster; a node alone is a cluster of one. */
	nodes(): Promise<readonly NodeInfo[]>;
	/** What one tenant, not necessarily the caller's, has stored. For admin operations. */
	usageOf(tenantId: TenantId): Promise<TenantUsage>;
	/** Bytes of all tenants on this node's disk. */
	storedBytes(): Promise<number>;
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
