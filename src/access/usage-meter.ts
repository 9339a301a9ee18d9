import type { Clock } from "../base/clock.ts";
import type { ApiKeyId, TenantId } from "../base/ids.ts";

/** Tenants and keys whose last use is remembered after their counts were reported. */
const LAST_USE_COUNT_MAX = 100_000;

export interface TenantCounts {
	readonly requests: number;
	readonly searches: number;
	readonly vectorsWritten: number;
}

export interface MeterReading {
	/** When counting began: the last drain, or the start. */
	readonly sinceMs: number;
	readonly untilMs: number;
	readonly tenants: readonly ({ readonly tenantId: TenantId } & TenantCounts)[];
	readonly keys: readonly { readonly apiKeyId: ApiKeyId; readonly lastUsedAtMs: number }[];
}

interface Counts {
	requests: number;
	searches: number;
	vectorsWritten: number;
}

/** Counts what each tenant did since the last report, and when it and each key were last seen. */
export class UsageMeter {
	readonly #clock: Clock;
	#sinceMs: number;
	#countsByTenant = new Map<TenantId, Counts>();
	#lastUsedMsByKey = new Map<ApiKeyId, number>();
	readonly #lastRequestMsByTenant = new Map<TenantId, number>();

	constructor(clock: Clock) {
		this.#clock = clock;
		this.#sinceMs = clock.nowMs();
	}

	countRequest(tenantId: TenantId, apiKeyId: ApiKeyId | undefined): void {
		const nowMs = this.#clock.nowMs();
		this.#countsOf(tenantId).requests++;
		if (apiKeyId !== undefined) remember(this.#lastUsedMsByKey, apiKeyId, nowMs);
		remember(this.#lastRequestMsByTenant, tenantId, nowMs);
	}

	countSearches(tenantId: TenantId, searchCount: number): void {
		this.#countsOf(tenantId).searches += searchCount;
	}

	countVectorsWritten(tenantId: TenantId, vectorCount: number): void {
		this.#countsOf(tenantId).vectorsWritten += vectorCount;
	}

	/** Unix milliseconds; undefined when the tenant was not seen since this node started. */
	lastRequestMs(tenantId: TenantId): number | undefined {
		return this.#lastRequestMsByTenant.get(tenantId);
	}

	/** Hands over what was counted and starts anew. Whoever drains owns the reading: `putBack` it when it can't be reported. */
	drain(): MeterReading {
		const untilMs = this.#clock.nowMs();
		const reading = {
			sinceMs: this.#sinceMs,
			untilMs,
			tenants: Array.from(this.#countsByTenant, ([tenantId, counts]) => ({ tenantId, ...counts })),
			keys: Array.from(this.#lastUsedMsByKey, ([apiKeyId, lastUsedAtMs]) => ({ apiKeyId, lastUsedAtMs })),
		};
		this.#sinceMs = untilMs;
		this.#countsByTenant = new Map();
		this.#lastUsedMsByKey = new Map();
		return reading;
	}

	/** Adds a drained reading to what was counted since. */
	putBack(reading: MeterReading): void {
		this.#sinceMs = Math.min(this.#sinceMs, reading.sinceMs);
		for (const { tenantId, requests, searches, vectorsWritten } of reading.tenants) {
			const counts = this.#countsOf(tenantId);
			counts.requests += requests;
			counts.searches += searches;
			counts.vectorsWritten += vectorsWritten;
		}
		for (const { apiKeyId, lastUsedAtMs } of reading.keys) {
			if (!this.#lastUsedMsByKey.has(apiKeyId)) remember(this.#lastUsedMsByKey, apiKeyId, lastUsedAtMs);
		}
	}

	#countsOf(tenantId: TenantId): Counts {
		const known = this.#countsByTenant.get(tenantId);
		if (known !== undefined) return known;
		const fresh = { requests: 0, searches: 0, vectorsWritten: 0 };
		this.#countsByTenant.set(tenantId, fresh);
		return fresh;
	}
}

/** The longest unseen goes when the map is full. */
function remember<K>(lastSeenMsByKey: Map<K, number>, key: K, seenMs: number): void {
	lastSeenMsByKey.delete(key);
	lastSeenMsByKey.set(key, seenMs);
	if (lastSeenMsByKey.size > LAST_USE_COUNT_MAX) {
		for (const longestUnseen of lastSeenMsByKey.keys()) {
			lastSeenMsByKey.delete(longestUnseen);
			break;
		}
	}
}
