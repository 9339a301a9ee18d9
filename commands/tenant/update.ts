import { Args, Flags } from "@oclif/core";
import { usageFailure } from "../shared/failure.ts";
import { parseJsonObject, readText } from "../shared/json-input.ts";
import { apiPath } from "../shared/node-client.ts";
import { NodeCommand } from "../shared/node-command.ts";
import { quotaFlags, quotaFrom, rateLimitFlags, rateLimitsFrom } from "../shared/quota-flags.ts";
import { type TenantAnswer, tenantFields } from "../shared/tenant-view.ts";

export class TenantUpdate extends NodeCommand {
	static override summary = "Change a tenant's name, quotas, rate limits or metadata.";
	static override description = "What is not named stays as it is.";
	static override examples = [
		"<%= config.bin %> tenant update acme --max-vectors 500k",
		"<%= config.bin %> tenant update acme --max-storage unlimited --requests-per-minute 2000",
		"<%= config.bin %> tenant update acme --default-rate-limits",
	];
	static override args = { tenant: Args.string({ required: true, description: "id of the tenant" }) };
	static override flags = {
		name: Flags.string({ description: "name for people", helpValue: "<name>" }),
		metadata: Flags.string({ description: "a JSON object in place of the old one", helpValue: "<json>|@<file>" }),
		...quotaFlags,
		...rateLimitFlags,
		"default-rate-limits": Flags.boolean({
			description: "follow the node's settings again",
			exclusive: Object.keys(rateLimitFlags),
			helpGroup: "RATE LIMIT",
		}),
	};

	override async run(): Promise<TenantAnswer> {
		const { args, flags } = await this.parse(TenantUpdate);
		const quota = quotaFrom(flags);
		const rateLimits = rateLimitsFrom(flags);
		const metadata = flags.metadata;
		const body: Record<string, unknown> = {
			...(flags.name === undefined ? {} : { name: flags.name }),
			...(quota === undefined ? {} : { quota }),
			...(metadata === undefined
				? {}
				: {
						metadata: parseJsonObject(
							"--metadata",
							await readText("--metadata", metadata, (asker) => this.readStdin(asker)),
						),
					}),
		};
		const path = apiPath`/tenants/${args.tenant}`;
		const node = await this.connect(flags);
		if (flags["default-rate-limits"]) body.rate_limits = null;
		else if (rateLimits !== undefined) body.rate_limits = rateLimits;
		if (Object.keys(body).length === 0) throw usageFailure("nothing to change was named");
		const tenant = await node.call<TenantAnswer>("PATCH", path, { body });
		this.printRecord(tenantFields(tenant));
		return tenant;
	}
}
