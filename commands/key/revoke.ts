import { Args } from "@oclif/core";
import { apiPath } from "../shared/node-client.ts";
import { NodeCommand, yesFlag } from "../shared/node-command.ts";

export class KeyRevoke extends NodeCommand {
	static override summary = "Revoke a key: it is refused from now on, on every node.";
	static override examples = ["<%= config.bin %> key revoke acme key_0123456789abcdef --yes"];
	static override args = {
		tenant: Args.string({ required: true, description: "id of the tenant" }),
		key_id: Args.string({ required: true, description: "id of the key, from key list" }),
	};
	static override flags = { ...yesFlag };

	override async run(): Promise<unknown> {
		const { args, flags } = await this.parse(KeyRevoke);
		const path = apiPath`/tenants/${args.tenant}/keys/${args.key_id}`;
		await this.confirmed(`This revokes ${args.key_id} of ${args.tenant} for good.`, undefined, flags);
		const node = await this.connect(flags);
		const answer = await node.call("DELETE", path);
		this.print(`${args.key_id} is revoked\n`);
		return answer ?? { revoked: true };
	}
}
