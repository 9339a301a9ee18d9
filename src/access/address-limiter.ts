import type { Clock } from "../base/clock.ts";
import { BucketStore } from "./bucket-store.ts";
import { MINUTE_MS, type RateLimitRefusal, refusalOf } from "./rate-limiter.ts";
import { fullAtAfterTake, waitMs } from "./token-bucket.ts";

const ADDRESS_COUNT_MAX = 50_000;
/** One household or server is handed a whole /64, so its addresses count as one. */
const IPV6_GROUPS_KEPT = 4;

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
		const buckets = this.#buckets.use(`${operation} ${networkOf(remoteAddress)}`, nowMs);
		const fullAtMs = buckets[0]!;
		const untilTokenMs = waitMs(fullAtMs, limitPerMinute, MINUTE_MS, nowMs);
		if (untilTokenMs > 0) {
			return refusalOf(limitPerMinute, "minute", this.#clock.nowMs() + fullAtMs - nowMs, untilTokenMs);
		}
		buckets[0] = fullAtAfterTake(fullAtMs, limitPerMinute, MINUTE_MS, nowMs);
		return undefined;
	}
}

/** An IPv4 address as it is (also when mapped into IPv6), an IPv6 address as its /64. */
function networkOf(address: string): string {
	if (!address.includes(":")) return address;
	if (address.includes(".")) return address.slice(address.lastIndexOf(":") + 1);
	const [head = "", tail = ""] = address.split("::", 2);
	const headGroups = head === "" ? [] : head.split(":");
	const tailGroups = tail === "" ? [] : tail.split(":");
	const zeroCount = Math.max(0, 8 - headGroups.length - tailGroups.length);
	const groups = [...headGroups, ...Array<string>(zeroCount).fill("0"), ...tailGroups];
	return groups.slice(0, IPV6_GROUPS_KEPT).join(":").toLowerCase();
}
