import type { Clock } from "../base/clock.ts";
import { encodeId } from "./id-order.ts";
import type { ShardDigest } from "./shard-types.ts";
import type { SlotObserver, SlotTable } from "./slot-table.ts";
import { TimeSlice } from "./time-slice.ts";

const BUCKET_COUNT_MAX = 65_536;
const SECOND_SEED = 0x5bd1e995;
/** Looking at the clock takes longer than counting a slot. */
const SLOTS_PER_LOOK = 64;

/**
 * Sums over the documents that live, by bucket. The first digest looks at every slot, in slices; from then on the sums
 * follow each commit, so that later ones with the same number of buckets cost nothing, and each is of one commit exactly.
 */
export class ShardDigests implements SlotObserver {
	readonly #slots: SlotTable;
	readonly #clock: Clock;
	readonly #seq: () => number;
	/** By slot, two 32-bit hashes of the id; both 0: not known yet. */
	#idHashes = new Uint32Array(0);
	#sums: Uint32Array | undefined;
	/** Slots below are in the sums. */
	#summedCount = 0;
	/** One count at a time. */
	#turn: Promise<unknown> = Promise.resolve();

	/** @param seq of the commit that memory is of. */
	constructor(slots: SlotTable, clock: Clock, seq: () => number) {
		this.#slots = slots;
		this.#clock = clock;
		this.#seq = seq;
		slots.observe(this);
	}

	/** Bytes of memory. */
	get memoryBytes(): number {
		return this.#idHashes.byteLength + (this.#sums?.byteLength ?? 0);
	}

	/** @throws RangeError when `bucketCount` is not a power of two from 1 to 65536. */
	digest(bucketCount: number): Promise<ShardDigest> {
		checkBucketCount(bucketCount);
		const digest = this.#turn.then(async () => {
			const sums = this.#sums?.length === 2 * bucketCount ? this.#sums : await this.#count(bucketCount);
			return { seq: this.#seq(), bucketCount, sums: sums.slice(), vectorCount: this.#slots.count };
		});
		this.#turn = digest.catch(() => undefined);
		return digest;
	}

	/** The bucket of the id in a live slot. */
	bucketOf(slot: number, bucketCount: number): number {
		this.#hash(slot);
		return this.#idHashes[2 * slot]! & (bucketCount - 1);
	}

	came(slot: number, stamp: number): void {
		if (slot < this.#summedCount) this.#add(slot, stamp, 1);
	}

	went(slot: number, stamp: number): void {
		if (slot < this.#summedCount) this.#add(slot, stamp, -1);
		if (2 * slot < this.#idHashes.length) this.#idHashes.fill(0, 2 * slot, 2 * slot + 2);
	}

	async #count(bucketCount: number): Promise<Uint32Array> {
		this.#summedCount = 0;
		const sums = new Uint32Array(2 * bucketCount);
		this.#sums = sums;
		const slice = new TimeSlice(this.#clock);
		while (this.#summedCount < this.#slots.slotCount) {
			const slot = this.#summedCount;
			if (this.#slots.isLive(slot)) this.#add(slot, this.#slots.stampOf(slot)!, 1);
			// In one turn with the sum: what comes later to this slot is told by `came` and `went`.
			this.#summedCount++;
			if (slot % SLOTS_PER_LOOK === 0 && slice.isSpent) await slice.rest();
		}
		// Slots that are used for the first time from now on are told too.
		this.#summedCount = Number.POSITIVE_INFINITY;
		return sums;
	}

	#add(slot: number, stamp: number, sign: 1 | -1): void {
		const sums = this.#sums!;
		this.#hash(slot);
		const first = this.#idHashes[2 * slot]!;
		const bucket = 2 * (first & (sums.length / 2 - 1));
		sums[bucket] = sums[bucket]! + sign * mixed(first ^ stamp);
		sums[bucket + 1] = sums[bucket + 1]! + sign * mixed(this.#idHashes[2 * slot + 1]! + stamp);
	}

	#hash(slot: number): void {
		this.#growHashes(slot + 1);
		const hashes = this.#idHashes;
		if (hashes[2 * slot] !== 0 || hashes[2 * slot + 1] !== 0) return;
		const encodedId = encodeId(this.#slots.idOf(slot)!);
		hashes[2 * slot] = Bun.hash.xxHash32(encodedId);
		hashes[2 * slot + 1] = Bun.hash.xxHash32(encodedId, SECOND_SEED);
	}

	#growHashes(slotCount: number): void {
		if (2 * slotCount <= this.#idHashes.length) return;
		const grown = new Uint32Array(2 * Math.max(slotCount, this.#slots.slotCount, this.#idHashes.length * 0.75));
		grown.set(this.#idHashes);
		this.#idHashes = grown;
	}
}

/** @throws RangeError */
export function checkBucketCount(bucketCount: number): void {
	const isPowerOfTwo = Number.isInteger(bucketCount) && bucketCount > 0 && (bucketCount & (bucketCount - 1)) === 0;
	if (!isPowerOfTwo || bucketCount > BUCKET_COUNT_MAX) {
		throw new RangeError(`a digest has a power of two up to ${BUCKET_COUNT_MAX} buckets`);
	}
}

export function bucketOfId(encodedId: Uint8Array, bucketCount: number): number {
	return Bun.hash.xxHash32(encodedId) & (bucketCount - 1);
}

/** Spreads 32 bits evenly, one to one. Source: MurmurHash3's finaliser. */
function mixed(bits: number): number {
	let hash = bits | 0;
	hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
	hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
	return (hash ^ (hash >>> 16)) >>> 0;
}
