import { HiveError } from "./errors.ts";
import { LIMITS } from "./limits.ts";
import type { Metric } from "./schemas.ts";

const FLOAT_BYTES = 4;
const BASE64_CHARS_MAX = Math.ceil((LIMITS.dimensionMax * FLOAT_BYTES) / 3) * 4;
const FLOAT32_MAX = 3.4028234663852886e38;
/** Halfway between the largest float32 and what would come next: from here on rounding gives infinity. */
const FLOAT32_OVERFLOW = FLOAT32_MAX + 2 ** 103;

const invalid = (field: string, reason: string): HiveError =>
	new HiveError("INVALID_VECTOR", `${field} ${reason}`, { field });

/**
 * Turns a vector as it arrived into float32: JSON numbers, `{"base64": "…"}` of little-endian float32, the same bytes raw
 * (msgpack), or a Float32Array.
 *
 * @param field where the vector stands in the request, for instance `vectors[3].vector`.
 * @returns 1..LIMITS.dimensionMax finite floats, an array of its own.
 * @throws INVALID_VECTOR; `details.field` names the entry, for instance `vectors[3].vector[17]`.
 */
export function parseVector(value: unknown, field: string): Float32Array {
	if (Array.isArray(value)) return fromNumbers(value, field);
	if (value instanceof Float32Array) return checkFinite(value.slice(), field);
	if (value instanceof Uint8Array) return fromBytes(value, field);
	if (typeof value === "object" && value !== null && "base64" in value) return fromBase64(value, field);
	throw invalid(field, 'must be an array of numbers or {"base64": "…"} of little-endian float32');
}

function fromNumbers(value: readonly unknown[], field: string): Float32Array {
	const length = value.length;
	requireLength(length, field);
	const vector = new Float32Array(length);
	for (let index = 0; index < length; index++) {
		const entry = value[index];
		// The comparison is false for NaN as well.
		if (typeof entry !== "number" || !(Math.abs(entry) < FLOAT32_OVERFLOW)) {
			throw invalid(`${field}[${index}]`, `must be a finite number that fits float32, it is ${describe(entry)}`);
		}
		vector[index] = entry;
	}
	return vector;
}

function describe(entry: unknown): string {
	if (typeof entry === "number") return String(entry);
	if (entry === null) return "null";
	return Array.isArray(entry) ? "an array" : `of type ${typeof entry}`;
}

function fromBytes(bytes: Uint8Array, field: string): Float32Array {
	if (bytes.byteLength % FLOAT_BYTES !== 0) {
		throw invalid(field, `has ${bytes.byteLength} bytes, which is not a whole number of float32 values`);
	}
	const length = bytes.byteLength / FLOAT_BYTES;
	requireLength(length, field);
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const vector = new Float32Array(length);
	for (let index = 0; index < length; index++) vector[index] = view.getFloat32(index * FLOAT_BYTES, true);
	return checkFinite(vector, field);
}

function fromBase64(value: object, field: string): Float32Array {
	for (const name of Object.keys(value)) {
		if (name !== "base64") throw invalid(`${field}.${name}`, "is not a known field");
	}
	const text = (value as { base64: unknown }).base64;
	const textField = `${field}.base64`;
	if (typeof text !== "string") throw invalid(textField, "must be a string");
	if (text.length > BASE64_CHARS_MAX) throw invalid(field, `has more than ${LIMITS.dimensionMax} dimensions`);
	const bytes = Buffer.from(text, "base64");
	// Buffer skips what it does not know; strict base64 is what encodes back to the same text.
	if (bytes.toString("base64") !== text) throw invalid(textField, "must be base64 with padding and nothing else");
	return fromBytes(bytes, field);
}

function requireLength(length: number, field: string): void {
	if (length < 1) throw invalid(field, "must not be empty");
	if (length > LIMITS.dimensionMax) throw invalid(field, `has more than ${LIMITS.dimensionMax} dimensions`);
}

function checkFinite(vector: Float32Array, field: string): Float32Array {
	requireLength(vector.length, field);
	for (let index = 0; index < vector.length; index++) {
		if (!Number.isFinite(vector[index])) throw invalid(`${field}[${index}]`, "must be finite");
	}
	return vector;
}

/** What a collection says about the vectors it takes. */
export interface VectorRule {
	readonly name: string;
	readonly dimension: number;
	readonly metric: Metric;
}

/**
 * Holds a vector against the collection it is meant for.
 *
 * @param subject what the message calls it: `the query`, `vectors[3].vector`.
 * @throws DIMENSION_MISMATCH with `{expected, actual, field}`; INVALID_VECTOR for a zero vector where the metric is cosine,
 *         judged after rounding to float32.
 */
export function requireFit(vector: Float32Array, rule: VectorRule, field: string, subject: string = field): void {
	if (vector.length !== rule.dimension) {
		throw new HiveError(
			"DIMENSION_MISMATCH",
			`collection ${rule.name} stores ${rule.dimension} dimensions, ${subject} has ${vector.length}`,
			{ expected: rule.dimension, actual: vector.length, field },
		);
	}
	if (rule.metric === "cosine" && isZero(vector)) {
		throw invalid(field, "is zero everywhere, which has no direction to compare by cosine");
	}
}

function isZero(vector: Float32Array): boolean {
	for (let index = 0; index < vector.length; index++) {
		if (vector[index] !== 0) return false;
	}
	return true;
}
