import type { Timers } from "../../base/timers.ts";

/** @returns milliseconds until the next run; never throws */
export type BackgroundRun = (signal: AbortSignal) => Promise<number>;

/** Something that runs again and again, one run at a time, after pauses or when it is asked to. */
export class BackgroundTask {
	readonly #timers: Timers;
	readonly #run: BackgroundRun;
	readonly #stopping = new AbortController();
	#cancelTimer: (() => void) | undefined;
	#running: Promise<void> | undefined;
	#isWanted = false;
	#isStarted = false;

	constructor(timers: Timers, run: BackgroundRun) {
		this.#timers = timers;
		this.#run = run;
	}

	start(): void {
		this.#isStarted = true;
		this.kick();
	}

	/** Runs now, or once more when the run under way is over. Nothing before the start and after the stop. */
	kick(): void {
		if (!this.#isStarted || this.#stopping.signal.aborted) return;
		this.#isWanted = true;
		this.#cancelTimer?.();
		this.#cancelTimer = undefined;
		this.#running ??= this.#runWhileWanted();
	}

	/** The run under way is told to end; settles when it has. */
	async stop(): Promise<void> {
		this.#stopping.abort();
		this.#cancelTimer?.();
		await this.#running;
	}

	async #runWhileWanted(): Promise<void> {
		const { signal } = this.#stopping;
		let pauseMs = 0;
		while (this.#isWanted && !signal.aborted) {
			this.#isWanted = false;
			pauseMs = await this.#run(signal);
		}
		this.#running = undefined;
		if (!signal.aborted) this.#cancelTimer = this.#timers.after(pauseMs, () => this.kick());
	}
}
