import { HiveError } from "../../base/errors.ts";
import type { NodeId, TenantId } from "../../base/ids.ts";
import type { HubClient } from "../../hub/hub-client-types.ts";
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
	let after: string | null = null;
	for (let seenCount = 0; seenCount < TENANTS_MAX; ) {
		const position: { after?: string } = after === null ? {} : { after };
		const page = await hub.listTenants({ limit: TENANT_PAGE, ...position });
		for (let start = 0; start < page.tenants.length; start += TENANTS_IN_FLIGHT_MAX) {
			const tenants = page.tenants.slice(start, start + TENANTS_IN_FLIGHT_MAX);
			const collections = await Promise.all(tenants.map(({ id }) => collectionsOf(hub, id as TenantId)));
			if (collections.flat().some(isAtRisk)) return true;
		}
		if (page.next === null) return false;
		after = page.next;
		seenCount += page.tenants.length;
	}
	return true;
}

async function collectionsOf(
	hub: Pick<HubClient, "listCollections">,
	tenantId: TenantId,
): Promise<readonly CollectionRecord[]> {
	try {
		return await hub.listCollections(tenantId);
	} catch (error) {
		// It was deleted since the page was read.
		if (error instanceof HiveError && error.code === "TENANT_NOT_FOUND") return [];
		throw error;
	}
}
