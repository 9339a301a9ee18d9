import type { Clock } from "../base/clock.ts";
import type { ApiKeyId, CollectionId, TenantId } from "../base/ids.ts";
import { CollectionCache, type CollectionMap } from "./collection-cache.ts";
import { HubAvailability, type LookupOutcome } from "./hub-availability.ts";
import type { HubClient, HubDirectory } from "./hub-client-types.ts";
import { HUB_LIMITS } from "./hub-limits.ts";
import type { ChangePage, CollectionRecord, HubChange, KeyLookup, KeyRecord, TenantRecord } from "./models.ts";
import { RecentChanges } from "./recent-changes.ts";
import { RecordCache } from "./record-cache.ts";
import { SharedLookups } from "./shared-lookups.ts";
import type { Question, SharedRecords } from "./shared-records.ts";
import { type HubNews, WriteThroughHubClient } from "./write-through-hub-client.ts";

export interface HubDirectoryOptions {
	readonly client: HubClient;
	readonly clock: Clock;
	/** Keys and collections. */
	readonly ttlSeconds: number;
	/** Tenants, and with them quotas. */
	readonly quotaTtlSeconds: number;
	/** Past their TTL, for as long as the hub is away. */
	readonly staleTtlSeconds: number;
	/** Of keys, of tenants, and of collections with their tenants. */
	readonly entriesMax: number;
	/** Asked before the hub is. */
	readonly shared?: SharedRecords | undefined;
	/** How long someone with a stale record waits for a fresh one; the default is HUB_LIMITS.staleWaitMs. */
	readonly staleWaitMs?: number;
	readonly onLookup?: (outcome: LookupOutcome) => void;
}

interface CachedKey {
	readonly record: KeyRecord;
	/** Kept so that the fast path allocates nothing; made anew when the tenant's record is another. */
	lookup: KeyLookup | undefined;
}

/** The cache of hub records on a node. A record with a higher revision wins, whichever way it came. */
export class CachedHubDirectory implements HubDirectory, HubNews {
	readonly hub: HubClient;
	readonly #clock: Clock;
	readonly #onLookup: (outcome: LookupOutcome) => void;
	readonly #availability: HubAvailability;
	readonly #keys: RecordCache<string, CachedKey>;
	readonly #hashOfKey = new Map<ApiKeyId, string>();
	readonly #tenants: RecordCache<TenantId, TenantRecord>;
	readonly #collections: CollectionCache;
	readonly #unknownKeys: RecordCache<string, true>;
	readonly #recent = new RecentChanges();
	readonly #shared: SharedRecords | undefined;
	/** As long as any record may be old. */
	readonly #recordMsMax: number;
	readonly #lookups = new SharedLookups();
	#onHubBack: () => void = () => {};
	/** Until then what other nodes had from the hub does not count. */
	#unsharedUntilMs = Number.NEGATIVE_INFINITY;

	constructor(options: HubDirectoryOptions) {
		const { clock, entriesMax } = options;
		const staleMs = options.staleTtlSeconds * 1_000;
		const ttlMs = options.ttlSeconds * 1_000;
		this.#clock = clock;
		this.#onLookup = options.onLookup ?? (() => {});
		const staleWaitMs = options.staleWaitMs ?? HUB_LIMITS.staleWaitMs;
		this.#availability = new HubAvailability({ clock, staleWaitMs, onLookup: this.#onLookup });
		this.#shared = options.shared;
		this.#recordMsMax = Math.max(ttlMs, options.quotaTtlSeconds * 1_000) + staleMs;
		this.#keys = new RecordCache({
			entriesMax,
			ttlMs,
			staleMs,
			clock,
			onDrop: (key) => this.#hashOfKey.delete(key.record.api_key_id),
		});
		this.#tenants = new RecordCache({ entriesMax, ttlMs: options.quotaTtlSeconds * 1_000, staleMs, clock });
		this.#collections = new CollectionCache({ entriesMax, ttlMs, staleMs, clock });
		this.#unknownKeys = new RecordCache({
			entriesMax: HUB_LIMITS.unknownKeysMax,
			ttlMs: HUB_LIMITS.unknownKeySeconds * 1_000,
			staleMs: 0,
			clock,
		});
		this.hub = new WriteThroughHubClient(options.client, this);
	}

	get connected(): boolean {
		return this.#availability.connected;
	}

	cachedKey(keyHash: string): KeyLookup | undefined {
		const found = this.#freshKey(keyHash);
		if (found !== undefined) this.#onLookup("hit");
		return found;
	}

	async lookupKey(keyHash: string): Promise<KeyLookup | undefined> {
		const cached = this.cachedKey(keyHash);
		if (cached !== undefined) return cached;
		if (this.#unknownKeys.fresh(keyHash)) {
			this.#onLookup("unknown");
			return undefined;
		}
		return await this.#availability.refresh({
			stale: () => this.#usableKey(keyHash),
			share: this.#isSharing ? () => this.#shareKey(keyHash) : undefined,
			ask: () => {
				const question = this.#question();
				return this.#lookups.run(
					`key:${keyHash}`,
					() => this.hub.validateKey(keyHash),
					(found, keep) => this.#settleKey(keyHash, found, keep, question),
				);
			},
		});
	}

	async tenant(tenantId: TenantId): Promise<TenantRecord | undefined> {
		const cached = this.#tenants.fresh(tenantId);
		if (cached !== undefined) {
			this.#onLookup("hit");
			return cached;
		}
		return await this.#availability.refresh({
			stale: () => this.#tenants.usable(tenantId)?.value,
			share: this.#isSharing ? () => this.#shareTenant(tenantId) : undefined,
			ask: () => {
				const question = this.#question();
				return this.#lookups.run(
					`tenant:${tenantId}`,
					() => this.hub.getTenant(tenantId),
					(found, keep) => {
						if (found !== undefined) return this.#settleTenant(found, keep, question);
						if (keep) this.#tenants.delete(tenantId);
						return undefined;
					},
				);
			},
		});
	}

	async collections(tenantId: TenantId): Promise<CollectionMap> {
		const cached = this.#collections.fresh(tenantId);
		if (cached !== undefined) {
			this.#onLookup("hit");
			return cached;
		}
		return await this.#availability.refresh({
			stale: () => this.#collections.usable(tenantId),
			ask: () =>
				this.#lookups.run(
					`collections:${tenantId}`,
					() => this.hub.listCollections(tenantId),
					(found, keep) => this.#collections.settle(tenantId, found, keep),
				),
		});
	}

	/** Forgets everything cached: the hub's feed has a gap. */
	clear(): void {
		this.#lookups.outdateAll("");
		this.#keys.clear();
		this.#tenants.clear();
		this.#collections.clear();
		this.#unknownKeys.clear();
	}

	/** Takes note of one change of the feed, in the feed's order. */
	apply(change: HubChange): void {
		this.#recent.heard(change);
		this.#shared?.ended(change);
		switch (change.kind) {
			case "key":
				if (change.record === null) this.#forgetKey(change.key_hash);
				else this.#amendKey(change.key_hash, change.record);
				return;
			case "tenant":
				if (change.record === null) this.#forgetTenant(change.tenant_id as TenantId);
				else this.#amendTenant(change.record);
				return;
			case "collection":
				if (change.record === null) {
					this.collectionDeleted(change.tenant_id as TenantId, change.name, change.collection_id as CollectionId);
				} else this.collectionChanged(change.record);
				return;
			case "topology":
				return;
		}
	}

	/**
	 * Calls `listener` whenever the hub answers after it did not. A poll for changes may be open then on a connection that nobody
	 * answers on any more.
	 */
	whenHubIsBack(listener: () => void): void {
		this.#onHubBack = listener;
	}

	feedRead(asked: number | undefined, page: ChangePage): void {
		if (!this.#recent.pageRead(asked, page)) return;
		// What others have from the time before the hub went back is gone by then.
		this.#unsharedUntilMs = this.#clock.monotonicMs() + this.#recordMsMax;
	}

	hubAnswered(): void {
		if (this.#availability.answered()) this.#onHubBack();
	}

	hubFailed(): void {
		this.#availability.failed();
	}

	hashOf(apiKeyId: ApiKeyId): string | undefined {
		return this.#hashOfKey.get(apiKeyId);
	}

	keyMinted(keyHash: string): void {
		this.#lookups.outdate(`key:${keyHash}`);
		this.#unknownKeys.delete(keyHash);
	}

	keyChanged(keyHash: string, record: KeyRecord): void {
		this.#recent.keyWritten(record);
		this.#shared?.keyWritten(keyHash, record);
		this.#amendKey(keyHash, record);
	}

	keyRevoked(record: KeyRecord): void {
		const keyHash = this.#hashOfKey.get(record.api_key_id);
		if (keyHash === undefined) {
			// Its hash may be among those being asked for.
			this.#lookups.outdateAll("key:");
			this.#recent.keyWritten(record);
		} else this.keyChanged(keyHash, record);
	}

	keyForgotten(keyHash: string): void {
		this.#recent.hashUnsure(keyHash);
		this.#shared?.dropKey(keyHash);
		this.#forgetKey(keyHash);
	}

	keyUnsure(apiKeyId: ApiKeyId): void {
		this.#recent.keyUnsure(apiKeyId);
		const keyHash = this.#hashOfKey.get(apiKeyId);
		if (keyHash === undefined) {
			// Its hash may be among those being asked for.
			this.#lookups.outdateAll("key:");
			return;
		}
		this.#shared?.dropKey(keyHash);
		this.#lookups.outdate(`key:${keyHash}`);
		this.#keys.expire(keyHash);
	}

	tenantChanged(record: TenantRecord): void {
		this.#recent.tenantWritten(record);
		this.#shared?.tenantWritten(record);
		this.#amendTenant(record);
	}

	tenantUnsure(tenantId: TenantId): void {
		this.#recent.tenantUnsure(tenantId);
		this.#shared?.dropTenant(tenantId);
		this.#lookups.outdate(`tenant:${tenantId}`);
		this.#lookups.outdateAll("key:");
		this.#tenants.expire(tenantId);
	}

	tenantDeleted(tenantId: TenantId): void {
		this.#recent.tenantGone(tenantId);
		this.#shared?.dropTenant(tenantId);
		this.#forgetTenant(tenantId);
	}

	collectionChanged(record: CollectionRecord): void {
		this.#lookups.outdate(`collections:${record.tenant_id}`);
		this.#collections.changed(record);
	}

	collectionDeleted(tenantId: TenantId, name: string, id: CollectionId): void {
		this.#lookups.outdate(`collections:${tenantId}`);
		this.#collections.deleted(tenantId, name, id);
	}

	collectionsUnsure(tenantId: TenantId): void {
		this.#lookups.outdate(`collections:${tenantId}`);
		this.#collections.expire(tenantId);
	}

	#amendKey(keyHash: string, record: KeyRecord): void {
		this.#lookups.outdate(`key:${keyHash}`);
		this.#unknownKeys.delete(keyHash);
		const cached = this.#keys.peek(keyHash);
		if (cached === undefined || cached.record.revision > record.revision) return;
		this.#keys.amend(keyHash, { record, lookup: undefined });
		this.#hashOfKey.set(record.api_key_id, keyHash);
	}

	#forgetKey(keyHash: string): void {
		this.#lookups.outdate(`key:${keyHash}`);
		this.#keys.delete(keyHash);
	}

	#amendTenant(record: TenantRecord): void {
		this.#lookups.outdate(`tenant:${record.id}`);
		this.#lookups.outdateAll("key:");
		const cached = this.#tenants.peek(record.id);
		if (cached !== undefined && cached.revision <= record.revision) this.#tenants.amend(record.id, record);
	}

	#forgetTenant(tenantId: TenantId): void {
		this.#lookups.outdate(`tenant:${tenantId}`);
		this.#lookups.outdate(`collections:${tenantId}`);
		this.#lookups.outdateAll("key:");
		this.#tenants.delete(tenantId);
		this.#collections.forget(tenantId);
		// The id may be given to another tenant, whom the old one's keys must not reach.
		this.#keys.deleteWhere((key) => key.record.tenant_id === tenantId);
	}

	#freshKey(keyHash: string): KeyLookup | undefined {
		const key = this.#keys.fresh(keyHash);
		const tenant = key && this.#tenants.fresh(key.record.tenant_id);
		return tenant === undefined ? undefined : lookupOf(key!, tenant);
	}

	#usableKey(keyHash: string): KeyLookup | undefined {
		const key = this.#keys.usable(keyHash)?.value;
		const tenant = key && this.#tenants.usable(key.record.tenant_id)?.value;
		return tenant === undefined ? undefined : lookupOf(key!, tenant);
	}

	/** Before the feed was read nobody knows whether what others have is new enough. */
	get #isSharing(): boolean {
		return (
			this.#shared !== undefined &&
			this.#recent.readTo !== undefined &&
			this.#clock.monotonicMs() >= this.#unsharedUntilMs
		);
	}

	/** Each record is asked for once, however many wait for it. */
	#shareKey(keyHash: string): Promise<KeyLookup | undefined> {
		return this.#lookups.run(
			`shared key:${keyHash}`,
			async () => {
				const found = this.#keys.fresh(keyHash) === undefined ? await this.#shared?.key(keyHash) : undefined;
				if (
					found !== undefined &&
					this.#isSharing &&
					found.ageMs < this.#keys.ageMs(keyHash) &&
					this.#recent.countsKey(keyHash, found) &&
					found.record.revision >= (this.#keys.peek(keyHash)?.record.revision ?? 0)
				) {
					this.#keepKey(keyHash, found.record, found.ageMs);
				}
				const tenantId = this.#keys.peek(keyHash)?.record.tenant_id;
				if (tenantId !== undefined) await this.#shareTenant(tenantId);
			},
			() => this.#freshKey(keyHash),
		);
	}

	async #shareTenant(tenantId: TenantId): Promise<TenantRecord | undefined> {
		const cached = this.#tenants.fresh(tenantId);
		if (cached !== undefined) return cached;
		return await this.#lookups.run(
			`shared tenant:${tenantId}`,
			async () => await this.#shared?.tenant(tenantId),
			(found) => {
				if (
					found !== undefined &&
					this.#isSharing &&
					found.ageMs < this.#tenants.ageMs(tenantId) &&
					this.#recent.countsTenant(found) &&
					found.record.revision >= (this.#tenants.peek(tenantId)?.revision ?? 0)
				) {
					this.#tenants.put(tenantId, found.record, found.ageMs);
				}
				return this.#tenants.fresh(tenantId);
			},
		);
	}

	#question(): Question {
		return { askedAt: this.#recent.readTo, atMs: this.#clock.nowMs() };
	}

	#settleKey(
		keyHash: string,
		answered: KeyLookup | undefined,
		keep: boolean,
		question: Question,
	): KeyLookup | undefined {
		const newest = answered && this.#recent.newestKey(keyHash, answered.key);
		if (answered === undefined || newest === undefined) {
			if (keep) {
				if (this.#keys.peek(keyHash) !== undefined) this.keyForgotten(keyHash);
				this.#unknownKeys.put(keyHash, true);
			}
			return undefined;
		}
		const tenant = this.#settleTenant(answered.tenant, keep, question);
		const cached = this.#keys.peek(keyHash);
		if (cached !== undefined && cached.record.revision > newest.revision) return lookupOf(cached, tenant);
		if (keep) {
			this.#keepKey(keyHash, newest, 0);
			if (newest === answered.key && this.#isSharing) this.#shared?.shareKey(keyHash, newest, question);
		}
		return { key: newest, tenant };
	}

	/** @returns the newest of the hub's record, the cached one, and what was heard of it. */
	#settleTenant(answered: TenantRecord, keep: boolean, question: Question): TenantRecord {
		const newest = this.#recent.newestTenant(answered);
		const cached = this.#tenants.peek(newest.id);
		if (cached !== undefined && cached.revision > newest.revision) return cached;
		if (keep) {
			this.#tenants.put(newest.id, newest);
			if (newest === answered && this.#isSharing) this.#shared?.shareTenant(newest, question);
		}
		return newest;
	}

	#keepKey(keyHash: string, record: KeyRecord, ageMs: number): void {
		this.#keys.put(keyHash, { record, lookup: undefined }, ageMs);
		this.#hashOfKey.set(record.api_key_id, keyHash);
	}
}

function lookupOf(key: CachedKey, tenant: TenantRecord): KeyLookup {
	if (key.lookup?.tenant !== tenant) key.lookup = { key: key.record, tenant };
	return key.lookup;
}
