import { encode } from "@msgpack/msgpack";
import { ERROR_TABLE, HiveError } from "../../base/errors.ts";
import { newRequestId, type RandomBytes, REQUEST_ID_PATTERN } from "../../base/ids.ts";
import type { Log } from "../../observe/log.ts";
import type { AnswerFacts, ErrorBody, Pipeline, PipelineAnswer } from "../../operations/pipeline-types.ts";
import { addFactHeaders, securityHeaders } from "../wire/answer-headers.ts";
import { toWireValue } from "../wire/wire-value.ts";
import { acceptedFormat, acceptsLines } from "./accept-header.ts";
import type { WireFormat } from "./body-format.ts";
import type { BodyParser } from "./body-parser.ts";
import { callFacts } from "./call-facts.ts";
import type { CrossOrigin } from "./cross-origin.ts";
import { lineStream } from "./line-stream.ts";
import type { OverdueWatch } from "./overdue-watch.ts";
import { isForeignPage } from "./page-origin.ts";
import { type BodyDeadlines, RequestBody } from "./request-body.ts";
import { RestCall } from "./rest-call.ts";
import { REST_LIMITS } from "./rest-limits.ts";
import type { RestRoute } from "./rest-route.ts";

export interface RestAdapterParts {
	readonly pipeline: Pick<Pipeline, "execute">;
	readonly log: Log;
	readonly random: RandomBytes;
	readonly isTls: boolean;
	/** Whether the node can be reached from its own machine alone. */
	readonly isLoopbackOnly: boolean;
	readonly maxBodyBytes: number;
	readonly bodyDeadlines: BodyDeadlines;
	readonly bodyParser: BodyParser;
	readonly crossOrigin: CrossOrigin;
	/** Of operations that are no streams. */
	readonly overdueWatch: OverdueWatch;
}

/** One request being answered, as the server keeps track of it. */
export interface Exchange {
	readonly request: Request;
	/** Decoded by the server; undefined where the address named no route as it stood. */
	readonly pathValues: Readonly<Record<string, string>>;
	readonly remoteAddress: string;
	/** The client is to connect anew for its next request. */
	readonly isLastOnConnection: boolean;
	/** The client waits for us, not we for the client: its silence is no reason to hang up. */
	isOurTurn: boolean;
	/** Called once, when nothing is left to be sent. */
	onEnd(): void;
}

const CONTENT_TYPES = {
	json: "application/json; charset=utf-8",
	msgpack: "application/msgpack",
	ndjson: "application/x-ndjson",
	text: "text/plain; version=0.0.4; charset=utf-8",
	html: "text/html; charset=utf-8",
} as const;

/** Requests to pipeline calls, pipeline answers to responses. Decides nothing about what a caller may do. */
export class RestAdapter {
	readonly #baseHeaders: Record<string, string>;
	readonly #isInvited: (origin: string) => boolean;

	constructor(private readonly parts: RestAdapterParts) {
		this.#baseHeaders = securityHeaders(parts.isTls);
		this.#isInvited = (origin) => parts.crossOrigin.isInvited(origin);
	}

	/** Answers a request for an operation. Never rejects; `exchange.onEnd` is called when the last byte was made. */
	async answer(route: RestRoute, exchange: Exchange): Promise<Response> {
		const { request } = exchange;
		const requestId = this.requestId(request);
		const accept = request.headers.get("accept");
		const format = route.answer === "ndjson" ? "json" : acceptedFormat(accept);
		const isAccepted =
			route.answer === "json" ? format !== undefined : route.answer !== "ndjson" || acceptsLines(accept);
		if (!isAccepted) {
			const offered = route.answer === "json" ? "application/json or application/msgpack" : "application/x-ndjson";
			exchange.onEnd();
			const headers = this.headersFor(request, exchange.isLastOnConnection);
			return this.refuse(new HiveError("NOT_ACCEPTABLE", `this answers ${offered}`), requestId, "json", headers);
		}
		const body = new RequestBody(request, this.parts.bodyDeadlines);
		const call = this.#callOf(route, exchange, requestId, body);
		const isStream = route.answer === "ndjson" || route.operation.rest.body === "ndjson";
		const answer = await (isStream ? this.#execute(call) : this.#executeInTime(call));
		return this.#render(route, exchange, answer, format ?? "json", body);
	}

	/** An answer that no operation gave: nothing there, another method, stopping. */
	refuse(error: HiveError, requestId: string, format: WireFormat, headers: Record<string, string>): Response {
		return this.#failure(error, { requestId }, headers, format);
	}

	/** What every answer to this request carries. A new object. */
	headersFor(request: Request, isLastOnConnection: boolean): Record<string, string> {
		const headers = { ...this.#baseHeaders };
		this.parts.crossOrigin.addHeaders(headers, request);
		if (isLastOnConnection) headers.Connection = "close";
		return headers;
	}

	/** The client's own, if it can be kept; else a new one. */
	requestId(request: Request): string {
		const given = request.headers.get("x-request-id");
		return given !== null && REQUEST_ID_PATTERN.test(given) ? given : newRequestId(this.parts.random);
	}

	#callOf(route: RestRoute, exchange: Exchange, requestId: string, body: RequestBody): RestCall {
		const { request, pathValues, remoteAddress } = exchange;
		return new RestCall(
			{ route, request, pathValues, body, parser: this.parts.bodyParser, bodyBytesMax: this.parts.maxBodyBytes },
			callFacts(request, requestId, remoteAddress, () =>
				isForeignPage(request.headers, this.parts.isLoopbackOnly, this.#isInvited),
			),
		);
	}

	async #execute(call: RestCall): Promise<PipelineAnswer> {
		try {
			return await this.parts.pipeline.execute(call);
		} catch (cause) {
			return this.#defect(cause, call);
		}
	}

	/** What takes too long goes on unheard, until it notices that it was given up. */
	#executeInTime(call: RestCall): Promise<PipelineAnswer> {
		const { overdueWatch, pipeline } = this.parts;
		return new Promise((resolve) => {
			call.onOverdue = () => resolve(this.#giveUp(call));
			overdueWatch.begin(call);
			const end = (answer: PipelineAnswer): void => {
				overdueWatch.end(call);
				resolve(answer);
			};
			pipeline.execute(call).then(end, (cause: unknown) => end(this.#defect(cause, call)));
		});
	}

	#giveUp(call: RestCall): PipelineAnswer {
		const { requestId, operation } = call;
		this.parts.log.warn({ request_id: requestId, operation }, "an operation took too long and was given up");
		const error = new HiveError(
			"OVERLOADED",
			"this took too long and was given up; what was asked for may have been done all the same, or be done yet",
		);
		call.abort(error);
		return { ok: false, error, facts: { requestId, retryAfterSeconds: REST_LIMITS.overdueRetrySeconds } };
	}

	#defect(cause: unknown, { requestId }: RestCall): PipelineAnswer {
		return { ok: false, error: this.#internal(cause, requestId), facts: { requestId } };
	}

	#render(
		route: RestRoute,
		exchange: Exchange,
		answer: PipelineAnswer,
		format: WireFormat,
		body: RequestBody,
	): Response {
		const { facts } = answer;
		const headers = this.headersFor(exchange.request, exchange.isLastOnConnection);
		// The rest of such a body would have to be read before the next request on this connection.
		if (body.leavesUnread(this.parts.maxBodyBytes) && !(answer.ok && route.answer === "ndjson")) {
			headers.Connection = "close";
		}
		let isStreaming = false;
		try {
			if (!answer.ok) return this.#failure(answer.error, facts, headers, format);
			addFactHeaders(headers, facts);
			if (route.answer === "ndjson") {
				isStreaming = true;
				return this.#lines(route, exchange, answer.output as AsyncIterable<unknown>, facts, headers);
			}
			if (route.answer !== "json") return send(String(answer.output), route.status, headers, route.answer);
			return send(renderValue(answer.output, format), route.status, headers, format);
		} catch (cause) {
			return this.#failure(this.#internal(cause, facts.requestId), facts, headers, format);
		} finally {
			if (!isStreaming) exchange.onEnd();
		}
	}

	#lines(
		route: RestRoute,
		exchange: Exchange,
		output: AsyncIterable<unknown>,
		facts: AnswerFacts,
		headers: Record<string, string>,
	): Response {
		exchange.isOurTurn = false;
		const stream = lineStream(output, (value) => JSON.stringify(toWireValue(value)), exchange.request.signal, {
			onTurn: (isOurs) => {
				exchange.isOurTurn = isOurs;
			},
			lastLine: (cause) => errorBody(this.#asHiveError(cause, facts.requestId), facts.requestId),
			onEnd: () => exchange.onEnd(),
			onCleanupError: (cause) => this.#internal(cause, facts.requestId),
		});
		if (exchange.request.method !== "HEAD") return send(stream, route.status, headers, "ndjson");
		void stream.cancel();
		return send(null, route.status, headers, "ndjson");
	}

	#failure(error: HiveError, facts: AnswerFacts, headers: Record<string, string>, format: WireFormat): Response {
		addFactHeaders(headers, facts);
		const { http } = ERROR_TABLE[error.code];
		if (http === 401) headers["WWW-Authenticate"] = "Bearer";
		return send(renderValue(errorBody(error, facts.requestId), format), http, headers, format);
	}

	#asHiveError(cause: unknown, requestId: string): HiveError {
		return cause instanceof HiveError ? cause : this.#internal(cause, requestId);
	}

	/** A defect: the log gets it whole, the client only that it happened. */
	#internal(cause: unknown, requestId: string): HiveError {
		this.parts.log.error({ request_id: requestId, err: cause }, "a request failed unexpectedly");
		return new HiveError("INTERNAL", "something went wrong on our side", undefined, { cause });
	}
}

function errorBody(error: HiveError, requestId: string): ErrorBody {
	const { message, code, details } = error;
	return details === undefined
		? { error: message, code, request_id: requestId }
		: { error: message, code, details, request_id: requestId };
}

type Content = string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array> | null;

function renderValue(value: unknown, format: WireFormat): string | Uint8Array<ArrayBuffer> {
	const wire = toWireValue(value);
	return format === "json" ? JSON.stringify(wire) : encode(wire, { ignoreUndefined: true });
}

function send(
	content: Content,
	status: number,
	headers: Record<string, string>,
	type: keyof typeof CONTENT_TYPES,
): Response {
	headers["Content-Type"] = CONTENT_TYPES[type];
	return new Response(content, { status, headers });
}
