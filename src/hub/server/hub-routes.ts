import { HiveError } from "../../base/errors.ts";
import {
	API_KEY_ID_PATTERN,
	type ApiKeyId,
	COLLECTION_NAME_PATTERN,
	type CollectionName,
	TENANT_ID_PATTERN,
	type TenantId,
} from "../../base/ids.ts";
import { HUB_LIMITS } from "../hub-limits.ts";
import { quotaSchema } from "../models.ts";
import {
	changesQuerySchema,
	collectionPatchSchema,
	keyHashSchema,
	logsSchema,
	newCollectionSchema,
	newKeySchema,
	newTenantSchema,
	rotateKeySchema,
	tenantPageQuerySchema,
	tenantPatchSchema,
	topologySchema,
	usageQuerySchema,
	usageReportSchema,
} from "../request-schemas.ts";
import type { ChangeStore } from "./change-store.ts";
import type { CollectionStore } from "./collection-store.ts";
import type { KeyStore } from "./key-store.ts";
import { parseInput } from "./request-input.ts";
import { type TenantStore, tenantNotFound } from "./tenant-store.ts";
import type { TopologyStore } from "./topology-store.ts";
import type { UsageStore } from "./usage-store.ts";

/** What the endpoints work with. */
export interface HubStores {
	readonly tenants: TenantStore;
	readonly keys: KeyStore;
	readonly collections: CollectionStore;
	readonly usage: UsageStore;
	readonly topology: TopologyStore;
	readonly changes: ChangeStore;
	/** Takes what nodes send to `POST /logs`. */
	readonly onLogs: (entries: readonly Record<string, unknown>[]) => void;
	readonly version: string;
}

/** A request whose path, and nothing else yet, has been understood. */
export interface HubCall {
	/** Path segments that the route's braces stand for, decoded. */
	readonly path: Readonly<Record<string, string>>;
	readonly query: () => Record<string, string>;
	readonly body: () => Promise<unknown>;
	readonly signal: AbortSignal;
}

export interface HubRoute {
	readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
	/** Below `/api/v1`. */
	readonly path: string;
	readonly public?: boolean;
	readonly status?: 201;
	run(stores: HubStores, call: HubCall): Promise<unknown>;
}

/** Every endpoint of CONTRACT section 6, once. */
export const HUB_ROUTES: readonly HubRoute[] = [
	{
		method: "GET",
		path: "/health",
		public: true,
		run: async ({ version }) => ({ status: "ok", version }),
	},
	{
		method: "POST",
		path: "/keys/validate",
		run: async ({ keys }, { body }) => await keys.lookup(parseInput(keyHashSchema, await body()).key_hash),
	},
	{
		method: "POST",
		path: "/keys/{id}/rotate",
		status: 201,
		run: async ({ keys }, { path, body }) =>
			await keys.rotate(apiKeyId(path), parseInput(rotateKeySchema, await body()).grace_seconds),
	},
	{
		method: "POST",
		path: "/keys/{id}/revoke",
		run: async ({ keys }, { path }) => await keys.revoke(apiKeyId(path)),
	},
	{
		method: "GET",
		path: "/tenants",
		run: async ({ tenants }, { query }) => await tenants.list(parseInput(tenantPageQuerySchema, query())),
	},
	{
		method: "POST",
		path: "/tenants",
		status: 201,
		run: async ({ tenants }, { body }) => await tenants.create(parseInput(newTenantSchema, await body())),
	},
	{
		method: "GET",
		path: "/tenants/{id}",
		run: async ({ tenants }, { path }) => await tenants.get(tenantId(path)),
	},
	{
		method: "PATCH",
		path: "/tenants/{id}",
		run: async ({ tenants }, { path, body }) =>
			await tenants.update(tenantId(path), parseInput(tenantPatchSchema, await body())),
	},
	{
		method: "DELETE",
		path: "/tenants/{id}",
		run: async ({ tenants }, { path }) => {
			await tenants.delete(tenantId(path));
			return { deleted: true };
		},
	},
	{
		method: "GET",
		path: "/tenants/{id}/quota",
		run: async ({ tenants }, { path }) => (await tenants.get(tenantId(path))).quota,
	},
	{
		method: "PUT",
		path: "/tenants/{id}/quota",
		run: async ({ tenants }, { path, body }) =>
			await tenants.setQuota(tenantId(path), parseInput(quotaSchema, await body())),
	},
	{
		method: "GET",
		path: "/tenants/{id}/keys",
		run: async ({ keys }, { path }) => ({ keys: await keys.list(tenantId(path)) }),
	},
	{
		method: "POST",
		path: "/tenants/{id}/keys",
		status: 201,
		run: async ({ keys }, { path, body }) => await keys.create(tenantId(path), parseInput(newKeySchema, await body())),
	},
	{
		method: "GET",
		path: "/tenants/{id}/collections",
		run: async ({ collections }, { path }) => ({ collections: await collections.list(tenantId(path)) }),
	},
	{
		method: "POST",
		path: "/tenants/{id}/collections",
		status: 201,
		run: async ({ collections }, { path, body }) =>
			await collections.create(tenantId(path), parseInput(newCollectionSchema, await body())),
	},
	{
		method: "PATCH",
		path: "/tenants/{id}/collections/{name}",
		run: async ({ collections }, { path, body }) =>
			await collections.update(tenantId(path), collectionName(path), parseInput(collectionPatchSchema, await body())),
	},
	{
		method: "DELETE",
		path: "/tenants/{id}/collections/{name}",
		run: async ({ collections }, { path }) => await collections.delete(tenantId(path), collectionName(path)),
	},
	{
		method: "POST",
		path: "/usage",
		run: async ({ usage }, { body }) => ({
			duplicate: await usage.record(parseInput(usageReportSchema, await body())),
		}),
	},
	{
		method: "GET",
		path: "/usage",
		run: async ({ usage }, { query }) => await usage.totals(parseInput(usageQuerySchema, query())),
	},
	{
		method: "POST",
		path: "/logs",
		run: async ({ onLogs }, { body }) => {
			const { entries } = parseInput(logsSchema, await body());
			onLogs(entries);
			return { accepted: entries.length };
		},
	},
	{
		method: "GET",
		path: "/changes",
		run: async ({ changes }, { query, signal }) => {
			const { cursor, wait } = parseInput(changesQuerySchema, query());
			if (cursor === undefined) return await changes.head();
			if (wait > 0 && changes.waitingCount >= HUB_LIMITS.longPollsMax) {
				throw new HiveError("OVERLOADED", "too many nodes wait for changes", { retry_after_seconds: 1 });
			}
			return await changes.page(cursor, wait, signal);
		},
	},
	{
		method: "GET",
		path: "/topology",
		run: async ({ topology }) => await topology.get(),
	},
	{
		method: "PUT",
		path: "/topology",
		run: async ({ topology }, { body }) => await topology.put(parseInput(topologySchema, await body())),
	},
];

/** What can't be a name was never one: the answer is that of a name never used. */
function tenantId(path: HubCall["path"]): TenantId {
	const id = path.id!;
	if (!TENANT_ID_PATTERN.test(id)) throw tenantNotFound(id);
	return id as TenantId;
}

function apiKeyId(path: HubCall["path"]): ApiKeyId {
	const id = path.id!;
	if (!API_KEY_ID_PATTERN.test(id)) throw new HiveError("KEY_NOT_FOUND", "there is no such API key");
	return id as ApiKeyId;
}

function collectionName(path: HubCall["path"]): CollectionName {
	const name = path.name!;
	if (!COLLECTION_NAME_PATTERN.test(name)) {
		throw new HiveError("COLLECTION_NOT_FOUND", "there is no such collection");
	}
	return name as CollectionName;
}
