import type { Clock } from "../base/clock.ts";
import type { TenantId } from "../base/ids.ts";
import type { Timers } from "../base/timers.ts";
import type { HomeCalls } from "../cluster/accounts/home-calls.ts";
import type { Membership } from "../cluster/membership/membership-types.ts";
import type { PeerMethods } from "../cluster/peer/peer-types.ts";
import type { TenantRecord } from "../hub/models.ts";
import { HeirLevels } from "./heir-levels.ts";
import {
	LEASE_METHODS,
	leaseQuestionSchema,
	levelBatchSchema,
	levelsAnswerSchema,
	levelsQuestionSchema,
	limitsFromWire,
	limitsToWire,
	returnSchema,
} from "./lease-messages.ts";
import {
	bucketsFor,
	type Protocol,
	type RateLimitDecision,
	type RateLimiter,
	type RateLimitPayer,
	type RateLimitUsage,
	subjectOf,
	usageUnder,
} from "./rate-limiter.ts";
import { TokenLeases } from "./token-leases.ts";

export interface ClusterRateLimiterParts {
	/** Keeps the buckets of the tenants whose home this node is. */
	readonly limiter: RateLimiter;
	readonly homes: HomeCalls;
	readonly membership: Pick<Membership, "onChange">;
	readonly methods: PeerMethods;
	readonly clock: Clock;
	readonly timers: Timers;
}

/**
 * Rate limits that hold over all nodes: a tenant's buckets, and its keys', are at its home, and other nodes lease tokens there.
 * A home that can't see most of the members makes each request cost as many tokens as there are parts in what is cut apart.
 */
export class ClusterRateLimiter {
	readonly #parts: ClusterRateLimiterParts;
	readonly #leases: TokenLeases;
	readonly #heirs: HeirLevels;

	constructor(parts: ClusterRateLimiterParts) {
		this.#parts = parts;
		const { homes, limiter, methods, membership } = parts;
		this.#leases = new TokenLeases(parts);
		this.#heirs = new HeirLevels(parts);
		homes.serve(LEASE_METHODS.lease, leaseQuestionSchema, "whoever is asked", async (question) => {
			const { tenantId, subject, isMcp, wanted, known } = question;
			const limits = limitsFromWire(question.limits);
			if (known !== undefined && known.toldBy !== homes.self) limiter.raise(subject, limits, known.untilFullMs);
			const indexes = bucketsFor(isMcp ? "mcp" : "rest");
			const { granted, waitMs, refusing } = limiter.lease(subject, limits, indexes, wanted, this.#cost());
			this.#heirs.spent(subject, tenantId, limits);
			const untilFullMs = limiter.untilFull(subject, limits);
			return { nodeId: homes.self, granted, waitMs, refusing: refusing ?? null, untilFullMs };
		});
		homes.serve(LEASE_METHODS.levels, levelsQuestionSchema, "whoever is asked", async ({ subject, limits }) => ({
			untilFullMs: limiter.untilFull(subject, limitsFromWire(limits)),
		}));
		methods.handle(LEASE_METHODS.giveBack, async (body) => {
			const { subject, limits, isMcp, tokenCount } = returnSchema.parse(body);
			const indexes = bucketsFor(isMcp ? "mcp" : "rest");
			limiter.giveBack(subject, limitsFromWire(limits), indexes, tokenCount, this.#cost());
		});
		methods.handle(LEASE_METHODS.heir, async (body) => {
			for (const { subject, limits, untilFullMs } of levelBatchSchema.parse(body).levels) {
				limiter.raise(subject, limitsFromWire(limits), untilFullMs);
			}
		});
		membership.onChange(() => this.#membersChanged());
	}

	/**
	 * Takes one token from every bucket that applies, or from none. To be settled before the request is answered. Synchronous
	 * at the tenant's home, and elsewhere while the lease lasts.
	 *
	 * @throws NO_QUORUM, OVERLOADED
	 */
	take(payer: RateLimitPayer, protocol: Protocol): RateLimitDecision | Promise<RateLimitDecision> {
		const { homes, limiter } = this.#parts;
		if (homes.isAlone) return limiter.take(payer, protocol);
		const limits = limiter.limitsOf(payer);
		if (limits === undefined) return {};
		const tenantId = payer.tenant.id;
		const subject = subjectOf(payer);
		if (!homes.isHome(tenantId)) return this.#leases.take(tenantId, subject, limits, protocol);
		this.#heirs.spent(subject, tenantId, limits);
		return limiter.take(payer, protocol, this.#cost());
	}

	/** Brings to disk what the payer has spent here; what was leased is on its home's disk. */
	settle(payer: RateLimitPayer): void {
		if (this.#parts.homes.isHome(payer.tenant.id)) this.#parts.limiter.settle(payer);
	}

	/** What a tenant has spent, as its home knows; as known last, when that does not answer. */
	async usage(tenant: TenantRecord): Promise<RateLimitUsage> {
		const { homes, limiter } = this.#parts;
		const limits = limiter.limitsOf({ tenant });
		if (limits === undefined || homes.isHome(tenant.id)) return limiter.usage(tenant);
		const question = { tenantId: tenant.id, subject: tenant.id, limits: limitsToWire(limits) };
		try {
			const answer = levelsAnswerSchema.parse(await homes.ask(LEASE_METHODS.levels, question));
			return usageUnder(limits, answer.untilFullMs);
		} catch {
			const told = this.#leases.levelsOf(tenant.id);
			return told === undefined ? limiter.usage(tenant) : usageUnder(limits, told.untilFullMs);
		}
	}

	/** The tenant is gone: another of its name starts with full buckets. */
	forgetTenant(tenantId: TenantId): void {
		this.#parts.limiter.forgetTenant(tenantId);
		this.#leases.forget(tenantId);
	}

	close(): void {
		this.#leases.close();
		this.#heirs.close();
	}

	#cost(): number {
		return 1 / this.#parts.homes.share();
	}

	/** Whoever becomes a home does not start with full buckets. */
	#membersChanged(): void {
		const { homes, limiter } = this.#parts;
		for (const { tenantId, subject, limits, untilFullMs } of this.#leases.told()) {
			if (homes.isHome(tenantId)) limiter.raise(subject, limits, untilFullMs);
		}
		this.#heirs.tellAll();
	}
}
