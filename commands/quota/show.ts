import { Args } from "@oclif/core";
import type { Quota } from "../../src/hub/models.ts";
import { apiPath } from "../shared/node-client.ts";
import { NodeCommand } from "../shared/node-command.ts";
import { quotaFields, type TenantAnswer } from "../shared/tenant-view.ts";

export class QuotaShow extends NodeCommand {
	static override summary = "Show a tenant's quotas.";
	static override examples = ["<%= config.bin %> quota show acme"];
	static override args = { tenant: Args.string({ required: true, description: "id of the tenant" }) };

	override async run(): Promise<Quota & { tenant_id: string }> {
		const { args, flags } = await this.parse(QuotaShow);
		const node = await this.connect(flags);
		const tenant = await node.call<TenantAnswer>("GET", apiPath`/tenants/${args.tenant}`);
		this.printRecord(quotaFields(tenant.quota));
		return { tenant_id: tenant.id, ...tenant.quota };
	}
}
