import { z } from "zod";
import type { Clock } from "../base/clock.ts";
import { HiveError } from "../base/errors.ts";
import type { ApiKeyId, NodeId, TenantId } from "../base/ids.ts";
import type { Membership, TopologyView } from "../cluster/membership/membership-types.ts";
import type { PeerCalls, PeerMethods } from "../cluster/peer/peer-types.ts";
import type { NonceStore, NonceUse } from "./nonce-store.ts";

/** Nodes that remember the nonces of one tenant. */
const BOARD_SIZE_MAX = 3;
const CLAIM_TIMEOUT_MS = 1_500;
/** No nonce that was taken before has to be known for longer: signatures are good for five minutes, and clocks may differ by one. */
const PAST_BOARD_MS = 360_000;
/** Of topologies in so short a time. */
const PAST_VIEWS_MAX = 32;
const CLAIM_METHOD = "nonces.claim";

const claimSchema = z.object({
	apiKeyId: z
		.string()
		.max(64)
		.transform((text) => text as ApiKeyId),
	nonce: z.string().min(1).max(128),
	validUntilMs: z.number(),
});

/** Where a nonce is taken, once in the whole cluster. */
export interface NonceClaims {
	/**
	 * Synchronous on a node alone.
	 *
	 * @param tenantId of the key
	 * @throws AUTH_SIGNATURE_INVALID when the key used the nonce before; OVERLOADED, INTERNAL as NonceStore; NO_QUORUM when too
	 *         few of the nodes that would know answer
	 */
	claim(tenantId: TenantId, use: Omit<NonceUse, "nowMs">): void | Promise<void>;
}

/** Nodes of which so many must not have seen a nonce. */
interface Board {
	readonly nodes: readonly NodeId[];
	readonly neededCount: number;
}

export interface NonceBoardParts {
	/** This node's own. */
	readonly store: NonceStore;
	readonly membership: Membership;
	readonly calls: PeerCalls;
	readonly methods: PeerMethods;
	readonly clock: Clock;
}

/**
 * The first members in the ring's order from a tenant remember its nonces, at most three, dead or alive; a nonce is taken when
 * most of them had not seen it. Any two such majorities have a node in common: whichever nodes are asked, and whichever of them
 * die in between, the same nonce is not taken twice. After a change of members those who remembered nonces before are asked as
 * well, as many as it takes to meet any majority of theirs, until what they took has expired.
 */
export class NonceBoard implements NonceClaims {
	readonly #parts: NonceBoardParts;
	#view: TopologyView;
	/** Topologies of a short while ago; newest last. */
	#past: { readonly view: TopologyView; readonly untilMs: number }[] = [];

	constructor(parts: NonceBoardParts) {
		this.#parts = parts;
		const { membership, clock } = parts;
		this.#view = membership.view();
		membership.onChange(() => {
			const view = membership.view();
			if (view.version === this.#view.version) return;
			this.#past.push({ view: this.#view, untilMs: clock.monotonicMs() + PAST_BOARD_MS });
			this.#past = this.#past.slice(-PAST_VIEWS_MAX);
			this.#view = view;
		});
		parts.methods.handle(CLAIM_METHOD, async (body) => this.#remember(claimSchema.parse(body)));
	}

	claim(tenantId: TenantId, use: Omit<NonceUse, "nowMs">): void | Promise<void> {
		const { membership } = this.#parts;
		const boards = this.#boards(tenantId);
		if (boards.every(({ nodes }) => nodes.length === 1 && nodes[0] === membership.self)) return this.#remember(use);
		return this.#claimAtAll(boards, use);
	}

	#boards(tenantId: TenantId): Board[] {
		const of = (view: TopologyView): readonly NodeId[] => view.homes(tenantId).slice(0, BOARD_SIZE_MAX);
		const nodes = of(this.#parts.membership.view());
		const boards = new Map([[nodes.join(), { nodes, neededCount: Math.floor(nodes.length / 2) + 1 }]]);
		if (this.#past.length === 0) return [...boards.values()];
		const nowMs = this.#parts.clock.monotonicMs();
		this.#past = this.#past.filter(({ untilMs }) => untilMs > nowMs);
		for (const { view } of this.#past) {
			const before = of(view);
			// So many have one in common with any majority; what is taken from now on the new board knows.
			const neededCount = Math.ceil(before.length / 2);
			if (!boards.has(before.join())) boards.set(before.join(), { nodes: before, neededCount });
		}
		return [...boards.values()];
	}

	#remember(use: Omit<NonceUse, "nowMs">): void {
		this.#parts.store.remember({ ...use, nowMs: this.#parts.clock.nowMs() });
	}

	/** Settles as soon as enough of each board have taken it, or can't come about. */
	#claimAtAll(boards: readonly Board[], use: Omit<NonceUse, "nowMs">): Promise<void> {
		const { promise, resolve, reject } = Promise.withResolvers<void>();
		const counts = boards.map((board) => ({ ...board, takenCount: 0, missedCount: 0 }));
		let refusal: HiveError | undefined;
		const missed = (nodeId: NodeId, error: unknown): void => {
			if (error instanceof HiveError && (refusal === undefined || error.code === "AUTH_SIGNATURE_INVALID")) {
				refusal = error;
			}
			for (const count of counts.filter(({ nodes }) => nodes.includes(nodeId))) {
				count.missedCount++;
				if (count.nodes.length - count.missedCount < count.neededCount) reject(refusal ?? tooFew(error));
			}
		};
		const taken = (nodeId: NodeId): void => {
			for (const count of counts.filter(({ nodes }) => nodes.includes(nodeId))) count.takenCount++;
			if (counts.every(({ takenCount, neededCount }) => takenCount >= neededCount)) resolve();
		};
		for (const nodeId of new Set(boards.flatMap(({ nodes }) => nodes))) {
			this.#claimAt(nodeId, use).then(
				() => taken(nodeId),
				(error: unknown) => missed(nodeId, error),
			);
		}
		return promise;
	}

	async #claimAt(nodeId: NodeId, use: Omit<NonceUse, "nowMs">): Promise<void> {
		const { membership, calls } = this.#parts;
		if (nodeId === membership.self) this.#remember(use);
		else await calls.call(nodeId, CLAIM_METHOD, use, { timeoutMs: CLAIM_TIMEOUT_MS });
	}
}

const tooFew = (cause: unknown): HiveError =>
	new HiveError(
		"NO_QUORUM",
		"too few of the nodes that remember the nonces of signatures answer; sign the request anew and retry",
		{ retry_after_seconds: 1 },
		{ cause },
	);
