import { HiveError } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import { bodyFormat, parseBody } from "./body-format.ts";
import { splitLines } from "./ndjson-lines.ts";
import type { RequestBody } from "./request-body.ts";
import { REST_LIMITS } from "./rest-limits.ts";
import type { RestRoute, TextKind } from "./rest-route.ts";

/** Stands where bytes were no UTF-8 or a percent sign led nowhere. */
const REPLACEMENT = "\uFFFD";
const NUMBER = /^-?(?:0|[1-9]\d{0,19})(?:\.\d{1,20})?$/;

/**
 * The operation's input from path, query and body. A body is read only here.
 *
 * @param pathValues the path's fields, decoded by the server; U+FFFD where that failed
 * @throws VALIDATION_FAILED, UNSUPPORTED_MEDIA_TYPE, PAYLOAD_TOO_LARGE
 */
export async function readRequestInput(
	route: RestRoute,
	request: Request,
	pathValues: Readonly<Record<string, string>>,
	body: RequestBody,
	bodyBytesMax: number,
): Promise<Record<string, unknown>> {
	const input: Record<string, unknown> = {};
	for (const field of route.pathFields) {
		const value = pathValues[field]!;
		if (value.includes(REPLACEMENT)) requireDecodable(request.url);
		input[field] = value;
	}
	readQuery(request.url, route.queryKinds, input);
	const reads = route.operation.rest.body;
	if (reads === undefined) return input;
	const format = bodyFormat(request.headers, reads);
	if (format === "ndjson") {
		input.lines = splitLines(body.chunks(), LIMITS.importLineBytesMax);
		return input;
	}
	const fields = parseBody(await body.readWhole(bodyBytesMax), format);
	for (const field in input) {
		if (Object.hasOwn(fields, field)) {
			throw new HiveError("VALIDATION_FAILED", `${field} stands in the address and may not be in the body`, { field });
		}
		fields[field] = input[field];
	}
	return fields;
}

function requireDecodable(url: string): void {
	const end = url.search(/[?#]/);
	try {
		decodeURIComponent(end < 0 ? url : url.slice(0, end));
	} catch (cause) {
		throw new HiveError(
			"VALIDATION_FAILED",
			"the path is not valid percent-encoded UTF-8",
			{ field: "path" },
			{ cause },
		);
	}
}

function readQuery(url: string, kinds: ReadonlyMap<string, TextKind>, input: Record<string, unknown>): void {
	const start = url.indexOf("?");
	if (start < 0) return;
	for (const pair of url.slice(start + 1).split("&")) {
		if (pair === "") continue;
		const equals = pair.indexOf("=");
		const field = decodeQueryText(equals < 0 ? pair : pair.slice(0, equals), "a query parameter's name");
		const kind = kinds.get(field);
		const shown = field.slice(0, REST_LIMITS.echoLengthMax);
		if (kind === undefined) {
			throw new HiveError("VALIDATION_FAILED", `there is no query parameter ${shown} here`, { field: shown });
		}
		if (Object.hasOwn(input, field)) {
			throw new HiveError("VALIDATION_FAILED", `${shown} is given more than once`, { field: shown });
		}
		input[field] = convert(equals < 0 ? "" : decodeQueryText(pair.slice(equals + 1), shown), kind);
	}
}

function decodeQueryText(text: string, what: string): string {
	try {
		return decodeURIComponent(text.replaceAll("+", " "));
	} catch (cause) {
		throw new HiveError(
			"VALIDATION_FAILED",
			`${what} is not valid percent-encoded UTF-8`,
			{ field: "query" },
			{ cause },
		);
	}
}

/** Text that is no number or flag stays text, and the operation's schema says what it wants. */
function convert(text: string, kind: TextKind): unknown {
	if (kind === "number" && NUMBER.test(text)) return Number(text);
	if (kind === "boolean" && (text === "true" || text === "false")) return text === "true";
	return text;
}
