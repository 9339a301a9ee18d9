import type { NodeId, TenantId } from "../../base/ids.ts";
import { inPages } from "../../base/in-pages.ts";
import type { HubClient } from "../../hub/hub-client-types.ts";
import { collectionsIfThere, tenantPages } from "../../hub/hub-listing.ts";
import type { CollectionRecord, Topology, TopologyMember } from "../../hub/models.ts";
import { RingTopologyView } from "./ring-topology-view.ts";
import { isSpare } from "./topology-change.ts";

const TENANT_PAGE = 500;
/** Collections are asked for one tenant each: with more tenants the question is not worth its time. */
const TENANTS_MAX = 20_000;
const TENANTS_IN_FLIGHT_MAX = 16;

/**
 * Whether writes that were acknowledged may be on this node, and on others that are being removed already, alone: when these
 * are most of a shard's copies, as a quorum is most of them too.
 *
 * @returns true also when there is too much to look through
 * @throws HUB_UNAVAILABLE
 */
export async function isDataAtRisk(
	hub: Pick<HubClient, "listTenants" | "listCollections">,
	topology: Topology,
	nodeId: NodeId,
): Promise<boolean> {
	const member = topology.members.find(({ node_id }) => node_id === nodeId);
	if (member === undefined || isSpare(topology, member)) return false;
	const isGone = ({ node_id, state }: TopologyMember): boolean => node_id === nodeId || state === "removed";
	const gone = new Set(topology.members.filter(isGone).map(({ node_id }) => node_id));
	// The copies as they were before any of these was given up; but one that joins was none of them, unless all had been.
	const asBefore = (each: TopologyMember): TopologyMember => (isGone(each) ? { ...each, state: "draining" } : each);
	const members = member.state === "joining" ? topology.members : topology.members.map(asBefore);
	const view = new RingTopologyView({ ...topology, members });
	const isAtRisk = ({ id, shards, replicas }: CollectionRecord): boolean => {
		for (let shardIndex = 0; shardIndex < shards; shardIndex++) {
			const copies = view.placement(id, shardIndex, replicas).current;
			if (2 * copies.filter((holder) => gone.has(holder)).length > copies.length) return true;
		}
		return false;
	};
	let seenCount = 0;
	for await (const tenants of tenantPages(hub, TENANT_PAGE)) {
		if (seenCount >= TENANTS_MAX) return true;
		const listed = inPages(tenants, TENANTS_IN_FLIGHT_MAX, ({ id }) => collectionsIfThere(hub, id as TenantId));
		for await (const collections of listed) if (collections.flat().some(isAtRisk)) return true;
		seenCount += tenants.length;
	}
	return false;
}
