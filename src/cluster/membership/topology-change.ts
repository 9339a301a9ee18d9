import { HiveError } from "../../base/errors.ts";
import type { NodeId } from "../../base/ids.ts";
import { HUB_LIMITS } from "../../hub/hub-limits.ts";
import type { MemberState, ReplicaCount, Topology, TopologyMember } from "../../hub/models.ts";

/** What a topology may become. Pure: whoever wants a change makes the next topology here and offers it to the hub. */

/** The node that asks to be let in. */
export type Candidate = Pick<TopologyMember, "node_id" | "peer_id" | "addresses" | "serves_hub">;

/** Whether it is to hold data once everything is in place. */
const isStaying = ({ state }: TopologyMember): boolean => state === "active" || state === "joining";

/**
 * Whether shards may have begun anew where they shall be, because all their copies were on nodes that are removed. Where they
 * shall be must not change then until it is finished: nothing else tells where they are.
 */
const mayHaveBegunAnew = ({ members }: Topology): boolean =>
	members.some(({ state }) => state === "removed") ||
	!members.some(({ state }) => state === "active" || state === "draining");

/** Whether all that the member holds is held by those who were there before it. */
export const isSpare = (topology: Topology, { state }: TopologyMember): boolean =>
	state === "joining" && !mayHaveBegunAnew(topology);

/**
 * The topology with the candidate in it: joining, or at work at once when it is the first. One that is in already has its
 * addresses brought up to date.
 *
 * @returns undefined when there is nothing to change
 * @throws CONFLICT when its identity has left before or is being removed, or another node has its id; OVERLOADED when it may ask
 *     again later
 */
export function withMember(topology: Topology, candidate: Candidate): Topology | undefined {
	const { node_id, peer_id } = candidate;
	const known = topology.members.find((member) => member.node_id === node_id);
	const hasLeft = topology.retired.some((retired) => retired.peer_id === peer_id || retired.node_id === node_id);
	if (hasLeft || known?.state === "removed") {
		throw new HiveError(
			"CONFLICT",
			"this node has left the cluster, and what it holds may be out of date: start it with an empty data folder to let it join as a new one",
			{ field: "data_dir" },
		);
	}
	if (topology.members.some((member) => member.peer_id === peer_id && member.node_id !== node_id)) {
		throw new HiveError(
			"CONFLICT",
			"a member has this identity under another node id: a data folder that was copied must lose its node.id and node.key",
			{ field: "peer_id" },
		);
	}
	if (known === undefined) {
		const isFirst = topology.members.length === 0;
		if (!isFirst && mayHaveBegunAnew(topology)) {
			throw new HiveError("OVERLOADED", "the copies of a removed node are being replaced: nobody can join before", {
				retry_after_seconds: 5,
			});
		}
		return nextOf(topology, [...topology.members, { ...candidate, state: isFirst ? "active" : "joining" }]);
	}
	// A member from before identities were noted takes the one it shows now.
	if (known.peer_id !== "" && known.peer_id !== peer_id) {
		throw new HiveError(
			"CONFLICT",
			"another node has this node id: a data folder that was copied must lose its node.id and node.key",
			{ field: "node_id" },
		);
	}
	const isSame =
		known.peer_id === peer_id &&
		known.serves_hub === candidate.serves_hub &&
		known.addresses.length === candidate.addresses.length &&
		known.addresses.every((address, index) => address === candidate.addresses[index]);
	return isSame ? undefined : withState(topology, { ...known, ...candidate }, known.state);
}

/**
 * The topology in which the node is being emptied. One that is still joining leaves at once.
 *
 * @returns undefined when it is so already
 * @throws NOT_FOUND; CONFLICT when it can't be emptied
 */
export function withDraining(
	topology: Topology,
	nodeId: NodeId,
	{ isLive }: { readonly isLive: boolean },
): Topology | undefined {
	const member = memberOf(topology, nodeId);
	if (member.state === "draining") return undefined;
	if (member.state === "removed") {
		throw new HiveError("CONFLICT", "the node is being removed already", { field: "node_id" });
	}
	refuseWhileReplacing(topology);
	if (member.state === "joining") return withoutMember(topology, member);
	if (!topology.members.some((other) => other.node_id !== nodeId && other.state === "active")) {
		throw new HiveError(
			"CONFLICT",
			"the last active node can't be drained: there is nowhere to move its data; let another node join first",
			{ field: "node_id" },
		);
	}
	if (!isLive) {
		throw new HiveError(
			"CONFLICT",
			"the node does not answer, so it can't be emptied: start it again, or remove it if it is gone for good",
			{ field: "node_id" },
		);
	}
	return withState(topology, member, "draining");
}

/**
 * The topology in which a node that is being emptied stays after all. Until the change is finished it holds everything it held.
 *
 * @returns undefined when it stays anyway
 * @throws NOT_FOUND; CONFLICT when it is too late
 */
export function withDrainCancelled(topology: Topology, nodeId: NodeId): Topology | undefined {
	const member = memberOf(topology, nodeId);
	if (member.state === "removed") {
		throw new HiveError("CONFLICT", "the node is being removed, which can't be undone", { field: "node_id" });
	}
	if (member.state !== "draining") return undefined;
	refuseWhileReplacing(topology);
	return withState(topology, member, "active");
}

/**
 * The topology without a dead node, whose copies are made anew from the others'.
 *
 * @param node.isLive     whether it answers
 * @param node.mayLose    whether acknowledged writes may be on it, and on others that are being removed, alone
 * @param node.acceptLoss whether that shall be no hindrance
 * @returns undefined when it is being removed already
 * @throws NOT_FOUND; CONFLICT when it must not be removed
 */
export function withRemoved(
	topology: Topology,
	nodeId: NodeId,
	node: { readonly isLive: boolean; readonly mayLose: boolean; readonly acceptLoss: boolean },
): Topology | undefined {
	const member = memberOf(topology, nodeId);
	if (member.state === "removed") return undefined;
	if (node.isLive) {
		throw new HiveError(
			"CONFLICT",
			"the node is alive: drain it, which loses nothing; if it can't be drained, stop it first and then remove it",
			{ field: "node_id" },
		);
	}
	if (!topology.members.some((other) => other.node_id !== nodeId && other.state !== "removed")) {
		throw new HiveError("CONFLICT", "the last node can't be removed: there would be no cluster", { field: "node_id" });
	}
	if (node.mayLose && !node.acceptLoss) {
		throw new HiveError(
			"CONFLICT",
			"some data has no copy elsewhere that is sure to be complete, and would be lost with this node: start it again if that can be done, or repeat with accept_loss",
			{ field: "accept_loss" },
		);
	}
	// What was read from before it came is read from still.
	return member.state === "joining" ? withoutMember(topology, member) : withState(topology, member, "removed");
}

/**
 * The topology in which a collection is to have another number of copies.
 *
 * @param wanted `from`: as its record says; what the topology says already counts more
 * @returns undefined when there is nothing to change
 * @throws OVERLOADED when it may be asked for again later
 */
export function withReplicas(topology: Topology, wanted: ReplicaCount): Topology | undefined {
	const counts = topology.replica_counts ?? [];
	const known = counts.find(({ collection_id }) => collection_id === wanted.collection_id);
	const from = known?.from ?? wanted.from;
	if ((known?.to ?? from) === wanted.to) return undefined;
	if (mayHaveBegunAnew(topology)) throw tryLater("the copies of a removed node are being replaced");
	const others = counts.filter((count) => count !== known);
	const changing = others.filter(isCountChanging);
	const room = HUB_LIMITS.replicaCountsMax - changing.length - 1;
	if (room < 0) throw tryLater("many collections are given other numbers of copies");
	const settled = others.filter((count) => !isCountChanging(count));
	return {
		...nextOf(topology, topology.members),
		// Those that are done are kept for whoever has an old record; the oldest are known to all by now.
		replica_counts: [...settled.slice(Math.max(0, settled.length - room)), ...changing, { ...wanted, from }],
	};
}

export const isCountChanging = ({ from, to }: ReplicaCount): boolean => from !== to;

/** Whether members come or go, or collections get other numbers of copies: some shards have to move. */
export const isChanging = ({ members, replica_counts = [] }: Topology): boolean =>
	members.some(({ state }) => state !== "active") || replica_counts.some(isCountChanging);

/** Whether every member that is to hold something says that it does. @param settledOf the newest version a node has settled */
export function isReadyToFinish(topology: Topology, settledOf: (nodeId: NodeId) => number | undefined): boolean {
	const holders = topology.members.filter(({ state }) => state !== "removed");
	if (!holders.some(isStaying) || !isChanging(topology)) return false;
	return holders.every(({ node_id }) => (settledOf(node_id as NodeId) ?? -1) >= topology.version);
}

/** The topology once everything is where it shall be: who joined is at work, who was leaving has left. */
export function finished(topology: Topology): Topology {
	const staying = topology.members.filter(isStaying);
	const leaving = topology.members.filter((member) => !isStaying(member));
	const active = staying.map((member): TopologyMember => ({ ...member, state: "active" }));
	const counts = (topology.replica_counts ?? []).map((count): ReplicaCount => ({ ...count, from: count.to }));
	return { ...nextOf(topology, active, leaving), ...(counts.length > 0 && { replica_counts: counts }) };
}

const tryLater = (why: string): HiveError =>
	new HiveError("OVERLOADED", `${why}: try again later`, { retry_after_seconds: 5 });

function refuseWhileReplacing(topology: Topology): void {
	if (!mayHaveBegunAnew(topology)) return;
	throw new HiveError(
		"CONFLICT",
		"the copies of a removed node are being replaced: try again when that is finished, or remove the node if it is dead",
		{ field: "node_id" },
	);
}

function withState(topology: Topology, member: TopologyMember, state: MemberState): Topology {
	const changed = { ...member, state };
	return nextOf(
		topology,
		topology.members.map((each) => (each.node_id === member.node_id ? changed : each)),
	);
}

const withoutMember = (topology: Topology, member: TopologyMember): Topology =>
	nextOf(
		topology,
		topology.members.filter((each) => each !== member),
		[member],
	);

function nextOf(
	{ version, retired, replica_counts }: Topology,
	members: readonly TopologyMember[],
	leaving: readonly TopologyMember[] = [],
): Topology {
	// Those that were to leave stay when nobody else is left to hold what they hold.
	const kept = members.some(isStaying)
		? members
		: members.map((member): TopologyMember => (member.state === "draining" ? { ...member, state: "active" } : member));
	return {
		version: version + 1,
		members: kept,
		...(replica_counts !== undefined && { replica_counts }),
		retired: [...retired, ...leaving.map(({ node_id, peer_id }) => ({ node_id, peer_id }))].slice(
			-HUB_LIMITS.retiredMembersMax,
		),
	};
}

function memberOf(topology: Topology, nodeId: NodeId): TopologyMember {
	const member = topology.members.find(({ node_id }) => node_id === nodeId);
	if (member !== undefined) return member;
	throw new HiveError("NOT_FOUND", `no member of the cluster has the id ${nodeId}`, { field: "node_id" });
}
