import { lookup } from "node:dns/promises";
import { type ClusterAddress, multiaddressOf, parseClusterAddress } from "../base/cluster-address.ts";

/** IP addresses behind a name, as the resolver has them now. @throws when it has none */
export type ResolveName = (name: string) => Promise<readonly string[]>;

/** By the system's own means, which know of `/etc/hosts` too. */
export const systemResolve: ResolveName = async (name) =>
	(await lookup(name, { all: true })).map(({ address }) => address);

/** A headless service may name very many nodes; any of them will do. */
const ADDRESSES_PER_NAME_MAX = 64;

/**
 * Multiaddresses that `cluster.join` stands for at the moment. Names of groups are looked up each time: the nodes behind them
 * change. A name that can't be looked up now stands for nothing.
 */
export async function joinAddresses(
	join: readonly string[],
	resolve: ResolveName,
	onFailure: (name: string, error: unknown) => void,
): Promise<readonly string[]> {
	const parsed = join.map(parseClusterAddress).filter((address): address is ClusterAddress => address !== undefined);
	const found = await Promise.all(
		parsed.map(async (address) => {
			if (address.kind === "place") return [multiaddressOf(address.host, address.port)];
			try {
				const hosts = await resolve(address.name);
				return hosts.slice(0, ADDRESSES_PER_NAME_MAX).map((host) => multiaddressOf(host, address.port));
			} catch (error) {
				onFailure(address.name, error);
				return [];
			}
		}),
	);
	return [...new Set(found.flat())];
}
