import type { VectorId } from "../base/ids.ts";
import { VERSION_BYTES } from "./hybrid-clock.ts";
import { decodeId } from "./id-order.ts";
import { damagedDocument, damagedRow } from "./shard-errors.ts";

/**
 * The rows of a shard's LevelDB. All integers in keys are big-endian, so that keys sort as numbers do.
 *
 *     d/ id            document      format u8 · version 16 · flags u8 · slot u32 · payload JSON
 *     o/ slot u32      owner         version 16 · id
 *     v/ slot u32      vector        float32 × dimension, little-endian, as inserted
 *     s/ seq u48       redo          slots touched by that commit, u32 little-endian each
 *     t/ ms u48 · id   tombstone     empty: deleted documents by time, for the purge
 *     p/ …             posting       empty: see payload-index.ts
 *     w/ …             words         see word-rows.ts
 *     m/ name          bookkeeping   JSON
 *
 * Every value is sealed: a CRC-32 over key and value stands behind it, for LevelDB hands out a flipped byte as it is.
 */
export const PREFIX = {
	document: keyHead("d"),
	owner: keyHead("o"),
	vector: keyHead("v"),
	redo: keyHead("s"),
	tombstone: keyHead("t"),
	word: keyHead("w"),
	meta: keyHead("m"),
} as const;

const SEAL_BYTES = 4;
/** What the CRC-32 of anything followed by its own CRC-32 comes to. Source: Williams, A Painless Guide to CRC Error Detection. */
const SEALED_RESIDUE = 0x2144df1c;
const DOCUMENT_FORMAT = 1;
const DOCUMENT_HEAD_BYTES = 1 + VERSION_BYTES + 1 + 4;
const FLAG_TOMBSTONE = 1;

/** What a document's row says. Reads from the value as it is asked. */
export class DocumentRow {
	readonly #value: Buffer;

	/** @param value sealed, and checked. */
	constructor(value: Buffer) {
		this.#value = value;
	}

	get version(): Uint8Array {
		return this.#value.subarray(1, 1 + VERSION_BYTES);
	}

	get isTombstone(): boolean {
		return (this.#value[1 + VERSION_BYTES]! & FLAG_TOMBSTONE) !== 0;
	}

	get slot(): number {
		return this.#value.readUInt32LE(2 + VERSION_BYTES);
	}

	get payloadBytes(): number {
		return this.#value.length - DOCUMENT_HEAD_BYTES - SEAL_BYTES;
	}

	/** UTF-8 of JSON text; undefined when the document has none. */
	get payload(): Buffer | undefined {
		return this.payloadBytes === 0 ? undefined : this.#value.subarray(DOCUMENT_HEAD_BYTES, -SEAL_BYTES);
	}

	get payloadText(): string | undefined {
		if (this.payloadBytes === 0) return undefined;
		return this.#value.toString("utf8", DOCUMENT_HEAD_BYTES, this.#value.length - SEAL_BYTES);
	}
}

export interface OwnerRow {
	readonly version: Uint8Array;
	readonly encodedId: Buffer;
}

/** The state that each commit writes along with its rows. */
export interface CommitState {
	readonly seq: number;
	/** Redo records up to this seq are gone on purpose. */
	readonly trimmedSeq: number;
	readonly vectorCount: number;
	readonly bytes: number;
	/** Sum of `ownerDigest` over all owner rows, modulo 2^32: a lost or foreign row shows. */
	readonly digest: number;
	readonly clockMs: number;
	readonly clockCounter: number;
}

export function documentKey(encodedId: Uint8Array): Buffer {
	return joined(PREFIX.document, encodedId);
}

export function ownerKey(slot: number): Buffer {
	return slotKey(PREFIX.owner, slot);
}

export function vectorKey(slot: number): Buffer {
	return slotKey(PREFIX.vector, slot);
}

export function redoKey(seq: number): Buffer {
	const key = Buffer.allocUnsafe(PREFIX.redo.length + 6);
	key.set(PREFIX.redo);
	key.writeUIntBE(seq, PREFIX.redo.length, 6);
	return key;
}

export function tombstoneKey(deletedMs: number, encodedId: Uint8Array): Buffer {
	const key = Buffer.allocUnsafe(PREFIX.tombstone.length + 6 + encodedId.length);
	key.set(PREFIX.tombstone);
	key.writeUIntBE(deletedMs, PREFIX.tombstone.length, 6);
	key.set(encodedId, PREFIX.tombstone.length + 6);
	return key;
}

export function metaKey(name: string): Buffer {
	return joined(PREFIX.meta, Buffer.from(name));
}

export function keySlot(key: Buffer): number {
	return key.readUInt32BE(PREFIX.owner.length);
}

export function keySeq(key: Buffer): number {
	return key.readUIntBE(PREFIX.redo.length, 6);
}

/** The id in the key of a document. */
export function keyId(key: Buffer): VectorId {
	return decodeId(key.subarray(PREFIX.document.length));
}

/** As `keyId`, of a key that may be damaged. */
export function readableKeyId(key: Buffer): VectorId | undefined {
	try {
		return keyId(key);
	} catch {
		return undefined;
	}
}

export function keyTombstone(key: Buffer): { readonly deletedMs: number; readonly encodedId: Uint8Array } {
	const at = PREFIX.tombstone.length;
	return { deletedMs: key.readUIntBE(at, 6), encodedId: key.subarray(at + 6) };
}

/** First key past every key that starts so. */
export function prefixEnd(prefix: Uint8Array): Uint8Array {
	const end = Uint8Array.from(prefix);
	end[end.length - 1] = end[end.length - 1]! + 1;
	return end;
}

export function seal(key: Uint8Array, body: Uint8Array): Buffer {
	const value = Buffer.allocUnsafe(body.length + SEAL_BYTES);
	value.set(body);
	value.writeUInt32LE(Bun.hash.crc32(body, Bun.hash.crc32(key)), body.length);
	return value;
}

export function isSealed(key: Buffer, value: Buffer): boolean {
	return value.length >= SEAL_BYTES && Bun.hash.crc32(value, Bun.hash.crc32(key)) === SEALED_RESIDUE;
}

/** The sealed value's body (a view), or undefined when the seal does not fit. */
export function unseal(key: Buffer, value: Buffer): Buffer | undefined {
	return isSealed(key, value) ? value.subarray(0, -SEAL_BYTES) : undefined;
}

export function encodeDocument(
	version: Uint8Array,
	document: { readonly slot: number; readonly payload: Uint8Array | undefined } | "tombstone",
): Uint8Array {
	const isTombstone = document === "tombstone";
	const payload = isTombstone ? undefined : document.payload;
	const body = Buffer.allocUnsafe(DOCUMENT_HEAD_BYTES + (payload?.length ?? 0));
	body[0] = DOCUMENT_FORMAT;
	body.set(version, 1);
	body[1 + VERSION_BYTES] = isTombstone ? FLAG_TOMBSTONE : 0;
	body.writeUInt32LE(isTombstone ? 0 : document.slot, 2 + VERSION_BYTES);
	if (payload !== undefined) body.set(payload, DOCUMENT_HEAD_BYTES);
	return body;
}

/** @throws HiveError INTERNAL when the row is damaged. */
export function readDocument(key: Buffer, value: Buffer): DocumentRow {
	if (!isSealed(key, value) || value.length < DOCUMENT_HEAD_BYTES + SEAL_BYTES || value[0] !== DOCUMENT_FORMAT) {
		throw damagedDocument(readableKeyId(key));
	}
	return new DocumentRow(value);
}

export function encodeOwner(row: OwnerRow): Buffer {
	return joined(row.version, row.encodedId);
}

/** @throws HiveError INTERNAL when the row is damaged. */
export function readOwner(key: Buffer, value: Buffer): OwnerRow {
	const body = unseal(key, value);
	if (body === undefined || body.length <= VERSION_BYTES) throw damagedRow("owner");
	return { version: body.subarray(0, VERSION_BYTES), encodedId: body.subarray(VERSION_BYTES) };
}

/** What one owner row adds to `CommitState.digest`. */
export function ownerDigest(slot: number, encodedOwner: Uint8Array): number {
	return Bun.hash.xxHash32(encodedOwner, slot);
}

export function encodeSlots(slots: readonly number[]): Uint8Array {
	return new Uint8Array(Uint32Array.from(slots).buffer);
}

/** @throws HiveError INTERNAL when the row is damaged. */
export function readSlots(key: Buffer, value: Buffer): Uint32Array {
	const body = unseal(key, value);
	if (body === undefined || body.length % 4 !== 0) throw damagedRow("redo");
	return new Uint32Array(new Uint8Array(body).buffer);
}

/** A vector as inserted, or undefined when the row is damaged. A new array. */
export function readVector(key: Buffer, value: Buffer, dimension: number): Float32Array | undefined {
	const body = unseal(key, value);
	if (body === undefined || body.length !== dimension * 4) return undefined;
	return new Float32Array(new Uint8Array(body).buffer);
}

/** A bookkeeping row. @throws HiveError INTERNAL when it is damaged. */
export function readMeta<T>(key: Buffer, value: Buffer): T {
	const body = unseal(key, value);
	if (body === undefined) throw damagedRow("meta");
	return JSON.parse(body.toString()) as T;
}

export function encodeMeta(value: unknown): Uint8Array {
	return Buffer.from(JSON.stringify(value));
}

function keyHead(letter: string): Uint8Array {
	return Buffer.from(`${letter}/`);
}

function slotKey(head: Uint8Array, slot: number): Buffer {
	const key = Buffer.allocUnsafe(head.length + 4);
	key.set(head);
	key.writeUInt32BE(slot, head.length);
	return key;
}

function joined(head: Uint8Array, tail: Uint8Array): Buffer {
	const key = Buffer.allocUnsafe(head.length + tail.length);
	key.set(head);
	key.set(tail, head.length);
	return key;
}
