import type { LRUCache } from "lru-cache";
import type { Clock } from "../base/clock.ts";
import { HiveError } from "../base/errors.ts";
import type { NodeId, TenantId } from "../base/ids.ts";
import { recentMap } from "../base/recent-map.ts";
import type { Timers } from "../base/timers.ts";
import type { HomeCalls } from "../cluster/accounts/home-calls.ts";
import { BUCKET_KINDS, type BucketIndex } from "./bucket-kinds.ts";
import { LEASE_METHODS, LEASED_TOKENS_MAX, leaseAnswerSchema, limitsToWire } from "./lease-messages.ts";
import {
	type BucketLimits,
	bucketRefusal,
	bucketsFor,
	type Protocol,
	type RateLimitDecision,
	scarcestFacts,
} from "./rate-limiter.ts";

const SUBJECTS_MAX = 20_000;
/** Of a limit, what all nodes together hold at most: as much may lie unused. */
const LEASED_SHARE_MAX = 1 / 20;
/** A lease lasts about this long at the pace of late. */
const PACE_MS = 500;
/** Smaller ones are asked for token by token. */
const PREFETCHED_MIN = 4;
const IDLE_MS = 1_000;
const SWEEP_EVERY_MS = 500;
/** How long a home that has no token is left alone: tokens gather there meanwhile. */
const REFUSED_MS_MIN = 20;
const REFUSED_MS_MAX = 1_000;
const WAITING_MAX = 10_000;
/** Rounds in which others were faster. */
const ROUNDS_MAX = 8;
const RETURN_TIMEOUT_MS = 1_000;

/** Tokens of one subject that its home has set aside for this node. */
class Lease {
	tokens = 0;
	/** When each bucket at home is full. */
	readonly buckets = new Float64Array(BUCKET_KINDS.length);
	/** Who told. */
	toldBy: NodeId | undefined;
	refusing: BucketIndex | undefined;
	/** When there is a token at home again. */
	nextTokenAtMs = 0;
	askAfterMs = Number.NEGATIVE_INFINITY;
	waitingCount = 0;
	asking: Promise<void> | undefined;
	usedAtMs = 0;
	paceSlot = 0;
	paceCount = 0;
	paceCountBefore = 0;

	constructor(
		readonly subject: string,
		readonly tenantId: TenantId,
		readonly limits: BucketLimits,
		readonly protocol: Protocol,
	) {}

	/** One more request. */
	count(nowMs: number): void {
		this.usedAtMs = nowMs;
		const slot = Math.floor(nowMs / PACE_MS);
		if (slot !== this.paceSlot) {
			this.paceCountBefore = slot === this.paceSlot + 1 ? this.paceCount : 0;
			this.paceCount = 0;
			this.paceSlot = slot;
		}
		this.paceCount++;
	}

	/** Tokens to hold at most. */
	size(memberCount: number): number {
		let size = Math.max(this.paceCount, this.paceCountBefore);
		for (const index of bucketsFor(this.protocol)) {
			const limit = this.limits[index];
			if (limit !== undefined) size = Math.min(size, Math.floor((limit * LEASED_SHARE_MAX) / memberCount));
		}
		return Math.min(Math.max(1, size), LEASED_TOKENS_MAX);
	}

	untilFullMs(nowMs: number): number[] {
		return Array.from(this.buckets, (fullAtMs) => Math.max(0, fullAtMs - nowMs));
	}
}

export interface TokenLeasesParts {
	readonly homes: HomeCalls;
	readonly clock: Clock;
	readonly timers: Timers;
}

/**
 * Rate-limit tokens of tenants whose buckets another node keeps, taken there in small chunks: as many as half a second needs,
 * and never so many that what lies unused would matter. What is not used goes back after a second.
 */
export class TokenLeases {
	readonly #parts: TokenLeasesParts;
	readonly #leases: LRUCache<string, Lease>;
	/** Those with tokens. */
	readonly #held = new Set<Lease>();
	#callOff: (() => void) | undefined;

	constructor(parts: TokenLeasesParts) {
		this.#parts = parts;
		this.#leases = recentMap(SUBJECTS_MAX, (lease) => this.#giveBack(lease));
	}

	/** @throws NO_QUORUM when neither the home nor the next one answers; OVERLOADED when too many wait for it */
	take(
		tenantId: TenantId,
		subject: string,
		limits: BucketLimits,
		protocol: Protocol,
	): RateLimitDecision | Promise<RateLimitDecision> {
		const nowMs = this.#parts.clock.monotonicMs();
		const lease = this.#leaseOf(tenantId, subject, limits, protocol);
		lease.count(nowMs);
		if (lease.tokens > 0) {
			const decision = this.#use(lease, nowMs);
			this.#prefetch(lease, nowMs);
			return decision;
		}
		return nowMs < lease.askAfterMs ? this.#refuse(lease, nowMs) : this.#wait(lease);
	}

	/** How empty the subject's buckets were at home when last told, as milliseconds until they are full. */
	levelsOf(subject: string): { readonly toldBy: NodeId; readonly untilFullMs: readonly number[] } | undefined {
		const nowMs = this.#parts.clock.monotonicMs();
		const told = [true, false].flatMap((isMcp) => {
			const lease = this.#leases.peek(nameOf(subject, isMcp));
			return lease?.toldBy === undefined ? [] : [{ toldBy: lease.toldBy, untilFullMs: lease.untilFullMs(nowMs) }];
		});
		return told[0];
	}

	/** Of every subject that was leased: who it belongs to, and what was told of its buckets last. */
	*told(): Generator<{
		readonly tenantId: TenantId;
		readonly subject: string;
		readonly limits: BucketLimits;
		readonly untilFullMs: readonly number[];
	}> {
		const nowMs = this.#parts.clock.monotonicMs();
		for (const lease of this.#leases.values()) {
			const { tenantId, subject, limits, toldBy } = lease;
			if (toldBy !== undefined) yield { tenantId, subject, limits, untilFullMs: lease.untilFullMs(nowMs) };
		}
	}

	forget(subject: string): void {
		for (const isMcp of [true, false]) this.#leases.delete(nameOf(subject, isMcp));
	}

	close(): void {
		this.#callOff?.();
		this.#callOff = undefined;
	}

	#leaseOf(tenantId: TenantId, subject: string, limits: BucketLimits, protocol: Protocol): Lease {
		const name = nameOf(subject, protocol === "mcp");
		const known = this.#leases.get(name);
		if (known !== undefined && limits.every((limit, index) => known.limits[index] === limit)) return known;
		const lease = new Lease(subject, tenantId, limits, protocol);
		this.#leases.set(name, lease);
		return lease;
	}

	#use(lease: Lease, nowMs: number): RateLimitDecision {
		lease.tokens--;
		if (lease.tokens === 0) this.#held.delete(lease);
		const { buckets, limits, protocol, tokens } = lease;
		const wallMs = this.#parts.clock.nowMs();
		const facts = scarcestFacts(buckets, limits, bucketsFor(protocol), nowMs, wallMs, tokens);
		return facts === undefined ? {} : { facts };
	}

	#refuse(lease: Lease, nowMs: number): RateLimitDecision {
		const index = lease.refusing ?? bucketsFor(lease.protocol).find((at) => lease.limits[at] !== undefined) ?? 0;
		const untilFullMs = Math.max(0, lease.buckets[index]! - nowMs);
		const resetUnixMs = this.#parts.clock.nowMs() + untilFullMs;
		return bucketRefusal(index, lease.limits, resetUnixMs, Math.max(0, lease.nextTokenAtMs - nowMs));
	}

	/** What will be needed is asked for while there is some left. A failure shows when there is none. */
	#prefetch(lease: Lease, nowMs: number): void {
		const size = lease.size(this.#parts.homes.memberCount);
		if (size < PREFETCHED_MIN || lease.tokens > size / 2) return;
		if (lease.asking !== undefined || nowMs < lease.askAfterMs) return;
		this.#ask(lease, size - lease.tokens).catch(() => {});
	}

	async #wait(lease: Lease): Promise<RateLimitDecision> {
		if (lease.waitingCount >= WAITING_MAX) throw overloaded();
		const { clock, homes } = this.#parts;
		lease.waitingCount++;
		try {
			for (let round = 0; round < ROUNDS_MAX; round++) {
				const isFirst = lease.asking === undefined;
				const wanted = isFirst ? Math.max(lease.size(homes.memberCount), lease.waitingCount) : 0;
				await (lease.asking ?? this.#ask(lease, Math.min(wanted, LEASED_TOKENS_MAX)));
				const nowMs = clock.monotonicMs();
				if (lease.tokens > 0) return this.#use(lease, nowMs);
				if (nowMs < lease.askAfterMs) return this.#refuse(lease, nowMs);
			}
			throw overloaded();
		} finally {
			lease.waitingCount--;
		}
	}

	#ask(lease: Lease, wanted: number): Promise<void> {
		const asking = this.#lease(lease, wanted).finally(() => {
			lease.asking = undefined;
		});
		lease.asking = asking;
		return asking;
	}

	async #lease(lease: Lease, wanted: number): Promise<void> {
		const { homes, clock } = this.#parts;
		const { tenantId, subject, limits, toldBy, protocol } = lease;
		const answer = leaseAnswerSchema.parse(
			await homes.ask(LEASE_METHODS.lease, {
				tenantId,
				subject,
				limits: limitsToWire(limits),
				isMcp: protocol === "mcp",
				wanted,
				...(toldBy !== undefined && { known: { toldBy, untilFullMs: lease.untilFullMs(clock.monotonicMs()) } }),
			}),
		);
		const nowMs = clock.monotonicMs();
		// Tokens of a home that is none any more count all the same: the new one knows what was spent.
		lease.tokens += answer.granted;
		lease.toldBy = answer.nodeId;
		for (const [index, untilFullMs] of answer.untilFullMs.entries()) lease.buckets[index] = nowMs + untilFullMs;
		if (answer.granted < wanted) {
			lease.refusing = answer.refusing ?? undefined;
			lease.nextTokenAtMs = nowMs + answer.waitMs;
			lease.askAfterMs = nowMs + Math.min(Math.max(answer.waitMs, REFUSED_MS_MIN), REFUSED_MS_MAX);
		}
		if (lease.tokens === 0) return;
		// Also when another lease has come in its place, after a change of limits: some may wait for this one.
		this.#held.add(lease);
		this.#callOff ??= this.#parts.timers.after(SWEEP_EVERY_MS, () => this.#sweep());
	}

	#sweep(): void {
		this.#callOff = undefined;
		const nowMs = this.#parts.clock.monotonicMs();
		for (const lease of this.#held) if (nowMs - lease.usedAtMs >= IDLE_MS) this.#giveBack(lease);
		if (this.#held.size > 0) this.#callOff = this.#parts.timers.after(SWEEP_EVERY_MS, () => this.#sweep());
	}

	/** To who granted them; what gets lost is filled up again in time. */
	#giveBack(lease: Lease): void {
		const { tokens, toldBy, tenantId, subject, limits, protocol } = lease;
		this.#held.delete(lease);
		lease.tokens = 0;
		if (tokens === 0 || toldBy === undefined) return;
		const body = {
			tenantId,
			subject,
			limits: limitsToWire(limits),
			isMcp: protocol === "mcp",
			tokenCount: Math.min(tokens, LEASED_TOKENS_MAX),
		};
		this.#parts.homes.call(toldBy, LEASE_METHODS.giveBack, body, RETURN_TIMEOUT_MS).catch(() => {});
	}
}

const nameOf = (subject: string, isMcp: boolean): string => (isMcp ? `mcp ${subject}` : subject);

const overloaded = (): HiveError =>
	new HiveError("OVERLOADED", "too many requests wait for the node that keeps the tenant's rate limits", {
		retry_after_seconds: 1,
	});
