import {
	createMcpHandler,
	isJsonContentType,
	isLegacyRequest,
	type McpHttpHandler,
	WebStandardStreamableHTTPServerTransport,
} from "@modelcontextprotocol/server";
import { ERROR_TABLE, HiveError } from "../../base/errors.ts";
import type { Log } from "../../observe/log.ts";
import type { AnswerFacts, Pipeline, Visit } from "../../operations/pipeline-types.ts";
import type { MountedAnswer, MountedBody, MountedCall } from "../wire/mount.ts";
import { arrivalOver } from "../wire/mounted-arrival.ts";
import type { TenantShares } from "../wire/tenant-shares.ts";
import { McpDesk } from "./mcp-desk.ts";
import { parseError, type RpcError, type RpcId, rpcAnswer, rpcError, tooManyAtOnce } from "./mcp-errors.ts";
import { MCP_LIMITS } from "./mcp-limits.ts";
import { idIn, type McpMessage, messagesOf, wantsProgress } from "./mcp-message.ts";
import type { McpSurface } from "./mcp-surface.ts";

export interface McpHttpParts {
	readonly pipeline: Pick<Pipeline, "admit">;
	readonly surface: McpSurface;
	/** Requests under way. */
	readonly shares: TenantShares;
	readonly nowMs: () => number;
	readonly log: Pick<Log, "error">;
}

export const foreignOrigin = (): HiveError =>
	new HiveError("FORBIDDEN", "web pages of this origin may not speak MCP here", { field: "Origin" });

/** Streamable HTTP in both eras, without sessions: each request stands for itself. */
export class McpHttp {
	readonly #parts: McpHttpParts;
	readonly #modern: McpHttpHandler;

	constructor(parts: McpHttpParts) {
		this.#parts = parts;
		this.#modern = createMcpHandler(({ authInfo }) => parts.surface.serverFor(authInfo!.extra!.desk as McpDesk), {
			legacy: "reject",
		});
	}

	readonly answer = async (call: MountedCall): Promise<MountedAnswer> => {
		const { arrival, body } = call;
		const { requestId } = arrival;
		if (call.hasForeignOrigin) return refusal(foreignOrigin(), { requestId }, null);
		const admission = await this.#parts.pipeline.admit(arrivalOver("mcp", arrival), "message");
		if (!admission.ok) return refusal(admission.error, admission.facts, await idOfRefused(body));
		const { visit } = admission;
		const release = this.#parts.shares.take(visit.caller.tenant.id);
		if (release === undefined) return refusal(this.#tooMany(), visit.facts, await idOfRefused(body));
		const answered = Promise.withResolvers<MountedAnswer>();
		visit
			.inTurn(body.declaredBytes, () => this.#work(call, visit, answered.resolve))
			.catch((thrown: unknown) => {
				const error = thrown instanceof HiveError ? thrown : undefined;
				if (error === undefined) answered.reject(thrown);
				else answered.resolve(refusal(error, visit.facts, null));
			})
			.finally(release);
		return answered.promise;
	};

	/** Reads and answers. Settles when nothing that was asked for is under way any more. */
	async #work(call: MountedCall, visit: Visit, answer: (answer: MountedAnswer) => void): Promise<void> {
		const { request, body, arrival } = call;
		const { surface } = this.#parts;
		const { requestId } = arrival;
		const desk = new McpDesk(visit, requestId);
		if (!isJsonContentType(request.headers.get("content-type"))) {
			const error = new HiveError("UNSUPPORTED_MEDIA_TYPE", "the body must be application/json");
			await visit.charge("mcp.unknown");
			answer(refusal(error, visit.facts, null));
			return;
		}
		const bytes = await body.read();
		visit.checkBody(bytes);
		let parsedBody: unknown;
		let messages: readonly McpMessage[];
		try {
			parsedBody = await parseBody(body, bytes);
			if (Array.isArray(parsedBody)) requireBatches(request.headers.get("mcp-protocol-version"));
			messages = messagesOf(parsedBody);
		} catch (error) {
			if (!(error instanceof HiveError)) throw error;
			await visit.charge("mcp.unknown");
			answer(failure(error, parseError(error, requestId), visit.facts, null));
			return;
		}
		const soleId = Array.isArray(parsedBody) ? null : (messages[0]!.id ?? null);
		const running = messages.filter((message) => surface.runsOperation(message));
		const others =
			running.length > 1 ? this.#parts.shares.take(visit.caller.tenant.id, running.length - 1) : noneToRelease;
		if (others === undefined) {
			answer(refusal(this.#tooMany(), visit.facts, soleId));
			return;
		}
		try {
			for (const message of messages) {
				const error = await desk.charge(message, running.includes(message));
				if (error === undefined) continue;
				answer(refusal(error, visit.facts, soleId));
				return;
			}
			const response = await this.#serve(request, parsedBody, messages, desk);
			const isStream = response.headers.get("content-type")?.startsWith("text/event-stream") === true;
			if (!isStream || response.body === null) {
				answer({ response, facts: visit.facts });
				for (const { id } of messages) if (id !== undefined && id !== null) await desk.idle(id);
				return;
			}
			const { stream, ended } = tapped(response.body);
			const { status, headers } = response;
			answer({ response: new Response(stream, { status, headers }), facts: visit.facts, isStream: true });
			await Promise.race([ended, desk.finished(running.length)]);
		} finally {
			others();
		}
	}

	async #serve(
		request: Request,
		parsedBody: unknown,
		messages: readonly McpMessage[],
		desk: McpDesk,
	): Promise<Response> {
		const authInfo = { token: "", clientId: desk.visit.caller.tenant.id, scopes: [], extra: { desk } };
		// The body was read; what is left of the request are its headers and the signal.
		const head = new Request(request.url, { method: "POST", headers: request.headers, signal: request.signal });
		if (!(await isLegacyRequest(head, parsedBody))) return await this.#modern.fetch(head, { authInfo, parsedBody });
		const server = this.#parts.surface.serverFor(desk);
		const transport = new WebStandardStreamableHTTPServerTransport({
			enableJsonResponse: !messages.some(wantsProgress),
		});
		await server.connect(transport);
		const end = (): void => {
			server.close().catch((err: unknown) => this.#parts.log.error({ err }, "an MCP exchange did not end cleanly"));
		};
		request.signal.addEventListener("abort", end, { once: true });
		const response = await transport.handleRequest(head, { parsedBody });
		if (response.headers.get("content-type")?.startsWith("text/event-stream") !== true) end();
		return response;
	}

	#tooMany(): HiveError {
		const { shares, nowMs } = this.#parts;
		return tooManyAtOnce(shares.perTenantMax, MCP_LIMITS.busyRetrySeconds, nowMs());
	}
}

const noneToRelease = (): void => {};

const OPENING_BRACKET = 0x5b;

/** A batch is a field of an object to the parser, which takes nothing else. */
async function parseBody(body: MountedBody, bytes: Uint8Array): Promise<unknown> {
	const first = bytes.find((byte) => byte > 0x20);
	if (first === undefined) throw new HiveError("VALIDATION_FAILED", "the body is empty");
	if (first !== OPENING_BRACKET) return await body.parse(bytes);
	const wrapped = Buffer.concat([Buffer.from('{"batch":'), bytes, Buffer.from("}")]);
	return (await body.parse(wrapped)).batch;
}

/** The first revision without batches. A client that says none is older. */
const WITHOUT_BATCHES = "2025-06-18";

function requireBatches(revision: string | null): void {
	if (revision === null || revision < WITHOUT_BATCHES) return;
	throw new HiveError("VALIDATION_FAILED", `revision ${revision.slice(0, 20)} has no batches: send one message`, {
		field: "body",
	});
}

/** Reading what is small costs no more than throwing it away, and the caller then knows which of its requests was refused. */
async function idOfRefused(body: MountedBody): Promise<RpcId> {
	const { declaredBytes } = body;
	if (declaredBytes === undefined || declaredBytes > MCP_LIMITS.refusedBodyBytesMax) return null;
	return await body.read().then(idIn, () => null);
}

const refusal = (error: HiveError, facts: AnswerFacts, id: RpcId): MountedAnswer =>
	failure(error, rpcError(error, facts.requestId), facts, id);

function failure(error: HiveError, told: RpcError, facts: AnswerFacts, id: RpcId): MountedAnswer {
	const { http } = ERROR_TABLE[error.code];
	const headers: Record<string, string> = http === 401 ? { "WWW-Authenticate": "Bearer" } : {};
	const seconds = error.details?.retry_after_seconds;
	if (typeof seconds === "number") headers["Retry-After"] = String(Math.max(1, Math.ceil(seconds)));
	return { response: Response.json(rpcAnswer(id, told), { status: http, headers }), facts };
}

/** The same stream, and when it is over or given up. */
function tapped(source: ReadableStream<Uint8Array>): { stream: ReadableStream<Uint8Array>; ended: Promise<void> } {
	const { promise: ended, resolve } = Promise.withResolvers<void>();
	const reader = source.getReader();
	const stream = new ReadableStream<Uint8Array>(
		{
			async pull(controller) {
				try {
					const { value, done } = await reader.read();
					if (!done) {
						controller.enqueue(value);
						return;
					}
					controller.close();
				} catch (cause) {
					controller.error(cause);
				}
				resolve();
			},
			async cancel(reason) {
				resolve();
				await reader.cancel(reason);
			},
		},
		{ highWaterMark: 0 },
	);
	return { stream, ended };
}
