import { z } from "zod";
import { ERROR_TABLE, type ErrorCode } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { Collection } from "../cluster/tenant-types.ts";
import { type ImportLine, importLines } from "./import-run.ts";
import { collectionField } from "./input-fields.ts";
import { type AnyOperation, defineOperation } from "./node-services.ts";
import { type VectorAnswer, vectorAnswer, vectorAnswerSchema } from "./vector-answer.ts";

/** What one page of an export may hold in memory. */
const EXPORT_PAGE_BYTES_MAX = 4 * 1024 * 1024;

const isLines = (value: unknown): value is AsyncIterable<ImportLine> =>
	typeof value === "object" && value !== null && Symbol.asyncIterator in value;

const errorCodeSchema = z.enum(Object.keys(ERROR_TABLE) as [ErrorCode, ...ErrorCode[]]);

const importProgressSchema = z.union([
	z.strictObject({ imported: z.int(), failed: z.int(), line: z.int() }).describe("so far"),
	z
		.strictObject({ line: z.int(), code: errorCodeSchema, error: z.string(), field: z.string().optional() })
		.describe("a line that was left out; past 1,000 of them they are counted only"),
	z.strictObject({ done: z.literal(true), imported: z.int(), failed: z.int() }).describe("the last line"),
	z
		.strictObject({
			error: z.string(),
			code: errorCodeSchema,
			details: z.record(z.string(), z.unknown()).optional(),
			imported: z.int(),
			failed: z.int(),
		})
		.describe("the last line when the import had to stop"),
]);

const importVectors = defineOperation({
	name: "vectors.import",
	summary: "Import vectors from NDJSON, one a line, in bounded memory",
	description:
		'Each line is `{"id"?, "vector", "payload"?}`. Answers NDJSON while it goes on: progress, each bad line by its number, and ' +
		"at the end `done`. Good lines are imported whether or not others are bad.",
	scope: "tenant",
	permissions: ["ADMIN", "READ_WRITE", "MCP"],
	input: z.strictObject({
		collection: collectionField,
		lines: z.unknown().refine(isLines, { error: "a stream of lines" }),
	}),
	output: importProgressSchema,
	rest: { method: "POST", path: "/collections/{collection}/import", body: "ndjson", answer: "ndjson" },
	async run({ tenant, services }, input) {
		const collection = await tenant.collection(input.collection);
		return importLines(input.lines as AsyncIterable<ImportLine>, collection, services.random, (vectorCount) =>
			services.meter.countVectorsWritten(tenant.id, vectorCount),
		);
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
	const vectorBytes = collection.record.dimension * Float32Array.BYTES_PER_ELEMENT;
	const limit = Math.max(1, Math.min(LIMITS.scrollLimitMax, Math.floor(EXPORT_PAGE_BYTES_MAX / vectorBytes)));
	let cursor: string | null = null;
	do {
		const position: { cursor?: string } = cursor === null ? {} : { cursor };
		const page = await collection.scroll({ limit, withPayload: true, withVector, ...position });
		for (const stored of page.vectors) yield vectorAnswer(stored);
		cursor = page.cursor;
	} while (cursor !== null && !signal.aborted);
}

export const TRANSFER_OPERATIONS: readonly AnyOperation[] = [importVectors, exportVectors];
