import type { TenantId } from "../base/ids.ts";
import { recentMap } from "../base/recent-map.ts";
import type { TenantUsage } from "../cluster/tenant-types.ts";

const TENANT_COUNT_MAX = 100_000;

/** What answers say of a tenant's storage: fresh after work was done, from memory when a request was turned away. */
export class StorageFacts {
	readonly #usedBytesByTenant = recentMap<TenantId, number>(TENANT_COUNT_MAX);

	/**
	 * @param isFresh asks for the present state; else what was last known suffices, and only a tenant never seen is asked for.
	 * @returns bytes; undefined when they can't be told now.
	 */
	async usedBytes(
		tenantId: TenantId,
		readUsage: () => Promise<TenantUsage>,
		isFresh: boolean,
	): Promise<number | undefined> {
		const known = isFresh ? undefined : this.#usedBytesByTenant.get(tenantId);
		if (known !== undefined) return known;
		try {
			const { storageBytes } = await readUsage();
			this.#usedBytesByTenant.set(tenantId, storageBytes);
			return storageBytes;
		} catch {
			// The request's own answer matters more than this header; whatever is wrong shows in operations on the data.
			return this.#usedBytesByTenant.get(tenantId);
		}
	}
}
