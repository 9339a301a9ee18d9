import { Args, Flags } from "@oclif/core";
import { type MintedKeyAnswer, mintedKeyText } from "../shared/key-view.ts";
import { apiPath } from "../shared/node-client.ts";
import { NodeCommand } from "../shared/node-command.ts";
import { parseDurationMs } from "../shared/units.ts";

export class KeyRotate extends NodeCommand {
	static override summary = "Replace a key: show a new one, let the old one work on for a while.";
	static override description =
		"Until the grace period ends, answers to the old key carry X-API-Key-Deprecated and X-API-Key-Expires.";
	static override examples = [
		"<%= config.bin %> key rotate acme key_0123456789abcdef --grace 7d",
		"<%= config.bin %> key rotate acme key_0123456789abcdef --grace 0s",
	];
	static override args = {
		tenant: Args.string({ required: true, description: "id of the tenant" }),
		key_id: Args.string({ required: true, description: "id of the key, from key list" }),
	};
	static override flags = {
		grace: Flags.custom<number>({
			description: "how long the old key works on",
			default: 7 * 24 * 3600 * 1000,
			defaultHelp: async () => "7d",
			parse: async (text) => parseDurationMs(text),
			helpValue: "<duration>",
		})(),
	};

	override async run(): Promise<MintedKeyAnswer> {
		const { args, flags } = await this.parse(KeyRotate);
		const path = apiPath`/tenants/${args.tenant}/keys/${args.key_id}/rotate`;
		const node = await this.connect(flags);
		const body = { grace_seconds: Math.round(flags.grace / 1000) };
		const minted = await node.call<MintedKeyAnswer>("POST", path, { body });
		this.print(mintedKeyText(minted, this.terminal));
		return minted;
	}
}
