import type { WireFormat } from "./body-format.ts";

const FORMATS: Readonly<Record<string, WireFormat>> = {
	"application/json": "json",
	"application/msgpack": "msgpack",
	"application/x-msgpack": "msgpack",
	"application/vnd.msgpack": "msgpack",
	"application/*": "json",
	"*/*": "json",
};

/** A stream of lines is also given to who asks for JSON: each line is JSON. */
const LINE_TYPES = new Set([
	"application/x-ndjson",
	"application/ndjson",
	"application/jsonl",
	"application/json",
	"application/*",
	"*/*",
]);

/**
 * The format an answer is to have (RFC 9110, 12.5.1): the highest q-value wins, among equals a named type before a
 * wildcard, among those the first.
 *
 * @returns undefined when the client takes none that we have
 */
export function acceptedFormat(accept: string | null): WireFormat | undefined {
	if (accept === null || accept === "" || accept === "*/*" || accept === "application/json") return "json";
	let best: { format: WireFormat; rank: number } | undefined;
	for (const { type, quality } of mediaRanges(accept)) {
		const format = Object.hasOwn(FORMATS, type) ? FORMATS[type] : undefined;
		if (format === undefined || quality === 0) continue;
		const rank = quality * 4 + (type === "*/*" ? 0 : type === "application/*" ? 1 : 2) / 1_000;
		if (best === undefined || rank > best.rank) best = { format, rank };
	}
	return best?.format;
}

/** Whether the client takes NDJSON. */
export function acceptsLines(accept: string | null): boolean {
	if (accept === null || accept === "") return true;
	return mediaRanges(accept).some(({ type, quality }) => quality > 0 && LINE_TYPES.has(type));
}

function mediaRanges(accept: string): { readonly type: string; readonly quality: number }[] {
	return accept
		.toLowerCase()
		.split(",")
		.map((range) => {
			const [type = "", ...parameters] = range.split(";").map((part) => part.trim());
			const quality = Number(parameters.find((parameter) => parameter.startsWith("q="))?.slice(2) ?? 1);
			return { type, quality: quality >= 0 && quality <= 1 ? quality : 0 };
		});
}
