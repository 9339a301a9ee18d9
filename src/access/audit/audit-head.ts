import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { ChainPlace } from "./audit-entry.ts";
import { type AuditFile, type OpenAuditFile, writeAt } from "./audit-file.ts";

export const HEAD_FILE = "head";
const SLOT_BYTES = 160;
const SLOT_COUNT = 2;

/**
 * The last entry that is known to be on disk, in a file beside the days: without it nobody would miss the last lines. Always
 * written after the entry it names, so it may be behind, never ahead. Two lines of 160 bytes, written in turn, so that a torn one
 * leaves the one before; the higher `seq` counts.
 *
 *     {"hash":"…","seq":1041,"check":"…"}          check: xxHash64 of `1041:…`
 */
export class AuditHead {
	readonly #file: AuditFile;
	#slot = 0;

	private constructor(file: AuditFile) {
		this.#file = file;
	}

	static async open(folder: string, openFile: OpenAuditFile): Promise<AuditHead> {
		return new AuditHead(await openFile(join(folder, HEAD_FILE)));
	}

	/** On disk when the promise settles. @throws what the file system says */
	async write(place: ChainPlace): Promise<void> {
		const text = JSON.stringify({ hash: place.hash, seq: place.seq, check: checkOf(place) });
		await writeAt(this.#file, Buffer.from(`${text.padEnd(SLOT_BYTES - 1)}\n`), this.#slot * SLOT_BYTES);
		this.#slot = (this.#slot + 1) % SLOT_COUNT;
		await this.#file.datasync();
	}

	async close(): Promise<void> {
		await this.#file.close();
	}
}

/** @throws what the file system says, but for a missing file */
export function readHead(folder: string): ChainPlace | "missing" | "damaged" {
	let bytes: Buffer;
	try {
		bytes = readFileSync(join(folder, HEAD_FILE));
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code === "ENOENT") return "missing";
		throw error;
	}
	const places = Array.from({ length: SLOT_COUNT }, (_, slot) =>
		readSlot(bytes.toString("latin1", slot * SLOT_BYTES, (slot + 1) * SLOT_BYTES)),
	).filter((place) => place !== undefined);
	return places.sort((a, b) => b.seq - a.seq)[0] ?? "damaged";
}

function readSlot(text: string): ChainPlace | undefined {
	try {
		const { hash, seq, check } = JSON.parse(text) as ChainPlace & { readonly check: unknown };
		return Number.isSafeInteger(seq) && check === checkOf({ seq, hash }) ? { seq, hash } : undefined;
	} catch {
		return undefined;
	}
}

const checkOf = ({ seq, hash }: ChainPlace): string => Bun.hash.xxHash64(`${seq}:${hash}`).toString(16);
