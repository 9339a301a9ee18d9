import { isIP } from "node:net";

/** Where nodes of a cluster listen for each other unless they are told otherwise. */
export const CLUSTER_PORT = 7_802;

/** Where a node may be reached by other nodes. */
export type ClusterAddress =
	/** One place. */
	| { readonly kind: "place"; readonly host: string; readonly port: number }
	/** A name that stands for any number of nodes, such as a headless service of Kubernetes. */
	| { readonly kind: "group"; readonly name: string; readonly port: number };

const MULTIADDRESS = /^\/(ip4|ip6|dns|dns4|dns6)\/([^/]{1,253})\/tcp\/(\d{1,5})$/;
const HOST_AND_PORT = /^(?:\[([0-9A-Fa-f:.]{2,45})\]|([^:/[\]]{1,253})):(\d{1,5})$/;
const GROUP = /^dns:([^:/]{1,253})(?::(\d{1,5}))?$/;
const HOST_NAME = /^(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?$/;

const isHostName = (text: string): boolean => text.length <= 253 && HOST_NAME.test(text) && !/^[\d.]+$/.test(text);

function portOf(text: string, min: 0 | 1): number | undefined {
	const port = Number(text);
	return port >= min && port <= 65_535 ? port : undefined;
}

/**
 * Reads `/ip4/10.0.0.1/tcp/7802` (or `ip6`, `dns`, `dns4`, `dns6`), `host:port`, `[::1]:7802` or `dns:name[:port]`.
 *
 * @returns undefined when it is none of these
 */
export function parseClusterAddress(text: string): ClusterAddress | undefined {
	const group = GROUP.exec(text);
	if (group !== null) {
		const name = group[1]!;
		const port = group[2] === undefined ? CLUSTER_PORT : portOf(group[2], 1);
		return port !== undefined && isHostName(name) ? { kind: "group", name, port } : undefined;
	}
	return parsePlace(text, 1);
}

/** An address to listen at: an IP address, its port 0 for any free one. */
export function isListenAddress(text: string): boolean {
	const place = parsePlace(text, 0);
	return place !== undefined && text.startsWith("/ip");
}

/** An address that others can be told: a single place. */
export const isPlace = (text: string): boolean => parseClusterAddress(text)?.kind === "place";

function parsePlace(text: string, portMin: 0 | 1): ClusterAddress | undefined {
	const multi = MULTIADDRESS.exec(text);
	if (multi !== null) {
		const [, protocol = "", host = "", digits = ""] = multi;
		const port = portOf(digits, portMin);
		const family = isIP(host);
		const fits = protocol === "ip4" ? family === 4 : protocol === "ip6" ? family === 6 : isHostName(host);
		return port !== undefined && fits ? { kind: "place", host, port } : undefined;
	}
	const pair = HOST_AND_PORT.exec(text);
	if (pair === null) return undefined;
	const host = pair[1] ?? pair[2]!;
	const port = portOf(pair[3]!, portMin);
	const fits = pair[1] === undefined ? isIP(host) === 4 || isHostName(host) : isIP(host) === 6;
	return port !== undefined && fits ? { kind: "place", host, port } : undefined;
}

/** As libp2p dials it. */
export function multiaddressOf(host: string, port: number): string {
	const family = isIP(host);
	const protocol = family === 4 ? "ip4" : family === 6 ? "ip6" : "dns";
	return `/${protocol}/${host}/tcp/${port}`;
}
