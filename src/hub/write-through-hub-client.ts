import { HiveError } from "../base/errors.ts";
import { type ApiKeyId, type CollectionId, hashKey, type TenantId } from "../base/ids.ts";
import type { HubClient } from "./hub-client-types.ts";
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

/** Whoever wants to know what calls to the hub brought to light: the directory. */
export interface HubNews {
	hubAnswered(): void;
	hubFailed(): void;
	/** The feed answered to a cursor; undefined: it was asked where it ends. Said before anybody acts on the page. */
	feedRead(asked: number | undefined, page: ChangePage): void;
	/** The SHA-256 of a key that is cached. */
	hashOf(apiKeyId: ApiKeyId): string | undefined;
	keyMinted(keyHash: string): void;
	keyChanged(keyHash: string, record: KeyRecord): void;
	/** Whichever hash it has. */
	keyRevoked(record: KeyRecord): void;
	/** Changed, and nobody could find out how: it must not serve any more. */
	keyForgotten(keyHash: string): void;
	/** It may have changed: ask before using it again. So for the others. */
	keyUnsure(apiKeyId: ApiKeyId): void;
	tenantChanged(record: TenantRecord): void;
	tenantUnsure(tenantId: TenantId): void;
	tenantDeleted(tenantId: TenantId): void;
	collectionChanged(record: CollectionRecord): void;
	collectionDeleted(tenantId: TenantId, name: string, id: CollectionId): void;
	collectionsUnsure(tenantId: TenantId): void;
}

/**
 * A HubClient that tells what its calls changed before they settle, so that whoever wrote reads what it wrote. A write whose
 * fate is unknown makes the cached record unsure instead.
 */
export class WriteThroughHubClient implements HubClient {
	readonly #client: HubClient;
	readonly #news: HubNews;

	constructor(client: HubClient, news: HubNews) {
		this.#client = client;
		this.#news = news;
	}

	health(): Promise<{ readonly status: "ok"; readonly version: string }> {
		return this.#watch(this.#client.health());
	}

	validateKey(keyHash: string): Promise<KeyLookup | undefined> {
		return this.#watch(this.#client.validateKey(keyHash));
	}

	listTenants(page: {
		limit: number;
		after?: string;
	}): Promise<{ readonly tenants: readonly TenantRecord[]; readonly next: string | null }> {
		return this.#watch(this.#client.listTenants(page));
	}

	async createTenant(tenant: NewTenant): Promise<TenantRecord> {
		const record = await this.#write(this.#client.createTenant(tenant), () => this.#news.tenantUnsure(tenant.id));
		this.#news.tenantChanged(record);
		return record;
	}

	getTenant(tenantId: TenantId): Promise<TenantRecord | undefined> {
		return this.#watch(this.#client.getTenant(tenantId));
	}

	async updateTenant(tenantId: TenantId, patch: TenantPatch): Promise<TenantRecord> {
		const record = await this.#write(this.#client.updateTenant(tenantId, patch), () =>
			this.#news.tenantUnsure(tenantId),
		);
		this.#news.tenantChanged(record);
		return record;
	}

	async deleteTenant(tenantId: TenantId): Promise<void> {
		await this.#write(this.#client.deleteTenant(tenantId), () => {
			this.#news.tenantUnsure(tenantId);
			this.#news.collectionsUnsure(tenantId);
		});
		this.#news.tenantDeleted(tenantId);
	}

	getQuota(tenantId: TenantId): Promise<Quota> {
		return this.#watch(this.#client.getQuota(tenantId));
	}

	async setQuota(tenantId: TenantId, quota: Quota): Promise<Quota> {
		const stored = await this.#write(this.#client.setQuota(tenantId, quota), () => this.#news.tenantUnsure(tenantId));
		await this.#reread(tenantId);
		return stored;
	}

	listKeys(tenantId: TenantId): Promise<readonly KeyRecord[]> {
		return this.#watch(this.#client.listKeys(tenantId));
	}

	async createKey(tenantId: TenantId, key: NewKey): Promise<MintedKey> {
		const minted = await this.#write(this.#client.createKey(tenantId, key), () => this.#news.tenantUnsure(tenantId));
		this.#news.keyMinted(hashKey(minted.api_key));
		this.#news.tenantUnsure(tenantId);
		return minted;
	}

	async rotateKey(apiKeyId: ApiKeyId, graceSeconds: number): Promise<MintedKey> {
		const minted = await this.#write(this.#client.rotateKey(apiKeyId, graceSeconds), () =>
			this.#news.keyUnsure(apiKeyId),
		);
		this.#news.keyUnsure(apiKeyId);
		this.#news.keyMinted(hashKey(minted.api_key));
		this.#news.tenantUnsure(minted.record.tenant_id);
		await this.#rereadKey(apiKeyId);
		return minted;
	}

	async revokeKey(apiKeyId: ApiKeyId): Promise<KeyRecord> {
		const record = await this.#write(this.#client.revokeKey(apiKeyId), () => this.#news.keyUnsure(apiKeyId));
		this.#news.keyRevoked(record);
		this.#news.tenantUnsure(record.tenant_id);
		return record;
	}

	listCollections(tenantId: TenantId): Promise<readonly CollectionRecord[]> {
		return this.#watch(this.#client.listCollections(tenantId));
	}

	async createCollection(tenantId: TenantId, collection: NewCollection): Promise<CollectionRecord> {
		const record = await this.#write(this.#client.createCollection(tenantId, collection), () =>
			this.#news.collectionsUnsure(tenantId),
		);
		this.#news.collectionChanged(record);
		return record;
	}

	async updateCollection(tenantId: TenantId, name: string, patch: CollectionPatch): Promise<CollectionRecord> {
		const record = await this.#write(this.#client.updateCollection(tenantId, name, patch), () =>
			this.#news.collectionsUnsure(tenantId),
		);
		this.#news.collectionChanged(record);
		return record;
	}

	async deleteCollection(tenantId: TenantId, name: string): Promise<CollectionRecord> {
		const record = await this.#write(this.#client.deleteCollection(tenantId, name), () =>
			this.#news.collectionsUnsure(tenantId),
		);
		this.#news.collectionDeleted(tenantId, name, record.id);
		return record;
	}

	reportUsage(report: UsageReport): Promise<void> {
		return this.#watch(this.#client.reportUsage(report));
	}

	sendLogs(entries: readonly Record<string, unknown>[]): Promise<void> {
		return this.#watch(this.#client.sendLogs(entries));
	}

	async changes(cursor: number | undefined, waitSeconds: number, signal: AbortSignal): Promise<ChangePage> {
		// A poll that its owner ended says nothing about the hub.
		const answered = this.#client.changes(cursor, waitSeconds, signal);
		const page = await this.#watch(answered, () => !signal.aborted);
		this.#news.feedRead(cursor, page);
		return page;
	}

	getTopology(): Promise<Topology> {
		return this.#watch(this.#client.getTopology());
	}

	putTopology(topology: Topology): Promise<Topology> {
		return this.#watch(this.#client.putTopology(topology));
	}

	async #write<T>(answered: Promise<T>, unsure: () => void): Promise<T> {
		try {
			return await this.#watch(answered);
		} catch (error) {
			if (isUnavailable(error)) unsure();
			throw error;
		}
	}

	async #watch<T>(answered: Promise<T>, counts: () => boolean = () => true): Promise<T> {
		try {
			const value = await answered;
			this.#news.hubAnswered();
			return value;
		} catch (error) {
			if (counts() && !isOverloaded(error)) {
				if (isUnavailable(error)) this.#news.hubFailed();
				else this.#news.hubAnswered();
			}
			throw error;
		}
	}

	/** The write itself is done: if the hub is gone meanwhile, the next to need the record asks. */
	async #reread(tenantId: TenantId): Promise<void> {
		this.#news.tenantUnsure(tenantId);
		try {
			const record = await this.getTenant(tenantId);
			if (record !== undefined) this.#news.tenantChanged(record);
		} catch (error) {
			if (!isUnavailable(error)) throw error;
		}
	}

	async #rereadKey(apiKeyId: ApiKeyId): Promise<void> {
		const keyHash = this.#news.hashOf(apiKeyId);
		if (keyHash === undefined) return;
		try {
			const found = await this.validateKey(keyHash);
			if (found === undefined) this.#news.keyForgotten(keyHash);
			else this.#news.keyChanged(keyHash, found.key);
		} catch (error) {
			this.#news.keyForgotten(keyHash);
			if (!isUnavailable(error)) throw error;
		}
	}
}

/** It was this node that had too many calls on their way. */
const isOverloaded = (error: unknown): boolean => error instanceof HiveError && error.code === "OVERLOADED";

function isUnavailable(error: unknown): boolean {
	return !(error instanceof HiveError) || error.code === "HUB_UNAVAILABLE";
}
