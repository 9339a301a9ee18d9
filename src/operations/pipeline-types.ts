import type { BodyCheck, RequestMessage } from "../access/message-signature.ts";
import type { ErrorCode, HiveError } from "../base/errors.ts";
import type { TenantId } from "../base/ids.ts";

/** What a protocol adapter hands to the pipeline. Nothing here is trusted. */
export interface PipelineRequest {
	readonly operation: string;
	/** `Authorization` and `x-api-key` as they came; without either, whether a web page of another origin may be asking. */
	readonly credentials: { readonly authorization?: string; readonly apiKey?: string; readonly isForeignPage?: boolean };
	/** `X-Tenant-ID` as it came. */
	readonly actingTenant?: string;
	readonly requestId: string;
	/** The client's, a trusted proxy's word for it included. */
	readonly remoteAddress: string;
	/** What a request signature is about. */
	readonly message: RequestMessage;
	/** Picks the rate-limit bucket and whether keys whose only permission is MCP may enter. */
	readonly protocol: "rest" | "graphql" | "mcp";
	readonly signal: AbortSignal;
	/** As the client declared it; undefined: not known before it ends, as of a stream. 0: there is none. */
	readonly bodyBytes?: number | undefined;
	/**
	 * Reads and parses the input. Called only after authentication, permission and rate limit have passed.
	 *
	 * @param checkBody given for signed requests: the whole body as it came is passed to it before anything is parsed
	 * @param turn      asked before each piece of a stream is worked on, so that streams take turns with everything else
	 */
	readInput(checkBody?: BodyCheck, turn?: () => Promise<void>): Promise<unknown>;
}

/** Facts every authenticated answer carries as headers or fields, on success and failure alike. */
export interface AnswerFacts {
	readonly requestId: string;
	readonly tenantId?: TenantId;
	readonly rateLimit?: { readonly limit: number; readonly remaining: number; readonly resetUnixSeconds: number };
	readonly storage?: { readonly usedBytes: number; readonly quotaBytes: number | null };
	/** Seconds, on 429 and 503. */
	readonly retryAfterSeconds?: number;
	/** ISO time; present while a replaced key is in its grace period. */
	readonly keyDeprecatedUntil?: string;
}

export type PipelineAnswer =
	| { readonly ok: true; readonly output: unknown; readonly facts: AnswerFacts }
	| { readonly ok: false; readonly error: HiveError; readonly facts: AnswerFacts };

/** The error body of every protocol: `{error, code, details?, request_id}`. */
export interface ErrorBody {
	readonly error: string;
	readonly code: ErrorCode;
	readonly details?: Readonly<Record<string, unknown>>;
	readonly request_id: string;
}

/** The one way through (DESIGN): authenticate → authorise → rate limit → validate → quota → run → meter. Never throws. */
export interface Pipeline {
	execute(request: PipelineRequest): Promise<PipelineAnswer>;
}
