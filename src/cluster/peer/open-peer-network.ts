import type { PeerHostParts } from "./peer-host.ts";
import { PeerNetwork, type PeerNetworkParts } from "./peer-network.ts";

export type PeerNetworkOptions = PeerNetworkParts & Omit<PeerHostParts, "isWelcome">;

/** The network, not started. libp2p is loaded only here: a node alone does without it. */
export async function openPeerNetwork(options: PeerNetworkOptions): Promise<PeerNetwork> {
	const { openPeerHost } = await import("./peer-host.ts");
	let network: PeerNetwork | undefined;
	const host = await openPeerHost({ ...options, isWelcome: (peerId) => network?.isWelcome(peerId) ?? false });
	network = new PeerNetwork(options, host);
	return network;
}
