import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { ByteCursor } from "./byte-cursor.ts";
import { crc32c } from "./crc32c.ts";

const BLOCK_BYTES = 32 * 1024;
const HEADER_BYTES = 7;
const RECORD = { full: 1, first: 2, middle: 3, last: 4 } as const;
const TAG = {
	comparator: 1,
	logNumber: 2,
	nextFileNumber: 3,
	lastSequence: 4,
	compactPointer: 5,
	deletedFile: 6,
	newFile: 7,
	previousLogNumber: 9,
} as const;

/**
 * The tables that a LevelDB counts as its own, by file number. Others may lie beside them: what a compaction had begun when
 * the process was killed or the disk was full.
 *
 * @returns undefined when that can't be told; LevelDB won't open such a folder either.
 * Source: google/leveldb, doc/log_format.md and db/version_edit.cc.
 */
export async function liveTables(folder: string): Promise<ReadonlySet<number> | undefined> {
	try {
		const name = (await readFile(join(folder, "CURRENT"), "utf8")).trim();
		const live = new Set<number>();
		for (const record of recordsOf(await readFile(join(folder, name)))) applyEdit(record, live);
		return live;
	} catch {
		return undefined;
	}
}

/** A log's records up to its end, or to where it was being written when it was cut short. */
function* recordsOf(log: Buffer): Generator<Buffer, void> {
	let parts: Buffer[] = [];
	for (let at = 0; at + HEADER_BYTES <= log.length; ) {
		const leftInBlock = BLOCK_BYTES - (at % BLOCK_BYTES);
		if (leftInBlock < HEADER_BYTES) {
			at += leftInBlock;
			continue;
		}
		const type = log[at + 6]!;
		const start = at + HEADER_BYTES;
		const end = start + log.readUInt16LE(at + 4);
		if (type === 0 || end > log.length || unmask(log.readUInt32LE(at)) !== crc32c(log, at + 6, end)) return;
		if (type === RECORD.full || type === RECORD.first) parts = [];
		parts.push(log.subarray(start, end));
		if (type === RECORD.full || type === RECORD.last) yield Buffer.concat(parts);
		at = end;
	}
}

/** @throws RangeError when the record is no version edit. */
function applyEdit(record: Buffer, live: Set<number>): void {
	const cursor = new ByteCursor(record);
	while (cursor.at < record.length) {
		const tag = cursor.varint();
		switch (tag) {
			case TAG.comparator:
				cursor.take(cursor.varint());
				break;
			case TAG.logNumber:
			case TAG.nextFileNumber:
			case TAG.lastSequence:
			case TAG.previousLogNumber:
				cursor.varint();
				break;
			case TAG.compactPointer:
				cursor.varint();
				cursor.take(cursor.varint());
				break;
			case TAG.deletedFile:
				cursor.varint();
				live.delete(cursor.varint());
				break;
			case TAG.newFile: {
				cursor.varint();
				live.add(cursor.varint());
				cursor.varint();
				cursor.take(cursor.varint());
				cursor.take(cursor.varint());
				break;
			}
			default:
				throw new RangeError("a version edit has an unknown field");
		}
	}
}

/** LevelDB stores checksums rotated and shifted, so that the checksum of data with checksums in it says something. */
export function unmask(stored: number): number {
	const rotated = (stored - 0xa282ead8) >>> 0;
	return ((rotated >>> 17) | (rotated << 15)) >>> 0;
}
