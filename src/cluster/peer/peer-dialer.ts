import type { NodeId, RandomBytes } from "../../base/ids.ts";
import type { Timers } from "../../base/timers.ts";
import type { KnownPeer } from "../membership/topology-keeper.ts";
import type { PeerAdmission } from "./member-connections.ts";
import type { PeerAddresses } from "./peer-addresses.ts";
import { PEER_LIMITS } from "./peer-limits.ts";

export interface PeerDialerParts {
	readonly ownPeerId: string;
	readonly admission: Pick<PeerAdmission, "peers">;
	readonly addresses: PeerAddresses;
	readonly isConnected: (nodeId: NodeId) => boolean;
	/** @throws when nobody with that identity answers there */
	readonly dial: (peer: KnownPeer, address: string) => Promise<void>;
	readonly timers: Timers;
	readonly random: RandomBytes;
	readonly log: (message: string, facts: Readonly<Record<string, unknown>>) => void;
}

interface Search {
	/** Attempts since the node was last heard. */
	attemptCount: number;
	isUnderWay: boolean;
}

/** Looks for every member there is no connection to, without end, at one address after the other. */
export class PeerDialer {
	readonly #parts: PeerDialerParts;
	readonly #searches = new Map<NodeId, Search>();
	#isStopped = false;

	constructor(parts: PeerDialerParts) {
		this.#parts = parts;
	}

	/** To be called when members come or connections go, and now and then. */
	look(): void {
		if (this.#isStopped) return;
		const { admission, isConnected } = this.#parts;
		const members = new Set<NodeId>();
		for (const peer of admission.peers()) {
			members.add(peer.nodeId);
			if (!isConnected(peer.nodeId)) this.#search(peer);
		}
		for (const nodeId of this.#searches.keys()) if (!members.has(nodeId)) this.#searches.delete(nodeId);
	}

	/** The node gave a sign of life: should its connection be lost it is looked for at once. */
	heard(nodeId: NodeId): void {
		const search = this.#searches.get(nodeId);
		if (search !== undefined) search.attemptCount = 0;
	}

	stop(): void {
		this.#isStopped = true;
	}

	#search(peer: KnownPeer): void {
		const search = this.#searches.get(peer.nodeId) ?? { attemptCount: 0, isUnderWay: false };
		this.#searches.set(peer.nodeId, search);
		if (search.isUnderWay) return;
		search.isUnderWay = true;
		this.#parts.timers.after(this.#delayMs(peer, search.attemptCount), () => void this.#attempt(peer, search));
	}

	async #attempt(peer: KnownPeer, search: Search): Promise<void> {
		const { addresses, isConnected, dial, log } = this.#parts;
		const known = addresses.of(peer);
		const address = known[search.attemptCount % Math.max(known.length, 1)];
		const isWanted = !this.#isStopped && this.#searches.get(peer.nodeId) === search && !isConnected(peer.nodeId);
		search.attemptCount++;
		try {
			if (isWanted && address !== undefined) await dial(peer, address);
		} catch (error) {
			// It may be away for days: less and less often is enough.
			if (!this.#isStopped && Number.isInteger(Math.log2(search.attemptCount))) {
				log("a node could not be reached", { node_id: peer.nodeId, address, reason: String(error) });
			}
		} finally {
			search.isUnderWay = false;
			this.look();
		}
	}

	#delayMs(peer: KnownPeer, attemptCount: number): number {
		const round = Math.floor(attemptCount / Math.max(this.#parts.addresses.of(peer).length, 1));
		const jitter = 0.75 + this.#parts.random(1)[0]! / 512;
		const delayMs = Math.min(PEER_LIMITS.redialMsMin * 2 ** Math.min(round, 8), PEER_LIMITS.redialMsMax) * jitter;
		// One side begins, so that there are not always two connections.
		const isFirst = attemptCount === 0 && this.#parts.ownPeerId < peer.peerId;
		return isFirst ? 0 : delayMs;
	}
}
