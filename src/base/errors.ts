/**
 * The closed set of error codes (CONTRACT section 3), and what each protocol makes of one.
 *
 * `http` is the REST status, `jsonRpc` the JSON-RPC error code (CONTRACT section 4; GraphQL carries the code itself in
 * `extensions.code`), `exit` the CLI's exit code (CONTRACT section 8). A code without a row does not compile.
 */
export const ERROR_TABLE = {
	VALIDATION_FAILED: { http: 400, jsonRpc: -32602, exit: 2 },
	DIMENSION_MISMATCH: { http: 400, jsonRpc: -32602, exit: 2 },
	INVALID_VECTOR: { http: 400, jsonRpc: -32602, exit: 2 },
	INVALID_FILTER: { http: 400, jsonRpc: -32602, exit: 2 },
	AUTH_MISSING: { http: 401, jsonRpc: -32002, exit: 3 },
	AUTH_INVALID_FORMAT: { http: 401, jsonRpc: -32001, exit: 3 },
	AUTH_INVALID: { http: 401, jsonRpc: -32001, exit: 3 },
	AUTH_KEY_EXPIRED: { http: 401, jsonRpc: -32001, exit: 3 },
	AUTH_SIGNATURE_INVALID: { http: 401, jsonRpc: -32001, exit: 3 },
	FORBIDDEN: { http: 403, jsonRpc: -32003, exit: 3 },
	AUTH_IP_DENIED: { http: 403, jsonRpc: -32003, exit: 3 },
	TENANT_SUSPENDED: { http: 403, jsonRpc: -32003, exit: 3 },
	COLLECTION_NOT_FOUND: { http: 404, jsonRpc: -32007, exit: 4 },
	VECTOR_NOT_FOUND: { http: 404, jsonRpc: -32602, exit: 4 },
	TENANT_NOT_FOUND: { http: 404, jsonRpc: -32006, exit: 4 },
	KEY_NOT_FOUND: { http: 404, jsonRpc: -32602, exit: 4 },
	BACKUP_NOT_FOUND: { http: 404, jsonRpc: -32602, exit: 4 },
	NOT_FOUND: { http: 404, jsonRpc: -32601, exit: 4 },
	METHOD_NOT_ALLOWED: { http: 405, jsonRpc: -32601, exit: 1 },
	NOT_ACCEPTABLE: { http: 406, jsonRpc: -32600, exit: 1 },
	PAYLOAD_TOO_LARGE: { http: 413, jsonRpc: -32600, exit: 1 },
	UNSUPPORTED_MEDIA_TYPE: { http: 415, jsonRpc: -32600, exit: 1 },
	COLLECTION_EXISTS: { http: 409, jsonRpc: -32602, exit: 1 },
	TENANT_EXISTS: { http: 409, jsonRpc: -32602, exit: 1 },
	CONFLICT: { http: 409, jsonRpc: -32602, exit: 1 },
	RATE_LIMITED: { http: 429, jsonRpc: -32004, exit: 1 },
	QUOTA_EXCEEDED: { http: 429, jsonRpc: -32005, exit: 1 },
	AUTH_RATE_LIMIT: { http: 429, jsonRpc: -32004, exit: 3 },
	INTERNAL: { http: 500, jsonRpc: -32603, exit: 1 },
	HUB_UNAVAILABLE: { http: 503, jsonRpc: -32603, exit: 5 },
	NO_QUORUM: { http: 503, jsonRpc: -32603, exit: 5 },
	NODE_DRAINING: { http: 503, jsonRpc: -32603, exit: 5 },
	OVERLOADED: { http: 503, jsonRpc: -32603, exit: 5 },
} as const satisfies Record<string, { http: number; jsonRpc: number; exit: number }>;

export type ErrorCode = keyof typeof ERROR_TABLE;

/** Facts a caller can act on. Never a key, a path of the server or another tenant's name. */
export type ErrorDetails = Readonly<Record<string, unknown>>;

/** The one error that crosses floors, workers and protocols. Anything else that is thrown is a defect and answers INTERNAL. */
export class HiveError extends Error {
	override readonly name = "HiveError";

	constructor(
		readonly code: ErrorCode,
		message: string,
		readonly details?: ErrorDetails,
		options?: { cause?: unknown },
	) {
		super(message, options);
	}

	/** What crosses a worker boundary or a wire. The cause and the stack stay behind. */
	toWire(): WireError {
		return this.details === undefined
			? { code: this.code, message: this.message }
			: { code: this.code, message: this.message, details: this.details };
	}

	static fromWire(wire: WireError): HiveError {
		return new HiveError(wire.code, wire.message, wire.details);
	}
}

export interface WireError {
	readonly code: ErrorCode;
	readonly message: string;
	readonly details?: ErrorDetails;
}

export function isErrorCode(value: unknown): value is ErrorCode {
	return typeof value === "string" && Object.hasOwn(ERROR_TABLE, value);
}
