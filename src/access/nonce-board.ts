import { z } from "zod";
import type { Clock } from "../base/clock.ts";
import { HiveError } from "../base/errors.ts";
import type { ApiKeyId, NodeId, TenantId } from "../base/ids.ts";
import type { Membership } from "../cluster/membership/membership-types.ts";
import type { PeerCalls, PeerMethods } from "../cluster/peer/peer-types.ts";
import type { NonceStore, NonceUse } from "./nonce-store.ts";

/** Nodes that remember the nonces of one tenant. */
const BOARD_SIZE_MAX = 3;
const CLAIM_TIMEOUT_MS = 1_500;
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
 * die in between, the same nonce is not taken twice.
 */
export class NonceBoard implements NonceClaims {
	readonly #parts: NonceBoardParts;

	constructor(parts: NonceBoardParts) {
		this.#parts = parts;
		parts.methods.handle(CLAIM_METHOD, async (body) => this.#remember(claimSchema.parse(body)));
	}

	claim(tenantId: TenantId, use: Omit<NonceUse, "nowMs">): void | Promise<void> {
		const { membership } = this.#parts;
		const view = membership.view();
		if (view.members.length <= 1) return this.#remember(use);
		return this.#claimAtMost(view.homes(tenantId).slice(0, BOARD_SIZE_MAX), use);
	}

	#remember(use: Omit<NonceUse, "nowMs">): void {
		this.#parts.store.remember({ ...use, nowMs: this.#parts.clock.nowMs() });
	}

	/** Settles as soon as the majority is there, or can't come about. */
	#claimAtMost(board: readonly NodeId[], use: Omit<NonceUse, "nowMs">): Promise<void> {
		const { promise, resolve, reject } = Promise.withResolvers<void>();
		const neededCount = Math.floor(board.length / 2) + 1;
		let takenCount = 0;
		let missedCount = 0;
		let refusal: HiveError | undefined;
		const missed = (error: unknown): void => {
			missedCount++;
			if (error instanceof HiveError && (refusal === undefined || error.code === "AUTH_SIGNATURE_INVALID")) {
				refusal = error;
			}
			if (board.length - missedCount < neededCount) reject(refusal ?? tooFew(error));
		};
		for (const nodeId of board) {
			this.#claimAt(nodeId, use).then(() => {
				if (++takenCount === neededCount) resolve();
			}, missed);
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
