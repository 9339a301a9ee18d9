import type { Clock } from "../../base/clock.ts";
import type { NodeId } from "../../base/ids.ts";
import type { Timers } from "../../base/timers.ts";
import { PEER_LIMITS } from "./peer-limits.ts";
import { PeerFailure, type PeerHandler } from "./peer-types.ts";

/** What both sides say in a ping. */
interface PingBody {
	/** The sender's wall clock. */
	readonly nowMs: number;
	/** What it speaks, `major.minor`. */
	readonly protocol: string;
}

export const PING_METHOD = "cluster.ping";

/** Of so many pings the quickest tells the other's clock. */
const SAMPLES_MAX = 8;

interface Sample {
	readonly offsetMs: number;
	readonly roundTripMs: number;
}

interface Pinged {
	/** Time since something was heard in which this process could have heard it. */
	silentMs: number;
	isUnderWay: boolean;
	samples: Sample[];
	protocol: string | undefined;
}

export interface PeerPingsParts {
	readonly protocol: string;
	readonly call: (nodeId: NodeId, method: string, body: unknown, timeoutMs: number) => Promise<unknown>;
	/** Nothing came for too long. */
	readonly onSilent: (nodeId: NodeId) => void;
	/** It speaks a version of the protocol that this node does not. */
	readonly onForeign: (nodeId: NodeId) => void;
	readonly onTick: () => void;
	readonly clock: Clock;
	readonly timers: Timers;
}

/** Asks every connected member once a second whether it is there, and what time it is. */
export class PeerPings {
	readonly #parts: PeerPingsParts;
	readonly #pinged = new Map<NodeId, Pinged>();
	#tickedAtMs: number;
	#callOff: () => void;

	constructor(parts: PeerPingsParts) {
		this.#parts = parts;
		this.#tickedAtMs = parts.clock.monotonicMs();
		this.#callOff = this.#tickLater();
	}

	readonly answer: PeerHandler = async () => this.#own();

	/** A connection to the node is there. */
	begin(nodeId: NodeId): void {
		if (!this.#pinged.has(nodeId)) {
			this.#pinged.set(nodeId, { silentMs: 0, isUnderWay: false, samples: [], protocol: undefined });
		}
		void this.#ping(nodeId);
	}

	heard(nodeId: NodeId): void {
		const pinged = this.#pinged.get(nodeId);
		if (pinged !== undefined) pinged.silentMs = 0;
	}

	end(nodeId: NodeId): void {
		this.#pinged.delete(nodeId);
	}

	/** The node's wall clock minus this one's; undefined: not known yet. */
	clockOffsetMs(nodeId: NodeId): number | undefined {
		const samples = this.#pinged.get(nodeId)?.samples ?? [];
		const quickest = samples.reduce<Sample | undefined>(
			(best, sample) => (best === undefined || sample.roundTripMs < best.roundTripMs ? sample : best),
			undefined,
		);
		return quickest?.offsetMs;
	}

	/** What the node speaks, `major.minor`; undefined: not known yet. */
	protocolOf(nodeId: NodeId): string | undefined {
		return this.#pinged.get(nodeId)?.protocol;
	}

	stop(): void {
		this.#callOff();
		this.#pinged.clear();
	}

	#tickLater(): () => void {
		return this.#parts.timers.after(PEER_LIMITS.pingEveryMs, () => {
			this.#callOff = this.#tickLater();
			this.#tick();
		});
	}

	#tick(): void {
		const { clock, onSilent, onTick } = this.#parts;
		const nowMs = clock.monotonicMs();
		// A process that was stopped for a while heard nobody, and that is nobody's fault.
		const listenedMs = Math.min(nowMs - this.#tickedAtMs, 2 * PEER_LIMITS.pingEveryMs);
		this.#tickedAtMs = nowMs;
		for (const [nodeId, pinged] of [...this.#pinged]) {
			pinged.silentMs += listenedMs;
			if (pinged.silentMs > PEER_LIMITS.connectionSilenceMsMax) onSilent(nodeId);
			else void this.#ping(nodeId);
		}
		onTick();
	}

	async #ping(nodeId: NodeId): Promise<void> {
		const pinged = this.#pinged.get(nodeId);
		if (pinged === undefined || pinged.isUnderWay) return;
		const { clock, call, onForeign } = this.#parts;
		pinged.isUnderWay = true;
		const sentAtMs = clock.monotonicMs();
		try {
			const pong = parsePing(await call(nodeId, PING_METHOD, this.#own(), PEER_LIMITS.silenceMsMax));
			const roundTripMs = clock.monotonicMs() - sentAtMs;
			if (pong === undefined) return;
			pinged.protocol = pong.protocol;
			const sample = { offsetMs: pong.nowMs + roundTripMs / 2 - clock.nowMs(), roundTripMs };
			pinged.samples = [...pinged.samples, sample].slice(-SAMPLES_MAX);
		} catch (error) {
			// Otherwise silence tells.
			if (error instanceof PeerFailure && error.kind === "unsupported") onForeign(nodeId);
		} finally {
			pinged.isUnderWay = false;
		}
	}

	#own(): PingBody {
		return { nowMs: this.#parts.clock.nowMs(), protocol: this.#parts.protocol };
	}
}

function parsePing(body: unknown): PingBody | undefined {
	const { nowMs, protocol } = (body ?? {}) as Partial<PingBody>;
	return typeof nowMs === "number" && typeof protocol === "string" ? { nowMs, protocol } : undefined;
}
