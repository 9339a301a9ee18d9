/** Runs a task again and again; the returned function stops that. */
export type Every = (intervalMs: number, task: () => void) => () => void;

export const systemEvery: Every = (intervalMs, task) => {
	const timer = setInterval(task, intervalMs);
	timer.unref();
	return () => clearInterval(timer);
};

const INTERVAL_MS = 500;
/** 15 seconds: the usual time between two scrapes, so that no stall falls between them. */
const SAMPLE_COUNT = 30;

/** How late the event loop runs its timers: what a request waits before anyone looks at it. */
export class EventLoopLag {
	private readonly samplesMs = new Float64Array(SAMPLE_COUNT);
	private sampleIndex = 0;
	private dueMs: number;
	private readonly stopTimer: () => void;

	constructor(
		private readonly monotonicMs: () => number,
		every: Every,
	) {
		this.dueMs = monotonicMs() + INTERVAL_MS;
		this.stopTimer = every(INTERVAL_MS, () => this.sample());
	}

	/** The longest delay of the last 15 seconds. */
	maxSeconds(): number {
		return Math.max(...this.samplesMs) / 1000;
	}

	stop(): void {
		this.stopTimer();
	}

	private sample(): void {
		const nowMs = this.monotonicMs();
		this.samplesMs[this.sampleIndex] = Math.max(0, nowMs - this.dueMs);
		this.sampleIndex = (this.sampleIndex + 1) % SAMPLE_COUNT;
		this.dueMs = nowMs + INTERVAL_MS;
	}
}
