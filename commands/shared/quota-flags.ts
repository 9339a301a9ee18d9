import { Flags } from "@oclif/core";
import type { Quota, RateLimits } from "../../src/hub/models.ts";
import { parseByteSize, parseCount, parseQuota } from "./units.ts";

const countFlag = Flags.custom<number | null>({
	parse: async (text) => parseQuota(text, parseCount),
	helpValue: "<n>|unlimited",
});
const rateFlag = Flags.custom<number>({ parse: async (text) => parseCount(text), helpValue: "<n>" });

export const quotaFlags = {
	"max-storage": Flags.custom<number | null>({
		description: "storage quota: 10GB, 512MiB, a number of bytes",
		parse: async (text) => parseQuota(text, parseByteSize),
		helpValue: "<size>|unlimited",
		helpGroup: "QUOTA",
	})(),
	"max-vectors": countFlag({ description: "how many vectors over all collections", helpGroup: "QUOTA" }),
	"max-collections": countFlag({ description: "how many collections", helpGroup: "QUOTA" }),
};

export const rateLimitFlags = {
	"requests-per-minute": rateFlag({ description: "requests a minute", helpGroup: "RATE LIMIT" }),
	"requests-per-hour": rateFlag({ description: "requests an hour", helpGroup: "RATE LIMIT" }),
	"mcp-requests-per-minute": rateFlag({ description: "MCP calls a minute", helpGroup: "RATE LIMIT" }),
};

type Given<T> = { readonly [K in keyof T]?: T[K] | undefined };

/** The quotas that were named; undefined when none was. */
export function quotaFrom(
	flags: Given<Record<"max-storage" | "max-vectors" | "max-collections", number | null>>,
): Partial<Quota> | undefined {
	return named({
		max_storage_bytes: flags["max-storage"],
		max_vectors: flags["max-vectors"],
		max_collections: flags["max-collections"],
	});
}

/** The rate limits that were named; undefined when none was. */
export function rateLimitsFrom(
	flags: Given<Record<"requests-per-minute" | "requests-per-hour" | "mcp-requests-per-minute", number>>,
): Partial<RateLimits> | undefined {
	return named({
		requests_per_minute: flags["requests-per-minute"],
		requests_per_hour: flags["requests-per-hour"],
		mcp_requests_per_minute: flags["mcp-requests-per-minute"],
	});
}

function named<T>(fields: { readonly [K in keyof T]: T[K] | undefined }): Partial<T> | undefined {
	const given = Object.entries(fields).filter(([, value]) => value !== undefined);
	return given.length === 0 ? undefined : (Object.fromEntries(given) as Partial<T>);
}
