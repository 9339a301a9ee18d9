import type { ExecutionArgs, GraphQLError } from "graphql";
import { GRAPHQL_TRANSPORT_WS_PROTOCOL, makeServer, type Server } from "graphql-ws";
import { ERROR_TABLE, HiveError } from "../../base/errors.ts";
import type { Log } from "../../observe/log.ts";
import type { Admission, AnswerFacts, Arrival, Pipeline, Visit } from "../../operations/pipeline-types.ts";
import type { MountedCall, MountedSocket, SocketOpening, SocketSession } from "../wire/mount.ts";
import { arrivalOver } from "../wire/mounted-arrival.ts";
import { ConnectionCrowd, type Place } from "./connection-crowd.ts";
import type { MessageParams, ReadyDocument } from "./documents.ts";
import { presentedIn, showsKey } from "./graphql-arrival.ts";
import type { GraphqlEngine } from "./graphql-engine.ts";
import { AnswerErrors, asGraphqlError } from "./graphql-errors.ts";
import { GRAPHQL_LIMITS } from "./graphql-limits.ts";
import { MessageRun } from "./message-run.ts";

/** Of the protocol graphql-transport-ws, and of the WebSocket standard. */
const CLOSE = {
	tryAgainLater: 1013,
	badRequest: 4400,
	unauthorized: 4401,
	forbidden: 4403,
	slowReader: 4408,
	tooMany: 4429,
} as const;

export interface GraphqlSocketsParts {
	readonly pipeline: Pick<Pipeline, "admit">;
	readonly engine: GraphqlEngine;
	readonly log: Log;
}

/** One operation of a connection, as the library carries it from hook to hook. */
interface OperationAtWork {
	readonly ready: ReadyDocument;
	readonly params: MessageParams;
	readonly run: MessageRun;
	readonly messageBytes: number;
}

type Args = ExecutionArgs & { contextValue: OperationAtWork };

/** GraphQL over WebSocket, by the protocol graphql-transport-ws: subscriptions, and whatever else. */
export class GraphqlSockets {
	readonly #server: Server<GraphqlSocket>;
	readonly #crowd = new ConnectionCrowd(GRAPHQL_LIMITS);

	constructor(private readonly parts: GraphqlSocketsParts) {
		this.#server = makeServer<Record<string, unknown>, GraphqlSocket>({
			connectionInitWaitTimeout: GRAPHQL_LIMITS.initWaitMs,
			onConnect: ({ extra, connectionParams }) => extra.enter(connectionParams ?? {}),
			onSubscribe: ({ extra, subscriptions }, id, payload) =>
				extra.begin(id, payload as MessageParams, Object.keys(subscriptions).length),
			execute: (args) => {
				const { ready, params, run, messageBytes } = (args as Args).contextValue;
				return run.visit.inTurn(messageBytes, () => this.parts.engine.execute(ready, params, run));
			},
			subscribe: (args) => {
				const { ready, params, run, messageBytes } = (args as Args).contextValue;
				return run.visit.inTurn(messageBytes, () => this.parts.engine.subscribe(ready, params, run));
			},
			onNext: ({ extra }, _, __, ___, result) => extra.shownResult(result),
			onError: ({ extra }, _, __, errors) => errors.map((error) => extra.errors.shown(error).toJSON()),
			onComplete: ({ extra }, id) => extra.ended(id),
		});
	}

	async open(call: MountedCall): Promise<SocketOpening> {
		// Pages that CORS would keep from the answer of a request: a connection knows no CORS.
		if (call.hasForeignOrigin) {
			throw new HiveError("FORBIDDEN", "pages of this origin are not let in (server.cors.allowed_origins)");
		}
		const { pipeline, engine, log } = this.parts;
		const place = this.#crowd.enter(call.arrival.remoteAddress);
		let visit: Visit | undefined;
		try {
			if (showsKey(call.arrival)) visit = await this.#admitted(call);
		} catch (error) {
			place.leave();
			throw error;
		}
		return {
			...(visit !== undefined && { facts: visit.facts }),
			gone: () => place.leave(),
			start: (socket) => {
				const connection = new GraphqlSocket({
					arrival: call.arrival,
					admit: (arrival) => pipeline.admit(arrival, "connection"),
					engine,
					place,
					log,
					socket,
					visit,
				});
				connection.attach(this.#server);
				return connection;
			},
		};
	}

	/** @throws why they may not come in */
	async #admitted({ arrival }: MountedCall): Promise<Visit> {
		const admission = await this.parts.pipeline.admit(arrivalOver("graphql", arrival), "connection");
		if (!admission.ok) throw admission.error;
		return admission.visit;
	}
}

interface GraphqlSocketParts {
	readonly arrival: MountedCall["arrival"];
	readonly admit: (arrival: Arrival) => Promise<Admission>;
	readonly engine: GraphqlEngine;
	readonly place: Place;
	readonly log: Log;
	readonly socket: MountedSocket;
	readonly visit: Visit | undefined;
}

/** One connection: who is at the other end, what they have under way, and what they have not read yet. */
class GraphqlSocket implements SocketSession {
	readonly errors: AnswerErrors;
	readonly #parts: GraphqlSocketParts;
	readonly #gone = new AbortController();
	/** Of each operation under way. */
	readonly #ends = new Map<string, AbortController>();
	#visit: Visit | undefined;
	#renewal: Timer | undefined;
	#receive: ((text: string) => Promise<void>) | undefined;
	#libraryClosed: ((code?: number, reason?: string) => Promise<void>) | undefined;
	#messageBytes = 0;
	#messageCount = 0;
	#unread: PromiseWithResolvers<void> | undefined;
	#unreadTimer: Timer | undefined;

	constructor(parts: GraphqlSocketParts) {
		this.#parts = parts;
		this.#visit = parts.visit;
		this.errors = new AnswerErrors(parts.arrival.requestId, parts.log);
	}

	attach(server: Server<GraphqlSocket>): void {
		this.#libraryClosed = server.opened(
			{
				protocol: GRAPHQL_TRANSPORT_WS_PROTOCOL,
				send: (text) => this.#send(text),
				close: (code, reason) => this.#close(code ?? CLOSE.badRequest, reason ?? ""),
				onMessage: (receive) => {
					this.#receive = receive;
				},
			},
			this,
		);
	}

	message(text: string): void {
		// An operation's message is under way as long as the operation; pings and the like are short.
		if (this.#gone.signal.aborted) return;
		if (this.#messageCount >= 4 * GRAPHQL_LIMITS.operationsPerConnectionMax) {
			this.#close(CLOSE.tooMany, "too many messages at once");
			return;
		}
		this.#messageCount++;
		// The library asks for the operation before it lets go of the message.
		this.#messageBytes = Buffer.byteLength(text);
		this.#receive!(text)
			.catch((err: unknown) => {
				if (this.#gone.signal.aborted) return;
				this.#parts.log.debug({ request_id: this.#parts.arrival.requestId, err }, "a connection sent nonsense");
				this.#close(CLOSE.badRequest, "this is no message of graphql-transport-ws");
			})
			.finally(() => {
				this.#messageCount--;
			});
	}

	drained(): void {
		clearTimeout(this.#unreadTimer);
		this.#unread?.resolve();
		this.#unread = undefined;
	}

	closed(code: number, reason: string): void {
		this.#end();
		this.#libraryClosed!(code, reason).catch((err: unknown) =>
			this.#parts.log.error({ err }, "a GraphQL connection did not end cleanly"),
		);
	}

	/** `connection_init`. @returns what is acknowledged, or false when it was hung up on */
	async enter(params: Readonly<Record<string, unknown>>): Promise<Record<string, unknown> | false> {
		try {
			if (this.#visit === undefined) {
				const admission = await this.#parts.admit(
					arrivalOver("graphql", this.#parts.arrival, presentedIn(params, this.#parts.arrival)),
				);
				if (!admission.ok) return this.#refuse(admission.error);
				this.#visit = admission.visit;
			}
			if (this.#gone.signal.aborted) return false;
			this.#parts.place.settle(this.#visit.caller.homeTenantId);
		} catch (error) {
			return this.#refuse(error);
		}
		this.#renewal = setInterval(() => void this.renewed(), GRAPHQL_LIMITS.renewIntervalMs);
		return factsAnswer(this.#visit.facts);
	}

	/** A message asks for an operation. @returns what to run, or why not */
	async begin(id: string, params: MessageParams, underWayCount: number): Promise<Args | readonly GraphQLError[]> {
		const messageBytes = this.#messageBytes;
		const visit = this.#visit!;
		const refusal = await this.renewed();
		if (refusal !== undefined) return [asGraphqlError(refusal)];
		if (underWayCount > GRAPHQL_LIMITS.operationsPerConnectionMax) {
			const max = GRAPHQL_LIMITS.operationsPerConnectionMax;
			return [
				asGraphqlError(
					new HiveError("OVERLOADED", `a connection has at most ${max} operations under way`, {
						retry_after_seconds: 1,
					}),
				),
			];
		}
		const end = new AbortController();
		this.#ends.set(id, end);
		const run = new MessageRun(visit, AbortSignal.any([this.#gone.signal, end.signal]), async () => {
			const gone = await this.renewed();
			if (gone !== undefined) throw gone;
		});
		try {
			const ready = await visit.inTurn(messageBytes, () => this.#parts.engine.ready(params, run));
			if ("errors" in ready) return this.#notBegun(id, ready.errors);
			const { schema } = this.#parts.engine.documents;
			const contextValue: OperationAtWork = { ready, params, run, messageBytes };
			return {
				schema,
				document: ready.document,
				contextValue,
				...(typeof params.operationName === "string" && { operationName: params.operationName }),
			};
		} catch (error) {
			return this.#notBegun(id, [asGraphqlError(error as Error)]);
		}
	}

	ended(id: string): void {
		this.#ends.get(id)?.abort();
		this.#ends.delete(id);
	}

	/** Looks whether the caller may still be here, and hangs up if not. @returns why not */
	async renewed(): Promise<HiveError | undefined> {
		const refusal = await this.#visit?.renew();
		if (refusal !== undefined) this.#refuse(refusal);
		return refusal;
	}

	shownResult(result: {
		readonly errors?: readonly GraphQLError[] | undefined;
		readonly data?: Record<string, unknown> | null | undefined;
	}): Record<string, unknown> {
		const { errors, data } = result;
		return {
			...(errors !== undefined && { errors: errors.map((error) => this.errors.shown(error).toJSON()) }),
			...(data !== undefined && { data }),
			extensions: factsAnswer(this.#visit!.facts),
		};
	}

	#notBegun(id: string, errors: readonly GraphQLError[]): readonly GraphQLError[] {
		this.ended(id);
		return errors;
	}

	#refuse(thrown: unknown): false {
		const error = thrown instanceof HiveError ? thrown : undefined;
		if (error === undefined) this.#parts.log.error({ err: thrown }, "a GraphQL connection failed unexpectedly");
		this.#close(closeCodeOf(error), error === undefined ? "INTERNAL" : `${error.code}: ${error.message}`);
		return false;
	}

	/** Settles when the client has taken it: whoever reads slowly is told no more than it can read. */
	async #send(text: string): Promise<void> {
		if (this.#gone.signal.aborted) return;
		await this.#unread?.promise;
		if (this.#gone.signal.aborted || this.#parts.socket.send(text)) return;
		if (this.#unread === undefined) {
			this.#unread = Promise.withResolvers();
			this.#unreadTimer = setTimeout(
				() => this.#close(CLOSE.slowReader, "nothing was read for too long"),
				GRAPHQL_LIMITS.unreadWaitMs,
			);
		}
		await this.#unread.promise;
	}

	#close(code: number, reason: string): void {
		if (this.#gone.signal.aborted) return;
		this.#end();
		this.#parts.socket.close(code, shortened(reason));
	}

	/** Idempotent. */
	#end(): void {
		if (this.#gone.signal.aborted) return;
		this.#gone.abort();
		clearInterval(this.#renewal);
		this.drained();
		this.#parts.place.leave();
	}
}

function closeCodeOf(error: HiveError | undefined): number {
	const status = error === undefined ? 500 : ERROR_TABLE[error.code].http;
	if (status === 401) return CLOSE.unauthorized;
	if (status === 429) return CLOSE.tooMany;
	if (status >= 500) return CLOSE.tryAgainLater;
	return status === 400 ? CLOSE.badRequest : CLOSE.forbidden;
}

/** A frame that closes has room for 123 bytes. */
const shortened = (reason: string): string => {
	let text = reason;
	while (Buffer.byteLength(text) > 120) text = text.slice(0, -1);
	return text;
};

/** What an answer over HTTP says in headers. */
function factsAnswer({ requestId, tenantId, rateLimit, storage, keyDeprecatedUntil }: AnswerFacts) {
	return {
		request_id: requestId,
		...(tenantId !== undefined && { tenant_id: tenantId }),
		...(rateLimit !== undefined && {
			rate_limit: { limit: rateLimit.limit, remaining: rateLimit.remaining, reset: rateLimit.resetUnixSeconds },
		}),
		...(storage !== undefined && { storage: { used: storage.usedBytes, quota: storage.quotaBytes } }),
		...(keyDeprecatedUntil !== undefined && { key_expires: keyDeprecatedUntil }),
	};
}
