/** How many of the longest unused subjects are looked at when a new one comes: more than one, so that the store shrinks. */
const SWEEP_COUNT = 4;

/**
 * The buckets of many subjects (tenants, keys, addresses) in bounded memory, least recently used first out.
 *
 * A full bucket says nothing, so dropping it is free. When none of the oldest is full, the oldest goes all the same, and what
 * it had spent becomes the state in which new subjects start until it would have been full: being forgotten never hands out
 * a fresh allowance.
 */
export class BucketStore {
	readonly #bucketsBySubject = new Map<string, Float64Array>();
	readonly #subjectCountMax: number;
	readonly #forgottenFullAtMs: Float64Array;

	/** @param slotCount buckets a subject has. */
	constructor(slotCount: number, subjectCountMax: number) {
		this.#subjectCountMax = subjectCountMax;
		this.#forgottenFullAtMs = new Float64Array(slotCount);
	}

	get subjectCount(): number {
		return this.#bucketsBySubject.size;
	}

	/** The moments at which the subject's buckets are full, one a slot, to be written in place. */
	use(subject: string, nowMs: number): Float64Array {
		const known = this.#bucketsBySubject.get(subject);
		if (known !== undefined) {
			this.#bucketsBySubject.delete(subject);
			this.#bucketsBySubject.set(subject, known);
			return known;
		}
		this.#makeRoom(nowMs);
		const fresh = this.#forgottenFullAtMs.slice();
		this.#bucketsBySubject.set(subject, fresh);
		return fresh;
	}

	/** As `use`, without counting as use or remembering a new subject. */
	peek(subject: string): Float64Array {
		return this.#bucketsBySubject.get(subject) ?? this.#forgottenFullAtMs;
	}

	#makeRoom(nowMs: number): void {
		let looked = 0;
		for (const [subject, buckets] of this.#bucketsBySubject) {
			if (looked++ === SWEEP_COUNT) break;
			if (buckets.every((fullAtMs) => fullAtMs <= nowMs)) this.#bucketsBySubject.delete(subject);
		}
		if (this.#bucketsBySubject.size < this.#subjectCountMax) return;
		for (const [subject, buckets] of this.#bucketsBySubject) {
			for (let slot = 0; slot < buckets.length; slot++) {
				this.#forgottenFullAtMs[slot] = Math.max(this.#forgottenFullAtMs[slot]!, buckets[slot]!);
			}
			this.#bucketsBySubject.delete(subject);
			return;
		}
	}
}
