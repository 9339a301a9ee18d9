import { HiveError } from "../../base/errors.ts";
import type { Log } from "../../observe/log.ts";
import { addFactHeaders } from "../wire/answer-headers.ts";
import type { Mount, MountedAnswer, MountedArrival, MountedBody, MountedCall } from "../wire/mount.ts";
import { acceptedFormat } from "./accept-header.ts";
import type { BodyParser } from "./body-parser.ts";
import { callFacts } from "./call-facts.ts";
import type { CrossOrigin } from "./cross-origin.ts";
import { pacedStream } from "./paced-stream.ts";
import { hasForeignOrigin, isForeignPage } from "./page-origin.ts";
import { type BodyDeadlines, RequestBody } from "./request-body.ts";
import type { Exchange, RestAdapter } from "./rest-adapter.ts";
import { signedMessage } from "./signed-message.ts";

export interface MountAdapterParts {
	readonly rest: Pick<RestAdapter, "headersFor" | "requestId" | "refuse">;
	readonly log: Log;
	/** Whether the node can be reached from its own machine alone. */
	readonly isLoopbackOnly: boolean;
	readonly maxBodyBytes: number;
	readonly bodyDeadlines: BodyDeadlines;
	readonly bodyParser: BodyParser;
	readonly crossOrigin: CrossOrigin;
	/** Aborted when the server begins to stop. */
	readonly stopping: AbortSignal;
}

/** Requests to calls of mounts, their answers to responses like all others of this server. */
export class MountAdapter {
	readonly #parts: MountAdapterParts;
	readonly #isInvited: (origin: string) => boolean;

	constructor(parts: MountAdapterParts) {
		this.#parts = parts;
		this.#isInvited = (origin) => parts.crossOrigin.isInvited(origin);
	}

	/** Never rejects; `exchange.onEnd` is called when the last byte was made. */
	async answer({ path }: Mount, answer: NonNullable<Mount["answer"]>, exchange: Exchange): Promise<Response> {
		const call = this.callOf(path, exchange);
		let answered: MountedAnswer;
		try {
			answered = await answer(call);
		} catch (cause) {
			exchange.onEnd();
			return this.refuse(call, exchange, cause);
		}
		const { response, facts } = answered;
		this.#addHeaders(response.headers, call, exchange, facts);
		if (answered.isStream !== true || response.body === null) {
			exchange.onEnd();
			return response;
		}
		exchange.isOurTurn = false;
		const stream = pacedStream(response.body, call.signal, {
			onTurn: (isOurs) => {
				exchange.isOurTurn = isOurs;
			},
			onEnd: () => exchange.onEnd(),
			onError: (err) => this.#parts.log.error({ request_id: call.arrival.requestId, err }, "a stream broke off"),
		});
		const { status, headers } = response;
		if (call.request.method !== "HEAD") return new Response(stream, { status, headers });
		void stream.cancel();
		return new Response(null, { status, headers });
	}

	/** A call, as the mount sees it. */
	callOf(path: string, { request, pathValues, remoteAddress }: Exchange): HeldCall {
		const { maxBodyBytes, bodyDeadlines, bodyParser, isLoopbackOnly, rest, stopping } = this.#parts;
		const { headers, signal } = request;
		const body = new RequestBody(request, bodyDeadlines);
		const facts = callFacts(request, rest.requestId(request), remoteAddress, () =>
			isForeignPage(headers, isLoopbackOnly, this.#isInvited),
		);
		const arrival: MountedArrival = {
			...facts,
			get message() {
				return signedMessage(request, { path }, pathValues);
			},
		};
		const mounted: MountedBody = {
			declaredBytes: body.declaredBytes,
			read: (bytesMax = maxBodyBytes) => body.readWhole(Math.min(bytesMax, maxBodyBytes)),
			parse: (bytes) => bodyParser.parse(bytes, "json"),
		};
		return {
			request,
			arrival,
			hasForeignOrigin: hasForeignOrigin(headers, this.#isInvited),
			body: mounted,
			leavesUnread: () => body.leavesUnread(maxBodyBytes),
			signal,
			stopping,
		};
	}

	/** The answer to what a mount rejected with. */
	refuse(call: HeldCall, { isLastOnConnection }: Exchange, cause: unknown): Response {
		const { request, arrival } = call;
		const { rest, log } = this.#parts;
		const { requestId } = arrival;
		let error: HiveError;
		if (cause instanceof HiveError) error = cause;
		else {
			log.error({ request_id: requestId, err: cause }, "a request failed unexpectedly");
			error = new HiveError("INTERNAL", "something went wrong on our side", undefined, { cause });
		}
		const headers = rest.headersFor(request, isLastOnConnection || call.leavesUnread());
		return rest.refuse(error, requestId, acceptedFormat(request.headers.get("accept")) ?? "json", headers);
	}

	#addHeaders(headers: Headers, call: HeldCall, exchange: Exchange, facts: MountedAnswer["facts"]): void {
		// The rest of such a body would have to be read before the next request on this connection.
		const isLast = exchange.isLastOnConnection || call.leavesUnread();
		const ours = this.#parts.rest.headersFor(call.request, isLast);
		addFactHeaders(ours, facts ?? { requestId: call.arrival.requestId });
		for (const [name, value] of Object.entries(ours)) {
			if (!headers.has(name)) headers.set(name, value);
		}
	}
}

export interface HeldCall extends MountedCall {
	/** Whether bytes of the body are left that are not worth waiting for. */
	leavesUnread(): boolean;
}
