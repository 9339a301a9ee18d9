/** Runs tasks of the same key one after the other, those of different keys side by side. */
export class KeyedTurns<Key> {
	readonly #last = new Map<Key, Promise<void>>();

	/** @returns what the task returns; throws what it throws */
	run<Result>(key: Key, task: () => Promise<Result>): Promise<Result> {
		const before = this.#last.get(key) ?? Promise.resolve();
		const result = before.then(task);
		const settled = result.then(
			() => {},
			() => {},
		);
		this.#last.set(key, settled);
		void settled.then(() => {
			if (this.#last.get(key) === settled) this.#last.delete(key);
		});
		return result;
	}

	/** Settles when nothing that was asked for so far runs or waits. */
	async idle(): Promise<void> {
		await Promise.all(this.#last.values());
	}
}
