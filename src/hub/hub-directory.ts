import { LRUCache } from "lru-cache";
import type { Clock } from "../base/clock.ts";
import { HiveError } from "../base/errors.ts";
import type { ApiKeyId, CollectionId, TenantId } from "../base/ids.ts";
import type { HubClient, HubDirectory } from "./hub-client-types.ts";
import { HUB_LIMITS } from "./hub-limits.ts";
import type { CollectionRecord, HubChange, KeyLookup, KeyRecord, TenantRecord } from "./models.ts";
import { RecordCache } from "./record-cache.ts";
import { SharedLookups } from "./shared-lookups.ts";
import { type HubNews, WriteThroughHubClient } from "./write-through-hub-client.ts";

/** What answered a look-up: a fresh record, the hub, a stale record, or the memory that there is no such key. */
export type LookupOutcome = "hit" | "miss" | "stale" | "unknown";

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
	/** How long someone with a stale record waits for a fresh one; the default is HUB_LIMITS.staleWaitMs. */
	readonly staleWaitMs?: number;
	readonly onLookup?: (outcome: LookupOutcome) => void;
}

interface CachedKey {
	readonly record: KeyRecord;
	/** Kept so that the fast path allocates nothing; made anew when the tenant's record is another. */
	lookup: KeyLookup | undefined;
}

type CollectionMap = ReadonlyMap<string, CollectionRecord>;

/** The cache of hub records on a node. A record with a higher revision wins, whichever way it came. */
export class CachedHubDirectory implements HubDirectory, HubNews {
	readonly hub: HubClient;
	readonly #clock: Clock;
	readonly #staleWaitMs: number;
	readonly #onLookup: (outcome: LookupOutcome) => void;
	readonly #keys: RecordCache<string, CachedKey>;
	readonly #hashOfKey = new Map<ApiKeyId, string>();
	readonly #tenants: RecordCache<TenantId, TenantRecord>;
	readonly #collections: RecordCache<TenantId, CollectionMap>;
	readonly #unknownKeys: RecordCache<string, true>;
	/** A change of a collection may come after the news of its end: its id is never used again. */
	readonly #deletedCollections = new LRUCache<CollectionId, true>({ max: HUB_LIMITS.deletedCollectionsMax });
	readonly #lookups = new SharedLookups();
	#connected = false;
	/** Until then whoever has a stale record leaves the hub alone. */
	#restUntilMs = Number.NEGATIVE_INFINITY;

	constructor(options: HubDirectoryOptions) {
		const { clock, entriesMax } = options;
		const staleMs = options.staleTtlSeconds * 1_000;
		const ttlMs = options.ttlSeconds * 1_000;
		this.#clock = clock;
		this.#staleWaitMs = options.staleWaitMs ?? HUB_LIMITS.staleWaitMs;
		this.#onLookup = options.onLookup ?? (() => {});
		this.#keys = new RecordCache({
			entriesMax,
			ttlMs,
			staleMs,
			clock,
			onDrop: (key) => this.#hashOfKey.delete(key.record.api_key_id),
		});
		this.#tenants = new RecordCache({ entriesMax, ttlMs: options.quotaTtlSeconds * 1_000, staleMs, clock });
		this.#collections = new RecordCache({ entriesMax, ttlMs, staleMs, clock, weigh: (map) => map.size + 1 });
		this.#unknownKeys = new RecordCache({
			entriesMax: HUB_LIMITS.unknownKeysMax,
			ttlMs: HUB_LIMITS.unknownKeySeconds * 1_000,
			staleMs: 0,
			clock,
		});
		this.hub = new WriteThroughHubClient(options.client, this);
	}

	get connected(): boolean {
		return this.#connected;
	}

	cachedKey(keyHash: string): KeyLookup | undefined {
		const key = this.#keys.fresh(keyHash);
		if (key === undefined) return undefined;
		const tenant = this.#tenants.fresh(key.record.tenant_id);
		if (tenant === undefined) return undefined;
		this.#onLookup("hit");
		return lookupOf(key, tenant);
	}

	async lookupKey(keyHash: string): Promise<KeyLookup | undefined> {
		const cached = this.cachedKey(keyHash);
		if (cached !== undefined) return cached;
		if (this.#unknownKeys.fresh(keyHash)) {
			this.#onLookup("unknown");
			return undefined;
		}
		return await this.#refresh(
			() => this.#usableKey(keyHash),
			() =>
				this.#lookups.run(
					`key:${keyHash}`,
					() => this.hub.validateKey(keyHash),
					(found, keep) => this.#settleKey(keyHash, found, keep),
				),
		);
	}

	async tenant(tenantId: TenantId): Promise<TenantRecord | undefined> {
		const cached = this.#tenants.fresh(tenantId);
		if (cached !== undefined) {
			this.#onLookup("hit");
			return cached;
		}
		return await this.#refresh(
			() => this.#tenants.usable(tenantId)?.value,
			() =>
				this.#lookups.run(
					`tenant:${tenantId}`,
					() => this.hub.getTenant(tenantId),
					(found, keep) => {
						if (found !== undefined) return this.#settleTenant(found, keep);
						if (keep) this.#tenants.delete(tenantId);
						return undefined;
					},
				),
		);
	}

	async collections(tenantId: TenantId): Promise<CollectionMap> {
		const cached = this.#collections.fresh(tenantId);
		if (cached !== undefined) {
			this.#onLookup("hit");
			return cached;
		}
		return await this.#refresh(
			() => this.#collections.usable(tenantId)?.value,
			() =>
				this.#lookups.run(
					`collections:${tenantId}`,
					() => this.hub.listCollections(tenantId),
					(found, keep) => this.#settleCollections(tenantId, found, keep),
				),
		);
	}

	/** Forgets everything: the hub's feed has a gap. */
	clear(): void {
		this.#lookups.outdateAll("");
		this.#keys.clear();
		this.#tenants.clear();
		this.#collections.clear();
		this.#unknownKeys.clear();
		// After a gap the hub's word stands alone, also where it went back to an older state.
		this.#deletedCollections.clear();
	}

	/** Takes note of one change of the feed, in the feed's order. Only what is cached is touched. */
	apply(change: HubChange): void {
		switch (change.kind) {
			case "key":
				if (change.record === null) this.keyForgotten(change.key_hash);
				else this.keyChanged(change.key_hash, change.record);
				return;
			case "tenant":
				if (change.record === null) this.tenantDeleted(change.tenant_id as TenantId);
				else this.tenantChanged(change.record);
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

	hubAnswered(): void {
		this.#connected = true;
		this.#restUntilMs = Number.NEGATIVE_INFINITY;
	}

	hubFailed(): void {
		this.#connected = false;
		this.#rest();
	}

	hashOf(apiKeyId: ApiKeyId): string | undefined {
		return this.#hashOfKey.get(apiKeyId);
	}

	keyMinted(keyHash: string): void {
		this.#lookups.outdate(`key:${keyHash}`);
		this.#unknownKeys.delete(keyHash);
	}

	keyChanged(keyHash: string, record: KeyRecord): void {
		this.#lookups.outdate(`key:${keyHash}`);
		this.#unknownKeys.delete(keyHash);
		const cached = this.#keys.peek(keyHash);
		if (cached === undefined || cached.record.revision > record.revision) return;
		this.#keys.amend(keyHash, { record, lookup: undefined });
		this.#hashOfKey.set(record.api_key_id, keyHash);
	}

	keyForgotten(keyHash: string): void {
		this.#lookups.outdate(`key:${keyHash}`);
		this.#keys.delete(keyHash);
	}

	keyUnsure(apiKeyId: ApiKeyId): void {
		const keyHash = this.#hashOfKey.get(apiKeyId);
		if (keyHash === undefined) {
			// Its hash may be among those being asked for.
			this.#lookups.outdateAll("key:");
			return;
		}
		this.#lookups.outdate(`key:${keyHash}`);
		this.#keys.expire(keyHash);
	}

	tenantChanged(record: TenantRecord): void {
		this.#lookups.outdate(`tenant:${record.id}`);
		this.#lookups.outdateAll("key:");
		const cached = this.#tenants.peek(record.id);
		if (cached !== undefined && cached.revision <= record.revision) this.#tenants.amend(record.id, record);
	}

	tenantUnsure(tenantId: TenantId): void {
		this.#lookups.outdate(`tenant:${tenantId}`);
		this.#lookups.outdateAll("key:");
		this.#tenants.expire(tenantId);
	}

	tenantDeleted(tenantId: TenantId): void {
		this.#lookups.outdate(`tenant:${tenantId}`);
		this.#lookups.outdate(`collections:${tenantId}`);
		this.#lookups.outdateAll("key:");
		this.#tenants.delete(tenantId);
		this.#collections.delete(tenantId);
		// The id may be given to another tenant, whom the old one's keys must not reach.
		this.#keys.deleteWhere((key) => key.record.tenant_id === tenantId);
	}

	collectionChanged(record: CollectionRecord): void {
		this.#lookups.outdate(`collections:${record.tenant_id}`);
		const cached = this.#collections.peek(record.tenant_id);
		if (cached === undefined || this.#deletedCollections.has(record.id)) return;
		const known = cached.get(record.name);
		if (known !== undefined && known.revision > record.revision) return;
		this.#collections.amend(record.tenant_id, new Map(cached).set(record.name, record));
	}

	collectionDeleted(tenantId: TenantId, name: string, id: CollectionId): void {
		this.#deletedCollections.set(id, true);
		this.#lookups.outdate(`collections:${tenantId}`);
		const cached = this.#collections.peek(tenantId);
		if (cached?.get(name)?.id !== id) return;
		const remaining = new Map(cached);
		remaining.delete(name);
		this.#collections.amend(tenantId, remaining);
	}

	collectionsUnsure(tenantId: TenantId): void {
		this.#lookups.outdate(`collections:${tenantId}`);
		this.#collections.expire(tenantId);
	}

	/** Asks the hub; a stale record steps in when the hub is away or takes its time. */
	async #refresh<T>(stale: () => T | undefined, ask: () => Promise<T>): Promise<T> {
		const resting = this.#clock.monotonicMs() < this.#restUntilMs;
		const standIn = stale();
		if (standIn === undefined) {
			this.#onLookup("miss");
			return await ask();
		}
		if (resting) {
			this.#onLookup("stale");
			return standIn;
		}
		const { promise: waited, resolve: stopWaiting } = Promise.withResolvers<"waited">();
		const timer = setTimeout(() => stopWaiting("waited"), this.#staleWaitMs);
		let failure: unknown;
		try {
			const answered = await Promise.race([ask().then((value) => ({ value })), waited]);
			if (answered !== "waited") {
				this.#onLookup("miss");
				return answered.value;
			}
			this.#rest();
		} catch (error) {
			if (!isAway(error)) throw error;
			failure = error;
		} finally {
			clearTimeout(timer);
		}
		// Asked again: while we waited the record may have been changed, deleted, or grown too old.
		const serving = stale();
		if (serving === undefined) {
			throw new HiveError("HUB_UNAVAILABLE", "the hub does not answer", undefined, { cause: failure });
		}
		this.#onLookup("stale");
		return serving;
	}

	#rest(): void {
		this.#restUntilMs = this.#clock.monotonicMs() + HUB_LIMITS.hubRestMs;
	}

	#usableKey(keyHash: string): KeyLookup | undefined {
		const key = this.#keys.usable(keyHash)?.value;
		const tenant = key && this.#tenants.usable(key.record.tenant_id)?.value;
		return tenant === undefined ? undefined : lookupOf(key!, tenant);
	}

	#settleKey(keyHash: string, found: KeyLookup | undefined, keep: boolean): KeyLookup | undefined {
		if (found === undefined) {
			if (keep) {
				this.keyForgotten(keyHash);
				this.#unknownKeys.put(keyHash, true);
			}
			return undefined;
		}
		const tenant = this.#settleTenant(found.tenant, keep);
		const cached = this.#keys.peek(keyHash);
		if (cached !== undefined && cached.record.revision > found.key.revision) return lookupOf(cached, tenant);
		if (keep) {
			this.#keys.put(keyHash, { record: found.key, lookup: undefined });
			this.#hashOfKey.set(found.key.api_key_id, keyHash);
		}
		return { key: found.key, tenant };
	}

	/** @returns the newer of the hub's record and the cached one. */
	#settleTenant(found: TenantRecord, keep: boolean): TenantRecord {
		const cached = this.#tenants.peek(found.id);
		if (cached !== undefined && cached.revision > found.revision) return cached;
		if (keep) this.#tenants.put(found.id, found);
		return found;
	}

	#settleCollections(tenantId: TenantId, found: readonly CollectionRecord[], keep: boolean): CollectionMap {
		const cached = this.#collections.peek(tenantId);
		const map = new Map<string, CollectionRecord>();
		for (const record of found) {
			if (this.#deletedCollections.has(record.id)) continue;
			const known = cached?.get(record.name);
			map.set(record.name, known !== undefined && known.revision > record.revision ? known : record);
		}
		if (keep) this.#collections.put(tenantId, map);
		return map;
	}
}

function lookupOf(key: CachedKey, tenant: TenantRecord): KeyLookup {
	if (key.lookup?.tenant !== tenant) key.lookup = { key: key.record, tenant };
	return key.lookup;
}

/** The hub can't be asked, for whatever reason: what a stale record is for. */
const isAway = (error: unknown): boolean =>
	error instanceof HiveError && (error.code === "HUB_UNAVAILABLE" || error.code === "OVERLOADED");
