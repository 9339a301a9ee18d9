import type { CollectionId, NodeId, TenantId } from "../../../src/base/ids.ts";
import type { Membership, TopologyView } from "../../../src/cluster/membership/membership-types.ts";
import { RingTopologyView } from "../../../src/cluster/membership/ring-topology-view.ts";
import type { PeerCalls, PeerHandler, PeerMethods } from "../../../src/cluster/peer/peer-types.ts";
import { PeerFailure } from "../../../src/cluster/peer/peer-types.ts";
import type { ClusterShard, ShardCatalog } from "../../../src/cluster/repair/repair-types.ts";
import { ShardReconciler } from "../../../src/cluster/repair/shard-reconciler.ts";
import {
	type CopyState,
	type LocalCopies,
	type LocalCopy,
	type RemoteReconciler,
	ReplicaFailure,
	type ReplicaMethod,
	type ReplicaPort,
} from "../../../src/cluster/replication/replica-types.ts";
import { shardKey } from "../../../src/cluster/shard-facts.ts";
import type { MemberState, Topology } from "../../../src/hub/models.ts";
import type { ShardCalls, ShardName, ShardRef } from "../../../src/shards/pool-types.ts";
import type { ShardConfig } from "../../../src/storage/shard-types.ts";
import { MemoryShard } from "./memory-shard.ts";

export const DIMENSION = 2;

const config: ShardConfig = {
	dimension: DIMENSION,
	metric: "cosine",
	quantization: "f32",
	index: "hnsw",
	hnsw: { m: 16, ef_construction: 128, ef_search: 64 },
	payloadIndexes: {},
	isReplicated: true,
};

export const nodeIdOf = (name: string): NodeId => `node_${name.padEnd(16, "0")}` as NodeId;

export function shardRef(collection: string, shardIndex = 0): ShardRef {
	const collectionId = collection.padEnd(20, "x") as CollectionId;
	return { tenantId: "acme" as TenantId, collectionId, shardIndex, config, configRevision: 1 };
}

export function topologyOf(version: number, members: Readonly<Record<string, MemberState>>): Topology {
	const listed = Object.entries(members).map(([name, state]) => ({
		node_id: nodeIdOf(name),
		peer_id: `peer-${name}`,
		state,
		addresses: [],
		serves_hub: false,
	}));
	return { version, members: listed, retired: [] };
}

interface Copy {
	readonly shard: ShardRef;
	readonly rows: MemoryShard;
	state: Exclude<CopyState, "none">;
}

/** One node, as far as repair sees it. */
export class MemoryNode implements LocalCopies, Membership, PeerMethods {
	readonly copies = new Map<string, Copy>();
	readonly methods = new Map<string, PeerHandler>();
	readonly #listeners: (() => void)[] = [];
	#view: TopologyView;
	/** Versions that were to be settled, and what holds it up. */
	readonly settledVersions: number[] = [];
	settling: Promise<void> = Promise.resolve();

	constructor(
		readonly self: NodeId,
		private readonly world: MemoryNodes,
		topology: Topology,
	) {
		this.#view = new RingTopologyView(topology);
	}

	view(): TopologyView {
		return this.#view;
	}

	learn(topology: Topology): void {
		this.#view = new RingTopologyView(topology);
		this.tell();
	}

	tell(): void {
		for (const listener of this.#listeners) listener();
	}

	isLive(nodeId: NodeId): boolean {
		return nodeId === this.self || !this.world.down.has(nodeId);
	}

	hasMajority(): boolean {
		return true;
	}

	onChange(listener: () => void): void {
		this.#listeners.push(listener);
	}

	async refresh(version: number): Promise<void> {
		if (this.world.topology.version >= version && this.#view.version < version) this.learn(this.world.topology);
	}

	handle(method: string, handler: PeerHandler): void {
		this.methods.set(method, handler);
	}

	/** What is on the disk of the copy, which there must be. */
	rows(shard: ShardName): MemoryShard {
		return this.copies.get(shardKey(shard))!.rows;
	}

	async state(shard: ShardName): Promise<CopyState> {
		return this.copies.get(shardKey(shard))?.state ?? "none";
	}

	async make(shard: ShardRef, state: "complete" | "incoming"): Promise<void> {
		const key = shardKey(shard);
		if (this.copies.has(key)) return;
		this.copies.set(key, { shard, rows: new MemoryShard(shard.config.dimension, this.world.nowMs), state });
	}

	async markComplete(shard: ShardName): Promise<void> {
		const copy = this.copies.get(shardKey(shard));
		if (copy !== undefined) copy.state = "complete";
	}

	async drop(shard: ShardName): Promise<void> {
		this.copies.delete(shardKey(shard));
	}

	async settled(_shard: ShardName, version: number): Promise<void> {
		this.settledVersions.push(version);
		await this.settling;
	}

	async *list(): AsyncGenerator<LocalCopy> {
		for (const { shard, state } of [...this.copies.values()]) yield { ...shard, state };
	}
}

/** Nodes that reach each other by function calls, with the faults a test wants. */
export class MemoryNodes {
	readonly nodes = new Map<NodeId, MemoryNode>();
	/** Nodes that answer nobody. */
	readonly down = new Set<NodeId>();
	readonly shards: ClusterShard[] = [];
	/** Every call, `node method`. */
	readonly calls: string[] = [];
	/** Called before each call on a copy; may throw, or wait. */
	before: (nodeId: NodeId, method: string, args: readonly unknown[]) => void | Promise<void> = () => {};
	topology: Topology;
	/** Of all copies: late, so that no deletion is too young to be forgotten. */
	readonly nowMs = (): number => Number.MAX_SAFE_INTEGER;

	constructor(topology: Topology) {
		this.topology = topology;
		for (const { node_id } of topology.members) {
			const nodeId = node_id as NodeId;
			this.nodes.set(nodeId, new MemoryNode(nodeId, this, topology));
		}
	}

	node(name: string): MemoryNode {
		return this.nodes.get(nodeIdOf(name))!;
	}

	/** A shard of a collection that wants so many copies; no node has any yet. */
	add(shard: ShardRef, replicas: number): ClusterShard {
		const added = { shard, replicas };
		this.shards.push(added);
		return added;
	}

	/** The topology goes on, and all nodes hear of it. */
	change(topology: Topology): void {
		this.topology = topology;
		for (const { node_id } of topology.members) {
			const nodeId = node_id as NodeId;
			if (!this.nodes.has(nodeId)) this.nodes.set(nodeId, new MemoryNode(nodeId, this, topology));
		}
		for (const node of this.nodes.values()) node.learn(topology);
	}

	setDown(name: string, isDown: boolean): void {
		if (isDown) this.down.add(nodeIdOf(name));
		else this.down.delete(nodeIdOf(name));
		for (const node of this.nodes.values()) node.tell();
	}

	readonly catalog: ShardCatalog = {
		all: async function* (this: MemoryNodes): AsyncGenerator<ClusterShard> {
			yield* this.shards;
		}.bind(this),
		find: async (name) => this.shards.find(({ shard }) => shardKey(shard) === shardKey(name)),
	};

	portOf(self: NodeId): ReplicaPort & RemoteReconciler {
		return {
			reconcile: async (nodeId, shard, peer, { signal }) => {
				await this.#reach(self, nodeId, `reconcile ${peer}`, []);
				const port = this.portOf(nodeId);
				await new ShardReconciler({ self: nodeId, port, throttle: { take: async () => {} } }).reconcile(
					shard,
					peer,
					signal,
				);
			},
			call: async <M extends ReplicaMethod>(nodeId: NodeId, shard: ShardRef, method: M, args: readonly unknown[]) => {
				await this.#reach(self, nodeId, method, args);
				const copy = this.nodes.get(nodeId)!.copies.get(shardKey(shard));
				if (copy === undefined) throw new ReplicaFailure("missing", nodeId, "nothing of the shard is there");
				return answerOf(copy.rows, method, args) as ReturnType<ShardCalls[M]>;
			},
			make: async (nodeId, shard, state) => {
				await this.#reach(self, nodeId, "make", [state]);
				await this.nodes.get(nodeId)!.make(shard, state);
			},
			copyState: async (nodeId, shard) => {
				await this.#reach(self, nodeId, "copyState", []);
				return await this.nodes.get(nodeId)!.state(shard);
			},
		};
	}

	peersOf(self: NodeId): PeerCalls {
		return {
			call: async (nodeId, method, body, { signal }) => {
				if (this.down.has(nodeId)) throw new PeerFailure("unreachable", nodeId, "the node is down");
				this.calls.push(`${nodeId} ${method}`);
				const handler = this.nodes.get(nodeId)!.methods.get(method)!;
				return await handler(body, { from: self, signal: signal ?? new AbortController().signal });
			},
			isConnected: (nodeId) => !this.down.has(nodeId),
		};
	}

	async #reach(self: NodeId, nodeId: NodeId, method: string, args: readonly unknown[]): Promise<void> {
		this.calls.push(`${nodeId} ${method}`);
		await this.before(nodeId, method, args);
		if (nodeId !== self && this.down.has(nodeId)) {
			throw new ReplicaFailure("unreachable", nodeId, "the node is down");
		}
	}
}

function answerOf(rows: MemoryShard, method: ReplicaMethod, args: readonly unknown[]): unknown {
	switch (method) {
		case "digest":
			return rows.digest(...(args as Parameters<ShardCalls["digest"]>));
		case "versions":
			return rows.versions(...(args as Parameters<ShardCalls["versions"]>));
		case "rows":
			return rows.rowsOf(...(args as Parameters<ShardCalls["rows"]>));
		case "merge":
			return rows.merge(...(args as Parameters<ShardCalls["merge"]>));
		case "allowPurge":
			return rows.allowPurge(...(args as Parameters<ShardCalls["allowPurge"]>));
		default:
			throw new Error(`repair has no business with ${method}`);
	}
}
