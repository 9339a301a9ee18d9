import { type Instant, parseInstant } from "../base/instant.ts";
import { parsePayloadPath, someElementAtPath } from "../base/payload-path.ts";
import type { Payload, PayloadIndexType } from "../base/schemas.ts";
import { textTokens } from "./text-tokens.ts";

/**
 * Postings: one LevelDB key (with an empty value) for each value that a document has in an indexed field.
 *
 *     "p/" · field length u16 · field UTF-8 · type u8 · value · slot u32            all integers big-endian
 *
 * value: keyword and text  length u8 · UTF-8, or 0xff · xxHash64 of the UTF-8 when that is longer than 64 bytes
 *        integer, float    the double with its sign bit flipped, or all bits when negative: bytes sort as numbers do
 *        datetime          milliseconds as above, then nanoseconds past them u32
 *        bool              0 or 1
 *
 * JSON has one kind of number, and so have conditions: both numeric types post every number, or a range would miss
 * the 2.5 among the integers. Values of any other type post nothing.
 */
const PREFIX = Uint8Array.of(0x70, 0x2f);
const TYPE_TAG = { keyword: 1, integer: 2, float: 3, bool: 4, datetime: 5, text: 6 } as const satisfies Record<
	PayloadIndexType,
	number
>;
const PLAIN_TEXT_BYTES_MAX = 64;
const HASHED_TEXT = 0xff;
const SLOT_BYTES = 4;
const AFTER_ALL_SLOTS = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff);

/** Keys from `gte` up to, not including, `lt`. */
export interface KeyRange {
	readonly gte: Uint8Array;
	readonly lt: Uint8Array;
}

/** A value as an index orders it. */
export type IndexValue = string | number | boolean | Instant;

/**
 * The posting keys of one document and field, each once. Write them in the batch that writes the document, and delete
 * those of its former payload in the same batch, before (a key may be in both).
 *
 * @param payload undefined posts nothing.
 * @param slot    0..2^32-1.
 */
export function postingKeys(
	field: string,
	type: PayloadIndexType,
	payload: Payload | undefined,
	slot: number,
): Uint8Array[] {
	const path = parsePayloadPath(field);
	if (payload === undefined || path === undefined) return [];
	const head = fieldHead(field, type);
	const tail = new Uint8Array(SLOT_BYTES);
	new DataView(tail.buffer).setUint32(0, slot);
	const keys: Uint8Array[] = [];
	const seen = new Set<string | number | boolean>();
	const collect = someElementAtPath(path, (value) => {
		for (const indexed of indexValues(type, value)) {
			const identity = typeof indexed === "object" ? `${indexed.ms}.${indexed.ns}` : indexed;
			if (seen.has(identity)) continue;
			seen.add(identity);
			keys.push(Buffer.concat([head, encodeValue(indexed), tail]));
		}
		return false;
	});
	collect(payload, undefined);
	return keys;
}

/** All postings of a field, under whatever type it was indexed: what to delete when its index goes. */
export function fieldPostings(field: string): KeyRange {
	const gte = fieldHead(field);
	return { gte, lt: Buffer.concat([gte, Uint8Array.of(0xff)]) };
}

/** The slot at the end of a posting key. */
export function postingSlot(key: Uint8Array): number {
	return new DataView(key.buffer, key.byteOffset, key.byteLength).getUint32(key.byteLength - SLOT_BYTES);
}

/** The postings of one value. */
export function valuePostings(field: string, type: PayloadIndexType, value: IndexValue): KeyRange {
	const gte = Buffer.concat([fieldHead(field, type), encodeValue(value)]);
	return { gte, lt: Buffer.concat([gte, AFTER_ALL_SLOTS]) };
}

/** The postings of all values between two bounds; a missing one is open. Not for keywords and words: they have no order. */
export function rangePostings(
	field: string,
	type: PayloadIndexType,
	lower: { readonly value: IndexValue; readonly inclusive: boolean } | undefined,
	upper: { readonly value: IndexValue; readonly inclusive: boolean } | undefined,
): KeyRange {
	const head = fieldHead(field, type);
	const after = (value: IndexValue) => Buffer.concat([head, encodeValue(value), AFTER_ALL_SLOTS]);
	const at = (value: IndexValue) => Buffer.concat([head, encodeValue(value)]);
	return {
		gte: lower === undefined ? head : lower.inclusive ? at(lower.value) : after(lower.value),
		lt: upper === undefined ? fieldHead(field, type, 1) : upper.inclusive ? after(upper.value) : at(upper.value),
	};
}

/** Whether two different values never share their postings: not so for those that are hashed or have no UTF-8 form. */
export function isDistinct(value: IndexValue): boolean {
	return (
		typeof value !== "string" ||
		// A lone surrogate is encoded as U+FFFD.
		(Buffer.byteLength(value) <= PLAIN_TEXT_BYTES_MAX && value.isWellFormed() && !value.includes("\ufffd"))
	);
}

/** What an index of this type posts for one JSON value. */
export function indexValues(type: PayloadIndexType, value: unknown): Iterable<IndexValue> {
	switch (type) {
		case "keyword":
			return typeof value === "string" ? [value] : [];
		case "integer":
		case "float":
			return typeof value === "number" ? [value] : [];
		case "bool":
			return typeof value === "boolean" ? [value] : [];
		case "datetime": {
			const instant = typeof value === "string" ? parseInstant(value) : undefined;
			return instant === undefined ? [] : [instant];
		}
		case "text":
			return typeof value === "string" ? textTokens(value) : [];
	}
}

function fieldHead(field: string, type?: PayloadIndexType, past = 0): Uint8Array {
	const name = Buffer.from(field);
	const head = Buffer.alloc(PREFIX.length + 2 + name.length + (type === undefined ? 0 : 1));
	head.set(PREFIX);
	head.writeUInt16BE(name.length, PREFIX.length);
	head.set(name, PREFIX.length + 2);
	if (type !== undefined) head[head.length - 1] = TYPE_TAG[type] + past;
	return head;
}

function encodeValue(value: IndexValue): Uint8Array {
	switch (typeof value) {
		case "string":
			return encodeText(value);
		case "number":
			return encodeNumber(value);
		case "boolean":
			return Uint8Array.of(value ? 1 : 0);
		default: {
			const encoded = Buffer.alloc(12);
			encoded.set(encodeNumber(value.ms));
			encoded.writeUInt32BE(value.ns, 8);
			return encoded;
		}
	}
}

function encodeText(text: string): Uint8Array {
	const bytes = Buffer.from(text);
	if (bytes.length <= PLAIN_TEXT_BYTES_MAX) return Buffer.concat([Uint8Array.of(bytes.length), bytes]);
	const hashed = Buffer.alloc(9);
	hashed[0] = HASHED_TEXT;
	hashed.writeBigUInt64BE(Bun.hash.xxHash64(bytes), 1);
	return hashed;
}

function encodeNumber(value: number): Uint8Array {
	const encoded = new Uint8Array(8);
	const view = new DataView(encoded.buffer);
	// 0 and -0 are equal, so they are posted as one value.
	view.setFloat64(0, value === 0 ? 0 : value);
	const high = view.getUint32(0);
	if (high >>> 31 === 0) view.setUint32(0, (high | 0x80000000) >>> 0);
	else {
		view.setUint32(0, ~high >>> 0);
		view.setUint32(4, ~view.getUint32(4) >>> 0);
	}
	return encoded;
}
