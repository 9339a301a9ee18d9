import { HiveError } from "../base/errors.ts";
import { HUB_LIMITS } from "./hub-limits.ts";

interface LookupUnderWay {
	readonly answered: Promise<unknown>;
	outdated: boolean;
}

/**
 * Questions to the hub, each asked once however many want to know. What was asked before a change may be answered without
 * it: such an answer goes to those who waited for it, but whoever comes after the change asks anew.
 */
export class SharedLookups {
	readonly #underWay = new Map<string, LookupUnderWay>();

	/**
	 * @param settle makes the result of the answer; `keep` tells whether it may be cached.
	 * @throws what `ask` throws; OVERLOADED when too many questions are open.
	 */
	run<Answer, Result>(
		name: string,
		ask: () => Promise<Answer>,
		settle: (answer: Answer, keep: boolean) => Result,
	): Promise<Result> {
		const underWay = this.#underWay.get(name);
		if (underWay !== undefined) return underWay.answered as Promise<Result>;
		if (this.#underWay.size >= HUB_LIMITS.lookupsInFlightMax) {
			throw new HiveError("OVERLOADED", "too many questions wait for the hub", { retry_after_seconds: 1 });
		}
		const lookup: LookupUnderWay = {
			answered: ask()
				.then((answer) => settle(answer, !lookup.outdated))
				.finally(() => {
					if (this.#underWay.get(name) === lookup) this.#underWay.delete(name);
				}),
			outdated: false,
		};
		this.#underWay.set(name, lookup);
		return lookup.answered as Promise<Result>;
	}

	/** Something changed that the question is about. */
	outdate(name: string): void {
		const lookup = this.#underWay.get(name);
		if (lookup === undefined) return;
		lookup.outdated = true;
		this.#underWay.delete(name);
	}

	/** Outdates every question whose name starts so. */
	outdateAll(prefix: string): void {
		for (const name of this.#underWay.keys()) if (name.startsWith(prefix)) this.outdate(name);
	}
}
