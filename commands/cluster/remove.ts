import { Args, Flags } from "@oclif/core";
import type { MemberChange } from "../shared/cluster-view.ts";
import { apiPath } from "../shared/node-client.ts";
import { NodeCommand, yesFlag } from "../shared/node-command.ts";

export class ClusterRemove extends NodeCommand {
	static override summary = "Drop a dead node: its copies are made anew from the others'.";
	static override description =
		"For a node that will not come back; one that lives is drained. Where most copies of something were on it, and on others that are being removed, it is refused unless --accept-loss says that this may be lost.";
	static override examples = [
		"<%= config.bin %> cluster remove node_4k2x9a7c1m5q8z3e",
		"<%= config.bin %> cluster remove node_4k2x9a7c1m5q8z3e --accept-loss --yes",
	];
	static override args = { node: Args.string({ required: true, description: "id of the node" }) };
	static override flags = {
		"accept-loss": Flags.boolean({ description: "what no other node has a copy of may be lost" }),
		...yesFlag,
	};

	override async run(): Promise<MemberChange> {
		const { args, flags } = await this.parse(ClusterRemove);
		const path = apiPath`/cluster/nodes/${args.node}`;
		await this.confirmed(`This drops ${args.node} for good.`, args.node, flags);
		const node = await this.connect(flags);
		const change = await node.call<MemberChange>("DELETE", path, { query: { accept_loss: flags["accept-loss"] } });
		this.print(
			change.state === "gone"
				? `${args.node} is no member any more\n`
				: `${args.node} is dropped, and its copies are being replaced; \`${this.config.bin} cluster status\` shows when that is done\n`,
		);
		return change;
	}
}
