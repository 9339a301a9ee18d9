import { HiveError } from "../../base/errors.ts";
import type { RpcId } from "./mcp-errors.ts";
import { MCP_LIMITS } from "./mcp-limits.ts";

/** One JSON-RPC message, as far as it has to be understood before the SDK gets it. Nothing in it is trusted. */
export interface McpMessage {
	readonly method: string | undefined;
	/** undefined: a notification. */
	readonly id: RpcId | undefined;
	readonly params: Readonly<Record<string, unknown>>;
}

type Fields = Readonly<Record<string, unknown>>;

const fieldsOf = (value: unknown): Fields =>
	typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : {};

const isId = (value: unknown): value is string | number => typeof value === "string" || typeof value === "number";

export function messageOf(value: unknown): McpMessage {
	const { method, id, params } = fieldsOf(value);
	return {
		method: typeof method === "string" ? method : undefined,
		id: isId(id) ? id : undefined,
		params: fieldsOf(params),
	};
}

/** @returns the messages of a body: one, or those of a batch. @throws VALIDATION_FAILED for a batch that is too long. */
export function messagesOf(body: unknown): readonly McpMessage[] {
	if (!Array.isArray(body)) return [messageOf(body)];
	if (body.length === 0 || body.length > MCP_LIMITS.batchMessagesMax) {
		throw new HiveError("VALIDATION_FAILED", `a batch has 1 to ${MCP_LIMITS.batchMessagesMax} messages`, {
			field: "body",
		});
	}
	return body.map(messageOf);
}

/** Of a request that is refused whatever is in it, so as to answer under it. */
export function idIn(bytes: Uint8Array): RpcId {
	try {
		return messageOf(JSON.parse(new TextDecoder().decode(bytes))).id ?? null;
	} catch {
		return null;
	}
}

/** Whether the client wants to hear how a call gets on. */
export const wantsProgress = ({ params }: McpMessage): boolean => isId(fieldsOf(params._meta).progressToken);

/** Methods that run no operation, as metrics name them. */
const METHODS = new Set([
	"initialize",
	"ping",
	"server/discover",
	"tools/list",
	"tools/call",
	"resources/list",
	"resources/templates/list",
	"resources/read",
	"prompts/list",
	"completion/complete",
	"logging/setLevel",
	"subscriptions/listen",
]);

export function labelOf({ method }: McpMessage): string {
	if (method === undefined) return "mcp.response";
	if (method.startsWith("notifications/")) return "mcp.notification";
	return METHODS.has(method) ? `mcp.${method}` : "mcp.unknown";
}
