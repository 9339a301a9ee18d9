import type { CollectionId, TenantId } from "../base/ids.ts";
import { recentMap } from "../base/recent-map.ts";
import { HUB_LIMITS } from "./hub-limits.ts";
import type { CollectionRecord } from "./models.ts";
import { RecordCache, type RecordCacheOptions } from "./record-cache.ts";

/** A tenant's collections by name. */
export type CollectionMap = ReadonlyMap<string, CollectionRecord>;

/** The collections of tenants, each tenant's whole. A map that was given out never changes: a change makes another. */
export class CollectionCache {
	readonly #tenants: RecordCache<TenantId, CollectionMap>;
	/** A change of a collection may come after the news of its end: its id is never used again. */
	readonly #deleted = recentMap<CollectionId, true>(HUB_LIMITS.deletedCollectionsMax);

	/** A tenant counts as one entry and one more for each of its collections. */
	constructor(options: Omit<RecordCacheOptions<TenantId, CollectionMap>, "weigh" | "onDrop">) {
		this.#tenants = new RecordCache({ ...options, weigh: (map) => map.size + 1 });
	}

	fresh(tenantId: TenantId): CollectionMap | undefined {
		return this.#tenants.fresh(tenantId);
	}

	usable(tenantId: TenantId): CollectionMap | undefined {
		return this.#tenants.usable(tenantId)?.value;
	}

	/** How long ago the hub listed them; Infinity: nothing is cached. */
	ageMs(tenantId: TenantId): number {
		return this.#tenants.ageMs(tenantId);
	}

	/**
	 * The hub listed these.
	 *
	 * @param keep  whether the list may be cached.
	 * @param ageMs since the hub did; none: just now.
	 * @returns them without those that are known to be gone, each as new as it is known.
	 */
	settle(tenantId: TenantId, found: readonly CollectionRecord[], keep: boolean, ageMs = 0): CollectionMap {
		const cached = this.#tenants.peek(tenantId);
		const map = new Map<string, CollectionRecord>();
		for (const record of found) {
			if (this.#deleted.has(record.id)) continue;
			const known = cached?.get(record.name);
			map.set(record.name, known !== undefined && known.revision > record.revision ? known : record);
		}
		if (keep) this.#tenants.put(tenantId, map, ageMs);
		return map;
	}

	changed(record: CollectionRecord): void {
		const cached = this.#tenants.peek(record.tenant_id);
		if (cached === undefined || this.#deleted.has(record.id)) return;
		const known = cached.get(record.name);
		if (known !== undefined && known.revision > record.revision) return;
		this.#tenants.amend(record.tenant_id, new Map(cached).set(record.name, record));
	}

	deleted(tenantId: TenantId, name: string, id: CollectionId): void {
		this.#deleted.set(id, true);
		const cached = this.#tenants.peek(tenantId);
		if (cached?.get(name)?.id !== id) return;
		const remaining = new Map(cached);
		remaining.delete(name);
		this.#tenants.amend(tenantId, remaining);
	}

	expire(tenantId: TenantId): void {
		this.#tenants.expire(tenantId);
	}

	forget(tenantId: TenantId): void {
		this.#tenants.delete(tenantId);
	}

	/** Also what is known to be gone: after a gap the hub's word stands alone, also where it went back to an older state. */
	clear(): void {
		this.#tenants.clear();
		this.#deleted.clear();
	}
}
