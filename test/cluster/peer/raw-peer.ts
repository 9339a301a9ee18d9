import type { Connection, Stream } from "@libp2p/interface";
import { openPeerHost, type PeerHost } from "../../../src/cluster/peer/peer-host.ts";
import type { PeerIdentity } from "../../../src/cluster/peer/peer-identity.ts";
import { BelievedTopology, newIdentity, SECRET } from "./peer-rig.ts";

/** One that has the secret and a connection, and keeps to no protocol. */
export class RawPeer {
	private constructor(
		readonly identity: PeerIdentity,
		readonly host: PeerHost,
		readonly topology: BelievedTopology,
	) {}

	static async open(secret = SECRET, identity?: PeerIdentity): Promise<RawPeer> {
		const own = identity ?? (await newIdentity());
		const topology = new BelievedTopology(own.peerId);
		const host = await openPeerHost({
			identity: own,
			secret,
			listen: [],
			advertise: [],
			mdns: false,
			admission: topology,
			isWelcome: () => true,
			log: () => undefined,
			onBytes: () => undefined,
		});
		await host.libp2p.start();
		return new RawPeer(own, host, topology);
	}

	dial(address: string): Promise<Connection> {
		return this.host.dial(address, undefined, AbortSignal.timeout(5_000));
	}

	async close(): Promise<void> {
		await this.host.libp2p.stop();
	}
}

/** Settles when the other side has ended the stream. */
export function ended(stream: Stream): Promise<void> {
	const { promise, resolve } = Promise.withResolvers<void>();
	if (stream.status !== "open") resolve();
	stream.addEventListener("close", () => resolve());
	stream.addEventListener("remoteCloseWrite", () => resolve());
	return promise;
}

export function closed(connection: Connection): Promise<void> {
	const { promise, resolve } = Promise.withResolvers<void>();
	if (connection.status !== "open") resolve();
	connection.addEventListener("close", () => resolve());
	return promise;
}
