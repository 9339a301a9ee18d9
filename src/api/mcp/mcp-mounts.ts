import type { Log } from "../../observe/log.ts";
import type { Pipeline } from "../../operations/pipeline-types.ts";
import type { Repeat } from "../../operations/turnstile.ts";
import type { Mount } from "../wire/mount.ts";
import { TenantShares } from "../wire/tenant-shares.ts";
import { McpHttp } from "./mcp-http.ts";
import { McpSockets } from "./mcp-socket.ts";
import type { McpSurface } from "./mcp-surface.ts";

export interface McpParts {
	readonly pipeline: Pick<Pipeline, "admit">;
	readonly surface: McpSurface;
	readonly maxConcurrentRequestsPerTenant: number;
	/** Of bodies over HTTP. */
	readonly maxBodyBytes: number;
	readonly nowMs: () => number;
	readonly repeat: Repeat;
	readonly log: Pick<Log, "error">;
}

/** MCP (CONTRACT section 4): Streamable HTTP at `/mcp`, WebSocket at `/mcp/ws`. */
export function mcpMounts(parts: McpParts): readonly Mount[] {
	const shares = new TenantShares(parts.maxConcurrentRequestsPerTenant);
	const http = new McpHttp({ ...parts, shares });
	const sockets = new McpSockets({ ...parts, shares, messageBytesMax: parts.maxBodyBytes });
	return [
		{ path: "/mcp", methods: ["POST"], answer: http.answer },
		{ path: "/mcp/ws", methods: [], socket: sockets },
	];
}
