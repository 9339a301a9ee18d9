import { HiveError } from "../base/errors.ts";
import type { VectorId } from "../base/ids.ts";
import { vectorIdSchema } from "../base/schemas.ts";
import { compareIds } from "../storage/id-order.ts";
import type { ScrollPage, StoredVector } from "../storage/shard-types.ts";

/** A position in a collection's id order, as callers carry it: base64url of the JSON of the last id. */
export function encodeCursor(id: VectorId): string {
	return Buffer.from(JSON.stringify(id)).toString("base64url");
}

/** @throws VALIDATION_FAILED when it is none that `encodeCursor` made */
export function decodeCursor(cursor: string): VectorId {
	const id = vectorIdSchema.safeParse(parseJson(Buffer.from(cursor, "base64url").toString()));
	// Decoding skips what it does not know; only what encodes back to the same text is a cursor.
	if (!id.success || encodeCursor(id.data) !== cursor) {
		throw new HiveError("VALIDATION_FAILED", "cursor is not one that a page before returned", { field: "cursor" });
	}
	return id.data;
}

function parseJson(text: string): unknown {
	try {
		return JSON.parse(text);
	} catch {
		return undefined;
	}
}

/**
 * Merges one page a shard into one page in id order.
 *
 * @returns at most `limit` vectors, and the id after which the next page begins, or undefined when nothing follows
 */
export function mergePages(pages: readonly ScrollPage[], limit: number): ScrollPage {
	// A shard that may hold more has answered only up to its `next`: beyond the lowest of these something could be missing.
	let bound: VectorId | undefined;
	for (const { next } of pages) {
		if (next !== undefined && (bound === undefined || compareIds(next, bound) < 0)) bound = next;
	}
	const known: StoredVector[] = [];
	for (const page of pages) {
		for (const stored of page.vectors) {
			if (bound === undefined || compareIds(stored.id, bound) <= 0) known.push(stored);
		}
	}
	known.sort((a, b) => compareIds(a.id, b.id));
	const vectors = known.slice(0, limit);
	const next = known.length > limit ? vectors.at(-1)?.id : bound;
	return next === undefined ? { vectors } : { vectors, next };
}
