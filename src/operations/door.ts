import type { Authenticator, Identity } from "../access/authenticator.ts";
import type { Protocol, RateLimitDecision, RateLimitPayer } from "../access/rate-limiter.ts";
import type { HiveError } from "../base/errors.ts";
import type { NodeServices } from "./node-services.ts";
import { learn, type Passage } from "./passage.ts";
import type { PipelineObserver } from "./pipeline-types.ts";

/** What the pipeline needs of rate limits. */
export interface RequestLimiter {
	/** To be settled before the request is answered. @throws NO_QUORUM, OVERLOADED */
	take(payer: RateLimitPayer, protocol: Protocol): RateLimitDecision | Promise<RateLimitDecision>;
	/** Brings to disk what the payer has spent. */
	settle(payer: RateLimitPayer): void;
}

export interface DoorParts {
	readonly authenticator: Authenticator;
	readonly limiter: RequestLimiter;
	/** Why the node takes no requests now, but for public ones; undefined: it does. */
	readonly refusal?: () => HiveError | undefined;
	readonly services: NodeServices;
	readonly observer: PipelineObserver;
}

/** Finds out who comes and in which tenant they act, and has them pay. Synchronous while the key is cached and tokens are at hand. */
export class Door {
	readonly #parts: DoorParts;

	constructor(parts: DoorParts) {
		this.#parts = parts;
	}

	/** @throws NODE_DRAINING, OVERLOADED */
	requireOpen(): void {
		const refusal = this.#parts.refusal?.();
		if (refusal !== undefined) throw refusal;
	}

	/** Learns who it is, who has paid for one call then. @throws what authentication and rate limits do */
	enter(passage: Passage): Identity | Promise<Identity> {
		this.requireOpen();
		const { services, authenticator, observer } = this.#parts;
		const { arrival } = passage;
		const startMs = services.clock.monotonicMs();
		const act = (identity: Identity): Identity | Promise<Identity> => {
			observer.countAuthentication((services.clock.monotonicMs() - startMs) / 1000);
			learn(passage, identity);
			// Whoever names a tenant that is none for them pays as for any other request.
			const charge = async (refusal: unknown): Promise<never> => {
				await this.pay(identity, passage);
				throw refusal;
			};
			let acting: Identity | Promise<Identity>;
			try {
				acting = authenticator.actIn(identity, arrival.actingTenant);
			} catch (refusal) {
				return charge(refusal);
			}
			return acting instanceof Promise
				? acting.catch(charge).then((found) => this.#paid(found, passage))
				: this.#paid(acting, passage);
		};
		const found = authenticator.identify(arrival.credentials, arrival);
		return found instanceof Promise ? found.then(act) : act(found);
	}

	/** Who it is now, on a connection of theirs. @throws what authentication does */
	enterAgain({ arrival }: Passage): Identity | Promise<Identity> {
		this.requireOpen();
		const { authenticator } = this.#parts;
		const act = (identity: Identity): Identity | Promise<Identity> =>
			authenticator.actIn(identity, arrival.actingTenant);
		const found = authenticator.identifyAgain(arrival.credentials, arrival.remoteAddress);
		return found instanceof Promise ? found.then(act) : act(found);
	}

	/** Takes what one call costs. @throws RATE_LIMITED, NO_QUORUM, OVERLOADED */
	pay(identity: Identity, passage: Passage): void | Promise<void> {
		const decision = this.#parts.limiter.take(payerOf(identity), passage.arrival.protocol);
		return decision instanceof Promise
			? decision.then((decided) => this.#requireTaken(decided, identity, passage))
			: this.#requireTaken(decision, identity, passage);
	}

	/** Brings to disk what they have paid. */
	settle(identity: Identity): void {
		this.#parts.limiter.settle(payerOf(identity));
	}

	#paid(identity: Identity, passage: Passage): Identity | Promise<Identity> {
		learn(passage, identity);
		// First, so that what is refused costs the caller as much as what is done.
		const taken = this.pay(identity, passage);
		return taken instanceof Promise ? taken.then(() => identity) : identity;
	}

	/** @throws RATE_LIMITED */
	#requireTaken(decision: RateLimitDecision, identity: Identity, { facts }: Passage): void {
		if (decision.facts !== undefined) facts.rateLimit = decision.facts;
		if (decision.refusal === undefined) return;
		this.#parts.observer.countRateLimitExceeded(identity.homeTenantId);
		throw decision.refusal;
	}
}

/** An admin's work in a tenant is charged to the admin's own tenant. */
const payerOf = ({ homeTenant, key }: Identity): RateLimitPayer =>
	key === undefined ? { tenant: homeTenant } : { tenant: homeTenant, key };
