import ipaddr from "ipaddr.js";

type Address = ipaddr.IPv4 | ipaddr.IPv6;

/** Leading bits that name a client: one household or server is handed a whole /64, so its addresses count as one. */
const IPV6_CLIENT_BITS = 64;

/** An address or a network: `203.0.113.7`, `10.0.0.0/8`, `2001:db8::/32`. */
export function isNetwork(text: string): boolean {
	return parseNetwork(text) !== undefined;
}

/** Networks that addresses are held against. IPv4 addresses mapped into IPv6 (`::ffff:10.0.0.1`) count as IPv4. */
export class NetworkList {
	readonly #networks: readonly (readonly [Address, number])[];

	/** @param networks each as `isNetwork` takes it; what is none matches nothing. */
	constructor(networks: readonly string[]) {
		this.#networks = networks.map(parseNetwork).filter((network) => network !== undefined);
	}

	/** false also for what is no address. */
	includes(address: string): boolean {
		const parsed = parseAddress(address);
		if (parsed === undefined) return false;
		return this.#networks.some(
			([network, bits]) => network.kind() === parsed.kind() && parsed.match(network as never, bits),
		);
	}
}

/** One name for all addresses of a client: an IPv4 address as it is (also when mapped into IPv6), an IPv6 address as its /64. */
export function clientNetwork(address: string): string {
	const parsed = parseAddress(address);
	if (parsed === undefined) return address;
	if (parsed.kind() === "ipv4") return parsed.toString();
	const groups = (parsed as ipaddr.IPv6).parts.slice(0, IPV6_CLIENT_BITS / 16);
	return `${groups.map((group) => group.toString(16)).join(":")}::/${IPV6_CLIENT_BITS}`;
}

function parseAddress(text: string): Address | undefined {
	// A zone (`fe80::1%eth0`) is this machine's business, and octal or short IPv4 forms are somebody's trick.
	const [address = ""] = text.split("%", 1);
	if (!ipaddr.IPv6.isValid(address) && !ipaddr.IPv4.isValidFourPartDecimal(address)) return undefined;
	return ipaddr.process(address);
}

function parseNetwork(text: string): readonly [Address, number] | undefined {
	const [, base = "", bitsText] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
	if (base.includes("%")) return undefined;
	const address = parseAddress(base);
	if (address === undefined) return undefined;
	const wasMapped = base.includes(":") && address.kind() === "ipv4";
	const bitsMax = address.kind() === "ipv4" ? 32 : 128;
	if (bitsText === undefined) return [address, bitsMax];
	const bits = Number(bitsText) - (wasMapped ? 96 : 0);
	return bits >= 0 && bits <= bitsMax ? [address, bits] : undefined;
}
