import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { HiveError } from "../base/errors.ts";
import { ByteCursor, decompressSnappy } from "./byte-cursor.ts";
import { crc32c } from "./crc32c.ts";
import { isSealed, PREFIX } from "./keyspace.ts";
import { liveTables, unmask } from "./level-manifest.ts";

/**
 * LevelDB's tables, checked before it opens them. As it is built into the binding, it verifies no block on reading, and a
 * flipped bit in a key makes a compaction abort the whole process. Damage among documents and vectors that leaves their order
 * alone passes: it shows when they are read, so that the rest of the shard stays of use.
 *
 * Source: google/leveldb, doc/table_format.md.
 */
const FOOTER_BYTES = 48;
const MAGIC = Buffer.from("57fb808b247547db", "hex");
const TRAILER_BYTES = 5;
const SNAPPY = 1;
const INTERNAL_BYTES = 8;
const TYPE_VALUE = 1;
const BLOCK_BYTES_MAX = 64 * 1024 * 1024;
const TABLES_AT_ONCE = 2;

interface Entry {
	/** User key, then a u64: sequence × 256 + type. */
	readonly key: Buffer;
	readonly value: Buffer;
}

interface Block {
	readonly bytes: Uint8Array;
	readonly isWhole: boolean;
}

/**
 * @returns      whether some documents or vectors are damaged.
 * @throws HiveError INTERNAL when LevelDB had better not open this folder.
 */
export async function checkTables(folder: string): Promise<boolean> {
	let hasDamage = false;
	const live = await liveTables(folder);
	if (live === undefined) return false;
	const names = (await readdir(folder)).filter((name) => {
		const number = /^(\d+)\.(ldb|sst)$/.exec(name)?.[1];
		return number !== undefined && live.has(Number(number));
	});
	const check = async () => {
		for (let name = names.pop(); name !== undefined; name = names.pop()) {
			const bytes = await readFile(join(folder, name));
			try {
				if (!checkTable(bytes)) hasDamage = true;
			} catch (cause) {
				throw new HiveError("INTERNAL", "the shard's database is damaged", undefined, { cause });
			}
		}
	};
	await Promise.all(Array.from({ length: TABLES_AT_ONCE }, check));
	return hasDamage;
}

/** @returns whether the table is whole. @throws Error when it is damaged, and more than some documents or vectors. */
export function checkTable(bytes: Buffer): boolean {
	const footer = bytes.subarray(-FOOTER_BYTES);
	if (footer.length < FOOTER_BYTES || !footer.subarray(-MAGIC.length).equals(MAGIC)) {
		throw new Error("the table has no footer");
	}
	const cursor = new ByteCursor(footer);
	const metaHandle = { offset: cursor.varint(), size: cursor.varint() };
	const indexHandle = { offset: cursor.varint(), size: cursor.varint() };
	for (const { value } of entriesOf(wholeBlock(bytes, metaHandle).bytes)) wholeBlock(bytes, handleOf(value));
	const handles = [...entriesOf(wholeBlock(bytes, indexHandle).bytes)].map(({ value }) => handleOf(value));
	const blocks = handles.map((handle) => blockAt(bytes, handle));
	// Whole blocks are as LevelDB wrote them; only where one is not must the order be looked at.
	const isWhole = blocks.every((block) => block.isWhole);
	if (!isWhole) checkOrder(blocks);
	return isWhole;
}

function checkOrder(blocks: readonly Block[]): void {
	let before: Entry | undefined;
	for (const { bytes, isWhole } of blocks) {
		for (const entry of entriesOf(bytes)) {
			if (entry.key.length < INTERNAL_BYTES) throw new Error("a key is too short");
			if (!isWhole && !isMissed(entry.key)) throw new Error("rows are damaged that nobody would miss");
			// The ends of a table are known elsewhere too, so that they must not have changed at all.
			if (before === undefined && !isWhole) checkSeal(entry);
			if (before !== undefined && compareKeys(before.key, entry.key) >= 0) throw new Error("keys are out of order");
			before = entry;
		}
	}
	if (before !== undefined && blocks.at(-1)?.isWhole === false) checkSeal(before);
}

/** Memory knows which documents and vectors there must be; of a posting that has another key now it does not. */
function isMissed(key: Buffer): boolean {
	const prefix = key.subarray(0, PREFIX.document.length);
	return prefix.equals(PREFIX.document) || prefix.equals(PREFIX.vector);
}

function checkSeal({ key, value }: Entry): void {
	const isValue = key[key.length - INTERNAL_BYTES] === TYPE_VALUE;
	if (!isValue || !isSealed(key.subarray(0, -INTERNAL_BYTES), value)) throw new Error("the end of a table is damaged");
}

/** By user key, then newest first. */
function compareKeys(a: Buffer, b: Buffer): number {
	const order = Buffer.compare(a.subarray(0, -INTERNAL_BYTES), b.subarray(0, -INTERNAL_BYTES));
	if (order !== 0) return order;
	const left = a.readBigUInt64LE(a.length - INTERNAL_BYTES);
	const right = b.readBigUInt64LE(b.length - INTERNAL_BYTES);
	return left === right ? 0 : left > right ? -1 : 1;
}

function wholeBlock(bytes: Buffer, handle: { readonly offset: number; readonly size: number }): Block {
	const block = blockAt(bytes, handle);
	if (!block.isWhole) throw new Error("a block of the table's own is damaged");
	return block;
}

function blockAt(bytes: Buffer, { offset, size }: { readonly offset: number; readonly size: number }): Block {
	const end = offset + size;
	if (end + TRAILER_BYTES > bytes.length) throw new RangeError("a block is out of bounds");
	const isWhole = crc32c(bytes, offset, end + 1) === unmask(bytes.readUInt32LE(end + 1));
	const raw = bytes.subarray(offset, end);
	return { bytes: bytes[end] === SNAPPY ? decompressSnappy(raw, BLOCK_BYTES_MAX) : raw, isWhole };
}

function handleOf(value: Buffer): { readonly offset: number; readonly size: number } {
	const cursor = new ByteCursor(value);
	return { offset: cursor.varint(), size: cursor.varint() };
}

function* entriesOf(block: Uint8Array): Generator<Entry, void> {
	const bytes = Buffer.from(block.buffer, block.byteOffset, block.byteLength);
	const end = bytes.length - 4 - 4 * bytes.readUInt32LE(bytes.length - 4);
	const cursor = new ByteCursor(bytes);
	let key: Buffer = Buffer.alloc(0);
	while (cursor.at < end) {
		const sharedBytes = cursor.varint();
		const ownBytes = cursor.varint();
		const valueBytes = cursor.varint();
		if (sharedBytes > key.length) throw new RangeError("a key shares more than there is");
		key = Buffer.concat([key.subarray(0, sharedBytes), cursor.take(ownBytes)]);
		yield { key, value: cursor.take(valueBytes) as Buffer };
	}
	if (cursor.at !== end) throw new RangeError("a block has another length");
}
