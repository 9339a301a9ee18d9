import type { AnswerFacts, Arrival } from "../../operations/pipeline-types.ts";

/**
 * An address at which another protocol than REST is spoken, on the same listener. The server does what is alike for every request:
 * addresses of clients, security headers, CORS, deadlines and limits of bodies, shutting down. A protocol does the rest.
 */
export interface Mount {
	/** As it stands, without fields: `/mcp`. */
	readonly path: string;
	/** Other methods are answered 405. GET includes HEAD; with `socket` alone, none are needed. */
	readonly methods: readonly ("GET" | "POST" | "DELETE")[];
	/**
	 * Answers a request. What it rejects with is answered as INTERNAL, or as the HiveError it is.
	 *
	 * @returns the server adds what it knows: the facts and security headers that the answer does not have itself. A body that
	 *          is a stream is read only as fast as the client reads, may last, and is to end soon after `stopping`.
	 */
	readonly answer?: (call: MountedCall) => Promise<MountedAnswer>;
	/** How `GET` with `Upgrade: websocket` is answered. */
	readonly socket?: SocketEndpoint;
}

/** A request at a mount. */
export interface MountedCall {
	readonly request: Request;
	/** All but which protocol it is. Its `message` may throw AUTH_SIGNATURE_INVALID. */
	readonly arrival: MountedArrival;
	/** Whether a web page of an origin that nobody invited sent this, with a key or without. */
	readonly hasForeignOrigin: boolean;
	readonly body: MountedBody;
	/** Aborted when the client goes away. */
	readonly signal: AbortSignal;
	/** Aborted when the server begins to stop: streams and waits without an end are to be ended. */
	readonly stopping: AbortSignal;
}

export type MountedArrival = Omit<Arrival, "protocol">;

export interface MountedBody {
	/** 0 without a body; undefined where the length is not told beforehand. */
	readonly declaredBytes: number | undefined;
	/** The whole body, once. @throws PAYLOAD_TOO_LARGE, VALIDATION_FAILED when the client goes away or stops sending. */
	read(bytesMax?: number): Promise<Uint8Array>;
	/**
	 * The fields of a JSON object; a large one is parsed in a thread of its own.
	 *
	 * @param bytes not to be used afterwards.
	 * @throws VALIDATION_FAILED when it can't be parsed, is nested too deep, or is no object; OVERLOADED
	 */
	parse(bytes: Uint8Array): Record<string, unknown> | Promise<Record<string, unknown>>;
}

export interface MountedAnswer {
	readonly response: Response;
	/** undefined: the caller is not known. */
	readonly facts?: AnswerFacts | undefined;
	/** Whether the response's body is a stream that comes bit by bit. */
	readonly isStream?: boolean;
}

export interface SocketEndpoint {
	/** Sub-protocols that are spoken. The first that the client names and that is among them is agreed on. */
	readonly subprotocols: readonly string[];
	/** Whether a client has to name one of them. */
	readonly needsSubprotocol: boolean;
	/** A longer message ends the connection with 1009. */
	readonly messageBytesMax: number;
	/** Decides whether to speak with a client, before the connection is upgraded. What it rejects with is answered in HTTP. */
	open(call: MountedCall, subprotocol: string | undefined): Promise<SocketOpening>;
}

export interface SocketOpening {
	/** Told with the upgrade. */
	readonly facts?: AnswerFacts;
	/** Called once the connection stands; without one there was no connection, and `gone` is called instead. */
	start(socket: MountedSocket): SocketSession;
	/** The client left before the connection stood. */
	gone(): void;
}

/** The server's end of a WebSocket connection. */
export interface MountedSocket {
	/** @returns whether the client takes it at once; false: it waits, `drained` is called later, and whoever lets too much wait is cut off. */
	send(text: string): boolean;
	/** Does nothing when it is closed. */
	close(code: number, reason: string): void;
}

/** What a protocol does with a WebSocket connection. None of it may throw. */
export interface SocketSession {
	/** A text: binary messages end the connection with 1003. */
	message(text: string): void;
	/** Nothing waits to be sent any more. */
	drained?(): void;
	/** Once, whoever closed it. When the server stops it closes with 1001 itself. */
	closed(code: number, reason: string): void;
}
