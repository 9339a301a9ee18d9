import { newVectorId, type RandomBytes, type VectorId } from "../base/ids.ts";

/**
 * Ids of a document's chunks. The first has the path alone, so that writing that one row makes a version the document's; each of the others
 * names the version it is of:
 *
 *     _file:<path>          _chunk:<path>:<version>:<number>
 *
 * They sort by path, so a list of documents, or of all chunks of one, is a range of ids.
 */
export const FILE_PREFIX = "_file:";
const CHUNK_PREFIX = "_chunk:";
const TIME_LENGTH = 9;
const VERSION_LENGTH = 16;
const NUMBER_LENGTH = 4;
const CHUNK_TAIL = new RegExp(`^:([0-9a-z]{${VERSION_LENGTH}}):([0-9]{${NUMBER_LENGTH}})$`);
const CHUNK_TAIL_LENGTH = VERSION_LENGTH + NUMBER_LENGTH + 2;

export type DocumentRowId =
	| { readonly kind: "file"; readonly path: string }
	| { readonly kind: "chunk"; readonly path: string; readonly version: string; readonly chunk: number };

/** A version of a document: the time of its making in base 36, then chance. Younger ones sort behind older ones. */
export function newVersion(nowMs: number, random: RandomBytes): string {
	const time = Math.floor(nowMs).toString(36).padStart(TIME_LENGTH, "0");
	return time + newVectorId(random).slice(0, VERSION_LENGTH - TIME_LENGTH);
}

/** Unix milliseconds, by the clock of the node that made it. */
export const versionTimeMs = (version: string): number => Number.parseInt(version.slice(0, TIME_LENGTH), 36);

export const fileId = (path: string): string => FILE_PREFIX + path;

/** @param chunk 1 or more: chunk 0 has the file's id */
export const chunkId = (path: string, version: string, chunk: number): string =>
	`${chunkIdPrefix(path)}${version}:${String(chunk).padStart(NUMBER_LENGTH, "0")}`;

/** Ids of all chunks of a path, of any version, begin so; also those of paths that go on with a colon. */
export const chunkIdPrefix = (path: string): string => `${CHUNK_PREFIX}${path}:`;

/** @returns undefined for an id of anything else than a document */
export function parseDocumentRowId(id: VectorId): DocumentRowId | undefined {
	if (typeof id !== "string" || id[0] !== "_") return undefined;
	if (id.startsWith(FILE_PREFIX)) {
		const path = id.slice(FILE_PREFIX.length);
		return path === "" ? undefined : { kind: "file", path };
	}
	if (!id.startsWith(CHUNK_PREFIX)) return undefined;
	const path = id.slice(CHUNK_PREFIX.length, -CHUNK_TAIL_LENGTH);
	const tail = CHUNK_TAIL.exec(id.slice(-CHUNK_TAIL_LENGTH));
	if (path === "" || tail === null) return undefined;
	return { kind: "chunk", path, version: tail[1]!, chunk: Number(tail[2]) };
}
