import { Args } from "@oclif/core";
import { apiPath } from "../shared/node-client.ts";
import { NodeCommand, yesFlag } from "../shared/node-command.ts";

export class TenantDelete extends NodeCommand {
	static override summary = "Delete a tenant with its keys, collections and all data.";
	static override description = "There is no way back. Asks for the tenant's id to be typed, unless --yes is given.";
	static override examples = ["<%= config.bin %> tenant delete acme", "<%= config.bin %> tenant delete acme --yes"];
	static override args = { tenant: Args.string({ required: true, description: "id of the tenant" }) };
	static override flags = { ...yesFlag };

	override async run(): Promise<unknown> {
		const { args, flags } = await this.parse(TenantDelete);
		const path = apiPath`/tenants/${args.tenant}`;
		await this.confirmed(`This deletes ${args.tenant}, its keys and all its data.`, args.tenant, flags);
		const node = await this.connect(flags);
		const answer = await node.call("DELETE", path);
		this.print(`${args.tenant} is deleted\n`);
		return answer ?? { deleted: true };
	}
}
