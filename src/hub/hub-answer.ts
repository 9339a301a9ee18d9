import { type ErrorCode, HiveError } from "../base/errors.ts";
import { HUB_LIMITS } from "./hub-limits.ts";
import { errorAnswer } from "./response-schemas.ts";

/** Answers about the matter of a request. Others concern this node and the hub, and are no business of whoever asked. */
export const PASSED_ON: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
	"VALIDATION_FAILED",
	"TENANT_NOT_FOUND",
	"TENANT_EXISTS",
	"TENANT_SUSPENDED",
	"KEY_NOT_FOUND",
	"COLLECTION_NOT_FOUND",
	"COLLECTION_EXISTS",
	"CONFLICT",
	"QUOTA_EXCEEDED",
	"PAYLOAD_TOO_LARGE",
]);

/**
 * What a hub sent back, as far as any answer goes.
 *
 * @throws HUB_UNAVAILABLE when it failed, or its answer is no JSON or has no end; what it refused with
 */
export async function readHubAnswer(response: Response): Promise<unknown> {
	const text = await textOf(response);
	if (!response.ok) throw refusal(response.status, text);
	return parseJson(text);
}

async function textOf(response: Response): Promise<string> {
	const decoder = new TextDecoder();
	let text = "";
	let byteCount = 0;
	for await (const chunk of response.body ?? []) {
		byteCount += chunk.byteLength;
		if (byteCount > HUB_LIMITS.answerBytesMax) {
			throw new HiveError("HUB_UNAVAILABLE", `the hub's answer is longer than ${HUB_LIMITS.answerBytesMax} bytes`);
		}
		text += decoder.decode(chunk, { stream: true });
	}
	return text + decoder.decode();
}

function parseJson(text: string): unknown {
	try {
		return JSON.parse(text);
	} catch (error) {
		throw new HiveError("HUB_UNAVAILABLE", "the hub's answer is not JSON", undefined, { cause: error });
	}
}

/** Who fails with a page of their own, or says no while they fail, is not believed. */
function refusal(status: number, text: string): HiveError {
	const matter = status >= 400 && status <= 499 ? refusedMatter(text) : undefined;
	if (matter !== undefined) return matter;
	const message =
		status === 401 || status === 403
			? "the hub refuses this node's service key"
			: `the hub answered with status ${status}`;
	return new HiveError("HUB_UNAVAILABLE", message, { status });
}

function refusedMatter(text: string): HiveError | undefined {
	let json: unknown;
	try {
		json = JSON.parse(text);
	} catch {
		return undefined;
	}
	const parsed = errorAnswer.safeParse(json);
	if (!parsed.success || !PASSED_ON.has(parsed.data.code as ErrorCode)) return undefined;
	return new HiveError(parsed.data.code as ErrorCode, parsed.data.error, parsed.data.details);
}
