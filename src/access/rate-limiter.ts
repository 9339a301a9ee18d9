import type { Clock } from "../base/clock.ts";
import { HiveError } from "../base/errors.ts";
import type { TenantId } from "../base/ids.ts";
import type { KeyRecord, RateLimits, TenantRecord } from "../hub/models.ts";
import { BUCKET_KINDS, type BucketIndex } from "./bucket-kinds.ts";
import { type BucketArchive, BucketStore } from "./bucket-store.ts";
import { keySubject } from "./subject-slots.ts";
import { fullAtAfterTake, fullAtUnderLimit, remainingTokens, waitMs } from "./token-bucket.ts";

const HTTP_BUCKETS: readonly BucketIndex[] = [0, 1];
const MCP_BUCKETS: readonly BucketIndex[] = [2];
const bucketsFor = (protocol: "rest" | "graphql" | "mcp"): readonly BucketIndex[] =>
	protocol === "mcp" ? MCP_BUCKETS : HTTP_BUCKETS;

/** undefined: unlimited. */
type LimitOf = (index: BucketIndex) => number | undefined;

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

/** What the limiter needs of where buckets are kept. */
export type SpentTokens = BucketArchive & {
	/** Brings to disk what changed of a subject. */
	settle(subject: string): void;
};

/** Token buckets per tenant and window, and per key where the key overrides its tenant's limits. */
export class RateLimiter {
	readonly #clock: Clock;
	readonly #defaults: Partial<RateLimits> | undefined;
	readonly #spent: SpentTokens | undefined;
	readonly #store: BucketStore;

	/**
	 * @param defaults for tenants without limits of their own; absent: those are not limited.
	 * @param spent where spent tokens outlive the process; absent: they don't.
	 */
	constructor(
		clock: Clock,
		defaults: Partial<RateLimits> | undefined,
		spent?: SpentTokens,
		subjectCountMax = SUBJECT_COUNT_MAX,
	) {
		this.#clock = clock;
		this.#defaults = defaults;
		this.#spent = spent;
		this.#store = new BucketStore(BUCKET_KINDS.length, subjectCountMax, spent);
	}

	/** Takes one token from every bucket that applies, or from none. To be settled before the request is answered. */
	take(payer: RateLimitPayer, protocol: "rest" | "graphql" | "mcp"): RateLimitDecision {
		const limitOf = this.#limitsOf(payer);
		if (limitOf === undefined) return {};
		const nowMs = this.#clock.monotonicMs();
		const subject = subjectOf(payer);
		const buckets = this.#store.use(subject, nowMs);
		const indexes = bucketsFor(protocol);

		let longestWaitMs = 0;
		let refusing: BucketIndex | undefined;
		let isChanged = false;
		for (const index of indexes) {
			const limit = limitOf(index);
			if (limit === undefined) continue;
			if (reckonUnder(buckets, index, limit, nowMs)) isChanged = true;
			const bucketWaitMs = waitMs(buckets[index]!, limit, windowMsOf(index), nowMs);
			if (bucketWaitMs > longestWaitMs) {
				longestWaitMs = bucketWaitMs;
				refusing = index;
			}
		}
		if (refusing !== undefined) {
			if (isChanged) this.#store.keep(subject, buckets);
			const resetUnixMs = this.#clock.nowMs() + Math.max(0, buckets[refusing]! - nowMs);
			return refusalOf(limitOf(refusing)!, BUCKET_KINDS[refusing].window, resetUnixMs, longestWaitMs);
		}

		for (const index of indexes) {
			const limit = limitOf(index);
			if (limit === undefined) continue;
			buckets[index] = fullAtAfterTake(buckets[index]!, limit, windowMsOf(index), nowMs);
		}
		this.#store.keep(subject, buckets);
		return factsOnly(this.#scarcest(limitOf, indexes, buckets, nowMs));
	}

	/** Brings to disk what the payer has spent. */
	settle(payer: RateLimitPayer): void {
		this.#spent?.settle(subjectOf(payer));
	}

	/** What `take` would tell of the buckets, nothing taken. */
	look(payer: RateLimitPayer, protocol: "rest" | "graphql" | "mcp"): RateLimitFacts | undefined {
		const limitOf = this.#limitsOf(payer);
		if (limitOf === undefined) return undefined;
		const buckets = this.#store.peek(subjectOf(payer));
		return this.#scarcest(limitOf, bucketsFor(protocol), buckets, this.#clock.monotonicMs());
	}

	/** The tenant is gone: another of its name starts with full buckets. */
	forgetTenant(tenantId: TenantId): void {
		this.#store.forget(tenantId);
	}

	#limitsOf(payer: RateLimitPayer): LimitOf | undefined {
		const override = payer.key?.rate_limit_override;
		const tenantLimits = payer.tenant.rate_limits ?? this.#defaults;
		if (tenantLimits === undefined && !override) return undefined;
		return (index) => override?.[BUCKET_KINDS[index].name] ?? tenantLimits?.[BUCKET_KINDS[index].name];
	}

	#scarcest(
		limitOf: LimitOf,
		indexes: readonly BucketIndex[],
		buckets: Float64Array,
		nowMs: number,
	): RateLimitFacts | undefined {
		let facts: RateLimitFacts | undefined;
		for (const index of indexes) {
			const limit = limitOf(index);
			if (limit === undefined) continue;
			const fullAtMs = Math.max(fullAtOf(buckets, index, limit, nowMs), nowMs);
			const remaining = remainingTokens(fullAtMs, limit, windowMsOf(index), nowMs);
			if (facts === undefined || remaining < facts.remaining) {
				facts = { limit, remaining, resetUnixSeconds: unixSeconds(this.#clock.nowMs() + fullAtMs - nowMs) };
			}
		}
		return facts;
	}

	/** What a tenant has spent, for `/usage`. Takes nothing. */
	usage(tenant: TenantRecord): RateLimitUsage {
		const limits = tenant.rate_limits ?? this.#defaults;
		const buckets = this.#store.peek(tenant.id);
		const nowMs = this.#clock.monotonicMs();
		const bucketUsage = (index: 0 | 1): BucketUsage => {
			const limit = limits?.[BUCKET_KINDS[index].name];
			if (limit === undefined) return { used: 0, limit: null, reset_in_seconds: 0 };
			const fullAtMs = fullAtOf(buckets, index, limit, nowMs);
			return {
				used: limit - remainingTokens(fullAtMs, limit, windowMsOf(index), nowMs),
				limit,
				reset_in_seconds: Math.ceil(Math.max(0, fullAtMs - nowMs) / 1000),
			};
		};
		return { requests_per_minute: bucketUsage(0), requests_per_hour: bucketUsage(1) };
	}
}

/** Where the limits begin that a subject's buckets were reckoned under. */
const LIMITS_AT = BUCKET_KINDS.length;

const windowMsOf = (index: BucketIndex): number => BUCKET_KINDS[index].windowMs;

const fullAtOf = (buckets: Float64Array, index: BucketIndex, limit: number, nowMs: number): number =>
	fullAtUnderLimit(buckets[index]!, buckets[LIMITS_AT + index]!, limit, windowMsOf(index), nowMs);

/** From now on the bucket refills as the limit says. @returns whether it was under another limit. */
function reckonUnder(buckets: Float64Array, index: BucketIndex, limit: number, nowMs: number): boolean {
	if (buckets[LIMITS_AT + index] === limit) return false;
	buckets[index] = fullAtOf(buckets, index, limit, nowMs);
	buckets[LIMITS_AT + index] = limit;
	return true;
}

/** A key with limits of its own has buckets of its own. */
const subjectOf = ({ key, tenant }: RateLimitPayer): string =>
	key?.rate_limit_override ? keySubject(key.api_key_id) : tenant.id;

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
