import type { NodeId } from "../../base/ids.ts";
import type { Membership } from "../membership/membership-types.ts";
import { GOSSIP_LIMITS } from "./gossip-limits.ts";
import type { KindedFact } from "./gossip-state.ts";

export interface FactContext {
	/** Who tells, proven by its identity. */
	readonly from: NodeId;
	/** false: in a state exchange, where nodes pass on what they heard. */
	readonly isBroadcast: boolean;
	readonly membership: Pick<Membership, "self" | "view" | "isLive">;
	/** Of this node's process. */
	readonly incarnation: number;
	/** Wall clock, milliseconds. */
	readonly nowMs: number;
}

/**
 * Whether a node may tell of this. Of how it is, what it counted and what its copies come to each speaks for itself; of those that
 * can't, others do. What the hub said anybody may pass on.
 */
export function mayTell(told: KindedFact, { from, isBroadcast, membership, incarnation, nowMs }: FactContext): boolean {
	if (told.kind === "record" || told.kind === "topology") return true;
	// It would outlast everything that is true, and push it out.
	if (told.kind === "usage" && told.fact.lastRequestMs > nowMs + GOSSIP_LIMITS.clockAheadMsMax) return false;
	const nodeId = told.kind === "heartbeat" ? told.fact.heartbeat.nodeId : told.fact.nodeId;
	const isMember = membership.view().member(nodeId) !== undefined;
	if (nodeId === from) return isMember;
	if (isBroadcast) return false;
	if (nodeId !== membership.self) return (isMember || told.kind === "usage") && !membership.isLive(nodeId);
	// What a node hears of itself is from before it was started again.
	if (told.kind === "heartbeat") return told.fact.heartbeat.incarnation <= GOSSIP_LIMITS.ownIncarnationMax;
	return told.kind === "digest" && told.fact.incarnation < incarnation;
}
