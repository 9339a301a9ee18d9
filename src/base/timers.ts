/** Runs tasks later, given to whatever needs it, so that a test or a simulation can give another. */
export interface Timers {
	/** Runs the task once; the returned function calls it off. Must not keep the process alive. */
	after(delayMs: number, task: () => void): () => void;
}

export const systemTimers: Timers = {
	after(delayMs, task) {
		const timer = setTimeout(task, delayMs);
		timer.unref();
		return () => clearTimeout(timer);
	},
};
