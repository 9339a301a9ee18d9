import type { ImportLine } from "../../src/api/rest/ndjson-lines.ts";
import { ERROR_TABLE, isErrorCode } from "../../src/base/errors.ts";
import { CommandFailure, EXIT, failureFromAnswer } from "./failure.ts";

export interface McpNode {
	readonly url: URL;
	readonly apiKey: string | undefined;
	/** The tenant an admin acts in. */
	readonly tenant: string | undefined;
	readonly userAgent: string;
	/** To connect, and for what is unanswered when nothing more comes in. */
	readonly timeoutMs: number;
}

/** Of a WebSocket, RFC 6455. */
const POLICY_VIOLATION = 1008;

/** Carries MCP messages between a client that speaks lines (stdio) and a node that speaks WebSocket. Understands of them what is a question, and what an answer. */
export class McpBridge {
	/** Questions that the node has not answered, as JSON of their ids. */
	readonly #unanswered = new Set<string>();
	#whenAnswered: (() => void) | undefined;
	#writing: Promise<unknown> = Promise.resolve();

	constructor(
		private readonly node: McpNode,
		/** One message with its line break. @returns false when nobody reads any more */
		private readonly write: (line: Uint8Array) => Promise<boolean>,
		private readonly note: (message: string) => void,
	) {}

	/**
	 * Carries until the lines end or nobody reads what comes back.
	 *
	 * @throws CommandFailure when the node can't be reached, refuses the caller, or goes away
	 */
	async carry(lines: AsyncIterable<ImportLine>): Promise<void> {
		const { socket, closed } = await this.#connect();
		const readerGone = Promise.withResolvers<"done">();
		socket.onmessage = ({ data }) => {
			const text = String(data);
			this.#writing = this.#writing
				.then(() => this.#tell(text))
				.then((isRead) => {
					if (!isRead) readerGone.resolve("done");
				}, readerGone.reject);
		};
		try {
			const outcome = await Promise.race([this.#send(lines, socket), readerGone.promise, closed]);
			if (outcome === "done") return;
			await this.#writing;
			await this.#refuseUnanswered();
			throw goneFailure(this.node.url, outcome);
		} finally {
			socket.close(1000);
		}
	}

	async #connect(): Promise<{ socket: WebSocket; closed: Promise<CloseEvent> }> {
		const { url, timeoutMs } = this.node;
		const place = new URL(url);
		place.protocol = url.protocol === "https:" ? "wss:" : "ws:";
		place.pathname = `${url.pathname.replace(/\/+$/, "")}/mcp/ws`;
		const socket = new WebSocket(place, { protocols: ["mcp"], headers: this.#headers() });
		const closed = new Promise<CloseEvent>((resolve) => {
			socket.onclose = resolve;
		});
		const opened = new Promise<"opened">((resolve) => {
			socket.onopen = () => resolve("opened");
		});
		const timeout = AbortSignal.timeout(timeoutMs);
		const late = new Promise<"late">((resolve) => timeout.addEventListener("abort", () => resolve("late")));
		if ((await Promise.race([opened, closed, late])) === "opened") return { socket, closed };
		socket.close();
		throw await this.#refusal();
	}

	/** A refused handshake does not tell why; the same question over HTTP does. */
	async #refusal(): Promise<CommandFailure> {
		const { url, timeoutMs } = this.node;
		const place = new URL(url);
		place.pathname = `${url.pathname.replace(/\/+$/, "")}/mcp`;
		try {
			const response = await fetch(place, {
				method: "POST",
				headers: {
					...this.#headers(),
					"content-type": "application/json",
					accept: "application/json, text/event-stream",
				},
				body: '{"jsonrpc":"2.0","id":0,"method":"ping"}',
				redirect: "manual",
				signal: AbortSignal.timeout(timeoutMs),
			});
			const body: unknown = await response.json().catch(() => undefined);
			if (response.ok) {
				return new CommandFailure("UNREACHABLE", EXIT.unreachable, `${url.origin} does not let WebSocket through`, {
					advice: "is there a proxy that does not pass on upgrades?",
				});
			}
			return failureFromAnswer(response.status, restBody(body));
		} catch (cause) {
			const advice = "is a node running there? `hive-vector serve` starts one, `hive-vector doctor` looks closer";
			return new CommandFailure(
				"UNREACHABLE",
				EXIT.unreachable,
				`${url.origin} can't be reached`,
				{ advice },
				{ cause },
			);
		}
	}

	#headers(): Record<string, string> {
		const { apiKey, tenant, userAgent } = this.node;
		return {
			"user-agent": userAgent,
			...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }),
			...(tenant !== undefined && { "x-tenant-id": tenant }),
		};
	}

	async #send(lines: AsyncIterable<ImportLine>, socket: WebSocket): Promise<"done"> {
		for await (const line of lines) {
			if ("error" in line) {
				this.note(`line ${line.line} was left out: ${line.error}`);
				continue;
			}
			const message = fieldsOf(line.text);
			if (isId(message.id) && typeof message.method === "string") this.#unanswered.add(JSON.stringify(message.id));
			const cancelled = message.method === "notifications/cancelled" ? fieldsIn(message.params).requestId : undefined;
			if (isId(cancelled)) this.#forget(cancelled);
			socket.send(line.text);
		}
		await this.#allAnswered();
		await this.#writing;
		return "done";
	}

	async #allAnswered(): Promise<void> {
		if (this.#unanswered.size === 0) return;
		const timeout = AbortSignal.timeout(this.node.timeoutMs);
		await new Promise<void>((resolve) => {
			this.#whenAnswered = resolve;
			timeout.addEventListener("abort", () => resolve());
		});
	}

	async #tell(text: string): Promise<boolean> {
		const isRead = await this.write(Buffer.from(`${text}\n`));
		const message = fieldsOf(text);
		if (isId(message.id) && message.method === undefined) this.#forget(message.id);
		return isRead;
	}

	#forget(id: string | number): void {
		this.#unanswered.delete(JSON.stringify(id));
		if (this.#unanswered.size === 0) this.#whenAnswered?.();
	}

	/** Whoever waits for an answer is told that none will come. */
	async #refuseUnanswered(): Promise<void> {
		for (const id of this.#unanswered) {
			const error = `{"code":${ERROR_TABLE.NODE_DRAINING.jsonRpc},"message":"the node closed the connection"}`;
			if (!(await this.write(Buffer.from(`{"jsonrpc":"2.0","id":${id},"error":${error}}\n`)))) return;
		}
	}
}

type Fields = Readonly<Record<string, unknown>>;

const isId = (value: unknown): value is string | number => typeof value === "string" || typeof value === "number";

const fieldsIn = (value: unknown): Fields => (typeof value === "object" && value !== null ? (value as Fields) : {});

/** What is no JSON is the node's to refuse. */
function fieldsOf(text: string): Fields {
	try {
		return fieldsIn(JSON.parse(text));
	} catch {
		return {};
	}
}

/** A JSON-RPC error, in the form of REST's. */
function restBody(body: unknown): unknown {
	const error = fieldsIn(fieldsIn(body).error);
	const { code, request_id, ...details } = fieldsIn(error.data);
	return typeof code === "string" ? { error: error.message, code, details, request_id } : body;
}

function goneFailure({ origin }: URL, { code, reason }: CloseEvent): CommandFailure {
	if (code === POLICY_VIOLATION && isErrorCode(reason)) {
		return new CommandFailure(reason, ERROR_TABLE[reason].exit, `${origin} ended the connection: ${reason}`);
	}
	const why = reason === "" ? `with code ${code}` : `: ${reason}`;
	return new CommandFailure("UNREACHABLE", EXIT.unreachable, `${origin} closed the connection ${why}`);
}
