import { Args } from "@oclif/core";
import { apiPath } from "../shared/node-client.ts";
import { NodeCommand } from "../shared/node-command.ts";
import type { TenantAnswer } from "../shared/tenant-view.ts";

export class TenantSuspend extends NodeCommand {
	static override summary = "Suspend a tenant: its keys are refused, its data stays.";
	static override examples = ["<%= config.bin %> tenant suspend acme"];
	static override args = { tenant: Args.string({ required: true, description: "id of the tenant" }) };

	override async run(): Promise<TenantAnswer> {
		const { args, flags } = await this.parse(TenantSuspend);
		const node = await this.connect(flags);
		const tenant = await node.call<TenantAnswer>("PATCH", apiPath`/tenants/${args.tenant}`, {
			body: { active: false },
		});
		this.print(`${tenant.id} is suspended; \`${this.config.bin} tenant resume ${tenant.id}\` lets it in again\n`);
		return tenant;
	}
}
