import { LRUCache } from "lru-cache";
import type { Clock } from "../base/clock.ts";

/** A record, and when the hub last vouched for it. */
interface CachedRecord<Value> {
	value: Value;
	checkedAtMs: number;
}

/** `fresh`: within its TTL. `stale`: may serve while the hub is away. Older records are as good as none. */
export type Freshness = "fresh" | "stale";

export interface RecordCacheOptions<Key extends string, Value> {
	readonly entriesMax: number;
	readonly ttlMs: number;
	/** Past the TTL. */
	readonly staleMs: number;
	readonly clock: Clock;
	/** What an entry counts against `entriesMax`; 1 when left out. */
	readonly weigh?: (value: Value) => number;
	readonly onDrop?: (value: Value, key: Key) => void;
}

/** Records of the hub by name, the least recently used dropped first. Age is counted here, by a clock that is given. */
export class RecordCache<Key extends string, Value> {
	readonly #options: RecordCacheOptions<Key, Value>;
	readonly #records: LRUCache<Key, CachedRecord<Value>>;

	constructor(options: RecordCacheOptions<Key, Value>) {
		this.#options = options;
		const { onDrop, weigh } = options;
		this.#records = new LRUCache<Key, CachedRecord<Value>>({
			// Not the library's `max`, which sets aside room for all at once.
			maxSize: options.entriesMax,
			sizeCalculation: (record) => weigh?.(record.value) ?? 1,
			...(onDrop !== undefined && { dispose: (record, key) => onDrop(record.value, key) }),
		});
	}

	/** Counts as use. */
	fresh(key: Key): Value | undefined {
		const record = this.#records.get(key);
		if (record === undefined) return undefined;
		return this.#options.clock.monotonicMs() - record.checkedAtMs <= this.#options.ttlMs ? record.value : undefined;
	}

	/** Counts as use. undefined once a record is too old to serve. */
	usable(key: Key): { readonly value: Value; readonly freshness: Freshness } | undefined {
		const record = this.#records.get(key);
		if (record === undefined) return undefined;
		const { clock, ttlMs, staleMs } = this.#options;
		const ageMs = clock.monotonicMs() - record.checkedAtMs;
		if (ageMs <= ttlMs) return { value: record.value, freshness: "fresh" };
		return ageMs <= ttlMs + staleMs ? { value: record.value, freshness: "stale" } : undefined;
	}

	/** Whatever its age. Does not count as use. */
	peek(key: Key): Value | undefined {
		return this.#records.peek(key)?.value;
	}

	/** The hub gave this value so many milliseconds ago; none: just now. */
	put(key: Key, value: Value, ageMs = 0): void {
		this.#records.set(key, { value, checkedAtMs: this.#options.clock.monotonicMs() - ageMs });
	}

	/** How long ago the hub vouched for it; Infinity: it isn't here. */
	ageMs(key: Key): number {
		const record = this.#records.peek(key);
		return record === undefined ? Number.POSITIVE_INFINITY : this.#options.clock.monotonicMs() - record.checkedAtMs;
	}

	/** A change in passing: the value is newer, but nobody vouched that it is the newest, so it ages on. */
	amend(key: Key, value: Value): void {
		const record = this.#records.peek(key);
		if (record !== undefined) this.#records.set(key, { value, checkedAtMs: record.checkedAtMs });
	}

	/** The next use asks the hub; while the hub is away the record serves on. */
	expire(key: Key): void {
		const record = this.#records.peek(key);
		if (record === undefined) return;
		const { clock, ttlMs } = this.#options;
		record.checkedAtMs = Math.min(record.checkedAtMs, clock.monotonicMs() - ttlMs - 1);
	}

	delete(key: Key): void {
		this.#records.delete(key);
	}

	/** Deletes what matches. Cost: all entries. */
	deleteWhere(matches: (value: Value) => boolean): void {
		for (const [key, record] of [...this.#records.entries()]) if (matches(record.value)) this.#records.delete(key);
	}

	clear(): void {
		this.#records.clear();
	}
}
