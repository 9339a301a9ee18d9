import { z } from "zod";
import type { TenantId } from "../base/ids.ts";
import { tenantIdSchema } from "../base/schemas.ts";
import type { SharedList } from "../hub/record-exchange.ts";
import { collectionAnswer } from "../hub/response-schemas.ts";
import { livingOthers } from "./membership/living-others.ts";
import type { Membership } from "./membership/membership-types.ts";
import type { PeerCalls, PeerMethods } from "./peer/peer-types.ts";

/** What a node asks of the others while the hub is away. */
const LISTS_METHOD = "hub.collections";

const ASK_MS_MAX = 1_000;
const MEMBERS_ASKED_MAX = 3;

const questionSchema = z.object({ tenantId: tenantIdSchema });
const answerSchema = z.object({ records: z.array(collectionAnswer), ageMs: z.number().min(0) }).nullable();

export interface CollectionListsParts {
	readonly membership: Membership;
	readonly calls: PeerCalls;
	readonly methods: PeerMethods;
	/** What this node had from the hub and may still go by. */
	readonly known: (tenantId: TenantId) => SharedList | undefined;
}

/** Tenants' collections as other members had them from the hub, for a node that was started when it was away. */
export class CollectionLists {
	readonly #parts: CollectionListsParts;

	constructor(parts: CollectionListsParts) {
		this.#parts = parts;
		parts.methods.handle(LISTS_METHOD, async (body) => parts.known(questionSchema.parse(body).tenantId) ?? null);
	}

	/** The youngest that some members know. Never throws. */
	async ask(tenantId: TenantId): Promise<SharedList | undefined> {
		const { membership, calls } = this.#parts;
		const asked = livingOthers(membership).slice(0, MEMBERS_ASKED_MAX);
		const answers = await Promise.all(
			asked.map(async (nodeId) => {
				const options = { timeoutMs: ASK_MS_MAX };
				return await calls
					.call(nodeId, LISTS_METHOD, { tenantId }, options)
					.then(answerSchema.parse)
					.catch(() => null);
			}),
		);
		const known = answers.filter((answer) => answer !== null).sort((a, b) => a.ageMs - b.ageMs);
		return known[0] as SharedList | undefined;
	}
}
