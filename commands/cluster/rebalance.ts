import { ClusterCommand, waitFlag } from "../shared/cluster-command.ts";
import { movesLeft, type NodesAnswer } from "../shared/cluster-view.ts";
import { watchRebalance } from "../shared/cluster-watch.ts";
import { yesFlag } from "../shared/node-command.ts";
import { formatCount } from "../shared/units.ts";

interface RebalanceAnswer {
	readonly moves_running: number;
	readonly moves_waiting: number;
	readonly topology_version: number;
	readonly is_changing: boolean;
}

export class ClusterRebalance extends ClusterCommand {
	static override summary = "Have every node look at once for shards that should be elsewhere.";
	static override description =
		"Nodes do so by themselves, a while after the cluster has changed. Nothing moves that is in its place.";
	static override examples = ["<%= config.bin %> cluster rebalance --wait --yes"];
	static override flags = { ...waitFlag, ...yesFlag };

	override async run(): Promise<RebalanceAnswer> {
		const { flags } = await this.parse(ClusterRebalance);
		await this.confirmed("This may move data between the nodes.", undefined, flags);
		const node = await this.connect(flags);
		const answer = await node.call<RebalanceAnswer>("POST", "/cluster/rebalance");
		if (!flags.wait) {
			this.print(
				`${formatCount(answer.moves_running)} shards are moving, ${formatCount(answer.moves_waiting)} wait; \`${this.config.bin} cluster nodes\` shows more\n`,
			);
			return answer;
		}
		const last = await watchRebalance(this.watchParts(node));
		this.print("every shard is in its place\n");
		return rebalanced(last);
	}
}

const rebalanced = (last: NodesAnswer): RebalanceAnswer => ({
	moves_running: movesLeft(last),
	moves_waiting: 0,
	topology_version: last.topology_version,
	is_changing: last.is_changing,
});
