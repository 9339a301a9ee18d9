import type { Clock } from "../base/clock.ts";
import type { ApiKeyId, CollectionId, TenantId } from "../base/ids.ts";
import { CollectionCache, type CollectionMap } from "./collection-cache.ts";
import { HubAvailability, type LookupOutcome } from "./hub-availability.ts";
import type { HubClient, HubDirectory } from "./hub-client-types.ts";
import { HUB_LIMITS } from "./hub-limits.ts";
import { KeyCache } from "./key-cache.ts";
import type { ChangePage, CollectionRecord, HubChange, KeyLookup, KeyRecord, TenantRecord } from "./models.ts";
import { type KnownChanges, RecentChanges } from "./recent-changes.ts";
import { RecordCache } from "./record-cache.ts";
import type { Question, RecordExchange, SharedList } from "./record-exchange.ts";
import { SharedLookups } from "./shared-lookups.ts";
import { type HubNews, WriteThroughHubClient } from "./write-through-hub-client.ts";

/** How far changes were heard of that end something, kept beyond the process: what was ended stays so after a restart. */
export interface HeardMark {
	/** undefined: there is none yet. */
	load(): number | undefined;
	/** On disk when it returns. Must not throw. */
	save(cursor: number): void;
}

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
	/** Whether the hub is one not to be followed. Then it counts as one that does not answer. */
	readonly isRefused?: () => boolean;
	/** Asked before the hub is. */
	readonly shared?: RecordExchange | undefined;
	/** For a node that hears of changes from others; what it heard of itself its feed knows. */
	readonly heardMark?: HeardMark | undefined;
	/** How long someone with a stale record waits for a fresh one; the default is HUB_LIMITS.staleWaitMs. */
	readonly staleWaitMs?: number;
	readonly onLookup?: (outcome: LookupOutcome) => void;
}

/** The cache of hub records on a node. A record with a higher revision wins, whichever way it came. */
export class CachedHubDirectory implements HubDirectory, HubNews {
	readonly hub: HubClient;
	readonly #clock: Clock;
	readonly #onLookup: (outcome: LookupOutcome) => void;
	readonly #availability: HubAvailability;
	readonly #keys: KeyCache;
	readonly #tenants: RecordCache<TenantId, TenantRecord>;
	readonly #collections: CollectionCache;
	readonly #unknownKeys: RecordCache<string, true>;
	readonly #recent: RecentChanges;
	readonly #isRefused: () => boolean;
	readonly #shared: RecordExchange | undefined;
	readonly #heardMark: HeardMark | undefined;
	#markedTo: number;
	#isMarking = false;
	/** Counts how often the hub went back to an older state. */
	#historyCount = 0;
	readonly #lookups = new SharedLookups();
	#onHubBack: () => void = () => {};
	#onNews: (change: HubChange) => void = () => {};

	constructor(options: HubDirectoryOptions) {
		const { clock, entriesMax } = options;
		const staleMs = options.staleTtlSeconds * 1_000;
		const ttlMs = options.ttlSeconds * 1_000;
		this.#clock = clock;
		this.#onLookup = options.onLookup ?? (() => {});
		const staleWaitMs = options.staleWaitMs ?? HUB_LIMITS.staleWaitMs;
		this.#availability = new HubAvailability({ clock, staleWaitMs, onLookup: this.#onLookup });
		this.#isRefused = options.isRefused ?? (() => false);
		this.#shared = options.shared;
		this.#heardMark = options.heardMark;
		this.#markedTo = options.heardMark?.load() ?? 0;
		this.#recent = new RecentChanges(HUB_LIMITS.recentChangesMax, this.#markedTo);
		this.#tenants = new RecordCache({ entriesMax, ttlMs: options.quotaTtlSeconds * 1_000, staleMs, clock });
		this.#keys = new KeyCache({ entriesMax, ttlMs, staleMs, clock, tenants: this.#tenants });
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
		return this.#availability.connected && !this.#isRefused();
	}

	cachedKey(keyHash: string): KeyLookup | undefined {
		const found = this.#keys.fresh(keyHash);
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
			stale: () => this.#keys.usable(keyHash),
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
			share: this.#shared?.collections === undefined || this.connected ? undefined : () => this.#shareList(tenantId),
			ask: () =>
				this.#lookups.run(
					`collections:${tenantId}`,
					() => this.hub.listCollections(tenantId),
					(found, keep) => this.#collections.settle(tenantId, found, keep),
				),
		});
	}

	/** A tenant's collections, however old, as long as this node may go by them. */
	knownCollections(tenantId: TenantId): SharedList | undefined {
		const known = this.#collections.usable(tenantId);
		return known && { records: [...known.values()], ageMs: this.#collections.ageMs(tenantId) };
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
		this.#take(change);
		this.#onNews(change);
	}

	/** Calls `listener` with what this node's feed told, and with what its own writes changed. */
	onNews(listener: (change: HubChange) => void): void {
		this.#onNews = listener;
	}

	/** Another node tells of a change, in whatever order: nothing it ended comes back, nothing newer goes. */
	heardFromPeer(change: HubChange): void {
		this.#recent.heardFromPeer(change);
		// Up to where the feed was read the hub's own lists know best: they lack what is gone since.
		const isInLists = change.kind === "collection" && change.record !== null && change.cursor <= this.#listedTo;
		if (!isInLists) this.#take(change);
	}

	/** Another node knows these changes, and every one of them was given to `heardFromPeer`. */
	peerKnows(known: KnownChanges): void {
		if (this.#recent.peerKnows(known, this.#clock.monotonicMs())) this.clear();
	}

	/** Changes that were all heard here; undefined: none for sure. */
	knownChanges(): KnownChanges | undefined {
		return this.#recent.known;
	}

	/** Another node noticed that the hub went back to an older state: what is cached may be of a past that never was. */
	peerSawHubGoBack(): void {
		this.#historyCount += 1;
		this.#recent.forget();
		this.#mark(0);
		this.clear();
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
		this.#historyCount += 1;
		this.#mark(page.cursor);
		this.#shared?.hubWentBack();
	}

	hubAnswered(): void {
		if (this.#availability.answered()) this.#onHubBack();
	}

	hubFailed(): void {
		this.#availability.failed();
	}

	hashOf(apiKeyId: ApiKeyId): string | undefined {
		return this.#keys.hashOf(apiKeyId);
	}

	keyMinted(keyHash: string): void {
		this.#lookups.outdate(`key:${keyHash}`);
		this.#unknownKeys.delete(keyHash);
	}

	keyChanged(keyHash: string, record: KeyRecord): void {
		this.#recent.keyWritten(record);
		this.#shared?.keyWritten(keyHash, record);
		const { tenant_id, revision: cursor } = record;
		this.#takeOwn({ kind: "key", cursor, key_hash: keyHash, tenant_id, record });
	}

	keyRevoked(record: KeyRecord): void {
		const keyHash = this.#keys.hashOf(record.api_key_id);
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
		const keyHash = this.#keys.hashOf(apiKeyId);
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
		this.#takeOwn({ kind: "tenant", cursor: record.revision, tenant_id: record.id, record });
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
		const { id: collection_id, tenant_id, name, revision: cursor } = record;
		this.#takeOwn({ kind: "collection", cursor, tenant_id, collection_id, name, record });
	}

	collectionDeleted(tenantId: TenantId, name: string, id: CollectionId): void {
		this.#lookups.outdate(`collections:${tenantId}`);
		this.#collections.deleted(tenantId, name, id);
	}

	collectionsUnsure(tenantId: TenantId): void {
		this.#lookups.outdate(`collections:${tenantId}`);
		this.#collections.expire(tenantId);
	}

	/** A write made here changed it, and the hub told how. The feed will tell of it too, under the cursor that the record has as revision. */
	#takeOwn(change: HubChange): void {
		this.#take(change);
		this.#onNews(change);
	}

	#take(change: HubChange): void {
		if (takesAway(change)) this.#mark(Math.max(this.#markedTo, change.cursor));
		switch (change.kind) {
			case "key":
				if (change.record === null) this.#forgetKey(change.key_hash);
				else this.#amendKey(change.key_hash, change.record);
				return;
			case "tenant":
				if (change.record === null) this.#forgetTenant(change.tenant_id as TenantId, change.cursor);
				else this.#amendTenant(change.record);
				return;
			case "collection":
				if (change.record === null) {
					this.collectionDeleted(change.tenant_id as TenantId, change.name, change.collection_id as CollectionId);
				} else this.#amendCollection(change.record);
				return;
			case "topology":
				return;
		}
	}

	#mark(cursor: number): void {
		if (cursor === this.#markedTo || this.#heardMark === undefined) return;
		this.#markedTo = cursor;
		if (this.#isMarking) return;
		this.#isMarking = true;
		// Once for all that comes of the same page or message.
		queueMicrotask(() => {
			this.#isMarking = false;
			this.#heardMark?.save(this.#markedTo);
		});
	}

	/** Of a collection that changed here or elsewhere; its list is asked for anew if it was just being asked for. */
	#amendCollection(record: CollectionRecord): void {
		this.#lookups.outdate(`collections:${record.tenant_id}`);
		this.#collections.changed(record);
	}

	/** How far lists that are cached hold everything. */
	get #listedTo(): number {
		return this.#recent.readTo ?? Number.POSITIVE_INFINITY;
	}

	#amendKey(keyHash: string, record: KeyRecord): void {
		this.#lookups.outdate(`key:${keyHash}`);
		this.#unknownKeys.delete(keyHash);
		this.#keys.amend(keyHash, record);
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

	/** @param cursor of its end; later ones of its name stay */
	#forgetTenant(tenantId: TenantId, cursor = Number.POSITIVE_INFINITY): void {
		this.#lookups.outdate(`tenant:${tenantId}`);
		this.#lookups.outdate(`collections:${tenantId}`);
		this.#lookups.outdateAll("key:");
		if ((this.#tenants.peek(tenantId)?.revision ?? 0) <= cursor) this.#tenants.delete(tenantId);
		this.#collections.forget(tenantId);
		// The id may be given to another tenant, whom the old one's keys must not reach.
		this.#keys.deleteOfTenant(tenantId, cursor);
	}

	/** Before the feed was read nobody knows whether what others have is new enough. */
	get #isSharing(): boolean {
		return this.#shared !== undefined && this.#recent.readTo !== undefined;
	}

	/** Each record is asked for once, however many wait for it. */
	#shareKey(keyHash: string): Promise<KeyLookup | undefined> {
		return this.#lookups.run(
			`shared key:${keyHash}`,
			async () => {
				const history = this.#historyCount;
				const found = this.#keys.isFresh(keyHash) ? undefined : await this.#shared?.key(keyHash);
				if (
					found !== undefined &&
					history === this.#historyCount &&
					found.ageMs < this.#keys.ageMs(keyHash) &&
					this.#recent.countsKey(keyHash, found) &&
					found.record.revision >= (this.#keys.peek(keyHash)?.revision ?? 0)
				) {
					this.#keys.put(keyHash, found.record, found.ageMs);
				}
				const tenantId = this.#keys.peek(keyHash)?.tenant_id;
				if (tenantId !== undefined) await this.#shareTenant(tenantId);
			},
			() => this.#keys.fresh(keyHash),
		);
	}

	/** As another node knows them, where that is younger than what is known here. */
	async #shareList(tenantId: TenantId): Promise<CollectionMap | undefined> {
		const history = this.#historyCount;
		return await this.#lookups.run(
			`shared collections:${tenantId}`,
			async () => await this.#shared?.collections?.(tenantId),
			(found) => {
				const isYounger = found !== undefined && found.ageMs < this.#collections.ageMs(tenantId);
				if (isYounger && history === this.#historyCount) {
					this.#collections.settle(tenantId, found.records, true, found.ageMs);
				}
				return this.#collections.fresh(tenantId);
			},
		);
	}

	async #shareTenant(tenantId: TenantId): Promise<TenantRecord | undefined> {
		const cached = this.#tenants.fresh(tenantId);
		if (cached !== undefined) return cached;
		const history = this.#historyCount;
		return await this.#lookups.run(
			`shared tenant:${tenantId}`,
			async () => await this.#shared?.tenant(tenantId),
			(found) => {
				if (
					found !== undefined &&
					history === this.#historyCount &&
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
		if (cached !== undefined && cached.revision > newest.revision) return { key: cached, tenant };
		if (keep) {
			this.#keys.put(keyHash, newest, 0);
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
}

/** Whether somebody may do less after it than before. */
function takesAway(change: HubChange): boolean {
	if (change.kind === "key") return change.record?.rotation_status !== "active";
	return change.kind === "tenant" && change.record?.active !== true;
}
