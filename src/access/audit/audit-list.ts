import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { HiveError } from "../../base/errors.ts";
import { parseInstant } from "../../base/instant.ts";
import { parseEntry } from "./audit-entry.ts";
import { dayFileName, dayOf, listDays } from "./audit-folder.ts";
import { linesBackward, linesForward, offsetBefore } from "./audit-lines.ts";
import type { AuditEntry, AuditPage, AuditQuery } from "./audit-types.ts";

/**
 * Entries of a log's files, newest first, in bounded memory; lines that are no entries are passed over. An entry is looked for
 * in the file of its day and the days before; one that was written while the clock was behind stands in a later file, and is found
 * when `until` doesn't end before that.
 *
 * @param scanBytesMax read for one page: a filter that fits little gives short pages, and each says where to go on
 * @returns `next` is null only when there are no older entries
 * @throws HiveError VALIDATION_FAILED naming a time that is none; what the file system says
 */
export async function listAuditFolder(folder: string, query: AuditQuery, scanBytesMax: number): Promise<AuditPage> {
	const filter = filterOf(query);
	const { before = Number.POSITIVE_INFINITY } = query;
	const entries: AuditEntry[] = [];
	let scannedBytes = 0;
	for (const day of listDays(folder).reverse()) {
		if (query.until !== undefined && day > filter.untilDay) continue;
		if (query.since !== undefined && day < filter.sinceDay) break;
		const file = await openIfThere(join(folder, dayFileName(day)));
		if (file === undefined) continue;
		try {
			const end = await endOfPage(file, before);
			for await (const { text } of linesBackward(file, end)) {
				scannedBytes += text.length;
				const entry = parseEntry(text);
				if (entry === undefined || entry.seq >= before) continue;
				if (!filter.fits(entry)) {
					if (scannedBytes < scanBytesMax) continue;
					return { entries, next: entry.seq };
				}
				// One more than asked for: there are older ones.
				if (entries.length === query.limit) return { entries, next: entries.at(-1)!.seq };
				entries.push(entry);
			}
		} finally {
			await file.close();
		}
	}
	return { entries, next: null };
}

interface EntryFilter {
	readonly sinceDay: string;
	readonly untilDay: string;
	fits(entry: AuditEntry): boolean;
}

function filterOf({ since, until, tenantId, event }: AuditQuery): EntryFilter {
	const sinceMs = since === undefined ? Number.NEGATIVE_INFINITY : timeOf(since, "since");
	const untilMs = until === undefined ? Number.POSITIVE_INFINITY : timeOf(until, "until");
	const names = event?.split(",").map((name) => name.trim());
	return {
		sinceDay: since === undefined ? "" : dayOf(sinceMs),
		// `until` itself is not part of what is asked for.
		untilDay: until === undefined ? "" : dayOf(untilMs - 1),
		fits(entry) {
			if (tenantId !== undefined && entry.tenant_id !== tenantId && entry.actor_tenant_id !== tenantId) return false;
			if (names?.some((name) => entry.event === name || entry.event.startsWith(`${name}.`)) === false) return false;
			const timeMs = Date.parse(entry.time);
			return timeMs >= sinceMs && timeMs < untilMs;
		},
	};
}

/** Whole milliseconds, as entries have them: the first at or after the time. */
function timeOf(text: string, field: string): number {
	const instant = parseInstant(text);
	if (instant === undefined) {
		throw new HiveError("VALIDATION_FAILED", `${field} is not an RFC 3339 time such as 2026-11-24T08:30:00Z`, {
			field,
		});
	}
	return instant.ms + (instant.ns > 0 ? 1 : 0);
}

async function endOfPage(file: FileHandle, before: number): Promise<number> {
	const { size } = await file.stat();
	if (before === Number.POSITIVE_INFINITY) return size;
	for await (const { text } of linesForward(file)) {
		const first = text === undefined ? undefined : parseEntry(text);
		if (first !== undefined) return first.seq >= before ? 0 : await offsetBefore(file, size, before);
	}
	return 0;
}

/** undefined: its time was over between listing and opening. */
async function openIfThere(path: string): Promise<FileHandle | undefined> {
	try {
		return await open(path, "r");
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
		throw error;
	}
}
