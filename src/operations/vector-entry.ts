import { HiveError } from "../base/errors.ts";
import type { VectorId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import { keptTextField } from "../base/text-settings.ts";
import { parseVector, requireFit, type VectorRule } from "../base/vector.ts";
import type { CollectionRecord } from "../hub/models.ts";
import type { UpsertBatch } from "../storage/shard-types.ts";
import { type EmbedTexts, inField, requireText } from "./text-vectors.ts";

/** One vector to be written, checked. */
export interface VectorEntry {
	readonly id: VectorId;
	readonly vector: Float32Array;
	/** JSON text of an object. */
	readonly payload: string | undefined;
}

/** As it came, checked. Of `vector` and `text` there is one. */
export interface ParsedEntry {
	readonly id: VectorId;
	readonly vector: Float32Array | undefined;
	readonly text: string | undefined;
	/** JSON text of an object, which has the text in it. */
	readonly payload: string | undefined;
}

/** What a collection says about the entries it takes. */
export type EntryRule = VectorRule & Pick<CollectionRecord, "text">;

const UTF8_BYTES_PER_CHAR_MAX = 3;

const invalid = (field: string, reason: string): HiveError =>
	new HiveError("VALIDATION_FAILED", `${field} ${reason}`, { field });

/**
 * Checks `{"id"?, "vector" | "text", "payload"?}` by hand: this runs for each of millions of vectors.
 *
 * @param place where it stands in the request, `vectors[3]`, or "" for a line of its own.
 * @throws VALIDATION_FAILED, INVALID_VECTOR, DIMENSION_MISMATCH, each naming its field.
 */
export function parseVectorEntry(value: unknown, place: string, rule: EntryRule, newId: () => VectorId): ParsedEntry {
	if (!isPlainObject(value))
		throw invalid(place === "" ? "line" : place, 'must be an object {"id", "vector" or "text", "payload"}');
	const at = place === "" ? "" : `${place}.`;
	for (const name in value) {
		if (name !== "id" && name !== "vector" && name !== "text" && name !== "payload") {
			throw invalid(`${at}${shorten(name)}`, "is not a known field");
		}
	}
	if (value.vector === undefined && value.text === undefined) throw invalid(`${at}vector`, "is missing");
	const id = value.id === undefined ? newId() : requireVectorId(value.id, `${at}id`);
	if (value.text !== undefined) {
		if (value.vector !== undefined) throw invalid(`${at}text`, "must not stand beside vector: give one of them");
		const text = requireText(value.text, rule, `${at}text`);
		return { id, vector: undefined, text, payload: payloadWithText(value.payload, text, rule, `${at}payload`) };
	}
	const vector = parseVector(value.vector, `${at}vector`);
	requireFit(vector, rule, `${at}vector`);
	return { id, vector, text: undefined, payload: payloadText(value.payload, `${at}payload`) };
}

/**
 * Gives entries with a text the vector of it, all in one request to the provider.
 *
 * @param placeOf where the entry with that index stands, as in `parseVectorEntry`
 * @returns each entry, or why its text has no vector
 * @throws what `embed` throws
 */
export async function embedEntries(
	entries: readonly ParsedEntry[],
	rule: EntryRule,
	embed: EmbedTexts,
	placeOf: (index: number) => string,
): Promise<readonly (VectorEntry | HiveError)[]> {
	const texts = entries.flatMap(({ text }) => (text === undefined ? [] : [text]));
	if (texts.length === 0) return entries as readonly VectorEntry[];
	const vectors = await embed(texts);
	let next = 0;
	return entries.map(({ id, vector, payload }, index) => {
		if (vector !== undefined) return { id, vector, payload };
		const place = placeOf(index);
		const field = place === "" ? "text" : `${place}.text`;
		const made = vectors[next++]!;
		if (made instanceof HiveError) return inField(made, field);
		try {
			requireFit(made, rule, field, `the vector of ${field}`);
		} catch (error) {
			if (error instanceof HiveError) return error;
			throw error;
		}
		return { id, vector: made, payload };
	});
}

/** Keeps the text where the collection's words are searched, unless the caller has put something there. */
export function payloadWithText(
	payload: unknown,
	text: string,
	{ text: settings }: Pick<CollectionRecord, "text">,
	field: string,
): string | undefined {
	const key = keptTextField(settings ?? { fields: [] });
	if (payload !== undefined && payload !== null && !isPlainObject(payload)) return payloadText(payload, field);
	const given = payload ?? {};
	return payloadText(Object.hasOwn(given, key) ? given : { ...given, [key]: text }, field);
}

/** Packs entries for the shards; of entries with the same id the last one counts. */
export function packEntries(entries: readonly VectorEntry[], dimension: number): UpsertBatch {
	const entryById = new Map<VectorId, VectorEntry>();
	for (const entry of entries) entryById.set(entry.id, entry);
	const ids: VectorId[] = [];
	const payloads: (string | undefined)[] = [];
	const vectors = new Float32Array(entryById.size * dimension);
	for (const entry of entryById.values()) {
		vectors.set(entry.vector, ids.length * dimension);
		ids.push(entry.id);
		payloads.push(entry.payload);
	}
	return { ids, vectors, payloads };
}

/**
 * @returns the JSON text of a payload, undefined for none (absent or null).
 * @throws VALIDATION_FAILED unless it is an object that JSON can say, in at most LIMITS.payloadBytesMax bytes.
 */
export function payloadText(payload: unknown, field: string): string | undefined {
	if (payload === undefined || payload === null) return undefined;
	if (!isPlainObject(payload)) throw invalid(field, "must be an object");
	let text: string;
	try {
		if (!hasJsonForm(payload)) throw new TypeError("bytes, or a number that is not finite");
		text = JSON.stringify(payload);
	} catch (cause) {
		throw new HiveError(
			"VALIDATION_FAILED",
			`${field} has no JSON form: it holds bytes or a number that is not finite, or is nested too deep`,
			{ field },
			{ cause },
		);
	}
	if (
		text.length * UTF8_BYTES_PER_CHAR_MAX > LIMITS.payloadBytesMax &&
		Buffer.byteLength(text, "utf8") > LIMITS.payloadBytesMax
	) {
		throw invalid(field, `is larger than ${LIMITS.payloadBytesMax} bytes of JSON`);
	}
	return text;
}

/** Whether what comes out is what went in: `JSON.stringify` turns NaN and 1e999 into null, and bytes into an object. */
function hasJsonForm(value: unknown): boolean {
	if (typeof value === "number") return Number.isFinite(value);
	if (typeof value !== "object" || value === null) return true;
	if (ArrayBuffer.isView(value)) return false;
	if (Array.isArray(value)) return value.every(hasJsonForm);
	for (const name in value) {
		if (!hasJsonForm((value as Record<string, unknown>)[name])) return false;
	}
	return true;
}

/** A string of 1..256 UTF-8 bytes or an integer 0..2^53-1, as `vectorIdSchema` has it, without its cost. */
function requireVectorId(id: unknown, field: string): VectorId {
	if (typeof id === "number") {
		// Adding 0 turns -0 into the 0 that it is stored as.
		if (Number.isSafeInteger(id) && id >= 0) return id + 0;
	} else if (typeof id === "string" && id.length > 0 && id.length <= LIMITS.vectorIdBytesMax) {
		const isShort = id.length * UTF8_BYTES_PER_CHAR_MAX <= LIMITS.vectorIdBytesMax;
		// A lone surrogate has no UTF-8 form, so it could not come out as it went in.
		if ((isShort || Buffer.byteLength(id, "utf8") <= LIMITS.vectorIdBytesMax) && id.isWellFormed()) return id;
	}
	throw invalid(
		field,
		`must be text of 1 to ${LIMITS.vectorIdBytesMax} bytes of UTF-8, or an integer from 0 to ${LIMITS.vectorIdIntegerMax}`,
	);
}

const FIELD_NAME_LENGTH_MAX = 100;

/** An unknown field's name comes from the caller and may be of any length. */
export const shorten = (name: string): string =>
	name.length <= FIELD_NAME_LENGTH_MAX ? name : `${name.slice(0, FIELD_NAME_LENGTH_MAX)}…`;

function isPlainObject(value: unknown): value is Record<string, unknown> {
	return (
		typeof value === "object" &&
		value !== null &&
		!Array.isArray(value) &&
		!ArrayBuffer.isView(value) &&
		!(value instanceof Date)
	);
}
