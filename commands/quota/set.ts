import { Args } from "@oclif/core";
import type { Quota } from "../../src/hub/models.ts";
import { usageFailure } from "../shared/failure.ts";
import { apiPath } from "../shared/node-client.ts";
import { NodeCommand } from "../shared/node-command.ts";
import { quotaFlags, quotaFrom } from "../shared/quota-flags.ts";
import { quotaFields, type TenantAnswer } from "../shared/tenant-view.ts";

export class QuotaSet extends NodeCommand {
	static override summary = "Change a tenant's quotas.";
	static override description =
		"What is not named stays as it is. A quota below what is in use removes nothing: it refuses what would be added.";
	static override examples = [
		"<%= config.bin %> quota set acme --max-vectors 100000 --max-storage 10GB",
		"<%= config.bin %> quota set acme --max-collections unlimited",
	];
	static override args = { tenant: Args.string({ required: true, description: "id of the tenant" }) };
	static override flags = { ...quotaFlags };

	override async run(): Promise<Quota & { tenant_id: string }> {
		const { args, flags } = await this.parse(QuotaSet);
		const quota = quotaFrom(flags);
		if (quota === undefined) throw usageFailure("no quota was named");
		const path = apiPath`/tenants/${args.tenant}`;
		const node = await this.connect(flags);
		const tenant = await node.call<TenantAnswer>("PATCH", path, { body: { quota } });
		this.printRecord(quotaFields(tenant.quota));
		return { tenant_id: tenant.id, ...tenant.quota };
	}
}
