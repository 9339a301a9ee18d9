import type { FileHandle } from "node:fs/promises";
import { LINE_BYTES_MAX, parseEntry } from "./audit-entry.ts";

const CHUNK_BYTES = 64 * 1024;
const LINE_BREAK = 0x0a;

/** A line without its line break. */
export interface AuditLine {
	/** undefined: longer than any line may be. */
	readonly text: string | undefined;
	/** Of the line's first byte. */
	readonly offset: number;
	/** false for what stands behind the last line break. */
	readonly isWhole: boolean;
}

/** A file's lines from the first on, in bounded memory. */
export async function* linesForward(file: FileHandle, from = 0): AsyncGenerator<AuditLine> {
	let rest: Buffer = Buffer.alloc(0);
	let offset = from;
	// Bytes of the line under way that were let go because it is too long.
	let dropped = 0;
	for (let position = from; ; ) {
		const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
		const { bytesRead } = await file.read(chunk, 0, CHUNK_BYTES, position);
		if (bytesRead === 0) break;
		position += bytesRead;
		const bytes =
			rest.length === 0 ? chunk.subarray(0, bytesRead) : Buffer.concat([rest, chunk.subarray(0, bytesRead)]);
		let start = 0;
		for (let end = bytes.indexOf(LINE_BREAK); end !== -1; end = bytes.indexOf(LINE_BREAK, start)) {
			const isTooLong = dropped + end - start > LINE_BYTES_MAX;
			yield { text: isTooLong ? undefined : bytes.toString("utf8", start, end), offset, isWhole: true };
			offset += dropped + end + 1 - start;
			dropped = 0;
			start = end + 1;
		}
		rest = bytes.subarray(start);
		if (dropped + rest.length > LINE_BYTES_MAX) {
			dropped += rest.length;
			rest = Buffer.alloc(0);
		}
	}
	if (rest.length + dropped > 0) {
		yield { text: dropped > 0 ? undefined : rest.toString("utf8"), offset, isWhole: false };
	}
}

/** The whole lines before an offset, from the last to the first, in bounded memory. Too long ones come in pieces, which are no entries. */
export async function* linesBackward(
	file: FileHandle,
	end: number,
): AsyncGenerator<AuditLine & { readonly text: string }> {
	let rest: Buffer = Buffer.alloc(0);
	let hasBreak = false;
	for (let position = end; position > 0; ) {
		const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, position));
		position -= chunk.length;
		await file.read(chunk, 0, chunk.length, position);
		const bytes = rest.length === 0 ? chunk : Buffer.concat([chunk, rest]);
		let lineEnd = bytes.length;
		for (
			let at = bytes.lastIndexOf(LINE_BREAK);
			at !== -1;
			at = lineEnd === 0 ? -1 : bytes.lastIndexOf(LINE_BREAK, lineEnd - 1)
		) {
			if (hasBreak) {
				yield { text: bytes.toString("utf8", at + 1, lineEnd), offset: position + at + 1, isWhole: true };
			}
			hasBreak = true;
			lineEnd = at;
		}
		rest = bytes.subarray(0, lineEnd > LINE_BYTES_MAX ? 0 : lineEnd);
	}
	if (hasBreak) yield { text: rest.toString("utf8"), offset: 0, isWhole: true };
}

/**
 * Where to begin to read backwards: entries before this offset include all with a lower `seq` than `before`, and few others.
 * Cost: some 20 short reads in a file of a gigabyte.
 */
export async function offsetBefore(file: FileHandle, size: number, before: number): Promise<number> {
	let low = 0;
	let high = size;
	while (high - low > CHUNK_BYTES) {
		const middle = low + Math.floor((high - low) / 2);
		const found = await firstEntryFrom(file, middle, high);
		if (found === undefined || found.seq >= before) high = middle;
		else low = found.offset;
	}
	// The line that `high` cuts through began before it.
	for await (const { offset } of linesForward(file, high)) if (offset > high) return offset;
	return size;
}

/** The first entry whose line begins in a range, behind the line that its start may cut through. */
async function firstEntryFrom(
	file: FileHandle,
	from: number,
	to: number,
): Promise<{ readonly seq: number; readonly offset: number } | undefined> {
	for await (const { text, offset, isWhole } of linesForward(file, from)) {
		if (offset >= to) return undefined;
		const entry = offset > from && isWhole && text !== undefined ? parseEntry(text) : undefined;
		if (entry !== undefined) return { seq: entry.seq, offset };
	}
	return undefined;
}
