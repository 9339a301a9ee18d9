/** Steps that undo a start, taken last in, first out. */
export class Teardown {
	private readonly steps: (() => Promise<void> | void)[] = [];
	private running: Promise<void> | undefined;

	/** To be taken before every step added so far. */
	add(step: () => Promise<void> | void): void {
		this.steps.push(step);
	}

	/**
	 * Takes every step, also after one that failed: what is left open would be worse. Idempotent.
	 *
	 * @throws what the first failing step threw, once all were taken
	 */
	run(): Promise<void> {
		this.running ??= this.takeAll();
		return this.running;
	}

	private async takeAll(): Promise<void> {
		const failures: unknown[] = [];
		for (let step = this.steps.pop(); step !== undefined; step = this.steps.pop()) {
			try {
				await step();
			} catch (cause) {
				failures.push(cause);
			}
		}
		if (failures.length > 0) throw failures[0];
	}
}
