import type { Clock } from "../base/clock.ts";
import { clientNetwork } from "../base/network.ts";
import { MINUTE_MS } from "./bucket-kinds.ts";
import { BucketStore } from "./bucket-store.ts";
import { type RateLimitRefusal, refusalOf } from "./rate-limiter.ts";
import { fullAtAfterTake, waitMs } from "./token-bucket.ts";

const ADDRESS_COUNT_MAX = 50_000;

/** Limits what anyone may call without a key, by client address. */
export class AddressLimiter {
	readonly #clock: Clock;
	readonly #buckets: BucketStore;

	constructor(clock: Clock, addressCountMax = ADDRESS_COUNT_MAX) {
		this.#clock = clock;
		this.#buckets = new BucketStore(1, addressCountMax);
	}

	/** @returns RATE_LIMITED to answer with, and nothing taken; or undefined, and one token taken. */
	take(operation: string, remoteAddress: string, limitPerMinute: number): RateLimitRefusal | undefined {
		const nowMs = this.#clock.monotonicMs();
		const buckets = this.#buckets.use(`${operation} ${clientNetwork(remoteAddress)}`, nowMs);
		const fullAtMs = buckets[0]!;
		const untilTokenMs = waitMs(fullAtMs, limitPerMinute, MINUTE_MS, nowMs);
		if (untilTokenMs > 0) {
			return refusalOf(limitPerMinute, "minute", this.#clock.nowMs() + fullAtMs - nowMs, untilTokenMs);
		}
		buckets[0] = fullAtAfterTake(fullAtMs, limitPerMinute, MINUTE_MS, nowMs);
		return undefined;
	}
}
