import type { ApiKeyId, TenantId } from "../base/ids.ts";
import type {
	ChangePage,
	CollectionPatch,
	CollectionRecord,
	KeyLookup,
	KeyRecord,
	MintedKey,
	NewCollection,
	NewKey,
	NewTenant,
	Quota,
	TenantPatch,
	TenantRecord,
	Topology,
	UsageReport,
} from "./models.ts";

/**
 * HiveHub as a node sees it. One implementation speaks HTTP; the embedded hub is reached through the same client, its
 * transport being a function call instead of a socket.
 *
 * Every method throws HUB_UNAVAILABLE when the hub does not answer in time, and the hub's own code otherwise
 * (TENANT_NOT_FOUND, TENANT_EXISTS, COLLECTION_EXISTS, KEY_NOT_FOUND, CONFLICT, QUOTA_EXCEEDED, VALIDATION_FAILED …).
 */
export interface HubClient {
	health(): Promise<{ readonly status: "ok"; readonly version: string }>;
	/** undefined: no such key. */
	validateKey(keyHash: string): Promise<KeyLookup | undefined>;

	listTenants(page: {
		limit: number;
		after?: string;
	}): Promise<{ readonly tenants: readonly TenantRecord[]; readonly next: string | null }>;
	createTenant(tenant: NewTenant): Promise<TenantRecord>;
	getTenant(tenantId: TenantId): Promise<TenantRecord | undefined>;
	updateTenant(tenantId: TenantId, patch: TenantPatch): Promise<TenantRecord>;
	/** Its keys and collection names go with it. */
	deleteTenant(tenantId: TenantId): Promise<void>;
	getQuota(tenantId: TenantId): Promise<Quota>;
	setQuota(tenantId: TenantId, quota: Quota): Promise<Quota>;

	listKeys(tenantId: TenantId): Promise<readonly KeyRecord[]>;
	createKey(tenantId: TenantId, key: NewKey): Promise<MintedKey>;
	/** The old key works on for `graceSeconds`, marked deprecated. */
	rotateKey(apiKeyId: ApiKeyId, graceSeconds: number): Promise<MintedKey>;
	revokeKey(apiKeyId: ApiKeyId): Promise<KeyRecord>;

	listCollections(tenantId: TenantId): Promise<readonly CollectionRecord[]>;
	/** The hub decides names and counts: COLLECTION_EXISTS, or QUOTA_EXCEEDED past `max_collections`. */
	createCollection(tenantId: TenantId, collection: NewCollection): Promise<CollectionRecord>;
	updateCollection(tenantId: TenantId, name: string, patch: CollectionPatch): Promise<CollectionRecord>;
	deleteCollection(tenantId: TenantId, name: string): Promise<CollectionRecord>;

	reportUsage(report: UsageReport): Promise<void>;
	sendLogs(entries: readonly Record<string, unknown>[]): Promise<void>;
	/** Waits up to `waitSeconds` for something after `cursor`; an empty page when nothing came. `cursor` undefined: from now. */
	changes(cursor: number | undefined, waitSeconds: number, signal: AbortSignal): Promise<ChangePage>;
	getTopology(): Promise<Topology>;
	/** Compare-and-set: CONFLICT when the hub's version is not `topology.version - 1`. */
	putTopology(topology: Topology): Promise<Topology>;
}

/** What the rest of a node asks: answers from the cache, asks the hub on a miss, drops what a change or its age made stale. */
export interface HubDirectory {
	/** undefined: no such key. HUB_UNAVAILABLE: unknown here and the hub is away. */
	lookupKey(keyHash: string): Promise<KeyLookup | undefined>;
	/** Synchronous fast path: a fresh cached lookup, or undefined when one must ask. */
	cachedKey(keyHash: string): KeyLookup | undefined;
	tenant(tenantId: TenantId): Promise<TenantRecord | undefined>;
	/** By name. */
	collections(tenantId: TenantId): Promise<ReadonlyMap<string, CollectionRecord>>;
	/** For what must reach the hub. What it changes is in the cache when the promise settles. */
	readonly hub: HubClient;
	/** True while the hub answered last time. */
	readonly connected: boolean;
}
