export const MINUTE_MS = 60_000;
export const HOUR_MS = 3_600_000;

/** The buckets of one subject, in this order. MCP calls have a bucket of their own and touch no other. */
export const BUCKET_KINDS = [
	{ name: "requests_per_minute", window: "minute", windowMs: MINUTE_MS },
	{ name: "requests_per_hour", window: "hour", windowMs: HOUR_MS },
	{ name: "mcp_requests_per_minute", window: "minute", windowMs: MINUTE_MS },
] as const;

export type BucketIndex = 0 | 1 | 2;
