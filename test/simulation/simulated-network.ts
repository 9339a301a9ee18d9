import { HiveError } from "../../src/base/errors.ts";
import type { NodeId } from "../../src/base/ids.ts";
import { type CallOptions, type PeerCalls, PeerFailure, type PeerHandler } from "../../src/cluster/peer/peer-types.ts";
import type { ShardName } from "../../src/shards/pool-types.ts";
import type { SeededRandom, VirtualTime } from "../cluster/repair/virtual-time.ts";
import type { SimulatedHost } from "./simulated-host.ts";

/** A process that listens. */
export interface Listener {
	readonly host: SimulatedHost;
	/** undefined: the sender is none of those who are heard. */
	handlerFor(from: NodeId, method: string): PeerHandler | undefined;
}

export interface NetworkParts {
	readonly time: VirtualTime;
	readonly random: SeededRandom;
	/** Each message that arrives, and each call's end. */
	readonly trace: (line: string) => void;
}

/** Messages between nodes: late, lost, twice, out of order, or not at all. */
export class SimulatedNetwork {
	readonly #parts: NetworkParts;
	readonly #listeners = new Map<NodeId, Listener>();
	/** `from to` of those between which nothing goes that way. */
	readonly #cut = new Set<string>();
	lossRate = 0;
	duplicateRate = 0;
	/** Of messages, how many are held up for seconds. */
	straggleRate = 0;

	constructor(parts: NetworkParts) {
		this.#parts = parts;
	}

	listen(listener: Listener): void {
		this.#listeners.set(listener.host.nodeId, listener);
	}

	cut(from: NodeId, to: NodeId): void {
		this.#cut.add(`${from} ${to}`);
	}

	/** All that was cut, lost or doubled is no more. */
	heal(): void {
		this.#cut.clear();
		this.lossRate = 0;
		this.duplicateRate = 0;
		this.straggleRate = 0;
	}

	callsOf(host: SimulatedHost): PeerCalls {
		return {
			call: (nodeId, method, body, options) => this.#call(host, nodeId, method, body, options),
			isConnected: () => true,
		};
	}

	#call(host: SimulatedHost, to: NodeId, method: string, body: unknown, options: CallOptions): Promise<unknown> {
		const { promise, resolve, reject } = Promise.withResolvers<unknown>();
		const given = new AbortController();
		const { signal } = options;
		let isOver = false;
		const end = (settle: () => void): void => {
			if (isOver) return;
			isOver = true;
			cancelTimer();
			signal?.removeEventListener("abort", onAbort);
			settle();
		};
		const fail = (kind: "timeout" | "unreachable", why: string): void => {
			end(() => reject(new PeerFailure(kind, to, why)));
		};
		const onAbort = (): void => {
			given.abort();
			fail("timeout", "the caller gave up");
		};
		const cancelTimer = host.after(options.timeoutMs, () => {
			given.abort();
			fail("timeout", "no answer came in time");
		});
		if (signal?.aborted === true) onAbort();
		else signal?.addEventListener("abort", onAbort, { once: true });

		const label = labelOf(method, body);
		const answer = (settle: () => void): void => {
			const listener = this.#listeners.get(to);
			if (listener === undefined) return;
			this.#carry(to, host, `${label}'s answer`, () => end(settle), true);
		};
		const listener = this.#listeners.get(to);
		if (listener?.host.isRunning !== true) {
			// Its machine is there, and says that nobody listens.
			host.after(this.#delayMs(), () => fail("unreachable", "nobody listens there"));
			return promise;
		}
		this.#carry(
			host.nodeId,
			listener.host,
			label,
			() => {
				const handler = this.#listeners.get(to)!.handlerFor(host.nodeId, method);
				if (handler === undefined) {
					answer(() => reject(new PeerFailure("unreachable", to, "the connection was refused")));
					return;
				}
				handler(body, { from: host.nodeId, signal: given.signal }).then(
					(result) => answer(() => resolve(result)),
					(error: unknown) =>
						answer(() => reject(error instanceof HiveError ? error : new HiveError("INTERNAL", String(error)))),
				);
			},
			!isRepeatable(method, body),
		);
		return promise;
	}

	/** One message, with the fate that chance has for it. */
	#carry(from: NodeId, to: SimulatedHost, what: string, deliver: () => void, isOnce: boolean): void {
		const { random, trace } = this.#parts;
		const copies = !isOnce && random.chance(this.duplicateRate) ? 2 : 1;
		for (let copy = 0; copy < copies; copy++) {
			if (random.chance(this.lossRate)) continue;
			to.after(this.#delayMs(), () => {
				if (this.#cut.has(`${from} ${to.nodeId}`)) return;
				trace(`${from} > ${to.nodeId} ${what}`);
				deliver();
			});
		}
	}

	#delayMs(): number {
		const { random } = this.#parts;
		if (this.straggleRate > 0 && random.chance(this.straggleRate)) return 500 + random.below(8_000);
		return 1 + random.below(12);
	}
}

/** What is asked, and of which shard. */
function labelOf(method: string, body: unknown): string {
	const { method: asked = "", shard } = (body ?? {}) as { method?: string; shard?: ShardName };
	return shard === undefined ? method : `${method} ${asked} ${shard.collectionId}/${shard.shardIndex}`;
}

/** Whether it does no harm to do it twice, so that the transport need not rule it out. */
function isRepeatable(method: string, body: unknown): boolean {
	if (method !== "replica.call") return true;
	const { method: asked, args } = body as { readonly method: string; readonly args: readonly unknown[] };
	// Without a version of their own they are done anew each time.
	if (asked === "update" || asked === "upsert") return args[2] !== undefined;
	return asked !== "delete" || args[1] !== undefined;
}
