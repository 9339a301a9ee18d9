import type { HealthAnswer } from "../shared/cluster-view.ts";
import { movesLeft } from "../shared/cluster-view.ts";
import { EXIT } from "../shared/failure.ts";
import { NodeCommand } from "../shared/node-command.ts";
import { formatBytes, formatCount } from "../shared/units.ts";

const BYTES_PER_GB = 1e9;

export class ClusterStatus extends NodeCommand {
	static override summary = "Show how the cluster is, and what is wrong with it.";
	static override description = "Exit code 1 when it is degraded: something is down, missing or behind.";
	static override examples = [
		"<%= config.bin %> cluster status",
		"<%= config.bin %> cluster status --json | jq -r '.problems[]'",
	];

	override async run(): Promise<HealthAnswer> {
		const { flags } = await this.parse(ClusterStatus);
		const health = await (await this.connect(flags)).call<HealthAnswer>("GET", "/cluster/health");
		const states = Map.groupBy(health.nodes, ({ state }) => state);
		const left = movesLeft(health);
		this.printRecord([
			["status", health.status],
			["nodes", [...states].map(([state, nodes]) => `${nodes.length} ${state}`).join(", ")],
			["hub", health.hivehub_connection],
			["tenants", health.tenant_count === null ? "?" : formatCount(health.tenant_count)],
			["stored", formatBytes(Math.round(health.total_storage_gb * BYTES_PER_GB))],
			["topology", `version ${health.topology_version}${health.is_changing ? ", changing" : ""}`],
			["moves left", formatCount(left)],
		]);
		for (const problem of health.problems) this.print(`! ${problem}\n`);
		if (health.status !== "healthy") process.exitCode = EXIT.failed;
		return health;
	}
}
