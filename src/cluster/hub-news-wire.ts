import { z } from "zod";
import type { Timers } from "../base/timers.ts";
import { livingOthers } from "./membership/living-others.ts";
import type { Membership } from "./membership/membership-types.ts";
import type { PeerCalls, PeerMethods } from "./peer/peer-types.ts";

/** What a node asks of the others when it has had the hub change something that they should know of now. */
const CATCH_UP_METHOD = "hub.catch_up";

const CATCH_UP_MS_MAX = 1_000;

const answerSchema = z.object({ cursor: z.number().nullable() });

export interface HubNewsWireParts {
	readonly membership: Membership;
	readonly calls: PeerCalls;
	readonly methods: PeerMethods;
	readonly timers: Timers;
	/** Whether the hub answered when it was asked last. */
	readonly isHubUp: () => boolean;
	/** Settles when this node has read the hub's feed as it stood when asked, or can't; the feed's position then. Never throws. */
	readonly catchUp: () => Promise<number | undefined>;
}

/**
 * Makes what the hub decided known where the feed alone would take a moment longer: this node's own view before it says that
 * something does not exist, the others' before it says that something is gone. Only ever has the hub asked: nobody's word stands
 * for the hub's.
 */
export class HubNewsWire {
	readonly #parts: HubNewsWireParts;

	constructor(parts: HubNewsWireParts) {
		this.#parts = parts;
		parts.methods.handle(CATCH_UP_METHOD, async () => ({ cursor: (await parts.catchUp()) ?? null }));
	}

	/** This node knows what the hub knew when asked, as far as that answers soon. On a node alone that is so anyway. Never throws. */
	async catchUp(): Promise<void> {
		const { membership, isHubUp, catchUp, timers } = this.#parts;
		if (membership.view().members.length <= 1 || !isHubUp()) return;
		const { promise: late, resolve } = Promise.withResolvers<void>();
		const callOff = timers.after(CATCH_UP_MS_MAX, resolve);
		await Promise.race([catchUp(), late]);
		callOff();
	}

	/** The others know it too, as far as they answer within a second. Never throws. */
	async tellMembers(): Promise<void> {
		const { membership, calls } = this.#parts;
		await Promise.all(
			livingOthers(membership).map(async (nodeId) => {
				// Who is away, or slow, hears from the feed.
				await calls
					.call(nodeId, CATCH_UP_METHOD, null, { timeoutMs: CATCH_UP_MS_MAX })
					.then(answerSchema.parse)
					.catch(() => undefined);
			}),
		);
	}
}
