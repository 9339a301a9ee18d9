import {
	INVALID_REQUEST,
	type JSONRPCMessage,
	parseJSONRPCMessage,
	type Transport,
} from "@modelcontextprotocol/server";
import { type StdioServerHandle, serveStdio } from "@modelcontextprotocol/server/stdio";
import { HiveError } from "../../base/errors.ts";
import type { Log } from "../../observe/log.ts";
import type { Pipeline, Visit } from "../../operations/pipeline-types.ts";
import type { Repeat } from "../../operations/turnstile.ts";
import type {
	MountedBody,
	MountedCall,
	MountedSocket,
	SocketEndpoint,
	SocketOpening,
	SocketSession,
} from "../wire/mount.ts";
import { arrivalOver } from "../wire/mounted-arrival.ts";
import { TenantShares } from "../wire/tenant-shares.ts";
import { McpDesk } from "./mcp-desk.ts";
import { parseError, type RpcError, type RpcId, rpcAnswer, rpcError, tooManyAtOnce } from "./mcp-errors.ts";
import { foreignOrigin } from "./mcp-http.ts";
import { MCP_LIMITS } from "./mcp-limits.ts";
import { idIn, type McpMessage, messageOf } from "./mcp-message.ts";
import type { McpSurface } from "./mcp-surface.ts";

/** RFC 6455, section 7.4.1. */
const POLICY_VIOLATION = 1008;
const TRY_AGAIN_LATER = 1013;

export interface McpSocketsParts {
	readonly pipeline: Pick<Pipeline, "admit">;
	readonly surface: McpSurface;
	/** Requests under way, whatever transport they came by. */
	readonly shares: TenantShares;
	readonly nowMs: () => number;
	readonly repeat: Repeat;
	readonly log: Pick<Log, "error">;
}

/** MCP over WebSocket: the messages of stdio, one a frame. */
export class McpSockets implements Pick<SocketEndpoint, "open"> {
	readonly #parts: McpSocketsParts;
	readonly #connections = new TenantShares(MCP_LIMITS.socketsPerTenantMax);
	readonly #sessions = new Set<McpSession>();
	#stopRenewing: (() => void) | undefined;

	constructor(parts: McpSocketsParts) {
		this.#parts = parts;
	}

	async open(call: MountedCall): Promise<SocketOpening> {
		if (call.hasForeignOrigin) throw foreignOrigin();
		const admission = await this.#parts.pipeline.admit(arrivalOver("mcp", call.arrival), "connection");
		if (!admission.ok) throw admission.error;
		const { visit } = admission;
		const release = this.#connections.take(visit.caller.tenant.id);
		if (release === undefined) {
			throw new HiveError("RATE_LIMITED", "this tenant has too many MCP connections open at this node", {
				limit: MCP_LIMITS.socketsPerTenantMax,
				window: "concurrent",
				retry_after_seconds: MCP_LIMITS.busyRetrySeconds,
			});
		}
		return {
			facts: visit.facts,
			gone: release,
			start: (socket) => {
				const session = new McpSession(
					this.#parts,
					call.body,
					new McpDesk(visit, call.arrival.requestId),
					socket,
					() => {
						release();
						this.#sessions.delete(session);
						if (this.#sessions.size > 0) return;
						this.#stopRenewing?.();
						this.#stopRenewing = undefined;
					},
				);
				this.#sessions.add(session);
				this.#stopRenewing ??= this.#parts.repeat(MCP_LIMITS.renewMs, () => this.#renewAll());
				return session;
			},
		};
	}

	/** Who says nothing is to learn too that their key is no good any more. */
	#renewAll(): void {
		for (const session of this.#sessions) session.renew();
	}
}

class McpSession implements SocketSession, Transport {
	onmessage?: Transport["onmessage"];
	onclose?: () => void;
	onerror?: (error: Error) => void;
	readonly #handle: StdioServerHandle;
	/** Requests that were handed on, by id: called when they are answered or cancelled. */
	readonly #unanswered = new Map<RpcId, () => void>();
	#messageCount = 0;
	#isClosed = false;

	constructor(
		private readonly parts: McpSocketsParts,
		private readonly body: MountedBody,
		private readonly desk: McpDesk,
		private readonly socket: MountedSocket,
		private readonly onEnd: () => void,
	) {
		this.#handle = serveStdio(() => parts.surface.serverFor(desk), { transport: this });
	}

	/** Ends the connection of a caller who may not be here any more. */
	renew(): void {
		const end = (refusal: HiveError | undefined): void => {
			if (refusal !== undefined) this.#turnOut(refusal);
		};
		const renewed = this.#visit.renew();
		if (renewed instanceof Promise) void renewed.then(end, this.#defect);
		else end(renewed);
	}

	message(text: string): void {
		if (this.#isClosed) return;
		if (this.#messageCount >= MCP_LIMITS.socketMessagesMax) {
			this.socket.close(TRY_AGAIN_LATER, `more than ${MCP_LIMITS.socketMessagesMax} messages at once`);
			return;
		}
		this.#messageCount++;
		this.#receive(text)
			.catch(this.#defect)
			.finally(() => {
				this.#messageCount--;
			});
	}

	closed(): void {
		if (this.#isClosed) return;
		this.#isClosed = true;
		for (const resolve of this.#unanswered.values()) resolve();
		this.#unanswered.clear();
		this.onclose?.();
		this.#handle.close().catch(this.#defect);
		this.onEnd();
	}

	// What the SDK asks of a transport.

	async start(): Promise<void> {}

	async send(message: JSONRPCMessage): Promise<void> {
		if (this.#isClosed) return;
		this.socket.send(JSON.stringify(message));
		if (!("method" in message) && message.id !== undefined) this.#settle(message.id);
	}

	async close(): Promise<void> {
		this.socket.close(1000, "");
	}

	get #visit(): Visit {
		return this.desk.visit;
	}

	async #receive(text: string): Promise<void> {
		const bytes = Buffer.from(text);
		const idSeen = (): RpcId => (bytes.length <= MCP_LIMITS.refusedBodyBytesMax ? idIn(bytes) : null);
		const renewed = this.#visit.renew();
		const gone = renewed instanceof Promise ? await renewed : renewed;
		if (gone !== undefined) {
			this.#refuse(idSeen(), rpcError(gone, this.desk.requestId));
			this.#turnOut(gone);
			return;
		}
		// Notifications wait for nothing: what they cancel may be what all wait for.
		if (bytes.length <= MCP_LIMITS.refusedBodyBytesMax) {
			const peeked = peek(bytes);
			if (peeked !== undefined && messageOf(peeked).id === undefined && messageOf(peeked).method !== undefined) {
				await this.#notice(peeked);
				return;
			}
		}
		const { shares, nowMs } = this.parts;
		const release = shares.take(this.#visit.caller.tenant.id);
		if (release === undefined) {
			const error = tooManyAtOnce(shares.perTenantMax, MCP_LIMITS.busyRetrySeconds, nowMs());
			this.#refuse(idSeen(), rpcError(error, this.desk.requestId));
			return;
		}
		try {
			await this.#visit.inTurn(bytes.length, () => this.#work(bytes));
		} catch (error) {
			if (!(error instanceof HiveError)) throw error;
			this.#refuse(idSeen(), rpcError(error, this.desk.requestId));
		} finally {
			release();
		}
	}

	async #notice(body: unknown): Promise<void> {
		const message = messageOf(body);
		if ((await this.desk.charge(message, false)) !== undefined) return;
		const { requestId } = message.params;
		if (!isRpc(body)) return;
		this.#deliver(body);
		if (message.method === "notifications/cancelled") this.#settle(requestId as RpcId);
	}

	async #work(bytes: Uint8Array): Promise<void> {
		let body: unknown;
		let message: McpMessage;
		try {
			body = await this.body.parse(bytes);
			message = messageOf(body);
		} catch (error) {
			if (!(error instanceof HiveError)) throw error;
			await this.#visit.charge("mcp.unknown");
			this.#refuse(null, parseError(error, this.desk.requestId));
			return;
		}
		const { id } = message;
		if (!isRpc(body)) {
			await this.#visit.charge("mcp.unknown");
			const error = new HiveError("VALIDATION_FAILED", "this is no JSON-RPC message", { field: "body" });
			this.#refuse(id ?? null, { ...rpcError(error, this.desk.requestId), code: INVALID_REQUEST });
			return;
		}
		const isTwice = id !== undefined && this.#unanswered.has(id);
		const refused = await this.desk.charge(message, !isTwice && this.parts.surface.runsOperation(message));
		if (refused !== undefined) {
			this.#refuse(id ?? null, rpcError(refused, this.desk.requestId));
			return;
		}
		if (isTwice) {
			const error = new HiveError("VALIDATION_FAILED", "a request with this id is under way", { field: "id" });
			this.#refuse(id, { ...rpcError(error, this.desk.requestId), code: INVALID_REQUEST });
			return;
		}
		if (id === undefined || id === null || message.method === undefined) {
			this.#deliver(body);
			return;
		}
		const answered = new Promise<void>((resolve) => {
			this.#unanswered.set(id, resolve);
		});
		this.#deliver(body);
		await answered;
		await this.desk.idle(id);
	}

	#deliver(body: JSONRPCMessage): void {
		if (!this.#isClosed) this.onmessage?.(body);
	}

	#settle(id: RpcId): void {
		this.#unanswered.get(id)?.();
		this.#unanswered.delete(id);
	}

	#refuse(id: RpcId, error: RpcError): void {
		if (!this.#isClosed) this.socket.send(JSON.stringify(rpcAnswer(id, error)));
	}

	#turnOut(refusal: HiveError): void {
		this.socket.close(POLICY_VIOLATION, refusal.code);
	}

	readonly #defect = (err: unknown): void => {
		this.parts.log.error({ err, request_id: this.desk.requestId }, "an MCP connection failed unexpectedly");
		this.socket.close(1011, "something went wrong on our side");
	};
}

function isRpc(body: unknown): body is JSONRPCMessage {
	try {
		parseJSONRPCMessage(body);
		return true;
	} catch {
		return false;
	}
}

function peek(bytes: Uint8Array): unknown {
	try {
		return JSON.parse(new TextDecoder().decode(bytes)) as unknown;
	} catch {
		return undefined;
	}
}
