import type { Clock } from "../base/clock.ts";
import { BUCKET_KINDS } from "./bucket-kinds.ts";
import type { BucketArchive } from "./bucket-store.ts";
import { CHECKSUM_BYTES, SLOT_BYTES, type SlotFile } from "./slot-file.ts";

/** What happened, since the tenant was made. Only ever grows. */
export interface ActivityCounts {
	readonly requests: number;
	readonly searches: number;
	readonly vectorsWritten: number;
}

/** What is remembered of a tenant, or of a key that has rate limits of its own. */
export interface SubjectSlot {
	readonly subject: string;
	/** When the tenant that the counts belong to was made, unix milliseconds; 0: nothing was counted. */
	createdAtMs: number;
	/** Unix milliseconds; 0: never. */
	lastRequestMs: number;
	requests: number;
	searches: number;
	vectorsWritten: number;
	/** What the hub has acknowledged of the counts. */
	reported: ActivityCounts;
	/** @see BucketStore: the same array. */
	buckets: Float64Array | undefined;
}

interface Slot extends SubjectSlot {
	/** undefined: not on disk yet. */
	position: number | undefined;
	/** Whether the disk holds less than this. */
	isDirty: boolean;
	/** What `createdAtMs` was last read from. */
	createdAt: string | undefined;
}

const NOTHING: ActivityCounts = { requests: 0, searches: 0, vectorsWritten: 0 };

/** A tenant's id has no colon, so a key's name is never a tenant's. */
const KEY_PREFIX = "key:";
export const keySubject = (apiKeyId: string): string => `${KEY_PREFIX}${apiKeyId}`;

/**
 * A slot: checksum, length of the subject (u32), then numbers (float64), then the subject (ASCII). All little-endian, as are
 * the machines this runs on.
 */
const NUMBERS_AT = CHECKSUM_BYTES + 4;
const NUMBER_COUNT = 8 + 2 * BUCKET_KINDS.length;
const SUBJECT_AT = NUMBERS_AT + 8 * NUMBER_COUNT;

export interface SlotsLog {
	warn(facts: Readonly<Record<string, unknown>>, message: string): void;
}

/**
 * What has to outlive the process of each subject: counts and spent rate-limit tokens, together in one slot, so that a request
 * costs one write. Memory is what is read; the disk follows when a subject is settled, before its request is answered.
 *
 * Bucket moments are monotonic in memory and wall time on disk. A wall clock that jumped while the process was away can
 * neither fill a bucket beyond full nor empty it beyond empty.
 */
export class SubjectSlots implements BucketArchive {
	readonly #clock: Clock;
	readonly #log: SlotsLog;
	readonly #slots = new Map<string, Slot>();
	readonly #bytes = new Uint8Array(SLOT_BYTES);
	readonly #text = Buffer.from(this.#bytes.buffer);
	readonly #numbers = new Float64Array(this.#bytes.buffer, NUMBERS_AT, NUMBER_COUNT);
	readonly #file: SlotFile | undefined;
	#isDiskFailing = false;
	#isClosed = false;

	/**
	 * @param open opens the file, handing over what it holds; absent: everything goes with the process.
	 * @throws what `open` throws
	 */
	constructor(clock: Clock, log: SlotsLog, open?: (onSlot: (position: number, bytes: Uint8Array) => void) => SlotFile) {
		this.#clock = clock;
		this.#log = log;
		const useless: number[] = [];
		const [nowMs, wallMs] = [clock.monotonicMs(), clock.nowMs()];
		this.#file = open?.((position, bytes) => {
			const slot = this.#decode(position, bytes, nowMs, wallMs);
			const rival = this.#slots.get(slot.subject);
			if (isUseless(slot) || (rival !== undefined && !isNewer(slot, rival))) {
				useless.push(position);
				return;
			}
			if (rival?.position !== undefined) useless.push(rival.position);
			this.#slots.set(slot.subject, slot);
		});
		for (const position of useless) this.#tryDisk(() => this.#file?.release(position));
	}

	get(subject: string): SubjectSlot | undefined {
		return this.#slots.get(subject);
	}

	all(): IterableIterator<SubjectSlot> {
		return this.#slots.values();
	}

	/**
	 * The slot to count in, made if it is not there, started anew when it was another tenant's. To be settled afterwards.
	 *
	 * @param createdAt of the tenant, as the hub tells it.
	 */
	counting(tenantId: string, createdAt: string): SubjectSlot {
		const slot = this.#slots.get(tenantId) ?? this.#make(tenantId);
		slot.isDirty = true;
		if (slot.createdAt === createdAt) return slot;
		slot.createdAt = createdAt;
		const createdAtMs = creationMs(createdAt);
		if (slot.createdAtMs !== createdAtMs) {
			slot.createdAtMs = createdAtMs;
			slot.lastRequestMs = 0;
			slot.requests = 0;
			slot.searches = 0;
			slot.vectorsWritten = 0;
			slot.reported = NOTHING;
		}
		return slot;
	}

	/** As `counting`, for a subject that has a slot. */
	changing(subject: string): SubjectSlot | undefined {
		const slot = this.#slots.get(subject);
		if (slot !== undefined) slot.isDirty = true;
		return slot;
	}

	/** Brings to disk what changed. What the disk refuses stays in memory and is tried again with the next change. */
	settle(subject: string): void {
		const slot = this.#slots.get(subject);
		if (slot?.isDirty === true) this.#write(slot);
	}

	/** What was counted before the call survives a loss of power when the promise settles. @throws when the disk refuses */
	async sync(): Promise<void> {
		if (this.#isClosed) throw new Error("the counters are closed");
		for (const slot of this.#slots.values()) {
			if (slot.isDirty) this.#write(slot);
			if (slot.isDirty) throw new Error("a counter can't be brought to disk");
		}
		await this.#file?.sync();
	}

	/** The subject is gone. */
	forget(subject: string): void {
		const slot = this.#slots.get(subject);
		if (slot === undefined) return;
		this.#slots.delete(subject);
		const { position } = slot;
		if (position !== undefined) this.#tryDisk(() => this.#file?.release(position));
	}

	/** Settles everything. Idempotent. */
	async close(): Promise<void> {
		if (this.#isClosed) return;
		await this.sync().catch((err: unknown) => this.#log.warn({ err }, "counters could not be synced"));
		this.#isClosed = true;
		await this.#file?.close();
	}

	bucketsOf(subject: string): Float64Array | undefined {
		return this.#slots.get(subject)?.buckets;
	}

	keep(subject: string, buckets: Float64Array): void {
		const slot = this.#slots.get(subject) ?? this.#make(subject);
		slot.buckets = buckets;
		slot.isDirty = true;
	}

	retire(subject: string): boolean {
		if (!subject.startsWith(KEY_PREFIX)) return this.#slots.has(subject);
		this.forget(subject);
		return false;
	}

	#make(subject: string): Slot {
		const slot: Slot = {
			subject,
			createdAt: undefined,
			createdAtMs: 0,
			lastRequestMs: 0,
			...NOTHING,
			reported: NOTHING,
			buckets: undefined,
			position: undefined,
			isDirty: true,
		};
		this.#slots.set(subject, slot);
		return slot;
	}

	#write(slot: Slot): void {
		const file = this.#file;
		if (file === undefined) {
			slot.isDirty = false;
			return;
		}
		this.#tryDisk(() => {
			slot.position ??= file.allocate();
			if (slot.position === undefined) throw new Error("there is no room for another counter on the disk");
			this.#encode(slot);
			file.write(slot.position, this.#bytes);
			slot.isDirty = false;
		});
	}

	/** Counting goes on in memory whatever the disk says; that it fails is said once, and that it no longer does. */
	#tryDisk(work: () => void): void {
		try {
			work();
			if (this.#isDiskFailing) this.#log.warn({}, "counters are on disk again");
			this.#isDiskFailing = false;
		} catch (err) {
			if (!this.#isDiskFailing) {
				this.#log.warn(
					{ err },
					"counters can't be brought to disk: until they can, a crash would lose what is counted",
				);
			}
			this.#isDiskFailing = true;
		}
	}

	#encode(slot: Slot): void {
		const numbers = this.#numbers;
		numbers[0] = slot.createdAtMs;
		numbers[1] = slot.lastRequestMs;
		numbers[2] = slot.requests;
		numbers[3] = slot.searches;
		numbers[4] = slot.vectorsWritten;
		numbers[5] = slot.reported.requests;
		numbers[6] = slot.reported.searches;
		numbers[7] = slot.reported.vectorsWritten;
		const toWallMs = this.#clock.nowMs() - this.#clock.monotonicMs();
		for (let index = 0; index < BUCKET_KINDS.length; index++) {
			numbers[8 + index] = (slot.buckets?.[index] ?? 0) + toWallMs;
			numbers[8 + BUCKET_KINDS.length + index] = slot.buckets?.[BUCKET_KINDS.length + index] ?? 0;
		}
		const { subject } = slot;
		this.#bytes.fill(0, SUBJECT_AT);
		this.#bytes[CHECKSUM_BYTES] = subject.length;
		for (let at = 0; at < subject.length; at++) this.#bytes[SUBJECT_AT + at] = subject.charCodeAt(at);
	}

	#decode(position: number, bytes: Uint8Array, nowMs: number, wallMs: number): Slot {
		this.#bytes.set(bytes);
		const numbers = this.#numbers;
		return {
			subject: this.#text.toString("latin1", SUBJECT_AT, SUBJECT_AT + this.#bytes[CHECKSUM_BYTES]!),
			createdAt: undefined,
			createdAtMs: numbers[0]!,
			lastRequestMs: numbers[1]!,
			requests: numbers[2]!,
			searches: numbers[3]!,
			vectorsWritten: numbers[4]!,
			reported: { requests: numbers[5]!, searches: numbers[6]!, vectorsWritten: numbers[7]! },
			buckets: this.#decodeBuckets(nowMs, wallMs),
			position,
			isDirty: false,
		};
	}

	/** @returns undefined when all are full, as those of most are that a start finds. */
	#decodeBuckets(nowMs: number, wallMs: number): Float64Array | undefined {
		const numbers = this.#numbers;
		let buckets: Float64Array | undefined;
		for (let index = 0; index < BUCKET_KINDS.length; index++) {
			const untilFullMs = Math.min(BUCKET_KINDS[index]!.windowMs, numbers[8 + index]! - wallMs);
			if (untilFullMs <= 0) continue;
			buckets ??= new Float64Array(2 * BUCKET_KINDS.length);
			buckets[index] = nowMs + untilFullMs;
			buckets[BUCKET_KINDS.length + index] = numbers[8 + BUCKET_KINDS.length + index]!;
		}
		return buckets;
	}
}

/** Nothing was counted, and every bucket is full. */
const isUseless = (slot: Slot): boolean => slot.createdAtMs === 0 && slot.buckets === undefined;

/** Of two slots of one subject one could not be released in time. */
function isNewer(slot: Slot, rival: Slot): boolean {
	if (slot.createdAtMs !== rival.createdAtMs) return slot.createdAtMs > rival.createdAtMs;
	return slot.requests > rival.requests;
}

/** A time that can't be read is some time all the same. */
export const creationMs = (createdAt: string): number => Date.parse(createdAt) || -1;
