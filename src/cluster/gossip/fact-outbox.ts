import type { Clock } from "../../base/clock.ts";
import type { Timers } from "../../base/timers.ts";
import { encodeBody } from "../peer/peer-codec.ts";
import { type FactOnWire, factOnWire } from "./fact-schemas.ts";
import { GOSSIP_LIMITS } from "./gossip-limits.ts";
import type { KindedFact } from "./gossip-state.ts";

export interface FactOutboxParts {
	/** What comes within so many milliseconds of a message goes out together with the next. */
	readonly batchMs: number;
	readonly clock: Pick<Clock, "monotonicMs">;
	readonly timers: Timers;
	readonly send: (facts: readonly FactOnWire[]) => void;
	readonly onDropped: (kind: string, reason: "too_large" | "overflow") => void;
}

/** News on its way to all: the first goes out at once, what follows soon after is gathered. Of each thing only the newest goes. */
export class FactOutbox {
	readonly #parts: FactOutboxParts;
	readonly #waiting = new Map<string, KindedFact>();
	#sentAtMs = Number.NEGATIVE_INFINITY;
	#callOff: (() => void) | undefined;

	constructor(parts: FactOutboxParts) {
		this.#parts = parts;
	}

	/** @param name of what the fact is about: a newer one takes its place while it waits. */
	add(name: string, fact: KindedFact): void {
		if (this.#waiting.size >= GOSSIP_LIMITS.waitingMax && !this.#waiting.has(name)) {
			this.#parts.onDropped(fact.kind, "overflow");
			return;
		}
		this.#waiting.set(name, fact);
		const { batchMs, clock, timers } = this.#parts;
		// At once is after what else comes of the same page.
		const delayMs = Math.max(0, this.#sentAtMs + batchMs - clock.monotonicMs());
		this.#callOff ??= timers.after(delayMs, () => this.flush());
	}

	/** Sends what waits, in messages of bounded size. */
	flush(): void {
		this.#callOff?.();
		this.#callOff = undefined;
		const nowMs = this.#parts.clock.monotonicMs();
		this.#sentAtMs = nowMs;
		let message: FactOnWire[] = [];
		let messageBytes = 0;
		for (const kept of this.#waiting.values()) {
			const fact = factOnWire(kept, nowMs);
			const bytes = encodedBytes(fact);
			if (bytes > GOSSIP_LIMITS.factBytesMax) {
				this.#parts.onDropped(fact.kind, "too_large");
				continue;
			}
			const isFull =
				messageBytes + bytes > GOSSIP_LIMITS.messageBytesMax || message.length >= GOSSIP_LIMITS.factsPerMessageMax;
			if (isFull) {
				this.#parts.send(message);
				message = [];
				messageBytes = 0;
			}
			message.push(fact);
			messageBytes += bytes;
		}
		this.#waiting.clear();
		if (message.length > 0) this.#parts.send(message);
	}
}

export const encodedBytes = (fact: FactOnWire): number => encodeBody(fact).byteLength;
