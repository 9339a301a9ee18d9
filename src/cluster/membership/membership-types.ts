import type { CollectionId, NodeId } from "../../base/ids.ts";
import type { ReplicaCount, TopologyMember } from "../../hub/models.ts";

/** Which nodes hold one shard. */
export interface Placement {
	/** Whose copies hold everything acknowledged; reads go here. In the ring's order, the first being the shard's home. Never empty. */
	readonly current: readonly NodeId[];
	/** Who shall hold it when the change of topology under way is over; equal to `current` when there is none. */
	readonly next: readonly NodeId[];
	/** Both, without repetition: who takes writes. */
	readonly writers: readonly NodeId[];
}

/** The topology as of one version, with the ring made of it. Immutable. */
export interface TopologyView {
	readonly version: number;
	/** In the order of node ids. */
	readonly members: readonly TopologyMember[];
	/** Whether members join or leave: some shards have to move. */
	readonly isChanging: boolean;
	/** @param replicas as the collection's record says; fewer when there are fewer members, and what the topology says counts more */
	placement(collectionId: CollectionId, shardIndex: number, replicas: number): Placement;
	/** What the topology says of the collection's copies; undefined: its record alone counts. */
	replicaCount(collectionId: CollectionId): ReplicaCount | undefined;
	/** Members in the ring's order from where the subject falls: the first that lives keeps accounts for it. */
	homes(subject: string): readonly NodeId[];
	/** Share of the key space of which the node is home, 0..1. */
	ringShare(nodeId: NodeId): number;
	member(nodeId: NodeId): TopologyMember | undefined;
}

/** What a node knows of the cluster at a moment. */
export interface Membership {
	readonly self: NodeId;
	view(): TopologyView;
	/** Whether the node is thought to answer; always true of oneself. */
	isLive(nodeId: NodeId): boolean;
	/** Members that live, among all that count for a majority. */
	hasMajority(): boolean;
	/** Called after a new view, or when a node comes or goes. */
	onChange(listener: () => void): void;
	/** Someone knows of a newer topology: read it. Settles when the view is at least that new, or could not be had. */
	refresh(version: number): Promise<void>;
}
