import { Args } from "@oclif/core";
import { NodeCommand, tenantFlag } from "./shared/node-command.ts";
import { formatBytes, formatCount, formatQuota } from "./shared/units.ts";

interface RateUse {
	readonly used: number;
	readonly limit: number | null;
	readonly reset_in_seconds: number;
}

interface UsageAnswer {
	readonly tenant_id: string;
	readonly storage: {
		readonly used_bytes: number;
		readonly quota_bytes: number | null;
		readonly usage_percent: number;
	};
	readonly rate_limits: Readonly<Record<"requests_per_minute" | "requests_per_hour", RateUse>>;
	readonly collections: number;
	readonly vectors: number;
	readonly activity: { readonly requests: number; readonly searches: number; readonly vectors_written: number };
	readonly period_start: string;
	readonly period_end: string;
}

export class Usage extends NodeCommand {
	static override summary = "Show what a tenant uses of its quotas and rate limits.";
	static override examples = ["<%= config.bin %> usage", "<%= config.bin %> usage acme"];
	static override args = { tenant: Args.string({ description: "another tenant; for admin keys" }) };
	static override flags = { ...tenantFlag };

	override async run(): Promise<UsageAnswer> {
		const { args, flags } = await this.parse(Usage);
		const node = await this.connect(flags);
		const usage = await node.call<UsageAnswer>("GET", "/cluster/usage", { query: { tenant_id: args.tenant } });
		const { storage, rate_limits: rates } = usage;
		const percent = storage.quota_bytes !== null ? ` (${storage.usage_percent.toFixed(1)} %)` : "";
		const rate = (use: RateUse) =>
			`${formatCount(use.used)} of ${formatQuota(use.limit, formatCount)}, full again in ${use.reset_in_seconds} s`;
		this.printRecord([
			["tenant", usage.tenant_id],
			["storage", `${formatBytes(storage.used_bytes)} of ${formatQuota(storage.quota_bytes, formatBytes)}${percent}`],
			["vectors", formatCount(usage.vectors)],
			["collections", formatCount(usage.collections)],
			["requests this minute", rate(rates.requests_per_minute)],
			["requests this hour", rate(rates.requests_per_hour)],
			["requests so far", formatCount(usage.activity.requests)],
			["searches so far", formatCount(usage.activity.searches)],
			["vectors written so far", formatCount(usage.activity.vectors_written)],
			["period", `${usage.period_start.slice(0, 10)} to ${usage.period_end.slice(0, 10)}`],
		]);
		return usage;
	}
}
