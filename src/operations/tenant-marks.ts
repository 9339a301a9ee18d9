import type { Clock } from "../base/clock.ts";
import type { TenantId } from "../base/ids.ts";
import { recentMap } from "../base/recent-map.ts";
import type { TenantSource } from "../cluster/tenant-types.ts";
import type { HubDirectory } from "../hub/hub-client-types.ts";

/** Tenants that somebody watches: as many as there can be connections. */
const TENANT_COUNT_MAX = 10_000;
/** Watchers of one tenant that look at about the same time share one look. */
const FRESH_MS = 250;

interface Look {
	readonly mark: Promise<string>;
	readonly atMs: number;
}

export interface TenantMarksParts {
	readonly tenants: TenantSource;
	readonly directory: Pick<HubDirectory, "tenant">;
	readonly clock: Clock;
}

/**
 * A text a tenant that is another one once its record, its collections or what they hold have changed. For whoever has to
 * know when an operation is worth running again; what changed only the operation tells.
 */
export class TenantMarks {
	readonly #parts: TenantMarksParts;
	readonly #looks = recentMap<TenantId, Look>(TENANT_COUNT_MAX);

	constructor(parts: TenantMarksParts) {
		this.#parts = parts;
	}

	/** @throws HUB_UNAVAILABLE, NO_QUORUM */
	async of(tenantId: TenantId): Promise<string> {
		const nowMs = this.#parts.clock.monotonicMs();
		const known = this.#looks.get(tenantId);
		if (known !== undefined && nowMs - known.atMs < FRESH_MS) return await known.mark;
		const mark = this.#look(tenantId);
		this.#looks.set(tenantId, { mark, atMs: nowMs });
		return await mark;
	}

	async #look(tenantId: TenantId): Promise<string> {
		const { tenants, directory } = this.#parts;
		const tenant = tenants.tenant(tenantId);
		const [record, collections, usage] = await Promise.all([
			directory.tenant(tenantId),
			tenant.listCollections(),
			tenant.recentUsage(),
		]);
		return JSON.stringify([
			record?.revision,
			collections.map(({ id, revision }) => [id, revision]),
			usage.storageBytes,
			usage.vectorCount,
		]);
	}
}
