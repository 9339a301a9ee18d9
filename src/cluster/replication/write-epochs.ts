interface Epoch {
	readonly version: number;
	underWay: number;
}

interface Waiter {
	readonly version: number;
	readonly settle: () => void;
}

/**
 * Counts this node's writes under way by the topology they were accepted under, so that one can wait until those from before a
 * version are done. Of all shards together: a write takes seconds at most, and the count costs next to nothing.
 */
export class WriteEpochs {
	/** Oldest first; the last one is the newest seen. */
	readonly #epochs: Epoch[] = [{ version: 0, underWay: 0 }];
	#waiters: Waiter[] = [];

	/** A write was accepted under this version. @returns to be called once when it is done */
	enter(version: number): () => void {
		const epoch = this.#epochOf(version);
		epoch.underWay++;
		return () => {
			epoch.underWay--;
			if (this.#waiters.length > 0 || this.#epochs.length > 1) this.#tidy();
		};
	}

	/** Settles when no write that entered under an older version is under way. */
	async settled(version: number): Promise<void> {
		if (this.#isSettled(version)) return;
		await new Promise<void>((settle) => this.#waiters.push({ version, settle }));
	}

	#epochOf(version: number): Epoch {
		const newest = this.#epochs.at(-1)!;
		if (newest.version === version) return newest;
		const known = this.#epochs.find((epoch) => epoch.version === version);
		if (known !== undefined) return known;
		const epoch = { version, underWay: 0 };
		this.#epochs.push(epoch);
		this.#epochs.sort((a, b) => a.version - b.version);
		return epoch;
	}

	#isSettled(version: number): boolean {
		return this.#epochs.every((epoch) => epoch.version >= version || epoch.underWay === 0);
	}

	#tidy(): void {
		while (this.#epochs.length > 1 && this.#epochs[0]!.underWay === 0) this.#epochs.shift();
		const waiting = this.#waiters;
		this.#waiters = waiting.filter(({ version }) => !this.#isSettled(version));
		for (const waiter of waiting) if (!this.#waiters.includes(waiter)) waiter.settle();
	}
}
