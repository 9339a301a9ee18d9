import { type CallToolResult, INVALID_REQUEST, PARSE_ERROR, ProtocolError } from "@modelcontextprotocol/server";
import { ERROR_TABLE, HiveError } from "../../base/errors.ts";

export type RpcId = string | number | null;

/** The `error` of a JSON-RPC answer. */
export interface RpcError {
	readonly code: number;
	readonly message: string;
	readonly data: Readonly<Record<string, unknown>>;
}

/** CONTRACT section 4: the code of the table; what there is to act on stands in `data`, beside the code that REST gives. */
export function rpcError(error: HiveError, requestId: string): RpcError {
	const { code, message } = error;
	return { code: ERROR_TABLE[code].jsonRpc, message, data: { code, ...flatDetails(error), request_id: requestId } };
}

/** The numbers of a quota stand one level up. */
function flatDetails({ details }: HiveError): Record<string, unknown> {
	const { usage, ...rest } = details ?? {};
	return typeof usage === "object" && usage !== null ? { ...rest, ...usage } : { ...details };
}

export const protocolError = (error: HiveError, requestId: string): ProtocolError => {
	const { code, message, data } = rpcError(error, requestId);
	return new ProtocolError(code, message, data);
};

export const rpcAnswer = (id: RpcId, error: RpcError): object => ({ jsonrpc: "2.0", id, error });

/** Codes that say who may do what, or that it may go better later. A model can't mend its call to get by them. */
const BEYOND_THE_CALL = new Set<number>([-32001, -32002, -32003, -32004, -32005, -32006, -32007, -32603]);

/**
 * What is wrong with the arguments of a call is told to the model, which may mend them: as a result of the tool.
 *
 * @throws a ProtocolError for everything else
 */
export function failedCall(error: HiveError, requestId: string): CallToolResult {
	if (BEYOND_THE_CALL.has(ERROR_TABLE[error.code].jsonRpc)) throw protocolError(error, requestId);
	const { code, message, details } = error;
	const body = { error: message, code, ...(details !== undefined && { details }), request_id: requestId };
	return { isError: true, content: [{ type: "text", text: JSON.stringify(body) }] };
}

/** A message that could not be read. */
export function parseError(error: HiveError, requestId: string): RpcError {
	const told = rpcError(error, requestId);
	if (error.code !== "VALIDATION_FAILED") return told;
	return { ...told, code: error.details?.field === "body" ? INVALID_REQUEST : PARSE_ERROR };
}

export const tooManyAtOnce = (max: number, retryAfterSeconds: number, nowMs: number): HiveError =>
	new HiveError("RATE_LIMITED", `more than ${max} MCP requests of this tenant are under way at this node`, {
		limit: max,
		window: "concurrent",
		reset_at: new Date(nowMs + retryAfterSeconds * 1000).toISOString(),
		retry_after_seconds: retryAfterSeconds,
	});
