import { open } from "node:fs/promises";
import { join } from "node:path";
import { type ChainPlace, isSealed, parseEntry } from "./audit-entry.ts";
import { dayFileName, listDays } from "./audit-folder.ts";
import { HEAD_FILE, readHead } from "./audit-head.ts";
import { linesForward } from "./audit-lines.ts";
import type { AuditEntry, AuditProblem, AuditVerification } from "./audit-types.ts";

const PROBLEM_COUNT_MAX = 100;

/**
 * Follows the chain through all files of a log, line by line, and holds its end against the head. The oldest file's first `prev` is
 * believed. Reads only; a node may be writing meanwhile.
 *
 * @throws what the file system says, ENOENT where there is no such folder
 */
export async function verifyAuditFolder(folder: string): Promise<AuditVerification> {
	// The head before the files: it is behind what they hold, or something is missing.
	const head = readHead(folder);
	const check = new ChainCheck(typeof head === "object" ? head : undefined);
	const days = listDays(folder);
	let fileCount = 0;
	for (const [index, day] of days.entries()) {
		const name = dayFileName(day);
		if (await checkFile(join(folder, name), name, index === days.length - 1, check)) fileCount++;
		// Retention takes the oldest away; any other was listed a moment ago.
		else if (check.entryCount > 0) check.report(name, 0, "the file went away");
	}
	check.finish(head);
	return {
		intact: check.problems.length === 0,
		entries: check.entryCount,
		files: fileCount,
		first_seq: check.firstSeq,
		last_seq: check.lastSeq,
		problems: check.problems,
	};
}

/** @returns false when there is no such file any more */
async function checkFile(path: string, name: string, isNewest: boolean, check: ChainCheck): Promise<boolean> {
	let file: Awaited<ReturnType<typeof open>>;
	try {
		file = await open(path, "r");
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
		throw error;
	}
	try {
		let number = 0;
		for await (const { text, isWhole } of linesForward(file)) {
			number++;
			if (isWhole) check.add(name, number, text);
			// At the very end a line may be under way, or a crash left one that the next start cuts off.
			else if (!isNewest) check.report(name, number, "the line is torn");
		}
	} finally {
		await file.close();
	}
	return true;
}

class ChainCheck {
	readonly problems: AuditProblem[] = [];
	entryCount = 0;
	firstSeq: number | null = null;
	lastSeq: number | null = null;
	readonly #head: ChainPlace | undefined;
	/** The entry that the next one must follow; undefined: the next one is believed. */
	#before: AuditEntry | undefined;

	constructor(head: ChainPlace | undefined) {
		this.#head = head;
	}

	add(file: string, line: number, text: string | undefined): void {
		const entry = text === undefined ? undefined : parseEntry(text);
		if (entry === undefined || text === undefined) {
			this.report(file, line, "this is not an entry");
			this.#before = undefined;
			return;
		}
		const { seq, hash, prev } = entry;
		if (!isSealed(entry, text)) this.report(file, line, `entry ${seq} was changed: its hash is another`);
		const before = this.#before;
		if (before !== undefined && seq !== before.seq + 1) {
			this.report(file, line, `entry ${seq} follows entry ${before.seq}`);
		} else if (before !== undefined && prev !== before.hash) {
			this.report(file, line, `entry ${seq} does not hold the hash of the entry before it`);
		}
		if (seq === this.#head?.seq && hash !== this.#head.hash) {
			this.report(file, line, `entry ${seq} is not the one that the head names`);
		}
		this.#before = entry;
		this.entryCount++;
		this.firstSeq ??= seq;
		this.lastSeq = seq;
	}

	finish(head: ReturnType<typeof readHead>): void {
		const lastSeq = this.lastSeq ?? 0;
		if (head === "damaged")
			this.report(HEAD_FILE, 0, "the head is damaged: nobody can tell whether the end is missing");
		else if (head === "missing" && this.entryCount > 0) {
			this.report(HEAD_FILE, 0, "the head is missing: nobody can tell whether the end is");
		} else if (typeof head === "object" && head.seq > lastSeq) {
			this.report(HEAD_FILE, 0, `entry ${head.seq} was written, but the files end with entry ${lastSeq}`);
		}
	}

	report(file: string, line: number, problem: string): void {
		if (this.problems.length < PROBLEM_COUNT_MAX) this.problems.push({ file, line, problem });
	}
}
