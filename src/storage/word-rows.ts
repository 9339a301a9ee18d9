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
const PLAIN_TERM_BYTES_MAX = 64;
const HASHED_TERM = 0xff;
const BLOCK_NUMBER_BYTES = 4;
/** A place and two numbers of up to 5 bytes. */
const POSTING_BYTES_MAX = 11;

export interface Posting {
	readonly slot: number;
	readonly count: number;
	/** Words of the whole document. */
	readonly length: number;
}

/** The keys of one term's blocks. */
export class TermKeys {
	readonly #head: Buffer;

	constructor(term: string) {
		const text = Buffer.from(term);
		const isPlain = text.length <= PLAIN_TERM_BYTES_MAX;
		const name = isPlain ? text : Buffer.alloc(8);
		if (!isPlain) name.writeBigUInt64BE(BigInt(Bun.hash.xxHash64(text)));
		this.#head = Buffer.concat([PREFIX.word, Uint8Array.of(isPlain ? text.length : HASHED_TERM), name]);
	}

	block(block: number): Buffer {
		const key = Buffer.allocUnsafe(this.#head.length + BLOCK_NUMBER_BYTES);
		key.set(this.#head);
		key.writeUInt32BE(block, this.#head.length);
		return key;
	}

	get range(): RowRange {
		return { gte: this.block(0), lt: Buffer.concat([this.block(0xffffffff), Uint8Array.of(0)]) };
	}
}

export const blockOf = (slot: number): number => slot >>> SLOTS_PER_BLOCK_BITS;
export const firstSlotOf = (block: number): number => block * (1 << SLOTS_PER_BLOCK_BITS);
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

/** @param postings of one block, ascending, at least one */
export function encodeBlock(postings: readonly Posting[]): Uint8Array {
	const body = Buffer.allocUnsafe(1 + postings.length * POSTING_BYTES_MAX);
	let at = 0;
	body[at++] = postings.length;
	const put = (number: number): void => {
		let left = number;
		for (; left > 127; left = Math.floor(left / 128)) body[at++] = (left % 128) | 128;
		body[at++] = left;
	};
	for (const { slot, count, length } of postings) {
		body[at++] = slot & ((1 << SLOTS_PER_BLOCK_BITS) - 1);
		put(count);
		put(length);
	}
	return body.subarray(0, at);
}
