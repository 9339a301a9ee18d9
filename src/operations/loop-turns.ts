import { HiveError } from "../base/errors.ts";
import type { TenantId } from "../base/ids.ts";
import { FairQueue } from "../shards/fair-queue.ts";

/** Runs a task after whatever else the event loop has to do now: `setImmediate`. */
export type Soon = (task: () => void) => void;

/** Each who waits is one stream, so this many streams can be under way. */
const WAITING_MAX = 4_096;

/**
 * Turns on the main thread for work that comes in slices, such as the lines of an import: one turn each round of the event
 * loop, tenants in turn. Between two slices the loop serves every request that has come in.
 */
export class LoopTurns {
	readonly #queue = new FairQueue<() => void>({
		perKeyMax: WAITING_MAX,
		totalMax: WAITING_MAX,
		bytesMax: Number.POSITIVE_INFINITY,
	});
	readonly #soon: Soon;
	#isRunning = false;

	constructor(soon: Soon) {
		this.#soon = soon;
	}

	/** Settles when a slice of work, of half a millisecond or so, may be done at once. @throws OVERLOADED */
	next(tenantId: TenantId): Promise<void> {
		return new Promise((resolve, reject) => {
			if (!this.#queue.push(tenantId, resolve, 1, 0)) {
				reject(
					new HiveError("OVERLOADED", "too many streams are under way; retry in a moment", { retry_after_seconds: 1 }),
				);
				return;
			}
			if (this.#isRunning) return;
			this.#isRunning = true;
			this.#soon(this.#round);
		});
	}

	readonly #round = (): void => {
		const next = this.#queue.shift();
		if (next === undefined) {
			this.#isRunning = false;
			return;
		}
		next.item();
		this.#soon(this.#round);
	};
}
