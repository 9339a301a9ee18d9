import type { Quota, TenantRecord } from "../../src/hub/models.ts";
import { formatBytes, formatCount, formatQuota } from "./units.ts";

/** A tenant as the API shows it. */
export type TenantAnswer = Omit<TenantRecord, "revision">;

type Fields = (readonly [name: string, value: string])[];

export function quotaFields(quota: Quota): Fields {
	return [
		["max storage", formatQuota(quota.max_storage_bytes, formatBytes)],
		["max vectors", formatQuota(quota.max_vectors, formatCount)],
		["max collections", formatQuota(quota.max_collections, formatCount)],
	];
}

export function tenantFields(tenant: TenantAnswer): Fields {
	const limits = tenant.rate_limits;
	return [
		["id", tenant.id],
		["name", tenant.name],
		["state", tenant.active ? "active" : "suspended"],
		["created", tenant.created_at],
		["keys", formatCount(tenant.api_keys_count)],
		...quotaFields(tenant.quota),
		...(limits === null
			? ([["rate limits", "the node's settings"]] as Fields)
			: ([
					["requests a minute", formatCount(limits.requests_per_minute)],
					["requests an hour", formatCount(limits.requests_per_hour)],
					["MCP calls a minute", formatCount(limits.mcp_requests_per_minute)],
				] as Fields)),
		...(Object.keys(tenant.metadata).length === 0 ? [] : ([["metadata", JSON.stringify(tenant.metadata)]] as Fields)),
	];
}
