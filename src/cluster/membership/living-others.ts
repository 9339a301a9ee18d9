import type { NodeId } from "../../base/ids.ts";
import type { Membership } from "./membership-types.ts";

/** The members that live, but this node. */
export const livingOthers = (membership: Pick<Membership, "self" | "view" | "isLive">): readonly NodeId[] =>
	membership
		.view()
		.members.map(({ node_id }) => node_id as NodeId)
		.filter((nodeId) => nodeId !== membership.self && membership.isLive(nodeId));
