import type { Clock } from "../../src/base/clock.ts";
import { HiveError } from "../../src/base/errors.ts";
import { hashKey, newApiKey, newApiKeyId, SYSTEM_TENANT, systemRandom, type TenantId } from "../../src/base/ids.ts";
import type { HubClient, HubDirectory } from "../../src/hub/hub-client-types.ts";
import type { KeyRecord, TenantRecord } from "../../src/hub/models.ts";

export const START_MS = Date.parse("2030-01-01T00:00:00Z");

/** Stands until told to go on; its wall clock can jump alone. */
export class FakeClock implements Clock {
	wallMs = START_MS;
	elapsedMs = 5_000;

	nowMs(): number {
		return this.wallMs;
	}

	monotonicMs(): number {
		return this.elapsedMs;
	}

	advance(ms: number): void {
		this.wallMs += ms;
		this.elapsedMs += ms;
	}
}

export const tenantId = (id: string): TenantId => id as TenantId;

export function tenantRecord(id: string, changes: Partial<TenantRecord> = {}): TenantRecord {
	return {
		id: tenantId(id),
		name: id,
		active: true,
		quota: { max_storage_bytes: null, max_vectors: null, max_collections: null },
		rate_limits: null,
		metadata: {},
		created_at: new Date(START_MS).toISOString(),
		api_keys_count: 1,
		revision: 1,
		...changes,
	};
}

export function keyRecord(owner: string, changes: Partial<KeyRecord> = {}): KeyRecord {
	return {
		api_key_id: newApiKeyId(systemRandom),
		tenant_id: tenantId(owner),
		name: "app",
		permissions: ["READ_WRITE"],
		created_at: new Date(START_MS).toISOString(),
		expires_at: null,
		last_used_at: null,
		rotation_status: "active",
		rate_limit_override: null,
		allowed_ips: null,
		signing_required: false,
		signing_public_key: null,
		revision: 1,
		...changes,
	};
}

/** What a node knows of its hub, in memory; counts what it is asked and can be away. */
export class MemoryDirectory implements HubDirectory {
	readonly hub = {} as HubClient;
	connected = true;
	/** Whether looked-up keys answer at once the next time. */
	isCaching = true;
	isAway = false;
	readonly asked: string[] = [];
	readonly tenants = new Map<string, TenantRecord>();
	readonly #keys = new Map<string, KeyRecord>();
	readonly #cached = new Set<string>();

	constructor() {
		this.tenants.set(SYSTEM_TENANT, tenantRecord(SYSTEM_TENANT));
	}

	/** @returns the key to present. */
	addKey(owner: string, changes: Partial<KeyRecord> = {}): string {
		const apiKey = newApiKey(systemRandom, "live");
		this.#keys.set(hashKey(apiKey), keyRecord(owner, changes));
		if (!this.tenants.has(owner)) this.tenants.set(owner, tenantRecord(owner));
		return apiKey;
	}

	changeKey(apiKey: string, changes: Partial<KeyRecord>): void {
		const keyHash = hashKey(apiKey);
		this.#keys.set(keyHash, { ...this.#keys.get(keyHash)!, ...changes });
	}

	/** As when every cached record is past its time. */
	forgetCached(): void {
		this.#cached.clear();
	}

	cachedKey(keyHash: string) {
		return this.#cached.has(keyHash) ? this.#find(keyHash) : undefined;
	}

	async lookupKey(keyHash: string) {
		this.asked.push(`key ${keyHash}`);
		this.#requireHub();
		const found = this.#find(keyHash);
		if (found !== undefined && this.isCaching) this.#cached.add(keyHash);
		return found;
	}

	async tenant(id: TenantId) {
		this.asked.push(`tenant ${id}`);
		this.#requireHub();
		return this.tenants.get(id);
	}

	async collections() {
		this.#requireHub();
		return new Map();
	}

	#find(keyHash: string) {
		const key = this.#keys.get(keyHash);
		const tenant = key && this.tenants.get(key.tenant_id);
		return key && tenant && { key, tenant };
	}

	#requireHub(): void {
		if (this.isAway) throw new HiveError("HUB_UNAVAILABLE", "the hub is away");
	}
}

/** The error that a call, at once or later, throws. */
export async function errorOf(call: () => unknown): Promise<HiveError> {
	try {
		await call();
	} catch (error) {
		if (error instanceof HiveError) return error;
		throw error;
	}
	throw new Error("nothing was thrown");
}
