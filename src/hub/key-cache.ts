import type { Clock } from "../base/clock.ts";
import type { ApiKeyId, TenantId } from "../base/ids.ts";
import type { KeyLookup, KeyRecord, TenantRecord } from "./models.ts";
import { RecordCache } from "./record-cache.ts";

export interface KeyCacheOptions {
	readonly entriesMax: number;
	readonly ttlMs: number;
	/** Past the TTL. */
	readonly staleMs: number;
	readonly clock: Clock;
	readonly tenants: Pick<RecordCache<TenantId, TenantRecord>, "fresh" | "usable">;
}

interface CachedKey {
	readonly record: KeyRecord;
	/** Kept so that the fast path allocates nothing; made anew when the tenant's record is another. */
	lookup: KeyLookup | undefined;
}

/** Keys by their hashes. One is found together with its tenant or not at all. */
export class KeyCache {
	readonly #keys: RecordCache<string, CachedKey>;
	readonly #hashOfKey = new Map<ApiKeyId, string>();
	readonly #tenants: KeyCacheOptions["tenants"];

	constructor({ tenants, ...options }: KeyCacheOptions) {
		this.#tenants = tenants;
		this.#keys = new RecordCache({ ...options, onDrop: ({ record }) => this.#hashOfKey.delete(record.api_key_id) });
	}

	fresh(keyHash: string): KeyLookup | undefined {
		const key = this.#keys.fresh(keyHash);
		const tenant = key && this.#tenants.fresh(key.record.tenant_id);
		return tenant === undefined ? undefined : lookupOf(key!, tenant);
	}

	usable(keyHash: string): KeyLookup | undefined {
		const key = this.#keys.usable(keyHash)?.value;
		const tenant = key && this.#tenants.usable(key.record.tenant_id)?.value;
		return tenant === undefined ? undefined : lookupOf(key!, tenant);
	}

	/** Whether the key is fresh, whatever its tenant is. */
	isFresh(keyHash: string): boolean {
		return this.#keys.fresh(keyHash) !== undefined;
	}

	/** Whatever its age. */
	peek(keyHash: string): KeyRecord | undefined {
		return this.#keys.peek(keyHash)?.record;
	}

	/** See `RecordCache.ageMs`. */
	ageMs(keyHash: string): number {
		return this.#keys.ageMs(keyHash);
	}

	hashOf(apiKeyId: ApiKeyId): string | undefined {
		return this.#hashOfKey.get(apiKeyId);
	}

	/** The hub gave this record so many milliseconds ago. */
	put(keyHash: string, record: KeyRecord, ageMs: number): void {
		this.#keys.put(keyHash, { record, lookup: undefined }, ageMs);
		this.#hashOfKey.set(record.api_key_id, keyHash);
	}

	/** A change in passing of what is cached. */
	amend(keyHash: string, record: KeyRecord): void {
		const cached = this.#keys.peek(keyHash);
		if (cached === undefined || cached.record.revision > record.revision) return;
		this.#keys.amend(keyHash, { record, lookup: undefined });
		this.#hashOfKey.set(record.api_key_id, keyHash);
	}

	expire(keyHash: string): void {
		this.#keys.expire(keyHash);
	}

	delete(keyHash: string): void {
		this.#keys.delete(keyHash);
	}

	/** @param cursor of the tenant's end; keys of a later one of its name stay */
	deleteOfTenant(tenantId: TenantId, cursor: number): void {
		this.#keys.deleteWhere(({ record }) => record.tenant_id === tenantId && record.revision <= cursor);
	}

	clear(): void {
		this.#keys.clear();
	}
}

function lookupOf(key: CachedKey, tenant: TenantRecord): KeyLookup {
	if (key.lookup?.tenant !== tenant) key.lookup = { key: key.record, tenant };
	return key.lookup;
}
