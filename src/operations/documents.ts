import { z } from "zod";
import { HiveError } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { Payload } from "../base/schemas.ts";
import { keptTextField } from "../base/text-settings.ts";
import { requireFit } from "../base/vector.ts";
import type { DocumentFormat } from "../documents/document-blocks.ts";
import { chunkId, fileId } from "../documents/document-ids.ts";
import { DOCUMENT_LIMITS } from "../documents/document-limits.ts";
import { DOCUMENT_KEY, type StoredChunk, type StoredFile } from "../documents/document-rows.ts";
import { type DocumentChunk, splitDocument } from "../documents/document-split.ts";
import type { CollectionRecord } from "../hub/models.ts";
import { collectionField, PAYLOAD_JSON_SCHEMA, readConsistencyField, writeConsistencyField } from "./input-fields.ts";
import { type AnyOperation, defineOperation } from "./node-services.ts";
import { type EmbedTexts, embedderFor, requireTextProvider } from "./text-vectors.ts";
import { payloadText } from "./vector-entry.ts";

const READERS = ["ADMIN", "READ_WRITE", "READ_ONLY", "MCP"] as const;
const WRITERS = ["ADMIN", "READ_WRITE", "MCP"] as const;
const DELETERS = ["ADMIN", "READ_WRITE"] as const;

const isPath = (text: string): boolean =>
	text.isWellFormed() && !/\p{Cc}/u.test(text) && Buffer.byteLength(text) <= DOCUMENT_LIMITS.pathBytesMax;
const PATH_ERROR = {
	error: `a path is 1 to ${DOCUMENT_LIMITS.pathBytesMax} bytes of UTF-8 without control characters`,
};

const pathField = z
	.string()
	.min(1)
	.max(DOCUMENT_LIMITS.pathBytesMax)
	.refine(isPath, PATH_ERROR)
	.meta({
		description: "name of the document in its collection, for instance as a file is called",
		examples: ["guide/install.md"],
	});

const metadataField = z
	.unknown()
	.optional()
	.meta({ ...PAYLOAD_JSON_SCHEMA, description: "kept in the payload of each chunk, so that filters find it" });

const formatSchema = z.enum(["markdown", "text"]);

const fileFields = {
	path: z.string(),
	bytes: z.int().describe("of its text in UTF-8"),
	chunks: z.int(),
	format: formatSchema,
	version: z.string().describe("another one after each insert"),
	updated_at: z.string(),
	metadata: z.record(z.string(), z.unknown()),
};

function fileFacts({ place, metadata }: StoredFile) {
	const { path, bytes, chunks, format, version, updated_at } = place;
	return { path, bytes, chunks, format, version, updated_at, metadata };
}

/** A document is split in slices, and others are served between two. */
const loopTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const insertDocument = defineOperation({
	name: "documents.insert",
	summary: "Store a document: split it into chunks that searches find, and keep its text",
	description:
		"Takes plain text or Markdown under a path, in a collection with a `text.provider`. It is split before headings and between paragraphs, lists and " +
		"code blocks; each chunk becomes a vector whose payload has its text, the metadata and its place (`document`). A document with the same path is " +
		"replaced at once: no search or read finds a mix of both.",
	scope: "tenant",
	permissions: WRITERS,
	input: z.strictObject({
		collection: collectionField,
		path: pathField,
		text: z
			.string()
			.max(DOCUMENT_LIMITS.textBytesMax)
			.meta({ description: `the whole document, at most ${DOCUMENT_LIMITS.textBytesMax} bytes of UTF-8` }),
		format: formatSchema.optional().describe("default: by the path, markdown for .md, .mdx and .markdown, else text"),
		metadata: metadataField,
		chunk_size: z
			.int()
			.min(DOCUMENT_LIMITS.chunkSizeMin)
			.max(DOCUMENT_LIMITS.chunkSizeMax)
			.default(DOCUMENT_LIMITS.chunkSizeDefault)
			.describe("characters of a chunk; headings above it come on top"),
		chunk_overlap: z
			.int()
			.min(0)
			.max(DOCUMENT_LIMITS.chunkSizeMax / 2)
			.optional()
			.describe(
				`characters that a chunk repeats of the one before, at most half of chunk_size; default: ${DOCUMENT_LIMITS.chunkOverlapDefault}, or a tenth of a smaller chunk_size`,
			),
		consistency: writeConsistencyField,
	}),
	output: z.strictObject({
		path: z.string(),
		version: z.string(),
		chunks: z.int(),
		bytes: z.int(),
		replaced: z.boolean().describe("whether there was a document with this path"),
		updated_at: z.string(),
	}),
	rest: { method: "POST", path: "/collections/{collection}/documents", body: "json", status: 201 },
	async run(context, input) {
		const { tenant, services } = context;
		const collection = await tenant.collection(input.collection);
		const { record } = collection;
		requireTextProvider(record, "text");
		const { path, text } = input;
		const metadata = checkMetadata(input.metadata, record);
		checkText(text);
		const format = input.format ?? formatOf(path);
		const size = input.chunk_size;
		const overlap = input.chunk_overlap ?? Math.min(DOCUMENT_LIMITS.chunkOverlapDefault, Math.floor(size / 10));
		if (overlap * 2 > size) throw invalid("chunk_overlap", "must be at most half of chunk_size");
		const chunks = await splitDocument(text, { format, size, overlap }, loopTurn);
		if (chunks.length > DOCUMENT_LIMITS.chunkCountMax) {
			throw invalid(
				"chunk_size",
				`makes ${chunks.length} chunks of the text, and a document has at most ${DOCUMENT_LIMITS.chunkCountMax}`,
			);
		}
		const vectors = await chunkVectors(chunks, record, embedderFor(context, record));
		const { version, updatedAt, replaced } = await services.documents.insert(
			collection,
			{ path, text, format, metadata, chunks, vectors },
			input.consistency,
		);
		services.meter.countVectorsWritten(tenant.id, chunks.length);
		return {
			path,
			version,
			chunks: chunks.length,
			bytes: Buffer.byteLength(text),
			replaced,
			updated_at: updatedAt,
		};
	},
});

async function chunkVectors(
	chunks: readonly DocumentChunk[],
	record: CollectionRecord,
	embed: EmbedTexts,
): Promise<readonly Float32Array[]> {
	const made = await embed(chunks.map(({ text }) => text));
	return made.map((vector, index) => {
		if (vector instanceof HiveError) {
			throw new HiveError(vector.code, `text: chunk ${index}: ${vector.message}; a smaller chunk_size may help`, {
				field: "text",
				chunk: index,
			});
		}
		requireFit(vector, record, "text", `the vector of chunk ${index}`);
		return vector;
	});
}

function checkText(text: string): void {
	if (text.trim() === "") throw invalid("text", "must not be blank");
	if (!text.isWellFormed()) throw invalid("text", "must be well-formed Unicode");
	if (Buffer.byteLength(text) > DOCUMENT_LIMITS.textBytesMax) {
		throw invalid("text", `must be at most ${DOCUMENT_LIMITS.textBytesMax} bytes of UTF-8`);
	}
	let blankChars = 0;
	for (const part of text.split(/\S+/)) blankChars = Math.max(blankChars, part.length);
	if (blankChars > DOCUMENT_LIMITS.blankRunMax) {
		throw invalid(
			"text",
			`has ${blankChars} characters of white space in a row, and at most ${DOCUMENT_LIMITS.blankRunMax} are taken`,
		);
	}
}

function checkMetadata(metadata: unknown, record: CollectionRecord): Payload {
	const json = payloadText(metadata, "metadata");
	if (json === undefined) return {};
	if (Buffer.byteLength(json) > DOCUMENT_LIMITS.metadataBytesMax) {
		throw invalid("metadata", `is larger than ${DOCUMENT_LIMITS.metadataBytesMax} bytes of JSON`);
	}
	const checked = JSON.parse(json) as Payload;
	for (const key of [DOCUMENT_KEY, keptTextField(record.text ?? { fields: [] })]) {
		if (Object.hasOwn(checked, key)) throw invalid(`metadata.${key}`, "is where a chunk keeps its own");
	}
	return checked;
}

const formatOf = (path: string): DocumentFormat => (/\.(?:md|mdx|markdown)$/i.test(path) ? "markdown" : "text");

const invalid = (field: string, reason: string): HiveError =>
	new HiveError("VALIDATION_FAILED", `${field} ${reason}`, { field });

const listDocuments = defineOperation({
	name: "documents.list",
	summary: "List a collection's documents by path",
	description: "In the order of their paths. `prefix` narrows it to paths that begin so, such as a folder's.",
	scope: "tenant",
	permissions: READERS,
	input: z.strictObject({
		collection: collectionField,
		prefix: z.string().max(DOCUMENT_LIMITS.pathBytesMax).refine(isPath, PATH_ERROR).default(""),
		limit: z.int().min(1).max(DOCUMENT_LIMITS.listLimitMax).default(DOCUMENT_LIMITS.listLimitDefault),
		cursor: z.string().min(1).max(1_024).optional().describe("`next_cursor` of the page before"),
		consistency: readConsistencyField,
	}),
	output: z.strictObject({ files: z.array(z.strictObject(fileFields)), next_cursor: z.string().nullable() }),
	rest: {
		method: "GET",
		path: "/collections/{collection}/documents",
		query: ["prefix", "limit", "cursor", "consistency"],
	},
	async run({ tenant, services }, input) {
		const collection = await tenant.collection(input.collection);
		const { prefix, limit } = input;
		const after = input.cursor === undefined ? undefined : decodeCursor(input.cursor);
		const { files, next } = await services.documents.list(collection, { prefix, limit, after }, input.consistency);
		return { files: files.map(fileFacts), next_cursor: next === null ? null : encodeCursor(next) };
	},
});

/** A path, in a form that nobody takes for one. */
const encodeCursor = (path: string): string => Buffer.from(path).toString("base64url");

function decodeCursor(cursor: string): string {
	const path = Buffer.from(cursor, "base64url").toString();
	if (encodeCursor(path) !== cursor || !isPath(path)) throw invalid("cursor", "is not one that a page before returned");
	return path;
}

const readContent = defineOperation({
	name: "documents.content",
	summary: "Read a document's whole text as it was stored",
	description: "Byte for byte what was inserted. For parts of a large document read its chunks instead.",
	scope: "tenant",
	permissions: READERS,
	input: z.strictObject({ collection: collectionField, path: pathField, consistency: readConsistencyField }),
	output: z.strictObject({ ...fileFields, text: z.string() }),
	rest: { method: "GET", path: "/collections/{collection}/documents/content", query: ["path", "consistency"] },
	async run({ tenant, services }, input) {
		const collection = await tenant.collection(input.collection);
		const found = await services.documents.content(collection, input.path, input.consistency);
		if (found === undefined) throw documentNotFound(input.path);
		return { ...fileFacts(found.file), text: found.text };
	},
});

const chunkSchema = z.strictObject({
	chunk: z.int().describe("its number, from 0 on, in the order of the document"),
	id: z.string().describe("of its vector, as search results name it"),
	text: z.string(),
	start: z.int().describe("where its text begins in the document, in bytes of UTF-8"),
	end: z.int(),
	overlap: z.int().describe("bytes at its beginning that the chunk before has too"),
	headings: z.array(z.string()).describe("the headings it stands under, outermost first"),
});

const readChunks = defineOperation({
	name: "documents.chunks",
	summary: "Read a document's chunks in their order, with offsets and headings",
	description:
		"To see what stands around a chunk that a search found, ask with its number less one as `offset` and a `limit` of 3.",
	scope: "tenant",
	permissions: READERS,
	input: z.strictObject({
		collection: collectionField,
		path: pathField,
		offset: z.int().min(0).max(DOCUMENT_LIMITS.chunkCountMax).default(0).describe("number of the first chunk wanted"),
		limit: z.int().min(1).max(LIMITS.scrollLimitMax).default(LIMITS.scrollLimitDefault),
		consistency: readConsistencyField,
	}),
	output: z.strictObject({
		path: z.string(),
		version: z.string(),
		total: z.int().describe("chunks of the document"),
		chunks: z.array(chunkSchema),
	}),
	rest: {
		method: "GET",
		path: "/collections/{collection}/documents/chunks",
		query: ["path", "offset", "limit", "consistency"],
	},
	async run({ tenant, services }, input) {
		const collection = await tenant.collection(input.collection);
		const pick = ({ chunks }: { readonly chunks: number }) => ({
			from: input.offset,
			to: Math.min(chunks, input.offset + input.limit),
		});
		const found = await services.documents.chunks(collection, input.path, pick, input.consistency);
		if (found === undefined) throw documentNotFound(input.path);
		const { version, chunks: total } = found.file.place;
		return { path: input.path, version, total, chunks: found.chunks.map(chunkAnswer) };
	},
});

function chunkAnswer({ place, text }: StoredChunk): z.infer<typeof chunkSchema> {
	const { path, version, chunk, start, end, overlap, headings } = place;
	return { chunk, id: chunk === 0 ? fileId(path) : chunkId(path, version, chunk), text, start, end, overlap, headings };
}

const deleteDocument = defineOperation({
	name: "documents.delete",
	summary: "Delete a document with all its chunks",
	scope: "tenant",
	permissions: DELETERS,
	input: z.strictObject({ collection: collectionField, path: pathField, consistency: writeConsistencyField }),
	output: z.strictObject({ deleted: z.literal(true), chunks: z.int().describe("how many it had") }),
	rest: { method: "DELETE", path: "/collections/{collection}/documents", query: ["path", "consistency"] },
	async run({ tenant, services }, input) {
		const collection = await tenant.collection(input.collection);
		const chunks = await services.documents.delete(collection, input.path, input.consistency);
		if (chunks === undefined) throw documentNotFound(input.path);
		return { deleted: true, chunks };
	},
});

const documentNotFound = (path: string): HiveError =>
	new HiveError("NOT_FOUND", "the collection has no document with this path", { path });

export const DOCUMENT_OPERATIONS: readonly AnyOperation[] = [
	insertDocument,
	listDocuments,
	readContent,
	readChunks,
	deleteDocument,
];
