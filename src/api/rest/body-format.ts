import { decode } from "@msgpack/msgpack";
import { HiveError } from "../../base/errors.ts";
import { requireSoundMsgpack } from "./msgpack-scan.ts";
import { REST_LIMITS } from "./rest-limits.ts";

export type WireFormat = "json" | "msgpack";

const FORMATS: Readonly<Record<string, WireFormat | "ndjson">> = {
	"application/json": "json",
	"application/msgpack": "msgpack",
	"application/x-msgpack": "msgpack",
	"application/vnd.msgpack": "msgpack",
	"application/x-ndjson": "ndjson",
	"application/ndjson": "ndjson",
	"application/jsonl": "ndjson",
};

/**
 * How a body is written, from `Content-Type` and `Content-Encoding`. Without a type it is taken for what the operation
 * reads.
 *
 * @throws UNSUPPORTED_MEDIA_TYPE
 */
export function bodyFormat(headers: Headers, reads: "json" | "ndjson"): WireFormat | "ndjson" {
	const encoding = headers.get("content-encoding");
	if (encoding !== null && encoding.toLowerCase() !== "identity") {
		throw new HiveError("UNSUPPORTED_MEDIA_TYPE", "a body with a Content-Encoding is not taken: send it as it is");
	}
	const contentType = headers.get("content-type");
	if (contentType === null || contentType === "") return reads;
	// What nearly every client sends.
	if (contentType === "application/json" && reads === "json") return "json";
	const [type = "", ...parameters] = contentType.toLowerCase().split(";");
	const format = Object.hasOwn(FORMATS, type.trim()) ? FORMATS[type.trim()] : undefined;
	const isWanted = format !== undefined && (format === "ndjson") === (reads === "ndjson");
	if (!isWanted || !parameters.every(isUtf8)) {
		const wanted = reads === "ndjson" ? "application/x-ndjson" : "application/json (in UTF-8) or application/msgpack";
		throw new HiveError("UNSUPPORTED_MEDIA_TYPE", `the body must be ${wanted}`);
	}
	return format;
}

/** Other parameters than `charset` change nothing. */
function isUtf8(parameter: string): boolean {
	const [name, value = ""] = parameter.split("=");
	return name?.trim() !== "charset" || /^"?utf-?8"?$/.test(value.trim());
}

/**
 * The fields of a body. An empty body has none.
 *
 * @throws VALIDATION_FAILED when it can't be parsed, is nested too deep, or is not an object
 */
export function parseBody(bytes: Uint8Array, format: WireFormat): Record<string, unknown> {
	if (bytes.length === 0) return {};
	const value = format === "json" ? parseJson(bytes) : parseMsgpack(bytes);
	if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Uint8Array) {
		throw new HiveError("VALIDATION_FAILED", "the body must be an object", { field: "body" });
	}
	return value as Record<string, unknown>;
}

function parseJson(bytes: Uint8Array): unknown {
	let text: string;
	try {
		text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
	} catch (cause) {
		throw new HiveError("VALIDATION_FAILED", "the body is not valid UTF-8", undefined, { cause });
	}
	let value: unknown;
	try {
		value = JSON.parse(text);
	} catch (cause) {
		// The parser's own words may quote the body, which may hold a key.
		throw new HiveError("VALIDATION_FAILED", "the body is not valid JSON", undefined, { cause });
	}
	requireDepth(value, REST_LIMITS.bodyDepthMax);
	return value;
}

/** What is nested too deep for the stack would fail later, in the midst of work. */
function requireDepth(value: unknown, levelsLeft: number): void {
	if (typeof value !== "object" || value === null) return;
	if (levelsLeft === 0) {
		throw new HiveError("VALIDATION_FAILED", `the body is nested more than ${REST_LIMITS.bodyDepthMax} levels deep`);
	}
	if (Array.isArray(value)) {
		for (let index = 0; index < value.length; index++) {
			const entry: unknown = value[index];
			if (typeof entry === "object") requireDepth(entry, levelsLeft - 1);
		}
		return;
	}
	for (const name in value) requireDepth((value as Record<string, unknown>)[name], levelsLeft - 1);
}

function parseMsgpack(bytes: Uint8Array): unknown {
	requireSoundMsgpack(bytes, REST_LIMITS.bodyDepthMax);
	try {
		return decode(bytes);
	} catch (cause) {
		throw new HiveError("VALIDATION_FAILED", "the body is not usable msgpack", undefined, { cause });
	}
}
