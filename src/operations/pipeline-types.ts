import type { BodyCheck, RequestMessage } from "../access/message-signature.ts";
import type { ErrorCode, HiveError } from "../base/errors.ts";
import type { TenantId } from "../base/ids.ts";
import type { Caller } from "./operation.ts";

/** Where a request comes from and who says that they sent it. Nothing here is trusted. */
export interface Arrival {
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
}

/** One operation that is asked for. Nothing here is trusted. */
export interface Call {
	readonly operation: string;
	readonly signal: AbortSignal;
	/**
	 * Reads and parses the input. Called only after authentication, permission and rate limit have passed.
	 *
	 * @param checkBody given for signed requests: the whole body as it came is passed to it before anything is parsed
	 * @param turn      asked before each piece of a stream is worked on, so that streams take turns with everything else
	 */
	readInput(checkBody?: BodyCheck, turn?: () => Promise<void>): Promise<unknown>;
}

/** A request for one operation, as a protocol adapter hands it to the pipeline. */
export interface PipelineRequest extends Arrival, Call {
	/** As the client declared it; undefined: not known before it ends, as of a stream. 0: there is none. */
	readonly bodyBytes?: number | undefined;
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

/** Told of what happens, for metrics. Must not throw. */
export interface PipelineObserver {
	/** @param tenantId absent where the caller was not found out. */
	countRequest(tenantId: string | undefined, operation: string, status: number, seconds: number): void;
	countAuthentication(seconds: number): void;
	/** @param reason an error code. */
	countAuthFailure(reason: string): void;
	countRateLimitExceeded(tenantId: string): void;
	/** @param quota `storage`, `vectors` or `collections`. */
	countQuotaExceeded(tenantId: string, quota: string): void;
}

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
	/**
	 * Lets in who may ask for several operations, or none, in one message or over one connection. Costs one call, which the first
	 * operation, or charge, of the visit has then paid.
	 *
	 * @param stay `connection`: messages will follow that nothing signs, so that keys which must sign are refused
	 */
	admit(arrival: Arrival, stay: "message" | "connection"): Promise<Admission>;
}

export type Admission =
	| { readonly ok: true; readonly visit: Visit }
	| { readonly ok: false; readonly error: HiveError; readonly facts: AnswerFacts };

/** A caller who was let in. Each operation goes the pipeline's whole way, but for who they are and for waiting their turn. */
export interface Visit {
	readonly caller: Caller;
	/** As of the last operation. */
	readonly facts: AnswerFacts;
	/** To be given the whole body, as it came, before any of it is believed. @throws AUTH_SIGNATURE_INVALID */
	readonly checkBody: BodyCheck;
	/** Whether the caller's permissions suffice for the operation, in this protocol. */
	mayCall(operation: string): boolean;
	/**
	 * Waits until it is the tenant's turn, then reads a message and works on it: what holds it in memory belongs in here.
	 *
	 * @param bodyBytes as declared; undefined: not known
	 * @throws OVERLOADED; what the work throws
	 */
	inTurn<T>(bodyBytes: number | undefined, work: () => Promise<T>): Promise<T>;
	/** Never throws. */
	execute(call: Call): Promise<PipelineAnswer>;
	/** Pays for a message that asks for no operation. @param label `graphql.introspect`: for metrics. Never throws. */
	charge(label: string): Promise<PipelineAnswer>;
	/**
	 * Looks again whether the caller may be here, and as whom: before each message of a connection, and now and then besides. From
	 * then on their key and tenant count as they are now. Synchronous while the key is cached. @returns why they have to go
	 */
	renew(): HiveError | undefined | Promise<HiveError | undefined>;
}
