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
const ALL_BUCKETS: readonly BucketIndex[] = [0, 1, 2];

export type Protocol = "rest" | "graphql" | "mcp";

/** MCP calls have a bucket of their own. */
export const bucketsFor = (protocol: Protocol): readonly BucketIndex[] =>
	protocol === "mcp" ? MCP_BUCKETS : HTTP_BUCKETS;

/** Of each bucket of BUCKET_KINDS; undefined: unlimited. */
export type BucketLimits = readonly (number | undefined)[];

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

/** What came of asking for several tokens. */
export interface TokenGrant {
	/** So many were taken from every bucket. */
	readonly granted: number;
	/** Until there is another one. */
	readonly waitMs: number;
	/** The bucket to wait for; undefined: there is another one now. */
	readonly refusing: BucketIndex | undefined;
}

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

	/**
	 * Takes a token from every bucket that applies, or from none. To be settled before the request is answered.
	 *
	 * @param cost tokens that one request takes, of a bucket that has fewer all
	 */
	take(payer: RateLimitPayer, protocol: Protocol, cost = 1): RateLimitDecision {
		const limits = this.limitsOf(payer);
		if (limits === undefined) return {};
		const nowMs = this.#clock.monotonicMs();
		const subject = subjectOf(payer);
		const indexes = bucketsFor(protocol);
		const buckets = this.#use(subject, limits, indexes, nowMs);
		const scarce = scarcity(buckets, limits, indexes, nowMs, cost);
		if (scarce.refusing !== undefined) {
			const { refusing } = scarce;
			const untilFullMs = Math.max(0, buckets[refusing]! - nowMs);
			return bucketRefusal(refusing, limits, this.#clock.nowMs() + untilFullMs, scarce.waitMs);
		}
		this.#spend(subject, buckets, limits, indexes, nowMs, cost);
		const facts = scarcestFacts(buckets, limits, indexes, nowMs, this.#clock.nowMs());
		return facts === undefined ? {} : { facts };
	}

	/** Brings to disk what the payer has spent. */
	settle(payer: RateLimitPayer): void {
		this.#spent?.settle(subjectOf(payer));
	}

	/** As `take`, up to so many tokens at once, and settled. */
	lease(
		subject: string,
		limits: BucketLimits,
		indexes: readonly BucketIndex[],
		wanted: number,
		cost: number,
	): TokenGrant {
		const nowMs = this.#clock.monotonicMs();
		const buckets = this.#use(subject, limits, indexes, nowMs);
		let granted = wanted;
		for (const index of indexes) {
			const limit = limits[index];
			if (limit === undefined) continue;
			const left = remainingTokens(buckets[index]!, limit, windowMsOf(index), nowMs);
			granted = Math.min(granted, Math.floor(left / Math.min(cost, limit)));
		}
		if (granted > 0) {
			this.#spend(subject, buckets, limits, indexes, nowMs, cost, granted);
			this.#spent?.settle(subject);
		}
		return { granted, ...scarcity(buckets, limits, indexes, nowMs, cost) };
	}

	/** Leased tokens that were not used. */
	giveBack(
		subject: string,
		limits: BucketLimits,
		indexes: readonly BucketIndex[],
		tokenCount: number,
		cost: number,
	): void {
		const nowMs = this.#clock.monotonicMs();
		const buckets = this.#use(subject, limits, indexes, nowMs);
		for (const index of indexes) {
			const limit = limits[index];
			if (limit === undefined) continue;
			buckets[index] = Math.max(
				nowMs,
				buckets[index]! - (tokenCount * Math.min(cost, limit) * windowMsOf(index)) / limit,
			);
		}
		this.#store.keep(subject, buckets);
	}

	/** For each bucket the milliseconds until it is full, under these limits. */
	untilFull(subject: string, limits: BucketLimits): readonly number[] {
		const buckets = this.#store.peek(subject);
		const nowMs = this.#clock.monotonicMs();
		return ALL_BUCKETS.map((index) => Math.max(0, fullAtOf(buckets, index, limits[index], nowMs) - nowMs));
	}

	/** Another node has seen buckets as empty as that, or emptier than this one: as `untilFull` tells it. Idempotent. */
	raise(subject: string, limits: BucketLimits, untilFullMs: readonly number[]): void {
		const nowMs = this.#clock.monotonicMs();
		const buckets = this.#use(subject, limits, ALL_BUCKETS, nowMs);
		for (const index of ALL_BUCKETS) {
			const fullAtMs = nowMs + Math.min(windowMsOf(index), untilFullMs[index] ?? 0);
			buckets[index] = Math.max(buckets[index]!, fullAtMs);
		}
		this.#store.keep(subject, buckets);
	}

	/** The tenant is gone: another of its name starts with full buckets. */
	forgetTenant(tenantId: TenantId): void {
		this.#store.forget(tenantId);
	}

	/** undefined: nothing limits the payer. */
	limitsOf(payer: RateLimitPayer): BucketLimits | undefined {
		const override = payer.key?.rate_limit_override;
		const tenantLimits = payer.tenant.rate_limits ?? this.#defaults;
		if (tenantLimits === undefined && !override) return undefined;
		return BUCKET_KINDS.map(({ name }) => override?.[name] ?? tenantLimits?.[name]);
	}

	/** What a tenant has spent, for `/usage`. Takes nothing. */
	usage(tenant: TenantRecord): RateLimitUsage {
		const limits = this.limitsOf({ tenant }) ?? [];
		return usageUnder(limits, this.untilFull(tenant.id, limits));
	}

	/** The subject's buckets, reckoned under these limits. */
	#use(subject: string, limits: BucketLimits, indexes: readonly BucketIndex[], nowMs: number): Float64Array {
		const buckets = this.#store.use(subject, nowMs);
		let isChanged = false;
		for (const index of indexes) {
			const limit = limits[index];
			if (limit === undefined || buckets[LIMITS_AT + index] === limit) continue;
			buckets[index] = fullAtOf(buckets, index, limit, nowMs);
			buckets[LIMITS_AT + index] = limit;
			isChanged = true;
		}
		if (isChanged) this.#store.keep(subject, buckets);
		return buckets;
	}

	#spend(
		subject: string,
		buckets: Float64Array,
		limits: BucketLimits,
		indexes: readonly BucketIndex[],
		nowMs: number,
		cost: number,
		tokenCount = 1,
	): void {
		for (const index of indexes) {
			const limit = limits[index];
			if (limit === undefined) continue;
			const tokens = tokenCount * Math.min(cost, limit);
			buckets[index] = fullAtAfterTake(buckets[index]!, limit, windowMsOf(index), nowMs, tokens);
		}
		this.#store.keep(subject, buckets);
	}
}

/** Where the limits begin that a subject's buckets were reckoned under. */
const LIMITS_AT = BUCKET_KINDS.length;

const windowMsOf = (index: BucketIndex): number => BUCKET_KINDS[index].windowMs;

const fullAtOf = (buckets: Float64Array, index: BucketIndex, limit: number | undefined, nowMs: number): number =>
	limit === undefined
		? buckets[index]!
		: fullAtUnderLimit(buckets[index]!, buckets[LIMITS_AT + index]!, limit, windowMsOf(index), nowMs);

/** How long the bucket that is filled last has to be waited for. */
function scarcity(
	buckets: Float64Array,
	limits: BucketLimits,
	indexes: readonly BucketIndex[],
	nowMs: number,
	cost: number,
): Omit<TokenGrant, "granted"> {
	let longestWaitMs = 0;
	let refusing: BucketIndex | undefined;
	for (const index of indexes) {
		const limit = limits[index];
		if (limit === undefined) continue;
		const bucketWaitMs = waitMs(buckets[index]!, limit, windowMsOf(index), nowMs, Math.min(cost, limit));
		if (bucketWaitMs > longestWaitMs) {
			longestWaitMs = bucketWaitMs;
			refusing = index;
		}
	}
	return { waitMs: longestWaitMs, refusing };
}

/**
 * @param buckets  of each the moment at which it is full, monotonic as `nowMs`
 * @param setAside tokens that were taken and can still be used
 */
export function scarcestFacts(
	buckets: Float64Array,
	limits: BucketLimits,
	indexes: readonly BucketIndex[],
	nowMs: number,
	wallMs: number,
	setAside = 0,
): RateLimitFacts | undefined {
	let facts: RateLimitFacts | undefined;
	for (const index of indexes) {
		const limit = limits[index];
		if (limit === undefined) continue;
		const fullAtMs = Math.max(buckets[index]!, nowMs);
		const left = remainingTokens(fullAtMs, limit, windowMsOf(index), nowMs);
		const remaining = Math.min(limit, left + setAside);
		if (facts === undefined || remaining < facts.remaining) {
			facts = { limit, remaining, resetUnixSeconds: unixSeconds(wallMs + fullAtMs - nowMs) };
		}
	}
	return facts;
}

export function usageUnder(limits: BucketLimits, untilFullMs: readonly number[]): RateLimitUsage {
	const bucketUsage = (index: 0 | 1): BucketUsage => {
		const limit = limits[index];
		if (limit === undefined) return { used: 0, limit: null, reset_in_seconds: 0 };
		return {
			used: limit - remainingTokens(untilFullMs[index] ?? 0, limit, windowMsOf(index), 0),
			limit,
			reset_in_seconds: Math.ceil((untilFullMs[index] ?? 0) / 1000),
		};
	};
	return { requests_per_minute: bucketUsage(0), requests_per_hour: bucketUsage(1) };
}

/** A key with limits of its own has buckets of its own. */
export const subjectOf = ({ key, tenant }: RateLimitPayer): string =>
	key?.rate_limit_override ? keySubject(key.api_key_id) : tenant.id;

const unixSeconds = (unixMs: number): number => Math.ceil(unixMs / 1000);

export const bucketRefusal = (
	index: BucketIndex,
	limits: BucketLimits,
	resetUnixMs: number,
	untilTokenMs: number,
): RateLimitRefusal => refusalOf(limits[index]!, BUCKET_KINDS[index].window, resetUnixMs, untilTokenMs);

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
	return { refusal, facts: { limit, remaining: 0, resetUnixSeconds: unixSeconds(resetUnixMs) } };
}
