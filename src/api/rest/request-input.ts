import type { BodyCheck } from "../../access/message-signature.ts";
import { HiveError } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import { bodyFormat } from "./body-format.ts";
import type { BodyParser } from "./body-parser.ts";
import { splitLines } from "./ndjson-lines.ts";
import type { RequestBody, Turn } from "./request-body.ts";
import { REST_LIMITS } from "./rest-limits.ts";
import type { RestRoute, TextKind } from "./rest-route.ts";

/** Stands where bytes were no UTF-8 or a percent sign led nowhere. */
const REPLACEMENT = "\uFFFD";
const NUMBER = /^-?(?:0|[1-9]\d{0,19})(?:\.\d{1,20})?$/;

/** Where a request's input is read from, and how much of a body is taken. */
export interface InputSource {
	readonly route: RestRoute;
	readonly request: Request;
	/** The path's fields, decoded by the server; U+FFFD where that failed. */
	readonly pathValues: Readonly<Record<string, string>>;
	readonly body: RequestBody;
	readonly parser: BodyParser;
	readonly bodyBytesMax: number;
}

/**
 * The operation's input from path, query, headers and body. A body is read only here.
 *
 * @param checkBody is given the whole body, were it empty or of no use to the operation, before anything is made of it.
 *        A stream of lines is then gathered first, and bounded like any other body.
 * @param turn asked before each piece of a stream of lines
 * @throws VALIDATION_FAILED, UNSUPPORTED_MEDIA_TYPE, PAYLOAD_TOO_LARGE, and what `checkBody` throws
 */
export async function readRequestInput(
	source: InputSource,
	checkBody?: BodyCheck,
	turn?: Turn,
): Promise<Record<string, unknown>> {
	const { route, request, body } = source;
	const { scope, rest } = route.operation;
	const bodyBytesMax = Math.min(
		source.bodyBytesMax,
		scope === "public" ? REST_LIMITS.publicBodyBytesMax : Number.POSITIVE_INFINITY,
		rest.body === "text" ? REST_LIMITS.textBodyBytesMax : Number.POSITIVE_INFINITY,
	);
	let checked: Uint8Array | undefined;
	if (checkBody !== undefined) {
		checked = await body.readWhole(bodyBytesMax);
		checkBody(checked);
	}
	const input: Record<string, unknown> = {};
	for (const field of route.pathFields) {
		const value = source.pathValues[field]!;
		if (value.includes(REPLACEMENT)) requireDecodable(request.url);
		input[field] = value;
	}
	readQuery(request.url, route.queryKinds, input);
	for (const { field, header, kind } of route.headerFields) {
		const value = request.headers.get(header);
		if (value !== null) input[field] = convert(value, kind);
	}
	if (rest.body === undefined) return input;
	if (rest.body === "text") {
		input.body = decodeText(checked ?? (await body.readWhole(bodyBytesMax)));
		return input;
	}
	const format = bodyFormat(request.headers, rest.body);
	if (format === "ndjson") {
		input.lines = splitLines(checked === undefined ? body.chunks(turn) : onlyChunk(checked), LIMITS.importLineBytesMax);
		return input;
	}
	const parsed = source.parser.parse(checked ?? (await body.readWhole(bodyBytesMax)), format);
	const fields = parsed instanceof Promise ? await parsed : parsed;
	for (const { field, header } of route.headerFields) {
		// Also where the header is absent: whoever writes the body may not be who wrote the headers.
		if (Object.hasOwn(fields, field)) throw misplaced(field, `belongs in the header ${header}`);
	}
	for (const field in input) {
		if (Object.hasOwn(fields, field)) throw misplaced(field, "stands in the address");
		fields[field] = input[field];
	}
	return fields;
}

const misplaced = (field: string, why: string): HiveError =>
	new HiveError("VALIDATION_FAILED", `${field} ${why} and may not be in the body`, { field });

async function* onlyChunk(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
	yield bytes;
}

/** Nothing is left out, a byte order mark included: a signature may be about every byte. */
function decodeText(bytes: Uint8Array): string {
	try {
		return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
	} catch (cause) {
		throw new HiveError("VALIDATION_FAILED", "the body is not valid UTF-8", { field: "body" }, { cause });
	}
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
