import type { Clock } from "../../src/base/clock.ts";
import type { NodeId } from "../../src/base/ids.ts";
import type { Timers } from "../../src/base/timers.ts";
import type { VirtualTime } from "../cluster/repair/virtual-time.ts";

/**
 * What a process runs on. When it is killed nothing of it goes on: no timer fires, no answer reaches it. While it is stopped,
 * everything waits; it finds it all at once when it goes on.
 */
export class SimulatedHost implements Clock, Timers {
	isRunning = true;
	/** Stopped until then, on the simulation's monotonic clock. */
	#pausedUntilMs = 0;

	constructor(
		readonly nodeId: NodeId,
		private readonly time: VirtualTime,
		/** How far its wall clock is off. */
		private readonly skewMs: number,
	) {}

	nowMs(): number {
		return this.time.nowMs() + this.skewMs;
	}

	monotonicMs(): number {
		return this.time.monotonicMs();
	}

	after(delayMs: number, task: () => void): () => void {
		let cancel = this.time.after(delayMs, () => fire());
		const fire = (): void => {
			if (!this.isRunning) return;
			const restMs = this.#pausedUntilMs - this.time.monotonicMs();
			if (restMs > 0) cancel = this.time.after(restMs, () => fire());
			else task();
		};
		return () => cancel();
	}

	/** Never settles when the process is killed before. */
	delay(ms: number): Promise<void> {
		return new Promise((resolve) => {
			this.after(ms, resolve);
		});
	}

	get isPaused(): boolean {
		return this.#pausedUntilMs > this.time.monotonicMs();
	}

	kill(): void {
		this.isRunning = false;
	}

	pause(ms: number): void {
		this.#pausedUntilMs = Math.max(this.#pausedUntilMs, this.time.monotonicMs() + ms);
	}
}
