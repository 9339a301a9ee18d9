import type { BodyCheck, RequestMessage } from "../../access/message-signature.ts";
import type { PipelineRequest } from "../../operations/pipeline-types.ts";
import type { CallFacts } from "./call-facts.ts";
import type { Patience } from "./overdue-watch.ts";
import type { Turn } from "./request-body.ts";
import { type InputSource, readRequestInput } from "./request-input.ts";
import { signedMessage } from "./signed-message.ts";

/** A request for an operation, as the pipeline sees it. What most operations never ask for is made only when asked for. */
export class RestCall implements PipelineRequest, Patience {
	readonly operation: string;
	readonly credentials: PipelineRequest["credentials"];
	declare readonly actingTenant?: string;
	readonly requestId: string;
	readonly remoteAddress: string;
	readonly protocol = "rest";
	ticksLeft = 0;
	/** Set by who waits for the answer. */
	onOverdue: (() => void) | undefined;
	#isReading = false;
	#abortion: AbortController | undefined;
	#abortReason: unknown;

	constructor(
		private readonly source: InputSource,
		facts: CallFacts,
	) {
		this.operation = source.route.operation.name;
		this.credentials = facts.credentials;
		if (facts.actingTenant !== undefined) this.actingTenant = facts.actingTenant;
		this.requestId = facts.requestId;
		this.remoteAddress = facts.remoteAddress;
	}

	/** Aborted when the client goes away or the operation is given up. */
	get signal(): AbortSignal {
		this.#abortion ??= this.#followRequest();
		return this.#abortion.signal;
	}

	get message(): RequestMessage {
		const { request, route, pathValues } = this.source;
		return signedMessage(request, route, pathValues);
	}

	/** What no operation reads is not waited for either. */
	get bodyBytes(): number | undefined {
		return this.source.route.operation.rest.body === undefined ? 0 : this.source.body.declaredBytes;
	}

	/** A body has deadlines of its own. */
	get isPaused(): boolean {
		return this.#isReading;
	}

	readInput(checkBody?: BodyCheck, turn?: Turn): Promise<unknown> {
		const hasBody = checkBody !== undefined || this.source.route.operation.rest.body !== undefined;
		return hasBody ? this.#readBody(checkBody, turn) : readRequestInput(this.source);
	}

	async #readBody(checkBody: BodyCheck | undefined, turn: Turn | undefined): Promise<unknown> {
		this.#isReading = true;
		try {
			return await readRequestInput(this.source, checkBody, turn);
		} finally {
			this.#isReading = false;
		}
	}

	giveUp(): void {
		this.onOverdue?.();
	}

	abort(reason: unknown): void {
		this.#abortReason = reason;
		this.#abortion?.abort(reason);
	}

	#followRequest(): AbortController {
		const { signal } = this.source.request;
		const abortion = new AbortController();
		if (this.#abortReason !== undefined) abortion.abort(this.#abortReason);
		else if (signal.aborted) abortion.abort(signal.reason);
		else signal.addEventListener("abort", () => abortion.abort(signal.reason), { once: true });
		return abortion;
	}
}
