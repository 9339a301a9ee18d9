import { Args } from "@oclif/core";
import { demandsOf, type KeyAnswer } from "../shared/key-view.ts";
import { apiPath } from "../shared/node-client.ts";
import { NodeCommand } from "../shared/node-command.ts";

export class KeyList extends NodeCommand {
	static override summary = "List a tenant's keys: what they may do and until when, never the keys themselves.";
	static override examples = ["<%= config.bin %> key list acme"];
	static override args = { tenant: Args.string({ required: true, description: "id of the tenant" }) };

	override async run(): Promise<{ keys: readonly KeyAnswer[] }> {
		const { args, flags } = await this.parse(KeyList);
		const path = apiPath`/tenants/${args.tenant}/keys`;
		const node = await this.connect(flags);
		const answer = await node.call<{ keys: readonly KeyAnswer[] }>("GET", path);
		this.printTable(
			["ID", "NAME", "PERMISSIONS", "STATE", "CREATED", "EXPIRES", "LAST USED", "DEMANDS"].map((title) => ({ title })),
			answer.keys.map((key) => [
				key.api_key_id,
				key.name,
				key.permissions.join(","),
				key.rotation_status,
				key.created_at,
				key.expires_at ?? "never",
				key.last_used_at ?? "-",
				demandsOf(key) || "-",
			]),
		);
		return answer;
	}
}
