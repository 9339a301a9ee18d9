import type { Clock } from "../../base/clock.ts";
import type { NodeId } from "../../base/ids.ts";
import type { Timers } from "../../base/timers.ts";
import { PEER_LIMITS } from "../peer/peer-limits.ts";

/** How often silence is looked at. */
const LOOK_EVERY_MS = 250;
/** After so long a node that is thought dead is forgotten. */
const FORGET_MS = 3_600_000;

interface Sight {
	isConnected: boolean;
	isLive: boolean;
	/** On the listening clock. */
	heardAtListening: number;
	/** On the monotonic clock. */
	heardAtMs: number;
}

export interface LivenessParts {
	readonly clock: Clock;
	readonly timers: Timers;
}

/**
 * Who lives, judged by silence. Whatever comes from a node is a sign of life: an answer, a heartbeat, a connection. Silence is
 * measured in time during which this process was able to listen, so that one that was stopped or is short of processor does not
 * think all others dead when it goes on.
 */
export class Liveness {
	readonly #parts: LivenessParts;
	readonly #sights = new Map<NodeId, Sight>();
	readonly #listeners: (() => void)[] = [];
	/** Milliseconds in which this process listened. */
	#listenedMs = 0;
	#lookedAtMs: number;
	#callOff: () => void;

	constructor(parts: LivenessParts) {
		this.#parts = parts;
		this.#lookedAtMs = parts.clock.monotonicMs();
		this.#callOff = this.#lookLater();
	}

	/** A member gave a sign of life. */
	heard(nodeId: NodeId): void {
		this.#sighted(nodeId);
	}

	connected(nodeId: NodeId): void {
		this.#sighted(nodeId).isConnected = true;
	}

	/** The node has the time of a silent one to show that it lives: connections are lost under load, and found again. */
	disconnected(nodeId: NodeId): void {
		const sight = this.#sights.get(nodeId);
		if (sight !== undefined) sight.isConnected = false;
	}

	/** A node takes its leave: it need not be waited for. */
	left(nodeId: NodeId): void {
		const sight = this.#sights.get(nodeId);
		if (sight === undefined) return;
		this.#sights.delete(nodeId);
		if (sight.isLive) this.#tell();
	}

	isLive(nodeId: NodeId): boolean {
		return this.#sights.get(nodeId)?.isLive === true;
	}

	/** Milliseconds since the node gave a sign of life; undefined: none since the start, or very long ago. */
	timeSinceHeard(nodeId: NodeId): number | undefined {
		const sight = this.#sights.get(nodeId);
		return sight === undefined ? undefined : this.#parts.clock.monotonicMs() - sight.heardAtMs;
	}

	/** Called after a node came or went. */
	onChange(listener: () => void): void {
		this.#listeners.push(listener);
	}

	stop(): void {
		this.#callOff();
	}

	#sighted(nodeId: NodeId): Sight {
		const heardAtMs = this.#parts.clock.monotonicMs();
		const heardAtListening = this.#listenedMs;
		const known = this.#sights.get(nodeId);
		if (known?.isLive === true) {
			known.heardAtMs = heardAtMs;
			known.heardAtListening = heardAtListening;
			return known;
		}
		const sight = { isConnected: known?.isConnected ?? false, isLive: true, heardAtListening, heardAtMs };
		this.#sights.set(nodeId, sight);
		this.#tell();
		return sight;
	}

	#lookLater(): () => void {
		return this.#parts.timers.after(LOOK_EVERY_MS, () => {
			this.#callOff = this.#lookLater();
			this.#look();
		});
	}

	#look(): void {
		const nowMs = this.#parts.clock.monotonicMs();
		// A look that comes late was kept from listening, and so perhaps from hearing.
		this.#listenedMs += Math.min(nowMs - this.#lookedAtMs, 2 * LOOK_EVERY_MS);
		this.#lookedAtMs = nowMs;
		let hasChanged = false;
		for (const [nodeId, sight] of this.#sights) {
			const silenceMs = this.#listenedMs - sight.heardAtListening;
			// Behind a connection that nobody has given up it may only be busy.
			const silenceMsMax = sight.isConnected ? PEER_LIMITS.connectionSilenceMsMax : PEER_LIMITS.silenceMsMax;
			if (sight.isLive && silenceMs > silenceMsMax) {
				sight.isLive = false;
				hasChanged = true;
			}
			if (silenceMs > FORGET_MS) this.#sights.delete(nodeId);
		}
		if (hasChanged) this.#tell();
	}

	#tell(): void {
		for (const listener of this.#listeners) listener();
	}
}
