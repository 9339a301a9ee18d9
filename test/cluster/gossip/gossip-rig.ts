import type { NodeId, TenantId } from "../../../src/base/ids.ts";
import { type DropReason, Gossip, type GossipParts } from "../../../src/cluster/gossip/gossip.ts";
import type { DigestFact, Heartbeat, UsageFact } from "../../../src/cluster/gossip/gossip-types.ts";
import { GossipedRecords } from "../../../src/cluster/gossip/gossiped-records.ts";
import { decodeBody, encodeBody } from "../../../src/cluster/peer/peer-codec.ts";
import type { PeerBroadcast } from "../../../src/cluster/peer/peer-types.ts";
import type { CollectionRecord, KeyRecord, TenantRecord, Topology } from "../../../src/hub/models.ts";
import { newCollection } from "../../hub/hub-rig.ts";
import { SimulatedNetwork, type SimulatedPeer } from "../accounts/simulated-network.ts";
import { SimulatedTime } from "../accounts/simulated-time.ts";

export const NODES = ["node_a", "node_b", "node_c"] as NodeId[];
export const [A, B, C] = NODES as [NodeId, NodeId, NodeId];
export const ACME = "acme" as TenantId;

export interface Sent {
	readonly from: NodeId;
	readonly topic: string;
	readonly bytes: number;
	// biome-ignore lint/suspicious/noExplicitAny: messages are taken as they come
	readonly body: any;
}

/** Nodes of a cluster that gossip over a network in this process. */
export class GossipRig {
	readonly time = new SimulatedTime();
	readonly network: SimulatedNetwork;
	readonly nodes = new Map<NodeId, GossipNode>();
	readonly sent: Sent[] = [];
	/** Whether a message that is broadcast gets lost on its way. */
	loses: (from: NodeId, to: NodeId, topic: string) => boolean = () => false;
	readonly #listeners = new Map<NodeId, Map<string, (body: unknown, from: NodeId) => void>>();
	readonly #cut = new Set<string>();

	constructor(nodeIds: readonly NodeId[] = NODES) {
		this.network = new SimulatedNetwork(this.time, nodeIds);
		for (const nodeId of nodeIds) this.start(nodeId);
	}

	/** A process begins, with nothing in memory. */
	start(nodeId: NodeId, options: Partial<GossipParts> = {}): GossipNode {
		this.#listeners.set(nodeId, new Map());
		const earlier = this.nodes.get(nodeId);
		const node = new GossipNode(this, this.network.join(nodeId), earlier?.stored ?? {}, options);
		this.nodes.set(nodeId, node);
		return node;
	}

	node(nodeId: NodeId): GossipNode {
		return this.nodes.get(nodeId)!;
	}

	/** Nothing goes between the two any more. */
	cut(one: NodeId, other: NodeId): void {
		for (const [from, to] of [
			[one, other],
			[other, one],
		] as const) {
			this.network.cut(from, to);
			this.#cut.add(`${from} ${to}`);
			this.network.peers.get(from)!.sees(to, false);
		}
	}

	heal(): void {
		this.network.heal();
		this.#cut.clear();
		for (const peer of this.network.peers.values()) for (const nodeId of this.nodes.keys()) peer.sees(nodeId, true);
	}

	broadcastOf(self: NodeId): PeerBroadcast {
		const listeners = this.#listeners.get(self)!;
		return {
			subscribe: (topic, listener) => listeners.set(topic, listener),
			publish: (topic, body) => {
				const encoded = encodeBody(body);
				this.sent.push({ from: self, topic, bytes: encoded.byteLength, body: decodeBody(encoded) });
				for (const to of this.nodes.keys()) {
					if (to === self || this.#cut.has(`${self} ${to}`) || this.loses(self, to, topic)) continue;
					this.time.after(1, () => this.deliver(self, to, topic, decodeBody(encoded)));
				}
			},
		};
	}

	deliver(from: NodeId, to: NodeId, topic: string, body: unknown): void {
		this.#listeners.get(to)!.get(topic)?.(body, from);
	}
}

/** What of a node outlives its process. */
export interface StoredNumbers {
	generation?: number;
	heardTo?: number;
}

export class GossipNode {
	readonly gossip: Gossip;
	readonly records: GossipedRecords;
	readonly logged: string[] = [];
	readonly dropped: string[] = [];
	/** What it says of itself next. */
	described: Omit<Heartbeat, "nodeId" | "incarnation" | "sequence"> = description;

	constructor(
		rig: GossipRig,
		readonly peer: SimulatedPeer,
		readonly stored: StoredNumbers,
		options: Partial<GossipParts>,
	) {
		const { time } = rig;
		this.gossip = new Gossip({
			calls: peer,
			methods: peer,
			broadcast: rig.broadcastOf(peer.self),
			membership: peer,
			clock: time,
			timers: time,
			every: (intervalMs, task) => {
				let callOff = (): void => {};
				const again = (): void => {
					callOff = time.after(intervalMs, () => {
						task();
						again();
					});
				};
				again();
				return () => callOff();
			},
			random: (byteCount) => new Uint8Array(byteCount),
			generations: {
				load: () => stored.generation,
				save: (generation) => {
					stored.generation = generation;
				},
			},
			describe: () => this.described,
			log: (message) => this.logged.push(message),
			onDropped: (kind: string, reason: DropReason) => this.dropped.push(`${kind} ${reason}`),
			...options,
		});
		this.records = new GossipedRecords(time);
		this.records.attach(this.gossip);
	}
}

export const description: Omit<Heartbeat, "nodeId" | "incarnation" | "sequence"> = {
	url: "http://10.0.0.1:7801",
	addresses: ["/ip4/10.0.0.1/tcp/7802"],
	version: "1.2.3",
	protocol: "1.0",
	topologyVersion: 1,
	settledVersion: 1,
	isStopping: false,
	hasHub: false,
	isHubUp: true,
	load: { openShards: 1, queueDepth: 0, eventLoopLagSeconds: 0, storedBytes: 10, vectorCount: 1 },
	transfers: [],
	transfersWaiting: 0,
	hintsPending: 0,
};

export const heartbeatOf = (nodeId: NodeId, incarnation: number, sequence: number): Heartbeat => ({
	...description,
	nodeId,
	incarnation,
	sequence,
});

export const hashOf = (index: number): string => index.toString(16).padStart(64, "0");

export const keyRecord = (index: number, revision: number, more: Partial<KeyRecord> = {}): KeyRecord => ({
	api_key_id: `key_${String(index).padStart(16, "0")}` as KeyRecord["api_key_id"],
	tenant_id: ACME,
	name: "ci",
	permissions: ["READ_WRITE"],
	created_at: "2030-01-01T00:00:00.000Z",
	expires_at: null,
	last_used_at: null,
	rotation_status: "active",
	rate_limit_override: null,
	allowed_ips: null,
	signing_required: false,
	signing_public_key: null,
	revision,
	...more,
});

export const tenantRecord = (id: string, revision: number, more: Partial<TenantRecord> = {}): TenantRecord => ({
	id: id as TenantId,
	name: "Acme",
	active: true,
	quota: { max_storage_bytes: null, max_vectors: null, max_collections: null },
	rate_limits: null,
	metadata: {},
	created_at: "2030-01-01T00:00:00.000Z",
	api_keys_count: 1,
	revision,
	...more,
});

export const collectionRecord = (index: number, revision: number): CollectionRecord => ({
	...newCollection(`docs-${index}`),
	id: `collection-${index}` as CollectionRecord["id"],
	tenant_id: ACME,
	created_at: "2030-01-01T00:00:00.000Z",
	revision,
});

export const topology = (version: number): Topology => ({ version, members: [], retired: [] });

export const usageOf = (nodeId: NodeId, counts: Partial<UsageFact> = {}): UsageFact => ({
	nodeId,
	tenantId: ACME,
	createdAtMs: 1_000,
	requests: 1,
	searches: 0,
	vectorsWritten: 0,
	lastRequestMs: 2_000,
	...counts,
});

export const digestOf = (nodeId: NodeId, shard: string, sequence: number, incarnation = 1): DigestFact => ({
	nodeId,
	shard,
	incarnation,
	sequence,
	root: `root-${incarnation}-${sequence}`,
});
