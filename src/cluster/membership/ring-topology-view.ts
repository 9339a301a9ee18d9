import type { CollectionId, NodeId } from "../../base/ids.ts";
import { recentMap } from "../../base/recent-map.ts";
import type { ReplicaCount, Topology, TopologyMember } from "../../hub/models.ts";
import type { Placement, TopologyView } from "./membership-types.ts";
import { Ring } from "./ring.ts";
import { isChanging } from "./topology-change.ts";

const PLACEMENTS_REMEMBERED_MAX = 50_000;
const HOMES_REMEMBERED_MAX = 20_000;

/** Where shards were, and where they shall be: a member that comes counts in the second alone, one that goes in the first. */
export class RingTopologyView implements TopologyView {
	readonly version: number;
	readonly members: readonly TopologyMember[];
	readonly isChanging: boolean;
	readonly #byId: ReadonlyMap<string, TopologyMember>;
	readonly #replicaCounts: ReadonlyMap<string, ReplicaCount>;
	readonly #current: Ring;
	readonly #next: Ring;
	readonly #removed: ReadonlySet<NodeId>;
	readonly #shares: ReadonlyMap<NodeId, number>;
	readonly #placements = recentMap<string, Placement>(PLACEMENTS_REMEMBERED_MAX);
	readonly #homes = recentMap<string, readonly NodeId[]>(HOMES_REMEMBERED_MAX);

	/** @param topology with one member at least that is not `removed` */
	constructor(topology: Topology) {
		this.version = topology.version;
		this.members = [...topology.members].sort((a, b) => (a.node_id < b.node_id ? -1 : 1));
		this.#byId = new Map(this.members.map((member) => [member.node_id, member]));
		const inState = (...states: readonly TopologyMember["state"][]): NodeId[] =>
			this.members.filter(({ state }) => states.includes(state)).map(({ node_id }) => node_id as NodeId);
		const counts = topology.replica_counts ?? [];
		this.#replicaCounts = new Map(counts.map((count) => [count.collection_id, count]));
		this.isChanging = isChanging(topology);
		this.#removed = new Set(inState("removed"));
		const next = inState("joining", "active");
		// A cluster of which all leave has nowhere to move to.
		this.#next = new Ring(next.length > 0 ? next : inState("draining"));
		const current = inState("active", "draining", "removed");
		this.#current = this.isChanging && current.length > 0 ? new Ring(current) : this.#next;
		this.#shares = this.#next.shares();
	}

	placement(collectionId: CollectionId, shardIndex: number, replicas: number): Placement {
		const subject = `${collectionId}/${shardIndex}`;
		const key = `${subject}/${replicas}`;
		let placement = this.#placements.get(key);
		if (placement === undefined) {
			const count = this.#replicaCounts.get(collectionId);
			placement = this.#place(subject, count?.from ?? replicas, count?.to ?? replicas);
			this.#placements.set(key, placement);
		}
		return placement;
	}

	replicaCount(collectionId: CollectionId): ReplicaCount | undefined {
		return this.#replicaCounts.get(collectionId);
	}

	homes(subject: string): readonly NodeId[] {
		let homes = this.#homes.get(subject);
		if (homes === undefined) {
			homes = this.#next.nodesFor(subject, this.#next.nodeCount);
			this.#homes.set(subject, homes);
		}
		return homes;
	}

	ringShare(nodeId: NodeId): number {
		return this.#shares.get(nodeId) ?? 0;
	}

	member(nodeId: NodeId): TopologyMember | undefined {
		return this.#byId.get(nodeId);
	}

	#place(subject: string, replicasNow: number, replicasNext: number): Placement {
		const next = this.#next.nodesFor(subject, replicasNext);
		if (!this.isChanging) return { current: next, next, writers: next };
		const left = this.#current.nodesFor(subject, replicasNow).filter((nodeId) => !this.#removed.has(nodeId));
		// Every copy was on nodes that are gone for good.
		const current = left.length > 0 ? left : next;
		return { current, next, writers: [...new Set([...current, ...next])] };
	}
}
