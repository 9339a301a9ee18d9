import { mkdirSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { syncPath } from "../../storage/durable-file.ts";
import { type ChainPlace, GENESIS, isSealed, parseEntry, sealEvent } from "./audit-entry.ts";
import { type AuditFile, type OpenAuditFile, writeAt } from "./audit-file.ts";
import { type AuditDay, cutTornEnd, dayFileName, dayOf, deleteOldDays, listDays } from "./audit-folder.ts";
import { AuditHead, readHead } from "./audit-head.ts";
import { linesBackward } from "./audit-lines.ts";
import type { AuditEvent } from "./audit-types.ts";

/** Looked through for the last entry that is whole; what is damaged further back is the business of `verify`. */
const SEARCH_BYTES_MAX = 64 * 1024 * 1024;
const COPY_BYTES = 64 * 1024;

/** An event and when it happened. */
export interface TimedEvent {
	readonly event: AuditEvent;
	/** Unix milliseconds. */
	readonly timeMs: number;
}

export interface AppenderParts {
	readonly folder: string;
	/** Unix milliseconds: the day it is. */
	readonly nowMs: number;
	readonly retentionDays: number;
	readonly openFile: OpenAuditFile;
	log(message: string, facts: Readonly<Record<string, unknown>>): void;
}

/** The writing end of the chain: one file open, one call at a time. */
export class AuditAppender {
	readonly #parts: AppenderParts;
	readonly #head: AuditHead;
	#day: AuditDay;
	#file: AuditFile;
	/** Behind the last line that was written whole. */
	#offset: number;
	#syncedOffset: number;
	#place: ChainPlace;
	/** Bytes of a failed write may stand behind `#offset`. */
	#isTorn = false;
	#hasFailedToSync = false;
	/** Files and head know all that was appended. */
	#isSynced = false;

	private constructor(parts: AppenderParts, head: AuditHead, place: ChainPlace, opened: OpenedDay) {
		this.#parts = parts;
		this.#head = head;
		this.#place = place;
		this.#day = opened.day;
		this.#file = opened.file;
		this.#offset = opened.size;
		this.#syncedOffset = opened.size;
	}

	/**
	 * Takes up the chain where the folder's files and head leave it, whichever is further: what was taken off the end stays
	 * missed. What had to be mended is an entry of its own, on disk when the promise settles.
	 *
	 * @throws what the file system says
	 */
	static async open(parts: AppenderParts): Promise<AuditAppender> {
		const { folder } = parts;
		mkdirSync(folder, { recursive: true, mode: 0o700 });
		const today = dayOf(parts.nowMs);
		forgetOldDays(parts, today);
		const known = readHead(folder);
		const last = await lastPlace(folder);
		const place = typeof known === "object" && known.seq >= last.seq ? known : last;
		const head = await AuditHead.open(folder, parts.openFile);
		let opened: OpenedDay | undefined;
		try {
			opened = await openDay(parts, listDays(folder).at(-1) ?? today, place.seq + 1);
			const appender = new AuditAppender(parts, head, place, opened);
			// The head first: entries without one are a sign that somebody took it away.
			await appender.sync();
			const details = {
				...(opened.torn === undefined ? {} : { torn_bytes: opened.torn.bytes, kept_as: opened.torn.keptAs }),
				...(place.seq > last.seq ? { missing_entries: place.seq - last.seq } : {}),
				...(typeof known === "object" || (known === "missing" && last.seq === 0) ? {} : { head: known }),
			};
			if (Object.keys(details).length > 0) await appender.#noteRecovery(details);
			return appender;
		} catch (error) {
			await Promise.allSettled([head.close(), opened?.file.close()]);
			throw error;
		}
	}

	async #noteRecovery(details: NonNullable<AuditEvent["details"]>): Promise<void> {
		const { log, nowMs } = this.#parts;
		log("the audit log was not as it was left", details);
		await this.append([{ event: { event: "audit.recovered", outcome: "ok", details }, timeMs: nowMs }]);
		await this.sync();
	}

	/**
	 * Writes as many of the events as belong into one file, at least one. They survive the process, and after `sync` the machine.
	 *
	 * @param events at least one; all lines of one call are in memory at once
	 * @returns how many were written
	 * @throws what the file system says; nothing is written then
	 */
	async append(events: readonly TimedEvent[]): Promise<number> {
		// Before a new day too: a line may be torn only at the very end of the chain.
		if (this.#isTorn) {
			await this.#file.truncate(this.#offset);
			this.#isTorn = false;
		}
		// A wall clock that was set back doesn't open an older file again.
		const day = dayOf(events[0]!.timeMs);
		if (day > this.#day) await this.#turnTo(day);
		let place = this.#place;
		let lines = "";
		let count = 0;
		for (const { event, timeMs } of events) {
			if (dayOf(timeMs) > this.#day) break;
			const sealed = sealEvent(event, timeMs, place);
			lines += `${sealed.line}\n`;
			place = { seq: sealed.seq, hash: sealed.hash };
			count++;
		}
		const bytes = Buffer.from(lines);
		this.#isTorn = true;
		this.#isSynced = false;
		await writeAt(this.#file, bytes, this.#offset);
		this.#isTorn = false;
		this.#offset += bytes.length;
		this.#place = place;
		return count;
	}

	/** All that was appended is on disk. @throws what the file system says */
	async sync(): Promise<void> {
		if (this.#isSynced) return;
		if (this.#hasFailedToSync) await this.#writeUnsyncedAgain();
		try {
			await this.#file.datasync();
		} catch (error) {
			this.#hasFailedToSync = true;
			throw error;
		}
		this.#hasFailedToSync = false;
		this.#syncedOffset = this.#offset;
		try {
			await this.#head.write(this.#place);
			this.#isSynced = true;
		} catch (error) {
			// The entries are safe; a head that lags behind only vouches for less.
			this.#parts.log("writing the head of the audit log failed", { err: error });
		}
	}

	/** Without a sync. */
	async close(): Promise<void> {
		const closed = await Promise.allSettled([this.#file.close(), this.#head.close()]);
		for (const result of closed) if (result.status === "rejected") this.#noteUnclosed(result.reason);
	}

	#noteUnclosed(error: unknown): void {
		this.#parts.log("closing a file of the audit log failed", { err: error });
	}

	async #turnTo(day: AuditDay): Promise<void> {
		await this.sync();
		const opened = await openDay(this.#parts, day, this.#place.seq + 1);
		const { torn } = opened;
		if (torn !== undefined) this.#parts.log("a file of the audit log was there before its day", { ...torn });
		const left = this.#file;
		this.#file = opened.file;
		this.#day = day;
		this.#offset = opened.size;
		this.#syncedOffset = opened.size;
		await left.close().catch((error: unknown) => this.#noteUnclosed(error));
		forgetOldDays(this.#parts, day);
	}

	/** Pages that a failed sync left behind count as clean: no later sync would take them along, unless they are written anew. */
	async #writeUnsyncedAgain(): Promise<void> {
		const chunk = Buffer.alloc(COPY_BYTES);
		for (let position = this.#syncedOffset; position < this.#offset; ) {
			const { bytesRead } = await this.#file.read(chunk, 0, Math.min(COPY_BYTES, this.#offset - position), position);
			if (bytesRead === 0) throw new Error("the audit log's file became shorter");
			await writeAt(this.#file, chunk.subarray(0, bytesRead), position);
			position += bytesRead;
		}
	}
}

interface OpenedDay {
	readonly day: AuditDay;
	readonly file: AuditFile;
	readonly size: number;
	readonly torn: ReturnType<typeof cutTornEnd>;
}

async function openDay({ folder, openFile }: AppenderParts, day: AuditDay, seq: number): Promise<OpenedDay> {
	const torn = cutTornEnd(folder, day, seq);
	const file = await openFile(join(folder, dayFileName(day)));
	try {
		syncPath(folder);
		return { day, file, size: (await file.stat()).size, torn };
	} catch (error) {
		await file.close();
		throw error;
	}
}

/** An old file that can't be deleted is no reason to write nothing more. */
function forgetOldDays({ folder, retentionDays, log }: AppenderParts, today: AuditDay): void {
	try {
		deleteOldDays(folder, today, retentionDays);
	} catch (error) {
		log("deleting old files of the audit log failed", { err: error });
	}
}

/** The place of the last entry that is whole. */
async function lastPlace(folder: string): Promise<ChainPlace> {
	let searchedBytes = 0;
	for (const day of listDays(folder).reverse()) {
		const file = await open(join(folder, dayFileName(day)), "r");
		try {
			for await (const { text } of linesBackward(file, (await file.stat()).size)) {
				const entry = parseEntry(text);
				if (entry !== undefined && isSealed(entry, text)) return { seq: entry.seq, hash: entry.hash };
				searchedBytes += text.length;
				if (searchedBytes > SEARCH_BYTES_MAX) return GENESIS;
			}
		} finally {
			await file.close();
		}
	}
	return GENESIS;
}
