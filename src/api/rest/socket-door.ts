import { HiveError } from "../../base/errors.ts";
import type { Log } from "../../observe/log.ts";
import { addFactHeaders } from "../wire/answer-headers.ts";
import type { MountedSocket, SocketEndpoint, SocketOpening, SocketSession } from "../wire/mount.ts";
import type { MountAdapter } from "./mount-adapter.ts";
import type { Exchange } from "./rest-adapter.ts";
import { REST_LIMITS } from "./rest-limits.ts";

/** RFC 6455, section 7.4.1. */
const GOING_AWAY = 1001;
const UNSUPPORTED_DATA = 1003;
const MESSAGE_TOO_BIG = 1009;

/** What hangs on a connection of Bun's. */
interface Connection {
	readonly endpoint: SocketEndpoint;
	readonly opening: SocketOpening;
	session: SocketSession | undefined;
	raw: Bun.ServerWebSocket<Connection> | undefined;
}

type UpgradingServer = Pick<Bun.Server<unknown>, "upgrade">;

/** WebSocket connections of all mounts: lets them in, hands their messages on, and closes them when the server stops. */
export class SocketDoor {
	readonly #open = new Set<Connection>();
	readonly #mounts: MountAdapter;
	readonly #log: Log;
	#openingCount = 0;
	#isStopping = false;

	constructor(mounts: MountAdapter, log: Log) {
		this.#mounts = mounts;
		this.#log = log;
	}

	/** What Bun's listener is to do with connections. */
	handlers(endpoints: readonly SocketEndpoint[]): Bun.WebSocketHandler<Connection> {
		return {
			maxPayloadLength: Math.max(0, ...endpoints.map(({ messageBytesMax }) => messageBytesMax)),
			idleTimeout: REST_LIMITS.socketIdleSeconds,
			sendPings: true,
			backpressureLimit: REST_LIMITS.socketWaitingBytesMax,
			closeOnBackpressureLimit: true,
			open: (raw) => this.#start(raw),
			message: (raw, message) => receive(raw, message),
			drain: ({ data }) => data.session?.drained?.(),
			close: ({ data }, code, reason) => {
				this.#open.delete(data);
				data.raw = undefined;
				data.session?.closed(code, reason);
			},
		};
	}

	/** @returns undefined when the connection is upgraded, or gone. */
	async admit(
		path: string,
		endpoint: SocketEndpoint,
		exchange: Exchange,
		server: UpgradingServer,
	): Promise<Response | undefined> {
		const call = this.#mounts.callOf(path, exchange);
		const { request } = exchange;
		const { arrival } = call;
		let opening: SocketOpening;
		let subprotocol: string | undefined;
		try {
			subprotocol = agreedSubprotocol(request.headers, endpoint);
			this.#requireRoom();
			this.#openingCount++;
			try {
				opening = await endpoint.open(call, subprotocol);
			} finally {
				this.#openingCount--;
			}
		} catch (cause) {
			exchange.onEnd();
			return this.#mounts.refuse(call, exchange, cause);
		}
		exchange.onEnd();
		const headers: Record<string, string> = {};
		addFactHeaders(headers, opening.facts ?? { requestId: arrival.requestId });
		if (subprotocol !== undefined) headers["Sec-WebSocket-Protocol"] = subprotocol;
		const data: Connection = { endpoint, opening, session: undefined, raw: undefined };
		if (server.upgrade(request, { headers, data })) return undefined;
		opening.gone();
		return this.#mounts.refuse(
			call,
			exchange,
			new HiveError("VALIDATION_FAILED", "this is no WebSocket handshake that can be answered"),
		);
	}

	/** Tells every client that the server goes away. */
	stop(): void {
		this.#isStopping = true;
		for (const { raw } of this.#open) raw?.close(GOING_AWAY, "the node is stopping");
	}

	get openCount(): number {
		return this.#open.size;
	}

	#requireRoom(): void {
		if (this.#isStopping) throw new HiveError("NODE_DRAINING", "the node is stopping");
		if (this.#open.size + this.#openingCount < REST_LIMITS.socketsMax) return;
		throw new HiveError("OVERLOADED", "too many connections are open", { retry_after_seconds: 5 });
	}

	#start(raw: Bun.ServerWebSocket<Connection>): void {
		const { data } = raw;
		data.raw = raw;
		this.#open.add(data);
		const socket: MountedSocket = {
			// -1: it waits; 0: it was dropped, and the connection with it.
			send: (text) => (data.raw?.send(text) ?? 0) > 0,
			close: (code, reason) => data.raw?.close(code, reason),
		};
		try {
			data.session = data.opening.start(socket);
		} catch (err) {
			this.#log.error({ err }, "a connection could not be started");
			raw.close(1011, "something went wrong on our side");
			return;
		}
		if (this.#isStopping) raw.close(GOING_AWAY, "the node is stopping");
	}
}

function receive(raw: Bun.ServerWebSocket<Connection>, message: string | Buffer): void {
	const { session, endpoint } = raw.data;
	if (typeof message === "string") {
		// The listener's own bound is that of the endpoint that takes most. No text has more bytes than three times its length.
		const { messageBytesMax } = endpoint;
		if (message.length * 3 > messageBytesMax && Buffer.byteLength(message) > messageBytesMax) {
			raw.close(MESSAGE_TOO_BIG, `a message has at most ${messageBytesMax} bytes`);
			return;
		}
		session?.message(message);
		return;
	}
	raw.close(UNSUPPORTED_DATA, "messages are text");
}

/** @throws VALIDATION_FAILED */
function agreedSubprotocol(headers: Headers, { subprotocols, needsSubprotocol }: SocketEndpoint): string | undefined {
	const named = headers.get("sec-websocket-protocol");
	const wanted = named === null ? [] : named.split(",").map((name) => name.trim());
	const agreed = wanted.find((name) => subprotocols.includes(name));
	// Whoever names some and gets none of them hangs up anyway (RFC 6455, section 4.1).
	if (agreed === undefined && (needsSubprotocol || wanted.length > 0)) {
		throw new HiveError(
			"VALIDATION_FAILED",
			`the WebSocket sub-protocols spoken here: ${subprotocols.join(", ") || "none"}`,
			{ field: "Sec-WebSocket-Protocol" },
		);
	}
	return agreed;
}

/** Whether a client asks to go on in WebSocket. */
export const asksForSocket = ({ method, headers }: Request): boolean =>
	method === "GET" && headers.get("upgrade")?.toLowerCase() === "websocket";
