import { HiveError } from "../base/errors.ts";
import type { TenantId } from "../base/ids.ts";
import { FairQueue } from "../shards/fair-queue.ts";
import { EMBEDDING_LIMITS } from "./embedding-limits.ts";

/** Lets so many calls to the provider run at a time; tenants take turns by how much text they send. */
export class EmbeddingTurns {
	readonly #queue = new FairQueue<() => void>({
		perKeyMax: EMBEDDING_LIMITS.tenantCallsWaitingMax,
		totalMax: EMBEDDING_LIMITS.callsWaitingMax,
		bytesMax: EMBEDDING_LIMITS.waitingBytesMax,
	});
	#freeCount: number = EMBEDDING_LIMITS.callsInFlightMax;

	/** @param charCount of the call's texts. @throws OVERLOADED; the signal's reason; what `call` throws */
	async run<T>(tenantId: TenantId, charCount: number, signal: AbortSignal, call: () => Promise<T>): Promise<T> {
		await this.#turn(tenantId, charCount, signal);
		try {
			return await call();
		} finally {
			this.#freeCount++;
			this.#startNext();
		}
	}

	#turn(tenantId: TenantId, charCount: number, signal: AbortSignal): Promise<void> {
		signal.throwIfAborted();
		const { promise, resolve, reject } = Promise.withResolvers<void>();
		let isWaiting = true;
		const onAbort = (): void => {
			isWaiting = false;
			reject(signal.reason);
		};
		const start = (): void => {
			signal.removeEventListener("abort", onAbort);
			// Whoever gave up while waiting leaves the turn to the next.
			if (!isWaiting) return;
			isWaiting = false;
			this.#freeCount--;
			resolve();
		};
		if (!this.#queue.push(tenantId, start, Math.max(1, charCount), 2 * charCount)) {
			throw new HiveError("OVERLOADED", "too many texts wait for the embedding provider; retry in a moment", {
				retry_after_seconds: 1,
			});
		}
		signal.addEventListener("abort", onAbort, { once: true });
		this.#startNext();
		return promise;
	}

	#startNext(): void {
		while (this.#freeCount > 0) {
			const next = this.#queue.shift();
			if (next === undefined) return;
			next.item();
		}
	}
}
