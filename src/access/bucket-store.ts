/** How many of the longest unused subjects are looked at when a new one comes: more than one, so that the store shrinks. */
const SWEEP_COUNT = 4;

/** Where spent buckets outlive the process. */
export interface BucketArchive {
	/** What was kept of the subject; undefined: nothing. To be written in place like the store's own. */
	bucketsOf(subject: string): Float64Array | undefined;
	/** The subject's buckets have changed. The array itself is kept. */
	keep(subject: string, buckets: Float64Array): void;
	/** The store holds the subject no longer. @returns whether the archive still does. */
	retire(subject: string): boolean;
}

/**
 * The buckets of many subjects (tenants, keys, addresses) in bounded memory, least recently used first out.
 *
 * A full bucket says nothing, so dropping it is free. When none of the oldest is full, the oldest goes all the same, and what
 * it had spent becomes the state in which new subjects start until it would have been full: being forgotten never hands out
 * a fresh allowance.
 *
 * A subject's array holds, for each of its buckets, the moment at which it is full, and after these, for each, the limit
 * under which that moment was reckoned; 0: under any.
 */
export class BucketStore {
	readonly #bucketsBySubject = new Map<string, Float64Array>();
	readonly #bucketCount: number;
	readonly #subjectCountMax: number;
	readonly #archive: BucketArchive | undefined;
	readonly #forgotten: Float64Array;

	/** @param bucketCount buckets a subject has. */
	constructor(bucketCount: number, subjectCountMax: number, archive?: BucketArchive) {
		this.#bucketCount = bucketCount;
		this.#subjectCountMax = subjectCountMax;
		this.#archive = archive;
		this.#forgotten = new Float64Array(2 * bucketCount);
	}

	get subjectCount(): number {
		return this.#bucketsBySubject.size;
	}

	/** The subject's buckets, to be written in place; `keep` them then. */
	use(subject: string, nowMs: number): Float64Array {
		const known = this.#bucketsBySubject.get(subject);
		if (known !== undefined) {
			this.#bucketsBySubject.delete(subject);
			this.#bucketsBySubject.set(subject, known);
			return known;
		}
		this.#makeRoom(nowMs);
		const fresh = this.#archive?.bucketsOf(subject) ?? this.#forgotten.slice();
		this.#bucketsBySubject.set(subject, fresh);
		return fresh;
	}

	/** To be called after what `use` answered was written. */
	keep(subject: string, buckets: Float64Array): void {
		this.#archive?.keep(subject, buckets);
	}

	/** As `use`, without counting as use or remembering a new subject. Read only. */
	peek(subject: string): Float64Array {
		return this.#bucketsBySubject.get(subject) ?? this.#archive?.bucketsOf(subject) ?? this.#forgotten;
	}

	/** The subject is gone, and whoever has its name next starts as a stranger. */
	forget(subject: string): void {
		this.#bucketsBySubject.delete(subject);
	}

	#makeRoom(nowMs: number): void {
		let looked = 0;
		for (const [subject, buckets] of this.#bucketsBySubject) {
			if (looked++ === SWEEP_COUNT) break;
			if (this.#isFull(buckets, nowMs)) this.#drop(subject);
		}
		if (this.#bucketsBySubject.size < this.#subjectCountMax) return;
		for (const [subject, buckets] of this.#bucketsBySubject) {
			if (!this.#drop(subject)) {
				for (let index = 0; index < this.#bucketCount; index++) {
					this.#forgotten[index] = Math.max(this.#forgotten[index]!, buckets[index]!);
				}
			}
			return;
		}
	}

	#isFull(buckets: Float64Array, nowMs: number): boolean {
		for (let index = 0; index < this.#bucketCount; index++) if (buckets[index]! > nowMs) return false;
		return true;
	}

	/** @returns whether the archive still knows it. */
	#drop(subject: string): boolean {
		this.#bucketsBySubject.delete(subject);
		return this.#archive?.retire(subject) === true;
	}
}
