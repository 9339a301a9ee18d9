import type { NodeId } from "../../../src/base/ids.ts";
import type { Membership, TopologyView } from "../../../src/cluster/membership/membership-types.ts";
import { RingTopologyView } from "../../../src/cluster/membership/ring-topology-view.ts";
import {
	type CallOptions,
	type PeerCalls,
	PeerFailure,
	type PeerHandler,
	type PeerMethods,
} from "../../../src/cluster/peer/peer-types.ts";
import type { MemberState } from "../../../src/hub/models.ts";
import type { SimulatedTime } from "./simulated-time.ts";

/** One node's end of the network, and what it knows of the members. */
export class SimulatedPeer implements PeerCalls, PeerMethods, Membership {
	readonly handlers = new Map<string, PeerHandler>();
	readonly live = new Set<NodeId>();
	readonly #listeners: (() => void)[] = [];
	readonly #network: SimulatedNetwork;
	#view: TopologyView;

	constructor(
		readonly self: NodeId,
		network: SimulatedNetwork,
	) {
		this.#network = network;
		this.#view = network.view;
		for (const { node_id } of this.#view.members) this.live.add(node_id as NodeId);
	}

	handle(method: string, handler: PeerHandler): void {
		this.handlers.set(method, handler);
	}

	call(nodeId: NodeId, method: string, body: unknown, options: CallOptions): Promise<unknown> {
		return this.#network.call(this.self, nodeId, method, body, options);
	}

	isConnected(nodeId: NodeId): boolean {
		return this.live.has(nodeId);
	}

	view(): TopologyView {
		return this.#view;
	}

	isLive(nodeId: NodeId): boolean {
		return nodeId === this.self || this.live.has(nodeId);
	}

	hasMajority(): boolean {
		const { members } = this.#view;
		return 2 * members.filter(({ node_id }) => this.isLive(node_id as NodeId)).length > members.length;
	}

	onChange(listener: () => void): void {
		this.#listeners.push(listener);
	}

	async refresh(version: number): Promise<void> {
		if (this.#view.version < version) this.learn();
	}

	/** Hears of the topology as it is now. */
	learn(): void {
		this.#view = this.#network.view;
		for (const { node_id } of this.#view.members) {
			if (!this.#network.isDown(node_id as NodeId)) this.live.add(node_id as NodeId);
		}
		this.#changed();
	}

	sees(nodeId: NodeId, isLive: boolean): void {
		if (this.live.has(nodeId) === isLive) return;
		if (isLive) this.live.add(nodeId);
		else this.live.delete(nodeId);
		this.#changed();
	}

	#changed(): void {
		for (const listener of this.#listeners) listener();
	}
}

/** Members in one process that call each other; calls take time, and get lost when told. */
export class SimulatedNetwork {
	readonly peers = new Map<NodeId, SimulatedPeer>();
	readonly calls: { readonly from: NodeId; readonly to: NodeId; readonly method: string }[] = [];
	/** One way. */
	delayMs = 1;
	view: TopologyView;
	/** Whether a call, having been carried out, gets no answer. */
	losesAnswer: (method: string) => boolean = () => false;
	readonly #time: SimulatedTime;
	readonly #down = new Set<NodeId>();
	readonly #cut = new Set<string>();
	#version = 1;

	constructor(time: SimulatedTime, nodeIds: readonly NodeId[]) {
		this.#time = time;
		this.view = topologyView(1, new Map(nodeIds.map((nodeId) => [nodeId, "active"])));
		for (const nodeId of nodeIds) this.join(nodeId);
	}

	join(nodeId: NodeId): SimulatedPeer {
		const peer = new SimulatedPeer(nodeId, this);
		this.peers.set(nodeId, peer);
		return peer;
	}

	/** A new topology, of which nobody knows yet. */
	change(states: ReadonlyMap<NodeId, MemberState>): void {
		this.view = topologyView(++this.#version, states);
	}

	kill(nodeId: NodeId): void {
		this.#down.add(nodeId);
	}

	isDown(nodeId: NodeId): boolean {
		return this.#down.has(nodeId);
	}

	/** Nothing comes from the one to the other any more. */
	cut(from: NodeId, to: NodeId): void {
		this.#cut.add(`${from} ${to}`);
	}

	heal(): void {
		this.#cut.clear();
	}

	async call(from: NodeId, to: NodeId, method: string, body: unknown, { timeoutMs }: CallOptions): Promise<unknown> {
		this.calls.push({ from, to, method });
		const { promise: late, reject } = Promise.withResolvers<never>();
		const callOff = this.#time.after(timeoutMs, () => reject(new PeerFailure("timeout", to, "no answer in time")));
		try {
			return await Promise.race([late, this.#carry(from, to, method, structuredClone(body))]);
		} finally {
			callOff();
		}
	}

	async #carry(from: NodeId, to: NodeId, method: string, body: unknown): Promise<unknown> {
		await this.#time.pause(this.delayMs);
		const handler = this.peers.get(to)?.handlers.get(method);
		if (this.#isLost(from, to)) return new Promise(() => {});
		if (handler === undefined) throw new PeerFailure("unsupported", to, method);
		const [outcome] = await Promise.allSettled([handler(body, { from, signal: new AbortController().signal })]);
		await this.#time.pause(this.delayMs);
		if (this.#isLost(to, from) || this.losesAnswer(method)) return new Promise(() => {});
		if (outcome.status === "rejected") return Promise.reject(outcome.reason as Error);
		return structuredClone(outcome.value);
	}

	#isLost(from: NodeId, to: NodeId): boolean {
		return this.#down.has(from) || this.#down.has(to) || this.#cut.has(`${from} ${to}`);
	}
}

const topologyView = (version: number, states: ReadonlyMap<NodeId, MemberState>): TopologyView =>
	new RingTopologyView({
		version,
		members: Array.from(states, ([node_id, state]) => ({
			node_id,
			peer_id: node_id,
			state,
			addresses: [],
			serves_hub: false,
		})),
		retired: [],
	});
