import { NODE_COLUMNS, type NodesAnswer, nodeRow } from "../shared/cluster-view.ts";
import { NodeCommand } from "../shared/node-command.ts";

export class ClusterNodes extends NodeCommand {
	static override summary = "List the cluster's members, their shares of the data and what moves.";
	static override examples = [
		"<%= config.bin %> cluster nodes",
		"<%= config.bin %> cluster nodes --json | jq -r '.nodes[] | select(.state == \"down\") | .node_id'",
	];

	override async run(): Promise<NodesAnswer> {
		const { flags } = await this.parse(ClusterNodes);
		const answer = await (await this.connect(flags)).call<NodesAnswer>("GET", "/cluster/nodes");
		this.printTable(NODE_COLUMNS, answer.nodes.map(nodeRow));
		return answer;
	}
}
