import { Args } from "@oclif/core";
import { apiPath } from "../shared/node-client.ts";
import { NodeCommand } from "../shared/node-command.ts";
import type { TenantAnswer } from "../shared/tenant-view.ts";

export class TenantResume extends NodeCommand {
	static override summary = "Let a suspended tenant in again.";
	static override examples = ["<%= config.bin %> tenant resume acme"];
	static override args = { tenant: Args.string({ required: true, description: "id of the tenant" }) };

	override async run(): Promise<TenantAnswer> {
		const { args, flags } = await this.parse(TenantResume);
		const node = await this.connect(flags);
		const tenant = await node.call<TenantAnswer>("PATCH", apiPath`/tenants/${args.tenant}`, { body: { active: true } });
		this.print(`${tenant.id} is active\n`);
		return tenant;
	}
}
