import type { DialTransportOptions, Transport } from "@libp2p/interface";
import { type TCPOptions, tcp } from "@libp2p/tcp";
import { PEER_LIMITS } from "./peer-limits.ts";

/** How long an address may take that nobody answers at: the socket's own bound. */
const SOCKET_OPTIONS = { noDelay: true, timeout: PEER_LIMITS.dialMsMax };

/**
 * TCP whose dials can be given up. libp2p's own hands the signal on to the socket, and when it aborts while the socket is still
 * connecting it listens to the socket's errors no more: the next one would end the process.
 */
export function peerTcp(): ReturnType<typeof tcp> {
	const create = tcp({ dialOpts: SOCKET_OPTIONS, listenOpts: { noDelay: true } } satisfies TCPOptions);
	return (components) => {
		const transport = create(components);
		const dial: Transport["dial"] = transport.dial.bind(transport);
		transport.dial = (address, options) => {
			const { signal, upgrader } = options;
			const upgrade: DialTransportOptions["upgrader"]["upgradeOutbound"] = (connection, upgradeOptions) =>
				upgrader.upgradeOutbound(connection, { ...upgradeOptions, signal });
			const dialed = dial(address, {
				...options,
				signal: new AbortController().signal,
				upgrader: { ...upgrader, upgradeOutbound: upgrade },
			});
			const { promise: given, reject } = Promise.withResolvers<never>();
			const abort = (): void => reject(signal.reason as Error);
			if (signal.aborted) abort();
			signal.addEventListener("abort", abort);
			// Whoever gave up hears no more of it.
			dialed.catch(() => undefined).finally(() => signal.removeEventListener("abort", abort));
			return Promise.race([dialed, given]);
		};
		return transport;
	};
}
