import { HiveError } from "../base/errors.ts";
import type { VectorId } from "../base/ids.ts";

export function damagedDocument(id: VectorId | undefined, cause?: unknown): HiveError {
	return new HiveError("INTERNAL", "stored document is damaged", id === undefined ? undefined : { id }, { cause });
}

/** A row that belongs to no single document (bookkeeping, a posting) does not match its checksum. */
export function damagedRow(row: string): HiveError {
	return new HiveError("INTERNAL", "stored bookkeeping of the shard is damaged", { row });
}

/** What was acknowledged is not in the database. Serving what is left would be a wrong answer. */
export function lostWrites(details: Readonly<Record<string, unknown>>): HiveError {
	return new HiveError("INTERNAL", "the shard lost acknowledged writes", details);
}

export function isDiskFull(error: unknown): boolean {
	for (let at = error; at instanceof Error; at = at.cause) {
		const code = (at as NodeJS.ErrnoException).code;
		if (code === "ENOSPC" || code === "EDQUOT" || /no space left|quota exceeded/i.test(at.message)) return true;
	}
	return false;
}

/** What the callers of a write hear when the disk or the database refused it. */
export function writeFailure(cause: unknown): HiveError {
	if (cause instanceof HiveError) return cause;
	const message = isDiskFull(cause) ? "the disk is full" : "the shard could not write to its disk";
	return new HiveError("INTERNAL", message, undefined, { cause });
}
