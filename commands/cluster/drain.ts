import { Args, Flags } from "@oclif/core";
import { ClusterCommand, waitFlag } from "../shared/cluster-command.ts";
import type { MemberChange } from "../shared/cluster-view.ts";
import { watchLeaving } from "../shared/cluster-watch.ts";
import { apiPath } from "../shared/node-client.ts";
import { yesFlag } from "../shared/node-command.ts";

export class ClusterDrain extends ClusterCommand {
	static override summary = "Empty a node: its shards move to the others, then it leaves the cluster.";
	static override description =
		"Nothing is lost and everything goes on being served. Stop the node only when it has left. It can't come back with the same data folder. Until it has left, --cancel keeps it.";
	static override examples = [
		"<%= config.bin %> cluster drain node_4k2x9a7c1m5q8z3e --wait",
		"<%= config.bin %> cluster drain node_4k2x9a7c1m5q8z3e --yes",
		"<%= config.bin %> cluster drain node_4k2x9a7c1m5q8z3e --cancel",
	];
	static override args = { node: Args.string({ required: true, description: "id of the node" }) };
	static override flags = {
		...waitFlag,
		...yesFlag,
		cancel: Flags.boolean({ description: "the node stays after all", exclusive: ["wait"] }),
	};

	override async run(): Promise<MemberChange> {
		const { args, flags } = await this.parse(ClusterDrain);
		const path = apiPath`/cluster/nodes/${args.node}/drain`;
		if (flags.cancel) {
			const kept = await (await this.connect(flags)).call<MemberChange>("POST", path, { query: { cancel: true } });
			this.print(`${args.node} stays\n`);
			return kept;
		}
		await this.confirmed(`This moves everything off ${args.node}, which then leaves for good.`, undefined, flags);
		const node = await this.connect(flags);
		let change = await node.call<MemberChange>("POST", path);
		if (change.state !== "gone" && flags.wait) {
			const { topology_version = change.topology_version } = await watchLeaving(this.watchParts(node), args.node);
			change = { node_id: args.node, state: "gone", topology_version };
		}
		this.print(
			change.state === "gone"
				? `${args.node} has left: it can be stopped\n`
				: `${args.node} is being emptied; \`${this.config.bin} cluster nodes\` shows how far it is\n`,
		);
		return change;
	}
}
