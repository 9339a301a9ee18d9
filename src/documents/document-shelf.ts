import type { Clock } from "../base/clock.ts";
import { HiveError } from "../base/errors.ts";
import type { RandomBytes, VectorId } from "../base/ids.ts";
import type { Consistency, Payload } from "../base/schemas.ts";
import { keptTextField } from "../base/text-settings.ts";
import { KeyedTurns } from "../cluster/keyed-turns.ts";
import type { Collection } from "../cluster/tenant-types.ts";
import type { DocumentFormat } from "./document-blocks.ts";
import {
	chunkId,
	chunkIdPrefix,
	FILE_PREFIX,
	fileId,
	newVersion,
	parseDocumentRowId,
	versionTimeMs,
} from "./document-ids.ts";
import { DOCUMENT_LIMITS } from "./document-limits.ts";
import {
	chunkPayload,
	type FileHead,
	readChunk,
	readFile,
	type StoredChunk,
	type StoredFile,
} from "./document-rows.ts";
import type { DocumentChunk } from "./document-split.ts";

export interface NewDocument {
	readonly path: string;
	readonly text: string;
	readonly format: DocumentFormat;
	readonly metadata: Payload;
	/** Of `text`, at least one, at most `chunkCountMax`. */
	readonly chunks: readonly DocumentChunk[];
	/** One a chunk. */
	readonly vectors: readonly Float32Array[];
}

export interface ShelfParts {
	readonly clock: Pick<Clock, "nowMs">;
	readonly random: RandomBytes;
	/** What could not be tidied up; it is hidden from searches, and tidied up later. */
	readonly onLeftover: (facts: Readonly<Record<string, unknown>>) => void;
}

export interface InsertedDocument {
	readonly version: string;
	readonly updatedAt: string;
	readonly replaced: boolean;
}

export interface DocumentList {
	readonly files: readonly StoredFile[];
	/** The path behind which the next page begins; null: that was all. */
	readonly next: string | null;
}

const WITH_PAYLOAD = { withPayload: true, withVector: false };
const BARE = { withPayload: false, withVector: false };
const SCROLL_IDS = 1_000;
const FLOAT_BYTES = 4;

/** What is asked of the first chunk's shard says nothing certain of a write when it fails so. */
const CERTAIN_FAILURES = new Set(["QUOTA_EXCEEDED", "VALIDATION_FAILED", "COLLECTION_NOT_FOUND"]);

/**
 * The documents of collections. A document's chunks lie on several shards, which write each by itself; so a version is written beside the
 * one before, and becomes the document with its first chunk, one row, which names it. Chunks of versions that are not named are none:
 * no read or search shows them (decision 20).
 */
export class DocumentShelf {
	readonly #parts: ShelfParts;
	/** One at a time changes a document on this node. */
	readonly #turns = new KeyedTurns<string>();

	constructor(parts: ShelfParts) {
		this.#parts = parts;
	}

	/**
	 * Stores a document, in place of the one with the same path. Whatever happens meanwhile, a read finds the one or the other.
	 *
	 * @throws QUOTA_EXCEEDED and what writes throw: then the one before is still there, or, where a copy of it has been written
	 *         without a majority's word, either
	 */
	insert(collection: Collection, document: NewDocument, consistency?: Consistency): Promise<InsertedDocument> {
		return this.#inTurn(collection, document.path, async () => {
			const { clock, random } = this.#parts;
			const before = await this.#head(collection, document.path, atLeastQuorum(consistency));
			const nowMs = clock.nowMs();
			const version = newVersion(nowMs, random);
			const updatedAt = new Date(nowMs).toISOString();
			const rows = rowsOf(collection, document, version, updatedAt);
			const [head, ...others] = rows;
			let isNamed = false;
			try {
				for (const batch of batchesOf(others)) await write(collection, batch, consistency);
				isNamed = true;
				await write(collection, [head!], consistency);
			} catch (error) {
				const isUncertain = isNamed && !(error instanceof HiveError && CERTAIN_FAILURES.has(error.code));
				// The first chunk may be there after all, or show up later, and then names the others.
				if (!isUncertain)
					await this.#tidy(
						collection,
						others.map(({ id }) => id),
					);
				throw error;
			}
			await this.#sweep(collection, document.path, before?.place.version, version);
			return { version, updatedAt, replaced: before !== undefined };
		});
	}

	/** @returns how many chunks it had; undefined when there is no such document */
	delete(collection: Collection, path: string, consistency?: Consistency): Promise<number | undefined> {
		return this.#inTurn(collection, path, async () => {
			const head = await this.#head(collection, path, atLeastQuorum(consistency));
			if (head !== undefined) await collection.delete({ ids: [fileId(path)] }, consistency);
			await this.#sweep(collection, path, head?.place.version, undefined);
			return head?.place.chunks;
		});
	}

	/** In the order of their paths (by UTF-8 bytes). `after` is the `next` of the page before. */
	async list(
		collection: Collection,
		request: { readonly prefix: string; readonly limit: number; readonly after: string | undefined },
		consistency?: Consistency,
	): Promise<DocumentList> {
		const { prefix, limit, after } = request;
		const from = fileId(prefix);
		const position = after === undefined ? from : fileId(after);
		const { vectors, cursor } = await collection.scroll({ ...WITH_PAYLOAD, after: position, limit }, consistency);
		// The range begins behind an id: the path that is the prefix itself is asked for by name.
		const [itself] =
			after === undefined && prefix !== "" ? await collection.get([from], WITH_PAYLOAD, consistency) : [];
		const within = vectors.filter(({ id }) => isWithin(id, from));
		const rows = itself === undefined ? within : [itself, ...within].slice(0, limit);
		const isAll = within.length < vectors.length || (cursor === null && rows.at(-1) === (within.at(-1) ?? itself));
		const textKey = textKeyOf(collection);
		return {
			files: rows.map((row) => readFile(row, textKey)).filter((file) => file !== undefined),
			next: isAll ? null : pathOf(rows.at(-1)!.id),
		};
	}

	/** @returns undefined when there is no such document */
	async file(collection: Collection, path: string, consistency?: Consistency): Promise<StoredFile | undefined> {
		return this.#head(collection, path, consistency);
	}

	/**
	 * Chunks of one version, in their order.
	 *
	 * @param pick given what the first chunk says, which of them are wanted
	 * @returns undefined when there is no such document
	 * @throws CONFLICT when chunks of it are gone or were changed by other means
	 */
	async chunks(
		collection: Collection,
		path: string,
		pick: (head: FileHead) => { readonly from: number; readonly to: number },
		consistency?: Consistency,
	): Promise<{ readonly file: StoredFile; readonly chunks: readonly StoredChunk[] } | undefined> {
		let level = consistency;
		for (let attempt = 0; attempt < DOCUMENT_LIMITS.readAttemptsMax; attempt++) {
			const file = await this.#head(collection, path, level);
			if (file === undefined) return undefined;
			const { from, to } = pick(file.place);
			const chunks = await readChunks(collection, file, from, to, level);
			if (chunks !== undefined) return { file, chunks };
			// Replaced meanwhile, or a copy was asked that has not all of it yet.
			level = atLeastQuorum(consistency);
		}
		throw damaged(path);
	}

	/** The whole text as it was given. @returns undefined when there is no such document. @throws CONFLICT as `chunks` */
	async content(
		collection: Collection,
		path: string,
		consistency?: Consistency,
	): Promise<{ readonly file: StoredFile; readonly text: string } | undefined> {
		const found = await this.chunks(collection, path, ({ chunks }) => ({ from: 0, to: chunks }), consistency);
		if (found === undefined) return undefined;
		const text = found.chunks.map((chunk) => Buffer.from(chunk.text).subarray(chunk.place.overlap).toString()).join("");
		if (sha256(text) !== found.file.place.sha256) throw damaged(path);
		return { file: found.file, text };
	}

	#inTurn<T>({ record }: Collection, path: string, task: () => Promise<T>): Promise<T> {
		return this.#turns.run(`${record.id} ${path}`, task);
	}

	async #head(
		collection: Collection,
		path: string,
		consistency: Consistency | undefined,
	): Promise<StoredFile | undefined> {
		const [row] = await collection.get([fileId(path)], WITH_PAYLOAD, consistency);
		return readFile(row, textKeyOf(collection));
	}

	/**
	 * Removes the chunks of the version that was replaced, and what older writes left behind that broke off. A younger version that
	 * nothing names may be one that another node is writing.
	 */
	async #sweep(
		collection: Collection,
		path: string,
		replaced: string | undefined,
		current: string | undefined,
	): Promise<void> {
		const prefix = chunkIdPrefix(path);
		const oldestMs = this.#parts.clock.nowMs() - DOCUMENT_LIMITS.leftoverAgeMs;
		try {
			let after: VectorId = prefix;
			for (;;) {
				const { vectors } = await collection.scroll({ ...BARE, after, limit: SCROLL_IDS }, "quorum");
				const within = vectors.filter(({ id }) => isWithin(id, prefix));
				const stale = within.flatMap(({ id }) => {
					const row = parseDocumentRowId(id);
					if (row?.kind !== "chunk" || row.path !== path || row.version === current) return [];
					return row.version === replaced || versionTimeMs(row.version) < oldestMs ? [id] : [];
				});
				if (stale.length > 0) await collection.delete({ ids: stale });
				const last = within.at(-1);
				if (last === undefined || within.length < SCROLL_IDS) return;
				after = last.id;
			}
		} catch (error) {
			// The document is as it should be; what is left of others is hidden, and swept when it is written again.
			this.#tellLeftover(collection, error);
		}
	}

	async #tidy(collection: Collection, ids: readonly VectorId[]): Promise<void> {
		try {
			if (ids.length > 0) await collection.delete({ ids });
		} catch (error) {
			this.#tellLeftover(collection, error);
		}
	}

	#tellLeftover({ record }: Collection, error: unknown): void {
		this.#parts.onLeftover({ tenant_id: record.tenant_id, collection_id: record.id, error: String(error) });
	}
}

interface Row {
	readonly id: string;
	readonly vector: Float32Array;
	readonly payload: string;
}

function rowsOf(collection: Collection, document: NewDocument, version: string, updatedAt: string): Row[] {
	const { path, text, chunks, vectors, metadata, format } = document;
	const textKey = textKeyOf(collection);
	const whole = {
		chunks: chunks.length,
		bytes: Buffer.byteLength(text),
		sha256: sha256(text),
		updated_at: updatedAt,
		format,
	};
	return chunks.map((chunk, index) => ({
		id: index === 0 ? fileId(path) : chunkId(path, version, index),
		vector: vectors[index]!,
		payload: chunkPayload(
			chunk,
			{ path, version, chunk: index },
			{ textKey, metadata, ...(index === 0 ? { whole } : {}) },
		),
	}));
}

/** Rows that go in one write each. */
function* batchesOf(rows: readonly Row[]): Generator<readonly Row[]> {
	let batch: Row[] = [];
	let bytes = 0;
	for (const row of rows) {
		const rowBytes = FLOAT_BYTES * row.vector.length + row.payload.length;
		if (batch.length > 0 && bytes + rowBytes > DOCUMENT_LIMITS.writeBytesMax) {
			yield batch;
			batch = [];
			bytes = 0;
		}
		batch.push(row);
		bytes += rowBytes;
	}
	if (batch.length > 0) yield batch;
}

async function write(
	collection: Collection,
	rows: readonly Row[],
	consistency: Consistency | undefined,
): Promise<void> {
	const { dimension } = collection.record;
	const vectors = new Float32Array(rows.length * dimension);
	for (const [index, { vector }] of rows.entries()) vectors.set(vector, index * dimension);
	await collection.upsert(
		{ ids: rows.map(({ id }) => id), vectors, payloads: rows.map(({ payload }) => payload) },
		consistency,
	);
}

/** @returns undefined when one of them is not there as the first chunk has it */
async function readChunks(
	collection: Collection,
	file: StoredFile,
	from: number,
	to: number,
	consistency: Consistency | undefined,
): Promise<readonly StoredChunk[] | undefined> {
	const { path, version } = file.place;
	const textKey = textKeyOf(collection);
	const chunks: StoredChunk[] = from === 0 && to > 0 ? [file] : [];
	for (let start = Math.max(1, from); start < to; start += DOCUMENT_LIMITS.readChunksMax) {
		const end = Math.min(to, start + DOCUMENT_LIMITS.readChunksMax);
		const ids = Array.from({ length: end - start }, (_, index) => chunkId(path, version, start + index));
		for (const row of await collection.get(ids, WITH_PAYLOAD, consistency)) {
			const chunk = readChunk(row, textKey);
			if (chunk === undefined) return undefined;
			chunks.push(chunk);
		}
	}
	return chunks;
}

const textKeyOf = ({ record }: Collection): string => keptTextField(record.text ?? { fields: [] });

const pathOf = (id: VectorId): string => String(id).slice(FILE_PREFIX.length);

const isWithin = (id: VectorId | undefined, prefix: string): id is string =>
	typeof id === "string" && id.startsWith(prefix);

const atLeastQuorum = (consistency: Consistency | undefined): Consistency => (consistency === "all" ? "all" : "quorum");

const sha256 = (text: string): string => new Bun.CryptoHasher("sha256").update(text).digest("hex");

const damaged = (path: string): HiveError =>
	new HiveError("CONFLICT", "chunks of the document were changed or deleted as vectors; insert the document again", {
		path,
	});
