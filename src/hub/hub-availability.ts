import type { Clock } from "../base/clock.ts";
import { HiveError } from "../base/errors.ts";
import { HUB_LIMITS } from "./hub-limits.ts";

/**
 * What answered a look-up: a fresh record, the cache shared with other nodes, the hub, a stale record, or the memory that there
 * is no such key.
 */
export type LookupOutcome = "hit" | "shared" | "miss" | "stale" | "unknown";

/** Ways to a record that is not fresh here. */
export interface RecordSources<T> {
	/** What serves while the hub is away. */
	readonly stale: () => T | undefined;
	/** From other nodes; undefined: they have none that is fresh. */
	readonly share?: (() => Promise<T | undefined>) | undefined;
	readonly ask: () => Promise<T>;
}

export interface HubAvailabilityOptions {
	readonly clock: Pick<Clock, "monotonicMs">;
	/** How long someone with a stale record waits for a fresh one. */
	readonly staleWaitMs: number;
	readonly onLookup: (outcome: LookupOutcome) => void;
}

/** Whether the hub answers, and what serves while it does not. */
export class HubAvailability {
	readonly #options: HubAvailabilityOptions;
	#connected = false;
	/** Until then whoever has a stale record leaves the hub alone. */
	#restUntilMs = Number.NEGATIVE_INFINITY;

	constructor(options: HubAvailabilityOptions) {
		this.#options = options;
	}

	/** True while the hub answered last time. */
	get connected(): boolean {
		return this.#connected;
	}

	/** @returns whether it had failed just before. */
	answered(): boolean {
		const isBack = this.#restUntilMs > Number.NEGATIVE_INFINITY;
		this.#connected = true;
		this.#restUntilMs = Number.NEGATIVE_INFINITY;
		return isBack;
	}

	failed(): void {
		this.#connected = false;
		this.#rest();
	}

	/**
	 * Asks the other nodes' cache, then the hub; a stale record steps in when the hub is away or takes its time.
	 *
	 * @throws what the hub refuses; HUB_UNAVAILABLE, OVERLOADED where no stale record is left
	 */
	async refresh<T>({ stale, share, ask }: RecordSources<T>): Promise<T> {
		const { clock, onLookup, staleWaitMs } = this.#options;
		const isResting = clock.monotonicMs() < this.#restUntilMs;
		let standIn = stale();
		if (share !== undefined && (standIn === undefined || !isResting)) {
			const shared = await share();
			if (shared !== undefined) {
				onLookup("shared");
				return shared;
			}
			// They may have had one that is too old for now, but serves while the hub is away.
			standIn = stale();
		}
		if (standIn === undefined) {
			onLookup("miss");
			return await ask();
		}
		if (isResting) {
			onLookup("stale");
			return standIn;
		}
		const { promise: waited, resolve: stopWaiting } = Promise.withResolvers<"waited">();
		const timer = setTimeout(() => stopWaiting("waited"), staleWaitMs);
		let failure: unknown;
		try {
			const answered = await Promise.race([ask().then((value) => ({ value })), waited]);
			if (answered !== "waited") {
				onLookup("miss");
				return answered.value;
			}
			this.#rest();
		} catch (error) {
			if (!isAway(error)) throw error;
			failure = error;
		} finally {
			clearTimeout(timer);
		}
		// Asked again: while we waited the record may have been changed, deleted, or grown too old.
		const serving = stale();
		if (serving === undefined) {
			throw new HiveError("HUB_UNAVAILABLE", "the hub does not answer", undefined, { cause: failure });
		}
		onLookup("stale");
		return serving;
	}

	#rest(): void {
		this.#restUntilMs = this.#options.clock.monotonicMs() + HUB_LIMITS.hubRestMs;
	}
}

/** The hub can't be asked, for whatever reason: what a stale record is for. */
const isAway = (error: unknown): boolean =>
	error instanceof HiveError && (error.code === "HUB_UNAVAILABLE" || error.code === "OVERLOADED");
