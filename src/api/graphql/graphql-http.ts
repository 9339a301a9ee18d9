import type { ExecutionResult, GraphQLError } from "graphql";
import {
	createHandler,
	type Response as Handled,
	type Request as HandlerRequest,
	parseRequestParams,
} from "graphql-http";
import { ERROR_TABLE, HiveError } from "../../base/errors.ts";
import type { Log } from "../../observe/log.ts";
import type { AnswerFacts, Pipeline, Visit } from "../../operations/pipeline-types.ts";
import type { MountedAnswer, MountedCall } from "../wire/mount.ts";
import { arrivalOver } from "../wire/mounted-arrival.ts";
import type { MessageParams, ReadyDocument } from "./documents.ts";
import type { GraphqlEngine } from "./graphql-engine.ts";
import { AnswerErrors } from "./graphql-errors.ts";
import { MessageRun } from "./message-run.ts";

const JSON_TYPE = "application/json; charset=utf-8";
const RESPONSE_TYPE = "application/graphql-response+json";
const OVERDUE_RETRY_SECONDS = 5;

export interface GraphqlHttpParts {
	readonly pipeline: Pick<Pipeline, "admit">;
	readonly engine: GraphqlEngine;
	readonly log: Log;
	/** For one message, its body not counted. */
	readonly timeoutSeconds: number;
}

/** One message at work. */
interface Work {
	readonly call: MountedCall;
	readonly visit: Visit;
	readonly run: MessageRun;
	readonly errors: AnswerErrors;
	readonly timeout: Timeout;
}

/** GraphQL over HTTP, as its specification has it. Decides nothing about what a caller may do. */
export class GraphqlHttp {
	readonly #parts: GraphqlHttpParts;

	constructor(parts: GraphqlHttpParts) {
		this.#parts = parts;
	}

	async answer(call: MountedCall): Promise<MountedAnswer> {
		const { pipeline, log, timeoutSeconds } = this.#parts;
		const errors = new AnswerErrors(call.arrival.requestId, log);
		const admission = await pipeline.admit(arrivalOver("graphql", call.arrival), "message");
		if (!admission.ok) return refused(call, errors, admission.error, admission.facts);
		const { visit } = admission;
		const timeout = new Timeout(call.signal, timeoutSeconds);
		const run = new MessageRun(visit, timeout.signal);
		try {
			const work = visit.inTurn(call.body.declaredBytes, () => this.#handle({ call, visit, run, errors, timeout }));
			// What takes too long goes on unheard, until it notices that it was given up.
			const response = await Promise.race([work, timeout.passed]);
			return { response, facts: visit.facts };
		} catch (thrown) {
			const error = timeout.signal.reason instanceof HiveError ? timeout.signal.reason : thrown;
			if (!run.isPaid) await run.pay();
			return refused(call, errors, error as Error, visit.facts);
		} finally {
			timeout.end();
		}
	}

	async #handle({ call, visit, run, errors, timeout }: Work): Promise<Response> {
		const { request } = call;
		const { engine } = this.#parts;
		const body = await this.#body(call, visit);
		timeout.start();
		let ready: ReadyDocument | undefined;
		let asked: MessageParams | undefined;
		let failedBefore = false;
		// The handler would write with a function that looks at each value, of vectors at each number: it gets a stand-in.
		let done: ExecutionResult | undefined;
		const handler = createHandler<undefined, undefined>({
			parseRequestParams: readParams,
			onSubscribe: async ({ method }, params) => {
				asked = params;
				const found = await engine.ready(params, run);
				if ("errors" in found) return found.errors;
				if (method === "GET" && found.operation.operation === "mutation") {
					return methodNotAllowed(errors);
				}
				ready = found;
				return { schema: engine.documents.schema, document: found.document, operationName: params.operationName };
			},
			execute: async () => {
				const result = await engine.execute(ready!, asked!, run);
				failedBefore = !("data" in result);
				if (failedBefore) return result;
				done = result;
				return { data: null };
			},
			formatError: (error) => errors.shown(error),
		});
		const [written, init] = await handler({
			// Whoever asks for the head alone gets that of the answer.
			method: request.method === "HEAD" ? "GET" : request.method,
			url: request.url,
			headers: request.headers,
			body,
			raw: undefined,
			context: undefined,
		});
		if (!run.isPaid) {
			const refusal = await run.pay();
			if (refusal !== undefined) throw refusal;
		}
		if (written === null) throw refusalOf(init.status);
		const text = done === undefined ? written : textOf(done, errors);
		const headers = new Headers(init.headers as Record<string, string>);
		const isRefused = failedBefore && headers.get("content-type")?.startsWith(RESPONSE_TYPE) === true;
		return new Response(text, { status: isRefused ? 400 : init.status, headers });
	}

	/** The message's fields; null where it stands in the address. The whole body is checked before any of it is believed. */
	async #body({ request, body }: MountedCall, visit: Visit): Promise<Record<string, unknown> | null> {
		const isPost = request.method === "POST";
		if (isPost) requireJson(request.headers);
		const bytes = await body.read();
		visit.checkBody(bytes);
		return isPost ? await body.parse(bytes) : null;
	}
}

const textOf = ({ data, errors: failures }: ExecutionResult, errors: AnswerErrors): string =>
	JSON.stringify({ ...(failures !== undefined && { errors: failures.map((error) => errors.shown(error)) }), data });

/** What is malformed before GraphQL has a say answers 400, whatever was accepted. */
async function readParams(request: HandlerRequest<undefined, undefined>) {
	try {
		return await parseRequestParams(request);
	} catch (cause) {
		const message = cause instanceof Error ? cause.message : String(cause);
		throw new HiveError("VALIDATION_FAILED", message.toLowerCase(), undefined, { cause });
	}
}

/** @throws UNSUPPORTED_MEDIA_TYPE */
function requireJson(headers: Headers): void {
	const [mediaType = "", ...params] = (headers.get("content-type") ?? "").toLowerCase().split(";");
	const charset = params.map((param) => param.trim()).find((param) => param.startsWith("charset="));
	if (mediaType.trim() === "application/json" && (charset ?? "charset=utf-8").replaceAll('"', "") === "charset=utf-8") {
		return;
	}
	throw new HiveError("UNSUPPORTED_MEDIA_TYPE", "a GraphQL request is application/json in UTF-8", {
		supported: ["application/json"],
	});
}

function methodNotAllowed(errors: AnswerErrors): Handled {
	const error = new HiveError("METHOD_NOT_ALLOWED", "mutations are sent by POST", { allowed: ["POST"] });
	return [
		JSON.stringify({ errors: [errors.shown(error)] }),
		{ status: 405, statusText: "Method Not Allowed", headers: { allow: "POST", "content-type": JSON_TYPE } },
	];
}

/** What the handler refuses without a word. */
const refusalOf = (status: number): HiveError =>
	status === 406
		? new HiveError("NOT_ACCEPTABLE", `this answers ${RESPONSE_TYPE} or application/json`)
		: new HiveError("UNSUPPORTED_MEDIA_TYPE", "a GraphQL request is application/json in UTF-8");

/** The answer to what never got as far as GraphQL, with the status that REST gives it. */
function refused({ request }: MountedCall, errors: AnswerErrors, error: Error, facts: AnswerFacts): MountedAnswer {
	const shown: GraphQLError = errors.shown(error);
	const status = ERROR_TABLE[error instanceof HiveError ? error.code : "INTERNAL"].http;
	const accepts = request.headers.get("accept")?.toLowerCase().includes(RESPONSE_TYPE) === true;
	const headers = new Headers({ "Content-Type": accepts ? `${RESPONSE_TYPE}; charset=utf-8` : JSON_TYPE });
	if (status === 401) headers.set("WWW-Authenticate", "Bearer");
	return { response: new Response(JSON.stringify({ errors: [shown] }), { status, headers }), facts };
}

/** Gives a message up when it takes too long, or when its client has gone. */
class Timeout {
	readonly #abortion = new AbortController();
	readonly #client: AbortSignal;
	readonly #seconds: number;
	readonly #passed = Promise.withResolvers<never>();
	#timer: Timer | undefined;

	constructor(client: AbortSignal, seconds: number) {
		this.#client = client;
		this.#seconds = seconds;
		this.#passed.promise.catch(() => {});
		if (client.aborted) this.#follow();
		else client.addEventListener("abort", this.#follow, { once: true });
	}

	get signal(): AbortSignal {
		return this.#abortion.signal;
	}

	/** Rejects when the time is up. */
	get passed(): Promise<never> {
		return this.#passed.promise;
	}

	/** A body has deadlines of its own: the time begins after it. */
	start(): void {
		this.#timer = setTimeout(() => {
			const error = new HiveError(
				"OVERLOADED",
				"this took too long and was given up; what was asked for may have been done all the same, or be done yet",
				{ retry_after_seconds: OVERDUE_RETRY_SECONDS },
			);
			this.#abortion.abort(error);
			this.#passed.reject(error);
		}, this.#seconds * 1000);
	}

	end(): void {
		clearTimeout(this.#timer);
		this.#client.removeEventListener("abort", this.#follow);
	}

	readonly #follow = (): void => this.#abortion.abort(this.#client.reason);
}
