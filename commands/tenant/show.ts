import { Args } from "@oclif/core";
import { apiPath } from "../shared/node-client.ts";
import { NodeCommand } from "../shared/node-command.ts";
import { type TenantAnswer, tenantFields } from "../shared/tenant-view.ts";

export class TenantShow extends NodeCommand {
	static override summary = "Show a tenant with its quotas and rate limits.";
	static override examples = ["<%= config.bin %> tenant show acme"];
	static override args = { tenant: Args.string({ required: true, description: "id of the tenant" }) };

	override async run(): Promise<TenantAnswer> {
		const { args, flags } = await this.parse(TenantShow);
		const node = await this.connect(flags);
		const tenant = await node.call<TenantAnswer>("GET", apiPath`/tenants/${args.tenant}`);
		this.printRecord(tenantFields(tenant));
		return tenant;
	}
}
