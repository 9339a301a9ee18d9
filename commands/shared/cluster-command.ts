import { Flags } from "@oclif/core";
import type { NodesAnswer } from "./cluster-view.ts";
import { WATCH_EVERY_MS, type WatchParts } from "./cluster-watch.ts";
import type { NodeClient } from "./node-client.ts";
import { NodeCommand } from "./node-command.ts";
import { startProgress } from "./progress.ts";
import { terminalOf } from "./terminal.ts";

export const waitFlag = { wait: Flags.boolean({ description: "follow it until it is done" }) };

/** A command that changes who holds what. */
export abstract class ClusterCommand extends NodeCommand {
	protected watchParts(node: NodeClient): WatchParts {
		return {
			look: () => node.call<NodesAnswer>("GET", "/cluster/nodes"),
			pause: () => Bun.sleep(WATCH_EVERY_MS),
			startProgress: (total) => startProgress(process.stderr, terminalOf(process.stderr, process.env), "shards", total),
		};
	}
}
