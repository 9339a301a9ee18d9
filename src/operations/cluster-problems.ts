import type { ClusterState, NodeInfo } from "./node-services.ts";

/** What is wrong with a cluster, a sentence each. Members that come or go as they were told to are no problem. */
export function clusterProblems(state: ClusterState, isHubConnected: boolean): string[] {
	const problems: string[] = [];
	if (!isHubConnected) {
		problems.push("the hub does not answer: keys and quotas are served from memory, and nothing can be created");
	}
	if (!state.has_majority) {
		problems.push("this node reaches no majority of the members: much is refused with NO_QUORUM");
	}
	for (const node of state.nodes) problems.push(...problemsOf(node));
	return problems;
}

function* problemsOf(node: NodeInfo): Generator<string> {
	const { node_id, state, last_heard_seconds, hints_pending, hub, self } = node;
	if (state === "down") {
		const since =
			last_heard_seconds === null
				? "has not been heard of since this node started"
				: `was last heard of ${Math.round(last_heard_seconds)} seconds ago`;
		yield `${node_id} is down: it ${since}`;
		return;
	}
	if (state === "removed") {
		yield `${node_id} is dead and removed: copies of what it held are being made`;
		return;
	}
	if (hints_pending > 0) yield `${node_id} keeps ${hints_pending} hints for copies that have missed writes`;
	if (!self && hub.connected === false) yield `${node_id} does not reach the hub`;
}
