import { z } from "zod";
import { ERROR_TABLE, type ErrorCode } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { Collection } from "../cluster/tenant-types.ts";
import type { StoredVector } from "../storage/shard-types.ts";
import { type ImportLine, importLines } from "./import-run.ts";
import { collectionField, writeConsistencyField } from "./input-fields.ts";
import { type AnyOperation, defineOperation } from "./node-services.ts";
import { embedderFor } from "./text-vectors.ts";
import { type VectorAnswer, vectorAnswer, vectorAnswerSchema } from "./vector-answer.ts";

/** What one page of an export should hold in memory. */
const EXPORT_PAGE_BYTES = 4 * 1024 * 1024;
/** How large payloads are is only known once some were read. */
const EXPORT_FIRST_PAGE_VECTORS = 4;
const EXPORT_PAGE_GROWTH = 4;

const isLines = (value: unknown): value is AsyncIterable<ImportLine> =>
	typeof value === "object" && value !== null && Symbol.asyncIterator in value;

const errorCodeSchema = z.enum(Object.keys(ERROR_TABLE) as [ErrorCode, ...ErrorCode[]]);

const importProgressSchema = z.union([
	z.strictObject({ imported: z.int(), failed: z.int(), line: z.int() }).describe("so far"),
	z
		.strictObject({ line: z.int(), code: errorCodeSchema, error: z.string(), field: z.string().optional() })
		.describe("a line that was left out; past 1,000 of them they are counted only"),
	z.strictObject({ done: z.literal(true), imported: z.int(), failed: z.int() }).describe("the last line"),
]);

const importVectors = defineOperation({
	name: "vectors.import",
	summary: "Import vectors from NDJSON, one a line, in bounded memory",
	description:
		'Each line is `{"id"?, "vector" or "text", "payload"?}`. Answers NDJSON while it goes on: progress, each bad line by its number, and ' +
		"at the end `done`. Good lines are imported whether or not others are bad.",
	scope: "tenant",
	permissions: ["ADMIN", "READ_WRITE", "MCP"],
	input: z.strictObject({
		collection: collectionField,
		lines: z.unknown().refine(isLines, { error: "a stream of lines" }),
		consistency: writeConsistencyField,
	}),
	output: importProgressSchema,
	rest: {
		method: "POST",
		path: "/collections/{collection}/import",
		query: ["consistency"],
		body: "ndjson",
		answer: "ndjson",
	},
	async run(context, input) {
		const { tenant, services } = context;
		const collection = await tenant.collection(input.collection);
		const lines = input.lines as AsyncIterable<ImportLine>;
		const count = (vectorCount: number): void => services.meter.countVectorsWritten(tenant.id, vectorCount);
		const embed = embedderFor(context, collection.record);
		return importLines(lines, collection, services.random, count, embed, input.consistency);
	},
});

const exportVectors = defineOperation({
	name: "vectors.export",
	summary: "Export all vectors as NDJSON, in id order, in a form that import takes",
	scope: "tenant",
	permissions: ["ADMIN", "READ_WRITE", "READ_ONLY", "MCP"],
	input: z.strictObject({ collection: collectionField, with_vector: z.boolean().default(true) }),
	output: vectorAnswerSchema,
	rest: { method: "GET", path: "/collections/{collection}/export", query: ["with_vector"], answer: "ndjson" },
	async run({ tenant, signal }, input) {
		return exportPages(await tenant.collection(input.collection), input.with_vector, signal);
	},
});

async function* exportPages(
	collection: Collection,
	withVector: boolean,
	signal: AbortSignal,
): AsyncGenerator<VectorAnswer> {
	let limit = EXPORT_FIRST_PAGE_VECTORS;
	let cursor: string | null = null;
	do {
		const position: { cursor?: string } = cursor === null ? {} : { cursor };
		const page = await collection.scroll({ limit, withPayload: true, withVector, ...position });
		for (const stored of page.vectors) yield vectorAnswer(stored);
		cursor = page.cursor;
		limit = nextPageLimit(limit, page.vectors);
	} while (cursor !== null && !signal.aborted);
}

/** As many vectors as fill a page if they are as large as those of the page before. */
function nextPageLimit(limit: number, vectors: readonly StoredVector[]): number {
	let pageBytes = 0;
	for (const { vector, payload } of vectors) pageBytes += (vector?.byteLength ?? 0) + (payload?.length ?? 0);
	const fittingCount = Math.floor((EXPORT_PAGE_BYTES * vectors.length) / Math.max(1, pageBytes));
	return Math.max(1, Math.min(fittingCount, limit * EXPORT_PAGE_GROWTH, LIMITS.scrollLimitMax));
}

export const TRANSFER_OPERATIONS: readonly AnyOperation[] = [importVectors, exportVectors];
