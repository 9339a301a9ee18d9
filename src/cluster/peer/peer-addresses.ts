import type { KnownPeer } from "../membership/topology-keeper.ts";
import { PEER_LIMITS } from "./peer-limits.ts";

/**
 * Where nodes may be found: what they told of themselves last, and what the topology says. An identity is proven whatever address
 * it answers at, so a wrong one costs an attempt and nothing else.
 */
export class PeerAddresses {
	/** Of a peer id, the newest first. */
	readonly #learned = new Map<string, readonly string[]>();

	learn(peerId: string, addresses: readonly string[]): void {
		const known = this.#learned.get(peerId) ?? [];
		this.#learned.delete(peerId);
		this.#learned.set(peerId, [...new Set([...addresses, ...known])].slice(0, PEER_LIMITS.addressesPerPeerMax));
		const oldest = this.#learned.keys().next();
		if (this.#learned.size > PEER_LIMITS.peersRememberedMax && oldest.done !== true) this.#learned.delete(oldest.value);
	}

	/** In the order in which to try them. */
	of({ peerId, addresses }: KnownPeer): readonly string[] {
		return [...new Set([...(this.#learned.get(peerId) ?? []), ...addresses])];
	}
}
