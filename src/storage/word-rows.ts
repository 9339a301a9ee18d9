import { PREFIX, unseal } from "./keyspace.ts";
import type { RowRange } from "./level-store.ts";
import { damagedRow } from "./shard-errors.ts";

/**
 * Which documents say a term, in blocks of 128 slots:
 *
 *     "w/" · term length u8 · term UTF-8 · block u32 big-endian         or 0xff · xxHash64 of the UTF-8 when that is longer than 64 bytes
 *
 *     count u8 · for each document, ascending: slot within the block u8 · how often varint · length of the document varint
 *
 * A posting has all that scoring needs, so no other row is read for it.
 */
const SLOTS_PER_BLOCK_BITS = 7;
const SLOTS_PER_BLOCK = 1 << SLOTS_PER_BLOCK_BITS;
const PLAIN_TERM_BYTES_MAX = 64;
const HASHED_TERM = 0xff;
const HASH_BYTES = 8;
const BLOCK_NUMBER_BYTES = 4;
/** A place and two numbers of up to 5 bytes. */
const POSTING_BYTES_MAX = 11;

/** The key of one of a term's blocks. */
export function wordKey(term: string, block: number): Buffer {
	const bytes = Buffer.byteLength(term);
	const isPlain = bytes <= PLAIN_TERM_BYTES_MAX;
	const head = PREFIX.word.length + 1;
	const nameBytes = isPlain ? bytes : HASH_BYTES;
	const key = Buffer.allocUnsafe(head + nameBytes + BLOCK_NUMBER_BYTES);
	key.set(PREFIX.word);
	key[head - 1] = isPlain ? bytes : HASHED_TERM;
	if (isPlain) key.write(term, head);
	else key.writeBigUInt64BE(BigInt(Bun.hash.xxHash64(term)), head);
	key.writeUInt32BE(block, head + nameBytes);
	return key;
}

/** All of a term's blocks. */
export const termRange = (term: string): RowRange => ({
	gte: wordKey(term, 0),
	lt: Buffer.concat([wordKey(term, 0xffffffff), Uint8Array.of(0)]),
});

export const blockOf = (slot: number): number => slot >>> SLOTS_PER_BLOCK_BITS;
export const firstSlotOf = (block: number): number => block * SLOTS_PER_BLOCK;
export const keyBlock = (key: Buffer): number => key.readUInt32BE(key.length - BLOCK_NUMBER_BYTES);

/** A sealed block, opened. @throws HiveError INTERNAL when it is damaged */
export function openBlock(key: Buffer, value: Buffer): Buffer {
	const body = unseal(key, value);
	if (body === undefined || body.length < 1) throw damagedRow("words");
	return body;
}

export const postingCount = (body: Buffer): number => body[0]!;

/** Calls back for each posting, in the order of slots. @param body as `openBlock` returns it */
export function eachPosting(
	body: Buffer,
	block: number,
	visit: (slot: number, count: number, length: number) => void,
): void {
	const first = firstSlotOf(block);
	let at = 1;
	const varint = (): number => {
		let number = 0;
		for (let scale = 1; ; scale *= 128) {
			const byte = body[at++]!;
			number += (byte & 127) * scale;
			if (byte < 128) return number;
		}
	};
	while (at < body.length) {
		const slot = first + body[at++]!;
		const count = varint();
		visit(slot, count, varint());
	}
}

/** Changes blocks, one after the other. What it returns lasts until the next one. */
export class BlockEditor {
	readonly #bytes = Buffer.allocUnsafe(1 + SLOTS_PER_BLOCK * POSTING_BYTES_MAX);
	#at = 1;
	#count = 0;

	/**
	 * @param former as `openBlock` returns it; undefined when there is none
	 * @param edits  slot, count and length of each posting that is put in or takes another's place, ascending; count 0 takes it out
	 * @returns undefined when no posting is left
	 */
	edited(former: Buffer | undefined, edits: readonly number[]): Uint8Array | undefined {
		this.#at = 1;
		this.#count = 0;
		let read = 1;
		for (let edit = 0; edit < edits.length; edit += 3) {
			const place = edits[edit]! & (SLOTS_PER_BLOCK - 1);
			if (former !== undefined) {
				read = this.#keep(former, read, place);
				if (former[read] === place) read = postingEnd(former, read);
			}
			if (edits[edit + 1]! > 0) this.#put(place, edits[edit + 1]!, edits[edit + 2]!);
		}
		if (former !== undefined) this.#keep(former, read, SLOTS_PER_BLOCK);
		this.#bytes[0] = this.#count;
		return this.#count === 0 ? undefined : this.#bytes.subarray(0, this.#at);
	}

	/** Takes over the postings before a place. @returns where those behind begin */
	#keep(former: Buffer, from: number, place: number): number {
		let to = from;
		while (to < former.length && former[to]! < place) {
			to = postingEnd(former, to);
			this.#count++;
		}
		this.#at += former.copy(this.#bytes, this.#at, from, to);
		return to;
	}

	#put(place: number, count: number, length: number): void {
		this.#bytes[this.#at++] = place;
		this.#putNumber(count);
		this.#putNumber(length);
		this.#count++;
	}

	#putNumber(number: number): void {
		let left = number;
		for (; left > 127; left = Math.floor(left / 128)) this.#bytes[this.#at++] = (left % 128) | 128;
		this.#bytes[this.#at++] = left;
	}
}

/** Where the posting that begins there ends: behind two numbers. */
function postingEnd(body: Buffer, from: number): number {
	let at = from + 1;
	while (body[at++]! > 127);
	while (body[at++]! > 127);
	return at;
}
