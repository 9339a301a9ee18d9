import type { NodeId } from "../../base/ids.ts";
import type { TopologyMember } from "../../hub/models.ts";
import type { Membership, Placement, TopologyView } from "./membership-types.ts";

/** A node without peers: holds every shard, keeps every account. */
export class SoloMembership implements Membership, TopologyView {
	readonly version = 0;
	readonly isChanging = false;
	readonly members: readonly TopologyMember[];
	readonly #placement: Placement;
	readonly #homes: readonly NodeId[];

	constructor(readonly self: NodeId) {
		this.#homes = [self];
		this.#placement = { current: this.#homes, next: this.#homes, writers: this.#homes };
		this.members = [{ node_id: self, peer_id: "", state: "active", addresses: [], serves_hub: true }];
	}

	view(): TopologyView {
		return this;
	}

	isLive(nodeId: NodeId): boolean {
		return nodeId === this.self;
	}

	hasMajority(): boolean {
		return true;
	}

	onChange(): void {}

	async refresh(): Promise<void> {}

	placement(): Placement {
		return this.#placement;
	}

	replicaCount(): undefined {}

	homes(): readonly NodeId[] {
		return this.#homes;
	}

	ringShare(nodeId: NodeId): number {
		return nodeId === this.self ? 1 : 0;
	}

	member(nodeId: NodeId): TopologyMember | undefined {
		return nodeId === this.self ? this.members[0] : undefined;
	}
}
