import {
	closeSync,
	fsyncSync,
	ftruncateSync,
	openSync,
	readdirSync,
	readSync,
	statSync,
	unlinkSync,
	writeSync,
} from "node:fs";
import { join } from "node:path";
import { syncPath } from "../../storage/durable-file.ts";

const DAY_MS = 86_400_000;
const COPY_BYTES = 64 * 1024;
/** A day's lines, or what was cut off their end. */
const DAY_FILE = /^(\d{4}-\d\d-\d\d)\.jsonl(\.torn-\d+)?$/;

/** A UTC day, `2026-11-24`. Days compare as texts. */
export type AuditDay = string;

/** Where a node keeps its audit log. */
export const auditFolder = (dataDir: string): string => join(dataDir, "audit");

export const dayOf = (timeMs: number): AuditDay => new Date(timeMs).toISOString().slice(0, 10);

/** Unix milliseconds at which a day begins. */
const dayStartMs = (day: AuditDay): number => Date.parse(`${day}T00:00:00.000Z`);

export const dayFileName = (day: AuditDay): string => `${day}.jsonl`;

/** Days of which there is a file, oldest first. @throws what the file system says */
export function listDays(folder: string): AuditDay[] {
	return readdirSync(folder)
		.map((name) => DAY_FILE.exec(name))
		.filter((found) => found !== null && found[2] === undefined)
		.map((found) => found![1]!)
		.sort();
}

/**
 * Deletes what is older than `retentionDays`, oldest first. The newest day stays, however old: the chain hangs on it.
 *
 * @throws what the file system says; what was deleted stays deleted, and the rest goes the next time
 */
export function deleteOldDays(folder: string, today: AuditDay, retentionDays: number): void {
	const oldest = dayOf(dayStartMs(today) - retentionDays * DAY_MS);
	const newest = listDays(folder).at(-1) ?? today;
	const old = readdirSync(folder)
		.filter((name) => {
			const day = DAY_FILE.exec(name)?.[1];
			return day !== undefined && day < oldest && day < newest;
		})
		.sort();
	for (const name of old) unlinkSync(join(folder, name));
	if (old.length > 0) syncPath(folder);
}

export interface TornEnd {
	/** Bytes that were cut off. */
	readonly bytes: number;
	/** Name of the file, in the same folder, that has them now. */
	readonly keptAs: string;
}

/**
 * What a killed process left of a line goes into a file of its own, and the day's file ends with a line break again.
 *
 * @param seq names the file: the entry that comes next
 * @returns undefined when there was nothing to cut
 * @throws what the file system says
 */
export function cutTornEnd(folder: string, day: AuditDay, seq: number): TornEnd | undefined {
	const path = join(folder, dayFileName(day));
	const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
	if (size === 0) return undefined;
	const file = openSync(path, "r+");
	try {
		const end = endOfLastLine(file, size);
		if (end === size) return undefined;
		const keptAs = `${dayFileName(day)}.torn-${seq}`;
		copyRange(file, end, size, join(folder, keptAs));
		syncPath(folder);
		ftruncateSync(file, end);
		fsyncSync(file);
		return { bytes: size - end, keptAs };
	} finally {
		closeSync(file);
	}
}

/** The offset behind the last line break, 0 without any. */
function endOfLastLine(file: number, size: number): number {
	const chunk = Buffer.alloc(COPY_BYTES);
	for (let start = size; start > 0; ) {
		const length = Math.min(COPY_BYTES, start);
		start -= length;
		readSync(file, chunk, 0, length, start);
		const breakAt = chunk.subarray(0, length).lastIndexOf(0x0a);
		if (breakAt !== -1) return start + breakAt + 1;
	}
	return 0;
}

function copyRange(from: number, start: number, end: number, path: string): void {
	const to = openSync(path, "w", 0o600);
	try {
		const chunk = Buffer.alloc(COPY_BYTES);
		for (let position = start; position < end; ) {
			const length = readSync(from, chunk, 0, Math.min(COPY_BYTES, end - position), position);
			if (length === 0) break;
			for (let done = 0; done < length; ) done += writeSync(to, chunk, done, length - done);
			position += length;
		}
		fsyncSync(to);
	} finally {
		closeSync(to);
	}
}
