import { z } from "zod";
import type { Payload } from "../base/schemas.ts";
import type { StoredVector } from "../storage/shard-types.ts";
import { parseDocumentRowId } from "./document-ids.ts";
import type { DocumentChunk } from "./document-split.ts";

/** Under this key a chunk's payload says what it is a part of. */
export const DOCUMENT_KEY = "document";

const count = z.int().min(0);

/** What a chunk's payload says of its place in a document. Offsets are bytes of UTF-8. */
const chunkPlaceSchema = z.object({
	path: z.string(),
	version: z.string(),
	chunk: count,
	start: count,
	end: count,
	overlap: count,
	headings: z.array(z.string()),
});

const wholeSchema = z.object({
	chunks: z.int().min(1),
	bytes: count,
	sha256: z.string(),
	updated_at: z.string(),
	format: z.enum(["markdown", "text"]),
});

/** Chunk 0 tells of the whole document besides. */
const fileHeadSchema = chunkPlaceSchema.extend(wholeSchema.shape);

export type ChunkPlace = z.infer<typeof chunkPlaceSchema>;
export type FileHead = z.infer<typeof fileHeadSchema>;
export type WholeDocument = z.infer<typeof wholeSchema>;

/** A chunk as it was stored. */
export interface StoredChunk {
	readonly place: ChunkPlace;
	readonly text: string;
	/** What the caller had stored with it. */
	readonly metadata: Payload;
}

export interface StoredFile extends StoredChunk {
	readonly place: FileHead;
}

/** The payload of a chunk as JSON text. */
export function chunkPayload(
	chunk: DocumentChunk,
	place: { readonly path: string; readonly version: string; readonly chunk: number },
	options: { readonly textKey: string; readonly metadata: Payload; readonly whole?: WholeDocument },
): string {
	const { start, end, overlap, headings } = chunk;
	return JSON.stringify({
		...options.metadata,
		[options.textKey]: chunk.text,
		[DOCUMENT_KEY]: { ...place, start, end, overlap, headings, ...options.whole },
	});
}

/** @returns undefined for a row that is no chunk, or that somebody changed into something else */
export function readChunk(row: StoredVector | undefined, textKey: string): StoredChunk | undefined {
	return readRow(row, textKey, chunkPlaceSchema);
}

/** @returns undefined for a row that is no first chunk of a document */
export function readFile(row: StoredVector | undefined, textKey: string): StoredFile | undefined {
	const file = readRow(row, textKey, fileHeadSchema);
	return file?.place.chunk === 0 ? file : undefined;
}

function readRow<Place extends ChunkPlace>(
	row: StoredVector | undefined,
	textKey: string,
	schema: z.ZodType<Place>,
): (StoredChunk & { readonly place: Place }) | undefined {
	if (row?.payload === undefined) return undefined;
	const { [DOCUMENT_KEY]: said, [textKey]: text, ...metadata } = JSON.parse(row.payload) as Payload;
	const place = schema.safeParse(said);
	if (!place.success || typeof text !== "string") return undefined;
	const { path, version, chunk } = place.data;
	const id = parseDocumentRowId(row.id);
	const isOfId = id?.path === path && (id.kind === "file" ? chunk === 0 : id.version === version && id.chunk === chunk);
	return isOfId ? { place: place.data, text, metadata } : undefined;
}
