import { generateKeyPair } from "@libp2p/crypto/keys";
import { peerIdFromPrivateKey } from "@libp2p/peer-id";
import { systemClock } from "../../../src/base/clock.ts";
import { type NodeId, newNodeId, systemRandom } from "../../../src/base/ids.ts";
import { systemTimers } from "../../../src/base/timers.ts";
import type { KnownPeer } from "../../../src/cluster/membership/topology-keeper.ts";
import type { PeerAdmission } from "../../../src/cluster/peer/member-connections.ts";
import { openPeerNetwork, type PeerNetworkOptions } from "../../../src/cluster/peer/open-peer-network.ts";
import type { PeerIdentity } from "../../../src/cluster/peer/peer-identity.ts";
import type { PeerNetwork } from "../../../src/cluster/peer/peer-network.ts";

export const SECRET = new TextEncoder().encode("the secret of the cluster of tests");

/** What one node believes the topology to be. */
export class BelievedTopology implements PeerAdmission {
	readonly members = new Map<string, KnownPeer>();
	readonly retired = new Set<string>();

	constructor(private readonly self: string) {}

	nodeIdOf(peerId: string): NodeId | undefined {
		return this.members.get(peerId)?.nodeId;
	}

	isRetired(peerId: string): boolean {
		return this.retired.has(peerId);
	}

	*peers(): Generator<KnownPeer> {
		for (const peer of this.members.values()) if (peer.peerId !== this.self) yield peer;
	}
}

export interface RigNode {
	readonly nodeId: NodeId;
	readonly identity: PeerIdentity;
	readonly network: PeerNetwork;
	readonly topology: BelievedTopology;
	/** `connected node_…`, `disconnected node_…`, in their order. */
	readonly events: string[];
	readonly logged: string[];
	readonly traffic: Map<string, number>;
	/** Requests to join that it was asked. */
	readonly asked: { readonly body: unknown; readonly peerId: string }[];
}

export async function newIdentity(): Promise<PeerIdentity> {
	const privateKey = await generateKeyPair("Ed25519");
	return { privateKey, peerId: peerIdFromPrivateKey(privateKey).toString() };
}

/** Networks in this process, on ports that are free. */
export class PeerRig {
	readonly #nodes: RigNode[] = [];

	/** A node that is started, and knows nobody. */
	async node(options: Partial<PeerNetworkOptions> & { readonly nodeId?: NodeId } = {}): Promise<RigNode> {
		const node = await this.unstarted(options);
		await node.network.start();
		return node;
	}

	async unstarted(options: Partial<PeerNetworkOptions> & { readonly nodeId?: NodeId } = {}): Promise<RigNode> {
		const identity = options.identity ?? (await newIdentity());
		const nodeId = options.nodeId ?? newNodeId(systemRandom);
		const topology = new BelievedTopology(identity.peerId);
		const [events, logged, asked]: [string[], string[], RigNode["asked"]] = [[], [], []];
		const traffic = new Map<string, number>();
		const network = await openPeerNetwork({
			identity,
			secret: SECRET,
			protocol: "1.0",
			listen: ["/ip4/127.0.0.1/tcp/0"],
			advertise: [],
			mdns: false,
			admission: topology,
			join: async (body, peerId) => {
				asked.push({ body, peerId });
				return { welcome: true };
			},
			events: {
				connected: (id) => events.push(`connected ${id}`),
				disconnected: (id) => events.push(`disconnected ${id}`),
				heard: () => undefined,
			},
			clock: systemClock,
			timers: systemTimers,
			random: systemRandom,
			log: (message) => logged.push(message),
			onBytes: (kind, direction, byteCount) => {
				const key = `${kind} ${direction}`;
				traffic.set(key, (traffic.get(key) ?? 0) + byteCount);
			},
			...options,
		});
		const node = { nodeId, identity, network, topology, events, logged, asked, traffic };
		this.#nodes.push(node);
		return node;
	}

	/** So many members that know each other, connected. */
	async cluster(nodeCount: number): Promise<RigNode[]> {
		const nodes: RigNode[] = [];
		for (let index = 0; index < nodeCount; index++) nodes.push(await this.node());
		admit(nodes);
		await allConnected(nodes);
		return nodes;
	}

	async close(): Promise<void> {
		await Promise.all(this.#nodes.splice(0).map(({ network }) => network.stop()));
	}
}

export const knownAs = ({ nodeId, identity, network }: RigNode): KnownPeer => ({
	nodeId,
	peerId: identity.peerId,
	addresses: network.addresses,
});

/** Every one of them hears that all of them are members. */
export function admit(nodes: readonly RigNode[]): void {
	for (const { topology } of nodes) for (const node of nodes) topology.members.set(node.identity.peerId, knownAs(node));
	for (const { network } of nodes) network.peersChanged();
}

export const allConnected = (nodes: readonly RigNode[]): Promise<void> =>
	until(() => nodes.every((one) => nodes.every((other) => one === other || one.network.isConnected(other.nodeId))));

const PATIENCE_MS = 15_000;

/** @throws when it does not come true for long */
export async function until(isTrue: () => boolean): Promise<void> {
	const endMs = performance.now() + PATIENCE_MS;
	while (!isTrue()) {
		if (performance.now() > endMs) throw new Error("it did not come true");
		await Bun.sleep(5);
	}
}

/** What a promise is rejected with. */
export async function failureOf(
	promise: Promise<unknown>,
): Promise<Error & { readonly kind?: string; readonly code?: string }> {
	try {
		await promise;
	} catch (error) {
		return error as Error & { kind?: string; code?: string };
	}
	throw new Error("it did not fail");
}
