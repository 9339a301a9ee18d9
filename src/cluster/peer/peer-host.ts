import { createHash } from "node:crypto";
import type { Connection, ConnectionGater, Libp2p } from "@libp2p/interface";
import { mdns } from "@libp2p/mdns";
import { noise } from "@libp2p/noise";

import { yamux } from "@libp2p/yamux";
import { multiaddr } from "@multiformats/multiaddr";
import { createLibp2p } from "libp2p";
import type { Direction } from "./frame-stream.ts";
import type { PeerAdmission } from "./member-connections.ts";
import { MemberGossip } from "./member-gossip.ts";
import { AES_GCM_NOISE } from "./noise-cipher.ts";
import type { PeerIdentity } from "./peer-identity.ts";
import { PEER_LIMITS } from "./peer-limits.ts";
import type { TrafficKind } from "./peer-link.ts";
import { peerTcp } from "./peer-tcp.ts";

export interface PeerHostParts {
	readonly identity: PeerIdentity;
	/** Who does not know it can't finish a handshake. */
	readonly secret: Uint8Array;
	/** Multiaddresses. */
	readonly listen: readonly string[];
	readonly advertise: readonly string[];
	/** Whether nodes of the cluster are looked for on the local network, and find this one there. */
	readonly mdns: boolean;
	readonly admission: PeerAdmission;
	readonly isWelcome: (peerId: string) => boolean;
	readonly log: (message: string, facts: Readonly<Record<string, unknown>>) => void;
	readonly onBytes: (kind: TrafficKind, direction: Direction, byteCount: number) => void;
}

/** libp2p, as far as it is needed here. */
export interface PeerHost {
	readonly libp2p: Libp2p;
	readonly gossip: MemberGossip;
	/** Multiaddresses at which it listens, with all addresses of the machine in the place of 0.0.0.0. */
	listeningAt(): readonly string[];
	/** Multiaddresses at which a node of this cluster was found on the local network. */
	discovered(): readonly string[];
	/** @throws Error when it is no multiaddress */
	dial(address: string, peerId: string | undefined, signal: AbortSignal): Promise<Connection>;
}

/** libp2p with everything that strangers might use left out. The one file that loads it. */
export async function openPeerHost(parts: PeerHostParts): Promise<PeerHost> {
	const { identity, secret, listen, advertise, admission, isWelcome, log, onBytes } = parts;
	const discovered = new Set<string>();
	let gossip: MemberGossip | undefined;
	let listeningAt = (): readonly string[] => [];
	const libp2p = await createLibp2p({
		start: false,
		privateKey: identity.privateKey,
		addresses: { listen: [...listen], announce: [...advertise] },
		transports: [peerTcp()],
		connectionEncrypters: [noise({ crypto: AES_GCM_NOISE, prologueBytes: sha256(secret) })],
		streamMuxers: [
			yamux({
				streamOptions: {
					maxStreamWindowSize: PEER_LIMITS.streamWindowBytesMax,
					// A paused stream is sent a window more at the most.
					maxReadBufferLength: 2 * PEER_LIMITS.streamWindowBytesMax,
				},
			}),
		],
		connectionGater: gaterOf(isWelcome),
		connectionManager: {
			addressDialTimeout: PEER_LIMITS.dialMsMax,
			inboundUpgradeTimeout: PEER_LIMITS.dialMsMax,
			// One that hangs must not keep gossip from the others for longer.
			outboundStreamProtocolNegotiationTimeout: PEER_LIMITS.dialMsMax,
			inboundStreamProtocolNegotiationTimeout: PEER_LIMITS.dialMsMax,
			maxConnections: PEER_LIMITS.connectionsMax,
			// Many nodes may have one address, and come back all at once.
			inboundConnectionThreshold: PEER_LIMITS.handshakesMax,
			maxIncomingPendingConnections: PEER_LIMITS.handshakesMax,
			reconnectRetries: 0,
		},
		// Under load it takes healthy nodes for dead: pings of our own are more patient.
		connectionMonitor: { enabled: false },
		peerDiscovery: parts.mdns
			? [
					(components: Parameters<ReturnType<typeof mdns>>[0]) => {
						// Made of the secret, so that clusters in one network don't ask each other, and a name can't be turned back into it.
						const serviceTag = `_hv-${sha256(sha256(secret)).toString("hex").slice(0, 16)}._udp.local`;
						const discovery = mdns({ serviceTag })(components);
						discovery.addEventListener("peer", ({ detail }) => {
							for (const address of detail.multiaddrs) discovered.add(address.toString());
							for (const oldest of discovered)
								if (discovered.size > PEER_LIMITS.discoveredMax) discovered.delete(oldest);
						});
						return discovery;
					},
				]
			: [],
		services: {
			gossip: (components) => {
				listeningAt = () => components.transportManager.getAddrs().map(String);
				gossip = new MemberGossip({
					admission,
					components,
					onBytes: (direction, byteCount) => onBytes("gossip", direction, byteCount),
					log,
				});
				return gossip;
			},
		},
	});
	return {
		libp2p,
		gossip: gossip!,
		listeningAt: () => listeningAt(),
		discovered: () => [...discovered],
		dial: (address, peerId, signal) => {
			const bare = multiaddr(address.replace(/\/p2p\/[^/]+$/, ""));
			const target = peerId === undefined ? multiaddr(address) : bare.encapsulate(`/p2p/${peerId}`);
			return libp2p.dial(target, { signal });
		},
	};
}

const sha256 = (bytes: Uint8Array): Buffer => createHash("sha256").update(bytes).digest();

/** Who may have a connection is decided as soon as an identity is proven. */
function gaterOf(isWelcome: (peerId: string) => boolean): ConnectionGater {
	return {
		denyDialMultiaddr: () => false,
		denyInboundEncryptedConnection: (peerId) => !isWelcome(peerId.toString()),
		denyOutboundEncryptedConnection: (peerId) => !isWelcome(peerId.toString()),
	};
}
