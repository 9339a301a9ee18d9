import type { z } from "zod";
import type { Clock } from "../../base/clock.ts";
import { HiveError } from "../../base/errors.ts";
import type { NodeId, TenantId } from "../../base/ids.ts";
import { recentMap } from "../../base/recent-map.ts";
import { livingOthers } from "../membership/living-others.ts";
import type { Membership } from "../membership/membership-types.ts";
import { type PeerCalls, PeerFailure, type PeerMethods } from "../peer/peer-types.ts";

/** Until the home is given up and the next one asked. */
const FIRST_TIMEOUT_MS = 1_000;
/** The next one may have to ask the home itself. */
const NEXT_TIMEOUT_MS = 2_000;
/** How long a node that did not answer is not asked first. */
const AVOIDED_MS = 1_000;
/** Nodes that disagree on who is home have come to agree by then. */
const YIELDED_MS = 10_000;
const YIELDED_TENANTS_MAX = 100_000;

/** What is asked of a tenant's home. */
export interface HomeQuestion {
	readonly tenantId: TenantId;
	/** Who wants to know, also when another node passed it on. Absent: the caller. */
	readonly asker?: NodeId | undefined;
}

type HomeHandler<Question extends HomeQuestion> = (question: Question, asker: NodeId) => Promise<unknown>;

/** Whether a node that does not think itself the home answers all the same. */
type HomeRule = "home only" | "whoever is asked";

export interface HomeCallsParts {
	readonly membership: Membership;
	readonly calls: PeerCalls;
	readonly methods: PeerMethods;
	readonly clock: Clock;
}

/**
 * Finds the node that keeps a tenant's account, its home, and asks it: the first living one in the ring's order. When it does
 * not answer the next one is asked once, which passes the question on where it thinks another to be the home: a node that only
 * some can reach is reached through those.
 */
export class HomeCalls {
	readonly self: NodeId;
	readonly #parts: HomeCallsParts;
	readonly #handlers = new Map<string, (question: HomeQuestion, asker: NodeId) => Promise<unknown>>();
	readonly #avoidedUntilMs = new Map<NodeId, number>();
	/** Tenants that a node asked for as their new home, of which this one had not heard yet. */
	readonly #yielded = recentMap<TenantId, { readonly to: NodeId; readonly untilMs: number }>(YIELDED_TENANTS_MAX);

	constructor(parts: HomeCallsParts) {
		this.#parts = parts;
		this.self = parts.membership.self;
		parts.membership.onChange(() => this.#yielded.clear());
	}

	/** No other node can have anything to do with any account. */
	get isAlone(): boolean {
		return this.#parts.membership.view().members.length <= 1;
	}

	/** The node that keeps the tenant's account, as this node sees it. */
	homeOf(tenantId: TenantId): NodeId {
		if (this.isAlone) return this.self;
		const yielded = this.#yielded.get(tenantId);
		if (yielded !== undefined && yielded.untilMs > this.#parts.clock.monotonicMs()) return yielded.to;
		return this.#firstLiving(tenantId) ?? this.self;
	}

	isHome(tenantId: TenantId): boolean {
		return this.homeOf(tenantId) === this.self;
	}

	/** Another node is the tenant's home, though this one did not know yet: it will soon. */
	yieldTo(nodeId: NodeId, tenantId: TenantId): void {
		this.#yielded.set(tenantId, { to: nodeId, untilMs: this.#parts.clock.monotonicMs() + YIELDED_MS });
	}

	/** Who would be the tenant's home were it not for this node; or is. undefined: nobody else lives. */
	heirOf(tenantId: TenantId): NodeId | undefined {
		return this.#firstLiving(tenantId, this.self);
	}

	get memberCount(): number {
		return this.#parts.membership.view().members.length;
	}

	/** The living members but this one. */
	others(): readonly NodeId[] {
		return livingOthers(this.#parts.membership);
	}

	/** Of its whole, how much a node may give away by itself: less than 1 when it can't see most of the members. */
	share(): number {
		const { membership } = this.#parts;
		if (this.isAlone || membership.hasMajority()) return 1;
		return (this.others().length + 1) / membership.view().members.length;
	}

	/**
	 * @param rule who answers, should nodes disagree on who is the home
	 */
	serve<Question extends HomeQuestion>(
		method: string,
		schema: z.ZodType<Question>,
		rule: HomeRule,
		handler: HomeHandler<Question>,
	): void {
		const answer = async (body: unknown, from: NodeId): Promise<unknown> => {
			const question = schema.parse(body);
			const home = this.homeOf(question.tenantId);
			if (rule === "whoever is asked" || home === this.self) return handler(question, question.asker ?? from);
			if (question.asker !== undefined) throw noHome();
			try {
				return await this.call(home, method, { ...question, asker: from }, FIRST_TIMEOUT_MS);
			} catch (error) {
				throw error instanceof PeerFailure ? noHome(error) : error;
			}
		};
		this.#handlers.set(method, answer as (question: HomeQuestion, asker: NodeId) => Promise<unknown>);
		this.#parts.methods.handle(method, (body, { from }) => answer(body, from));
	}

	/**
	 * Asks the tenant's home, or the next one, which may be this node.
	 *
	 * @throws NO_QUORUM when none of the two answers; what the handler threw
	 */
	async ask(method: string, question: HomeQuestion & Readonly<Record<string, unknown>>): Promise<unknown> {
		const [first, next] = this.#candidates(question.tenantId);
		try {
			return await this.#askOne(first, method, question, FIRST_TIMEOUT_MS);
		} catch (error) {
			if (!(error instanceof PeerFailure)) throw error;
			if (next === undefined) throw noHome(error);
		}
		try {
			return await this.#askOne(next, method, question, NEXT_TIMEOUT_MS);
		} catch (error) {
			throw error instanceof PeerFailure ? noHome(error) : error;
		}
	}

	/** Who would be asked first now. */
	asked(tenantId: TenantId): NodeId {
		return this.#candidates(tenantId)[0];
	}

	/** @throws PeerFailure, having taken note that the node should not be asked first; a HiveError the node threw */
	async call(nodeId: NodeId, method: string, body: unknown, timeoutMs: number): Promise<unknown> {
		try {
			return await this.#parts.calls.call(nodeId, method, body, { timeoutMs });
		} catch (error) {
			if (error instanceof PeerFailure) {
				this.#avoidedUntilMs.set(nodeId, this.#parts.clock.monotonicMs() + AVOIDED_MS);
			}
			throw error;
		}
	}

	async #askOne(nodeId: NodeId, method: string, question: HomeQuestion, timeoutMs: number): Promise<unknown> {
		if (nodeId === this.self) return this.#handlers.get(method)!(question, this.self);
		return this.call(nodeId, method, question, timeoutMs);
	}

	#candidates(tenantId: TenantId): readonly [NodeId, NodeId?] {
		const home = this.homeOf(tenantId);
		if (home === this.self) return [home];
		const next = this.#firstLiving(tenantId, home);
		if (next === undefined) return [home];
		const isAvoided = (this.#avoidedUntilMs.get(home) ?? 0) > this.#parts.clock.monotonicMs();
		return isAvoided ? [next, home] : [home, next];
	}

	/** The first living member in the ring's order from the tenant, but for that one. */
	#firstLiving(tenantId: TenantId, except?: NodeId): NodeId | undefined {
		const { membership } = this.#parts;
		const homes = membership.view().homes(tenantId);
		return homes.find((nodeId) => nodeId !== except && membership.isLive(nodeId));
	}
}

export const noHome = (cause?: unknown): HiveError =>
	new HiveError(
		"NO_QUORUM",
		"the node that keeps the tenant's account does not answer; retry",
		{ retry_after_seconds: 1 },
		{ cause },
	);
