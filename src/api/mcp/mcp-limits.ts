/** Every bound of the MCP adapter, side by side. What users may set is in the settings. */
export const MCP_LIMITS = {
	/** JSON-RPC messages in one batch, which revisions before 2025-06-18 have. */
	batchMessagesMax: 50,
	/** Open WebSocket connections of one tenant, at one node. */
	socketsPerTenantMax: 100,
	/** Messages of one WebSocket connection under way, whatever they are. */
	socketMessagesMax: 64,
	/** One message over WebSocket: unlike a body over HTTP it is in memory before its turn comes. */
	socketMessageBytesMax: 16 * 1024 * 1024,
	/** How often connections are looked at: whether their keys are still good. */
	renewMs: 1_000,
	/** How often a call that was asked to tells that it goes on. */
	progressMs: 1_000,
	/** Of a refused request, what is read to answer under its id. */
	refusedBodyBytesMax: 64 * 1024,
	/** Resources in one page of `resources/list`. */
	resourcesPageMax: 100,
	/** When a caller who has too much under way may come again. */
	busyRetrySeconds: 1,
	/** When to come back after a call took too long. */
	overdueRetrySeconds: 5,
} as const;
