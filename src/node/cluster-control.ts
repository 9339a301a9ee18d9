import type { Clock } from "../base/clock.ts";
import { HiveError } from "../base/errors.ts";
import type { NodeId, TenantId } from "../base/ids.ts";
import { inPages } from "../base/in-pages.ts";
import type { HeardHeartbeat } from "../cluster/gossip/gossip-state.ts";
import type { Heartbeat, TransferProgress } from "../cluster/gossip/gossip-types.ts";
import type { Membership } from "../cluster/membership/membership-types.ts";
import type { TopologyKeeper } from "../cluster/membership/topology-keeper.ts";
import type { CopyFacts } from "../cluster/shard-copies.ts";
import type { CollectionRecord, TopologyMember } from "../hub/models.ts";
import type { ClusterControl, ClusterState, NodeInfo, ShardCopies, TransferInfo } from "../operations/node-services.ts";
import type { ShardRef } from "../shards/pool-types.ts";

const GB = 1e9;
/** To ask for a copy may open it. */
const SHARDS_IN_FLIGHT_MAX = 8;

/** The part of the topology's keeper that admins may use. */
type MemberChanges = Pick<TopologyKeeper, "drain" | "cancelDrain" | "remove">;

export interface NodeClusterControlParts {
	readonly membership: Membership;
	/** Changes the topology; absent on a node that is single-tenant. */
	readonly keeper?: MemberChanges;
	/** What this node would say of itself now. */
	readonly own: () => Heartbeat;
	/** What was last heard of another node. */
	readonly heard: (nodeId: NodeId) => HeardHeartbeat | undefined;
	/** Age of the oldest write that a node misses, as far as this one knows; 0: none. */
	readonly lagSeconds: (nodeId: NodeId) => number;
	/** Has every node look for what to move, fetch or drop. */
	readonly rebalance: () => Promise<void>;
	/** @throws TENANT_NOT_FOUND, HUB_UNAVAILABLE */
	readonly collections: (tenantId: TenantId) => Promise<readonly CollectionRecord[]>;
	/** One for each shard. */
	readonly shardRefs: (record: CollectionRecord) => readonly ShardRef[];
	readonly copies: (shard: ShardRef, replicas: number) => Promise<readonly CopyFacts[]>;
	readonly clock: Clock;
}

/** What admins see and change of the cluster, from what this node knows. */
export class NodeClusterControl implements ClusterControl {
	readonly #parts: NodeClusterControlParts;

	constructor(parts: NodeClusterControlParts) {
		this.#parts = parts;
	}

	state(): ClusterState {
		const { membership } = this.#parts;
		const view = membership.view();
		let storedBytes = 0;
		const nodes = view.members.map((member) => {
			const heard = this.#heard(member.node_id as NodeId);
			storedBytes += heard?.heartbeat.load.storedBytes ?? 0;
			return this.#nodeInfo(member, heard, view.ringShare(member.node_id as NodeId));
		});
		return {
			topology_version: view.version,
			is_changing: view.isChanging,
			has_majority: membership.hasMajority(),
			stored_bytes: storedBytes,
			nodes,
		};
	}

	async drain(nodeId: NodeId): Promise<void> {
		const keeper = this.#keeperFor(nodeId);
		const { members } = this.#parts.membership.view();
		const serving = members.filter(({ serves_hub, state }) => serves_hub && state !== "removed");
		if (serving.length === 1 && serving[0]!.node_id === nodeId) {
			throw new HiveError(
				"CONFLICT",
				"the node runs the hub of the cluster, which would leave with it: to replace its machine, stop it and move its data folder",
				{ field: "node_id" },
			);
		}
		await keeper.drain(nodeId);
	}

	async cancelDrain(nodeId: NodeId): Promise<void> {
		await this.#keeperFor(nodeId).cancelDrain(nodeId);
	}

	async remove(nodeId: NodeId, acceptLoss: boolean): Promise<void> {
		await this.#keeperFor(nodeId).remove(nodeId, acceptLoss);
	}

	rebalance(): Promise<void> {
		return this.#parts.rebalance();
	}

	async shards(tenantId: TenantId, collection: string | undefined): Promise<readonly ShardCopies[]> {
		const { collections, shardRefs, copies } = this.#parts;
		const records = (await collections(tenantId)).filter(({ name }) => collection === undefined || name === collection);
		if (collection !== undefined && records.length === 0) {
			throw new HiveError("COLLECTION_NOT_FOUND", `tenant ${tenantId} has no collection ${collection}`);
		}
		const shards = records.flatMap((record) => shardRefs(record).map((ref) => ({ record, ref })));
		const answers: ShardCopies[] = [];
		const asked = inPages(shards, SHARDS_IN_FLIGHT_MAX, async ({ record, ref }) => ({
			tenant_id: tenantId,
			collection: record.name,
			shard: ref.shardIndex,
			copies: (await copies(ref, record.replicas)).map(copyInfo),
		}));
		for await (const page of asked) answers.push(...page);
		return answers;
	}

	#keeperFor(nodeId: NodeId): MemberChanges {
		const { keeper, membership } = this.#parts;
		if (keeper !== undefined) return keeper;
		if (nodeId !== membership.self) throw new HiveError("NOT_FOUND", `no member of the cluster has the id ${nodeId}`);
		throw new HiveError("CONFLICT", "this node is single-tenant and alone: there is no cluster that it could leave");
	}

	#heard(nodeId: NodeId): HeardHeartbeat | undefined {
		const { membership, own, heard, clock } = this.#parts;
		return nodeId === membership.self ? { heartbeat: own(), heardAtMs: clock.monotonicMs() } : heard(nodeId);
	}

	#nodeInfo(member: TopologyMember, heard: HeardHeartbeat | undefined, ringShare: number): NodeInfo {
		const { membership, lagSeconds, clock } = this.#parts;
		const nodeId = member.node_id as NodeId;
		const heartbeat = heard?.heartbeat;
		const isSelf = nodeId === membership.self;
		const isDown = !isSelf && (!membership.isLive(nodeId) || heartbeat?.isStopping === true);
		return {
			node_id: nodeId,
			state: isDown && member.state !== "removed" ? "down" : member.state,
			addresses: heartbeat?.addresses ?? member.addresses,
			url: heartbeat?.url ?? null,
			version: heartbeat?.version ?? null,
			ring_share: ringShare,
			self: isSelf,
			last_heard_seconds:
				heard === undefined ? null : Math.max(0, Math.round((clock.monotonicMs() - heard.heardAtMs) / 100) / 10),
			hub: { serves: member.serves_hub, connected: heartbeat?.isHubUp ?? null },
			shards_open: heartbeat?.load.openShards ?? null,
			stored_gb: heartbeat === undefined ? null : Math.round((heartbeat.load.storedBytes / GB) * 1e6) / 1e6,
			transfers: (heartbeat?.transfers ?? []).map(transferInfo),
			transfers_waiting: heartbeat?.transfersWaiting ?? 0,
			hints_pending: heartbeat?.hintsPending ?? 0,
			replication_lag_seconds: isSelf ? 0 : lagSeconds(nodeId),
		};
	}
}

const copyInfo = ({ nodeId, state, vectorCount, digest }: CopyFacts): ShardCopies["copies"][number] => ({
	node_id: nodeId,
	state,
	...(vectorCount !== undefined && { vectors: vectorCount }),
	...(digest !== undefined && { digest }),
});

const transferInfo = (transfer: TransferProgress): TransferInfo => ({
	tenant_id: transfer.tenantId,
	collection_id: transfer.collectionId,
	shard: transfer.shard,
	from: transfer.from,
	rows_done: transfer.rowsDone,
	rows_total: transfer.rowsTotal,
	bytes_done: transfer.bytesDone,
});
