import { z } from "zod";
import { HiveError } from "../base/errors.ts";
import type { TenantId } from "../base/ids.ts";
import { tenantIdSchema } from "../base/schemas.ts";
import type { TenantUsage } from "../cluster/tenant-types.ts";
import type { TenantRecord } from "../hub/models.ts";
import { type AnyOperation, defineOperation, type NodeServices } from "./node-services.ts";
import type { Caller } from "./operation.ts";

const bucketUsageSchema = z.strictObject({
	used: z.int(),
	limit: z.int().nullable().describe("null: unlimited"),
	reset_in_seconds: z.int().describe("until nothing counts as used"),
});

const usageSchema = z.strictObject({
	tenant_id: z.string(),
	storage: z.strictObject({
		used_bytes: z.int(),
		quota_bytes: z.int().nullable().describe("null: unlimited"),
		usage_percent: z.number().describe("0 where the quota is unlimited"),
	}),
	rate_limits: z.strictObject({
		requests_per_minute: bucketUsageSchema,
		requests_per_hour: bucketUsageSchema,
	}),
	collections: z.int(),
	vectors: z.int(),
	period_start: z.string().describe("start of the calendar month, UTC"),
	period_end: z.string().describe("start of the next month"),
	activity: z
		.strictObject({ requests: z.int(), searches: z.int(), vectors_written: z.int() })
		.describe("since the tenant was made, this request included; of other nodes as they told about a second ago"),
	last_request_at: z.string().nullable().describe("as of about a second ago where it came to another node"),
	created_at: z.string(),
	api_keys_count: z.int(),
});

type UsageAnswer = z.infer<typeof usageSchema>;

async function usageAnswer(services: NodeServices, tenant: TenantRecord, usage: TenantUsage): Promise<UsageAnswer> {
	const now = new Date(services.clock.nowMs());
	const monthStart = (offset: number): string =>
		new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + offset, 1)).toISOString();
	const quotaBytes = tenant.quota.max_storage_bytes;
	const lastRequestMs = services.meter.lastRequestMs(tenant.id, tenant.created_at);
	const activity = services.meter.activity(tenant.id, tenant.created_at);
	return {
		tenant_id: tenant.id,
		storage: {
			used_bytes: usage.storageBytes,
			quota_bytes: quotaBytes,
			usage_percent: percentOf(usage.storageBytes, quotaBytes),
		},
		rate_limits: await services.limiter.usage(tenant),
		collections: usage.collectionCount,
		vectors: usage.vectorCount,
		period_start: monthStart(0),
		period_end: monthStart(1),
		activity: {
			requests: activity.requests,
			searches: activity.searches,
			vectors_written: activity.vectorsWritten,
		},
		last_request_at: lastRequestMs === undefined ? null : new Date(lastRequestMs).toISOString(),
		created_at: tenant.created_at,
		api_keys_count: tenant.api_keys_count,
	};
}

/** Two decimals. With a quota of nothing, anything is all of it. */
function percentOf(usedBytes: number, quotaBytes: number | null): number {
	if (quotaBytes === null || usedBytes === 0) return 0;
	return quotaBytes === 0 ? 100 : Math.round((usedBytes / quotaBytes) * 10_000) / 100;
}

const ownUsage = defineOperation({
	name: "usage.own",
	summary: "Show what the tenant uses of its quota and rate limits",
	scope: "tenant",
	permissions: ["ADMIN", "READ_WRITE", "READ_ONLY", "MCP"],
	input: z.strictObject({}),
	output: usageSchema,
	rest: { method: "GET", path: "/usage" },
	async run({ tenant, caller, services }) {
		return usageAnswer(services, caller.tenant, await tenant.usage());
	},
});

const clusterUsage = defineOperation({
	name: "cluster.usage",
	summary: "Show a tenant's usage: the own one, or any for an admin",
	scope: "tenant",
	permissions: ["ADMIN", "READ_WRITE", "READ_ONLY", "MCP"],
	input: z.strictObject({ tenant_id: tenantIdSchema.optional().describe("another tenant's, for admins") }),
	output: usageSchema,
	rest: { method: "GET", path: "/cluster/usage", query: ["tenant_id"] },
	async run({ tenant, caller, services }, input) {
		if (input.tenant_id === undefined || input.tenant_id === caller.tenant.id) {
			return usageAnswer(services, caller.tenant, await tenant.usage());
		}
		const named = await namedTenant(services, caller, input.tenant_id);
		return usageAnswer(services, named, await services.usageOf(named.id));
	},
});

/** To whoever is no admin, no other tenant exists. */
async function namedTenant(services: NodeServices, caller: Caller, tenantId: TenantId): Promise<TenantRecord> {
	const tenant = caller.permissions.has("ADMIN") ? await services.directory.tenant(tenantId) : undefined;
	if (tenant === undefined) throw new HiveError("TENANT_NOT_FOUND", "no such tenant");
	return tenant;
}

export const USAGE_OPERATIONS: readonly AnyOperation[] = [ownUsage, clusterUsage];
