import type { Log } from "../../observe/log.ts";
import type { Pipeline } from "../../operations/pipeline-types.ts";
import type { Repeat } from "../../operations/turnstile.ts";
import type { Mount } from "../wire/mount.ts";
import { TenantShares } from "../wire/tenant-shares.ts";
import { MCP_LIMITS } from "./mcp-limits.ts";
import type { McpSurface } from "./mcp-surface.ts";

export interface McpParts {
	readonly pipeline: Pick<Pipeline, "admit">;
	/** Called once, by the first request. */
	readonly surface: () => Promise<McpSurface>;
	readonly maxConcurrentRequestsPerTenant: number;
	/** Of bodies over HTTP. */
	readonly maxBodyBytes: number;
	readonly nowMs: () => number;
	readonly repeat: Repeat;
	readonly log: Pick<Log, "error">;
}

/**
 * MCP (CONTRACT section 4): Streamable HTTP at `/mcp`, WebSocket at `/mcp/ws`. The SDK is loaded by the first request: a node that
 * nobody asks starts without it.
 */
export function mcpMounts(parts: McpParts): readonly Mount[] {
	const messageBytesMax = Math.min(parts.maxBodyBytes, MCP_LIMITS.socketMessageBytesMax);
	let loading: ReturnType<typeof load> | undefined;
	const loaded = () => {
		loading ??= load(parts);
		return loading;
	};
	return [
		{ path: "/mcp", methods: ["POST"], answer: async (call) => (await loaded()).http.answer(call) },
		{
			path: "/mcp/ws",
			methods: [],
			socket: {
				subprotocols: ["mcp"],
				needsSubprotocol: false,
				messageBytesMax,
				open: async (call) => (await loaded()).sockets.open(call),
			},
		},
	];
}

async function load(parts: McpParts) {
	const [{ McpHttp }, { McpSockets }, surface] = await Promise.all([
		import("./mcp-http.ts"),
		import("./mcp-socket.ts"),
		parts.surface(),
	]);
	const shared = { ...parts, surface, shares: new TenantShares(parts.maxConcurrentRequestsPerTenant) };
	return { http: new McpHttp(shared), sockets: new McpSockets(shared) };
}
