import { type ErrorCode, HiveError } from "../base/errors.ts";
import { newVectorId, type RandomBytes, type VectorId } from "../base/ids.ts";
import type { Consistency } from "../base/schemas.ts";
import type { Collection } from "../cluster/tenant-types.ts";
import type { EmbedTexts } from "./text-vectors.ts";
import { embedEntries, type ParsedEntry, packEntries, parseVectorEntry, type VectorEntry } from "./vector-entry.ts";

/** A line as the adapter read it, or why it could not (too long, not UTF-8). Lines count from 1. */
export type ImportLine =
	| { readonly line: number; readonly text: string }
	| { readonly line: number; readonly error: string };

export type ImportProgress =
	| { readonly imported: number; readonly failed: number; readonly line: number }
	| { readonly line: number; readonly code: ErrorCode; readonly error: string; readonly field?: string }
	| { readonly done: true; readonly imported: number; readonly failed: number };

const BATCH_LINES_MAX = 1_000;
const BATCH_CHARS_MAX = 4 * 1024 * 1024;
const BATCHES_IN_FLIGHT_MAX = 2;
const REPORTED_LINES_MAX = 1_000;

/** A batch on its way; never rejects, so that none is left unheard. */
type Written = Promise<
	{ readonly vectorCount: number; readonly badLines: readonly BadLine[] } | { readonly error: unknown }
>;

interface BadLine {
	readonly line: number;
	readonly error: HiveError;
}

/**
 * Imports lines batch by batch, at most two batches on their way: whoever reads the progress slowly slows the import down.
 *
 * @param onWritten told how many vectors each batch wrote.
 * @param embed makes vectors of lines that have texts
 * @param consistency of every batch; absent: the node's setting.
 * @returns progress after each batch and at least every 1,000 lines, each bad line, and `done` at the end.
 * @throws what stopped it, the last progress before that telling what was imported.
 */
export async function* importLines(
	lines: AsyncIterable<ImportLine>,
	collection: Collection,
	random: RandomBytes,
	onWritten: (vectorCount: number) => void,
	embed: EmbedTexts,
	consistency?: Consistency,
): AsyncGenerator<ImportProgress> {
	const { record } = collection;
	const newId = (): VectorId => newVectorId(random);
	const inFlight: Written[] = [];
	let batch: ParsedEntry[] = [];
	let batchLines: number[] = [];
	let batchChars = 0;
	let imported = 0;
	let failed = 0;
	let line = 0;
	let linesSinceProgress = 0;

	const progress = (): ImportProgress => {
		linesSinceProgress = 0;
		return { imported, failed, line };
	};
	const write = async (parsed: readonly ParsedEntry[], lineNumbers: readonly number[]): Promise<Awaited<Written>> => {
		try {
			const badLines: BadLine[] = [];
			const good: VectorEntry[] = [];
			for (const [index, entry] of (await embedEntries(parsed, record, embed, () => "")).entries()) {
				if (entry instanceof HiveError) badLines.push({ line: lineNumbers[index]!, error: entry });
				else good.push(entry);
			}
			if (good.length > 0) {
				const { affectedCount } = await collection.upsert(packEntries(good, record.dimension), consistency);
				onWritten(affectedCount);
			}
			return { vectorCount: good.length, badLines };
		} catch (error) {
			return { error };
		}
	};
	const startBatch = (): void => {
		inFlight.push(write(batch, batchLines));
		batch = [];
		batchLines = [];
		batchChars = 0;
	};
	/** Yields the lines whose texts turned out to be of no use. */
	const settleOldest = async function* (): AsyncGenerator<ImportProgress> {
		const settled = await inFlight.shift()!;
		if ("error" in settled) throw settled.error;
		imported += settled.vectorCount;
		for (const bad of settled.badLines) {
			failed++;
			if (failed <= REPORTED_LINES_MAX) yield badLine(bad.line, bad.error);
		}
	};

	try {
		for await (const next of lines) {
			line = next.line;
			linesSinceProgress++;
			const entry = readEntry(next, record, newId);
			if (entry instanceof HiveError) {
				failed++;
				if (failed <= REPORTED_LINES_MAX) yield badLine(line, entry);
			} else if (entry !== undefined && "text" in next) {
				batch.push(entry);
				batchLines.push(line);
				batchChars += next.text.length;
			}
			if (batch.length === BATCH_LINES_MAX || batchChars >= BATCH_CHARS_MAX) {
				if (inFlight.length === BATCHES_IN_FLIGHT_MAX) yield* settleOldest();
				startBatch();
				yield progress();
			} else if (linesSinceProgress >= BATCH_LINES_MAX) {
				yield progress();
			}
		}
		if (batch.length > 0) startBatch();
		while (inFlight.length > 0) yield* settleOldest();
		yield { done: true, imported, failed };
	} catch (error) {
		// What is on its way may still arrive, and counts.
		for (const settled of await Promise.all(inFlight.splice(0))) {
			if ("error" in settled) continue;
			imported += settled.vectorCount;
			failed += settled.badLines.length;
		}
		yield progress();
		throw error;
	} finally {
		await Promise.all(inFlight);
	}
}

/** @returns the entry; undefined for an empty line; what is wrong with a bad one. */
function readEntry(
	next: ImportLine,
	rule: Collection["record"],
	newId: () => VectorId,
): ParsedEntry | HiveError | undefined {
	if ("error" in next) return new HiveError("VALIDATION_FAILED", next.error, { field: "line" });
	let value: unknown;
	try {
		value = JSON.parse(next.text);
	} catch {
		if (next.text.trim() === "") return undefined;
		return new HiveError("VALIDATION_FAILED", "the line is not JSON", { field: "line" });
	}
	try {
		return parseVectorEntry(value, "", rule, newId);
	} catch (error) {
		if (error instanceof HiveError) return error;
		throw error;
	}
}

function badLine(line: number, error: HiveError): ImportProgress {
	const field = error.details?.field;
	return { line, code: error.code, error: error.message, ...(typeof field === "string" ? { field } : {}) };
}
