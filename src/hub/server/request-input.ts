import type { z } from "zod";
import { HiveError } from "../../base/errors.ts";
import { HUB_LIMITS } from "../hub-limits.ts";

/**
 * Holds a value against a schema.
 *
 * @throws VALIDATION_FAILED whose `details.field` names the first field at fault, as a dotted path; "body" for the whole.
 */
export function parseInput<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
	const parsed = schema.safeParse(value);
	if (parsed.success) return parsed.data;
	const issue = parsed.error.issues[0]!;
	const path = issue.code === "unrecognized_keys" ? [...issue.path, issue.keys[0]!] : issue.path;
	const field = path.length === 0 ? "body" : path.map(String).join(".");
	const reason = issue.code === "unrecognized_keys" ? "unknown field" : issue.message;
	throw new HiveError("VALIDATION_FAILED", `${field}: ${reason}`, { field });
}

/** The query string as an object of texts. @throws VALIDATION_FAILED for a name given twice. */
export function readQuery(url: URL): Record<string, string> {
	const query: Record<string, string> = {};
	for (const [name, value] of url.searchParams) {
		if (Object.hasOwn(query, name)) {
			throw new HiveError("VALIDATION_FAILED", `${name}: given more than once`, { field: name });
		}
		query[name] = value;
	}
	return query;
}

/**
 * The JSON body; an absent one is an empty object.
 *
 * @throws PAYLOAD_TOO_LARGE, VALIDATION_FAILED
 */
export async function readJsonBody(request: Request): Promise<unknown> {
	const text = await readText(request);
	if (text === "") return {};
	try {
		return JSON.parse(text);
	} catch (error) {
		throw new HiveError("VALIDATION_FAILED", "the body is not JSON", { field: "body" }, { cause: error });
	}
}

async function readText(request: Request): Promise<string> {
	const chunks: Uint8Array[] = [];
	let byteCount = 0;
	// The declared length may lie or be absent, so what counts is what arrives.
	for await (const chunk of request.body ?? []) {
		byteCount += chunk.byteLength;
		if (byteCount > HUB_LIMITS.requestBodyBytesMax) {
			throw new HiveError(
				"PAYLOAD_TOO_LARGE",
				`a request to the hub is at most ${HUB_LIMITS.requestBodyBytesMax} bytes`,
			);
		}
		chunks.push(chunk);
	}
	return Buffer.concat(chunks).toString("utf8");
}
