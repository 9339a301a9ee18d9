import { REPLICATION_LIMITS } from "./replication-limits.ts";

/**
 * Writes that are still on their way to some copy when their client has its answer. Each ends by itself within its deadline;
 * how many there are, and what they keep in memory, is bounded.
 */
export class Stragglers {
	readonly #underWay = new Set<Promise<void>>();
	#bytes = 0;

	/**
	 * @param write never rejects
	 * @param bytes that it keeps in memory
	 * @returns false when there are too many: then it must not be waited for
	 */
	adopt(write: Promise<void>, bytes: number): boolean {
		const { stragglersMax, stragglerBytesMax } = REPLICATION_LIMITS;
		if (this.#underWay.size >= stragglersMax || this.#bytes + bytes > stragglerBytesMax) return false;
		this.#underWay.add(write);
		this.#bytes += bytes;
		void write.then(() => {
			this.#underWay.delete(write);
			this.#bytes -= bytes;
		});
		return true;
	}

	get count(): number {
		return this.#underWay.size;
	}

	/** Settles when none that is under way now is any more. */
	async idle(): Promise<void> {
		await Promise.all(this.#underWay);
	}
}
