import type { NodeId } from "../../base/ids.ts";
import type { ShardRef } from "../../shards/pool-types.ts";
import type { Membership } from "../membership/membership-types.ts";
import type { CopyState, ReplicaPort } from "../replication/replica-types.ts";
import { REPAIR_LIMITS } from "./repair-limits.ts";

export interface CopySurveyParts {
	readonly membership: Pick<Membership, "isLive">;
	readonly port: Pick<ReplicaPort, "copyState">;
}

/** What nodes said of their copies of one shard, at about one time. */
export class CopySurvey {
	readonly #states: ReadonlyMap<NodeId, CopyState | undefined>;

	private constructor(states: ReadonlyMap<NodeId, CopyState | undefined>) {
		this.#states = states;
	}

	/** Never throws: who does not answer has said nothing. */
	static async of(
		{ membership, port }: CopySurveyParts,
		shard: ShardRef,
		nodes: readonly NodeId[],
	): Promise<CopySurvey> {
		const states = await Promise.all(
			nodes.map(async (nodeId): Promise<CopyState | undefined> => {
				if (!membership.isLive(nodeId)) return undefined;
				return await port.copyState(nodeId, shard, REPAIR_LIMITS.copyStateMs).catch(() => undefined);
			}),
		);
		return new CopySurvey(new Map(nodes.map((nodeId, at) => [nodeId, states[at]])));
	}

	/** In the order asked. */
	whoSaid(state: CopyState): readonly NodeId[] {
		return [...this.#states].filter(([, said]) => said === state).map(([nodeId]) => nodeId);
	}

	get answeredCount(): number {
		return [...this.#states.values()].filter((said) => said !== undefined).length;
	}

	get isComplete(): boolean {
		return this.answeredCount === this.#states.size;
	}

	/** Whether all that were asked answered, and so. */
	allSaid(state: CopyState): boolean {
		return this.whoSaid(state).length === this.#states.size;
	}
}
