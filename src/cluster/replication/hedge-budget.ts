import { REPLICATION_LIMITS } from "./replication-limits.ts";

/** Extra reads for the sake of slow copies are a small share of all reads, or a slow cluster would make itself slower. */
export class HedgeBudget {
	#tokens: number = REPLICATION_LIMITS.hedgeBurst;

	/** A read begins. */
	earn(): void {
		this.#tokens = Math.min(REPLICATION_LIMITS.hedgeBurst, this.#tokens + REPLICATION_LIMITS.hedgeShare);
	}

	/** @returns whether one more copy may be asked */
	spend(): boolean {
		if (this.#tokens < 1) return false;
		this.#tokens--;
		return true;
	}
}
