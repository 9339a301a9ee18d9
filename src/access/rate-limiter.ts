import type { Clock } from "../base/clock.ts";
import { HiveError } from "../base/errors.ts";
import type { KeyRecord, RateLimits, TenantRecord } from "../hub/models.ts";
import { BucketStore } from "./bucket-store.ts";
import { fullAtAfterTake, remainingTokens, waitMs } from "./token-bucket.ts";

export const MINUTE_MS = 60_000;
export const HOUR_MS = 3_600_000;

/** Buckets of one subject, in this order. MCP calls have a bucket of their own and touch no other. */
const SLOTS = [
	{ name: "requests_per_minute", window: "minute", windowMs: MINUTE_MS },
	{ name: "requests_per_hour", window: "hour", windowMs: HOUR_MS },
	{ name: "mcp_requests_per_minute", window: "minute", windowMs: MINUTE_MS },
] as const;
type Slot = 0 | 1 | 2;
const HTTP_SLOTS: readonly Slot[] = [0, 1];
const MCP_SLOTS: readonly Slot[] = [2];
const slotsOf = (protocol: "rest" | "graphql" | "mcp"): readonly Slot[] =>
	protocol === "mcp" ? MCP_SLOTS : HTTP_SLOTS;

/** undefined: unlimited. */
type LimitOf = (slot: Slot) => number | undefined;

/** Subjects whose buckets are remembered one by one: 100,000 take some 15 MB. */
const SUBJECT_COUNT_MAX = 100_000;

/** The state of the bucket with the fewest tokens left. */
export interface RateLimitFacts {
	readonly limit: number;
	readonly remaining: number;
	/** When the bucket is full again. */
	readonly resetUnixSeconds: number;
}

export interface RateLimitRefusal {
	readonly facts: RateLimitFacts;
	/** RATE_LIMITED; no token was taken. */
	readonly refusal: HiveError;
	readonly retryAfterSeconds: number;
}

/** Without facts where nothing limits the caller. */
export type RateLimitDecision = RateLimitRefusal | { readonly facts?: RateLimitFacts; readonly refusal?: undefined };

/** Who pays: the tenant, or the key when it has limits of its own. */
export interface RateLimitPayer {
	readonly tenant: TenantRecord;
	readonly key?: KeyRecord;
}

export interface BucketUsage {
	readonly used: number;
	/** null: unlimited. */
	readonly limit: number | null;
	readonly reset_in_seconds: number;
}

export interface RateLimitUsage {
	readonly requests_per_minute: BucketUsage;
	readonly requests_per_hour: BucketUsage;
}

/** Token buckets per tenant and window, and per key where the key overrides its tenant's limits. */
export class RateLimiter {
	readonly #clock: Clock;
	readonly #defaults: Partial<RateLimits> | undefined;
	readonly #buckets: BucketStore;

	/** @param defaults for tenants without limits of their own; absent: those are not limited. */
	constructor(clock: Clock, defaults: Partial<RateLimits> | undefined, subjectCountMax = SUBJECT_COUNT_MAX) {
		this.#clock = clock;
		this.#defaults = defaults;
		this.#buckets = new BucketStore(SLOTS.length, subjectCountMax);
	}

	/** Takes one token from every bucket that applies, or from none. */
	take(payer: RateLimitPayer, protocol: "rest" | "graphql" | "mcp"): RateLimitDecision {
		const limitOf = this.#limitsOf(payer);
		if (limitOf === undefined) return {};
		const nowMs = this.#clock.monotonicMs();
		const buckets = this.#buckets.use(subjectOf(payer), nowMs);
		const slots = slotsOf(protocol);

		let longestWaitMs = 0;
		let refusingSlot: Slot | undefined;
		for (const slot of slots) {
			const limit = limitOf(slot);
			if (limit === undefined) continue;
			const slotWaitMs = waitMs(buckets[slot]!, limit, SLOTS[slot].windowMs, nowMs);
			if (slotWaitMs > longestWaitMs) {
				longestWaitMs = slotWaitMs;
				refusingSlot = slot;
			}
		}
		if (refusingSlot !== undefined) {
			const resetUnixMs = this.#clock.nowMs() + Math.max(0, buckets[refusingSlot]! - nowMs);
			return refusalOf(limitOf(refusingSlot)!, SLOTS[refusingSlot].window, resetUnixMs, longestWaitMs);
		}

		for (const slot of slots) {
			const limit = limitOf(slot);
			if (limit === undefined) continue;
			buckets[slot] = fullAtAfterTake(buckets[slot]!, limit, SLOTS[slot].windowMs, nowMs);
		}
		return factsOnly(this.#scarcest(limitOf, slots, buckets, nowMs));
	}

	/** What `take` would tell of the buckets, nothing taken. */
	look(payer: RateLimitPayer, protocol: "rest" | "graphql" | "mcp"): RateLimitFacts | undefined {
		const limitOf = this.#limitsOf(payer);
		if (limitOf === undefined) return undefined;
		const buckets = this.#buckets.peek(subjectOf(payer));
		return this.#scarcest(limitOf, slotsOf(protocol), buckets, this.#clock.monotonicMs());
	}

	#limitsOf(payer: RateLimitPayer): LimitOf | undefined {
		const override = payer.key?.rate_limit_override;
		const tenantLimits = payer.tenant.rate_limits ?? this.#defaults;
		if (tenantLimits === undefined && !override) return undefined;
		return (slot) => override?.[SLOTS[slot].name] ?? tenantLimits?.[SLOTS[slot].name];
	}

	#scarcest(
		limitOf: LimitOf,
		slots: readonly Slot[],
		buckets: Float64Array,
		nowMs: number,
	): RateLimitFacts | undefined {
		let facts: RateLimitFacts | undefined;
		for (const slot of slots) {
			const limit = limitOf(slot);
			if (limit === undefined) continue;
			const fullAtMs = Math.max(buckets[slot]!, nowMs);
			const remaining = remainingTokens(fullAtMs, limit, SLOTS[slot].windowMs, nowMs);
			if (facts === undefined || remaining < facts.remaining) {
				facts = { limit, remaining, resetUnixSeconds: unixSeconds(this.#clock.nowMs() + fullAtMs - nowMs) };
			}
		}
		return facts;
	}

	/** What a tenant has spent, for `/usage`. Takes nothing. */
	usage(tenant: TenantRecord): RateLimitUsage {
		const limits = tenant.rate_limits ?? this.#defaults;
		const buckets = this.#buckets.peek(tenant.id);
		const nowMs = this.#clock.monotonicMs();
		const bucketUsage = (slot: 0 | 1): BucketUsage => {
			const limit = limits?.[SLOTS[slot].name];
			if (limit === undefined) return { used: 0, limit: null, reset_in_seconds: 0 };
			const fullAtMs = buckets[slot]!;
			return {
				used: limit - remainingTokens(fullAtMs, limit, SLOTS[slot].windowMs, nowMs),
				limit,
				reset_in_seconds: Math.ceil(Math.max(0, fullAtMs - nowMs) / 1000),
			};
		};
		return { requests_per_minute: bucketUsage(0), requests_per_hour: bucketUsage(1) };
	}
}

/** A key with limits of its own has buckets of its own. */
const subjectOf = ({ key, tenant }: RateLimitPayer): string => (key?.rate_limit_override ? key.api_key_id : tenant.id);

const factsOnly = (facts: RateLimitFacts | undefined): RateLimitDecision => (facts === undefined ? {} : { facts });

const unixSeconds = (unixMs: number): number => Math.ceil(unixMs / 1000);

export function refusalOf(
	limit: number,
	window: "minute" | "hour",
	resetUnixMs: number,
	untilTokenMs: number,
): RateLimitRefusal {
	const retryAfterSeconds = Math.max(1, Math.ceil(untilTokenMs / 1000));
	const refusal = new HiveError(
		"RATE_LIMITED",
		`more than ${limit} requests per ${window}; retry in ${retryAfterSeconds} s`,
		{
			limit,
			window,
			reset_at: new Date(resetUnixMs).toISOString(),
			retry_after_seconds: retryAfterSeconds,
		},
	);
	return {
		refusal,
		retryAfterSeconds,
		facts: { limit, remaining: 0, resetUnixSeconds: unixSeconds(resetUnixMs) },
	};
}
