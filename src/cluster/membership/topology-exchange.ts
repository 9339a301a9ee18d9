import type { NodeId } from "../../base/ids.ts";
import type { Topology } from "../../hub/models.ts";
import { topologyAnswer } from "../../hub/response-schemas.ts";
import type { PeerCalls, PeerHandler } from "../peer/peer-types.ts";
import type { TopologyKeeper } from "./topology-keeper.ts";

/** What a member asks of another when it has heard of a newer topology than its own. */
export const TOPOLOGY_METHOD = "cluster.topology";

const ASK_MS_MAX = 2_000;

export const topologyHandler =
	(keeper: Pick<TopologyKeeper, "topology">): PeerHandler =>
	async () =>
		keeper.topology;

/** Asks a member for the topology it knows. The returned function throws PeerFailure; ZodError for an answer that is none. */
export const askTopologyOver =
	(calls: Pick<PeerCalls, "call">) =>
	async (nodeId: NodeId): Promise<Topology> =>
		topologyAnswer.parse(await calls.call(nodeId, TOPOLOGY_METHOD, null, { timeoutMs: ASK_MS_MAX }));
