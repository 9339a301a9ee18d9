/** Something that is waited for. */
export interface Patience {
	/** Of the watch; set when the wait begins. */
	ticksLeft: number;
	/** The time that passes is not held against it. */
	readonly isPaused: boolean;
	/** Called once, when the time is up. */
	giveUp(): void;
}

/** Ticks in a timeout: how exactly it is kept, unless ticks of a second do. */
const TICKS_MIN = 8;
const TICK_MS_MAX = 1_000;

/**
 * One time limit for many waits. A timer ticks for all of them, so that a wait costs no timer of its own; each lasts at least as
 * long as it was given, and at most two ticks longer.
 */
export class OverdueWatch {
	readonly #waiting = new Set<Patience>();
	readonly #tickMs: number;
	readonly #ticksMax: number;
	#timer: Timer | undefined;

	constructor(timeoutSeconds: number) {
		const timeoutMs = timeoutSeconds * 1000;
		this.#tickMs = Math.min(TICK_MS_MAX, timeoutMs / TICKS_MIN);
		// The first tick may come at once.
		this.#ticksMax = Math.ceil(timeoutMs / this.#tickMs) + 1;
	}

	start(): void {
		this.#timer ??= setInterval(() => this.#tick(), this.#tickMs);
	}

	/** Nothing is given up any more. */
	stop(): void {
		clearInterval(this.#timer);
		this.#waiting.clear();
	}

	begin(patience: Patience): void {
		patience.ticksLeft = this.#ticksMax;
		this.#waiting.add(patience);
	}

	end(patience: Patience): void {
		this.#waiting.delete(patience);
	}

	#tick(): void {
		for (const patience of this.#waiting) {
			if (patience.isPaused || --patience.ticksLeft > 0) continue;
			this.#waiting.delete(patience);
			patience.giveUp();
		}
	}
}
