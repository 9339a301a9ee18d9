import { clientNetwork, isNetwork, NetworkList } from "../base/network.ts";

/** Proxies in a row; a longer list is somebody's attempt to keep us busy. */
const HOP_COUNT_MAX = 32;
const WITH_PORT = /^(?:\[([0-9A-Fa-f:.]+)\]|(\d+\.\d+\.\d+\.\d+))(?::\d{1,5})?$/;

/**
 * Finds out whose request it is. `X-Forwarded-For` counts only as far as trusted proxies vouch for it: each wrote down, at
 * the right end, whom it had heard from, and what stands further left is whatever the client liked to send.
 */
export class ClientAddress {
	readonly #isTrusting: boolean;
	readonly #trusted: NetworkList;

	/** @param trustedProxies addresses and networks, `server.trusted_proxies` */
	constructor(trustedProxies: readonly string[]) {
		this.#isTrusting = trustedProxies.length > 0;
		this.#trusted = new NetworkList(trustedProxies);
	}

	/**
	 * The client's address; IPv4 mapped into IPv6 comes out as IPv4.
	 *
	 * @param peer         the other end of the connection
	 * @param forwardedFor `X-Forwarded-For`, several of them joined by commas
	 */
	of(peer: string, forwardedFor: string | null): string {
		let client = plainAddress(peer);
		if (!this.#isTrusting || forwardedFor === null || !this.#trusted.includes(client)) return client;
		let end = forwardedFor.length;
		for (let hop = 0; hop < HOP_COUNT_MAX && end >= 0; hop++) {
			const comma = end === 0 ? -1 : forwardedFor.lastIndexOf(",", end - 1);
			const address = forwardedAddress(forwardedFor.slice(comma + 1, end).trim());
			// Nobody knows who wrote that, so the proxy before it is the last one known.
			if (address === undefined) return client;
			client = address;
			if (!this.#trusted.includes(client)) return client;
			end = comma;
		}
		return client;
	}
}

/** Some proxies add the port. */
function forwardedAddress(text: string): string | undefined {
	const [, bracketed, dotted] = WITH_PORT.exec(text) ?? [];
	const address = bracketed ?? dotted ?? text;
	return isNetwork(address) && !address.includes("/") ? plainAddress(address) : undefined;
}

function plainAddress(address: string): string {
	if (!address.includes(":")) return address;
	const network = clientNetwork(address);
	return network.includes("/") ? address : network;
}
