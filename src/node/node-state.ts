import type { NodeId } from "../base/ids.ts";
import type { HubDirectory } from "../hub/hub-client-types.ts";
import type { EventLoopLag } from "../observe/event-loop-lag.ts";
import type { MetricsProbes } from "../observe/metrics.ts";
import type { NodeInfo, Readiness } from "../operations/node-services.ts";
import type { ShardPool } from "../shards/pool-types.ts";
import type { StoredUsage } from "./stored-usage.ts";

/** The parts whose state is shown. */
export interface StatefulParts {
	readonly directory: Pick<HubDirectory, "connected">;
	readonly pool: Pick<ShardPool, "stats">;
	readonly stored: Pick<StoredUsage, "all">;
}

/** How the node is doing, as readiness, cluster health and metrics show it. */
export class NodeState implements MetricsProbes {
	private parts: StatefulParts | undefined;
	private wasHubSeen = false;
	private isDraining = false;
	private address = "";

	constructor(private readonly own: { readonly nodeId: NodeId; readonly lag: EventLoopLag }) {}

	/** From here on there is something to show. */
	wire(parts: StatefulParts): void {
		this.parts = parts;
	}

	listening(address: string): void {
		this.address = address;
	}

	drain(): void {
		this.isDraining = true;
	}

	/** Ready once the hub has answered; a hub that goes away later leaves the node ready, answering from its cache. */
	readiness(): Readiness {
		this.wasHubSeen ||= this.isHubUp();
		return {
			state: this.isDraining ? "draining" : this.wasHubSeen ? "ready" : "starting",
			checks: { hub: this.isHubUp() ? "connected" : "disconnected", open_shards: this.shards().open },
		};
	}

	/** A node alone owns the whole ring. */
	nodeInfo(): NodeInfo {
		return {
			node_id: this.own.nodeId,
			state: this.isDraining ? "draining" : "active",
			addresses: [this.address],
			ring_share: 1,
			self: true,
		};
	}

	*tenants(): Generator<{ tenantId: string; storageBytes: number; vectorCount: number }> {
		if (this.parts !== undefined) yield* this.parts.stored.all();
	}

	isHubUp(): boolean {
		return this.parts?.directory.connected === true;
	}

	clusterMembers(): Record<string, number> {
		return { [this.nodeInfo().state]: 1 };
	}

	shards(): { open: number } {
		const openShards = this.parts?.pool.stats().map((worker) => worker.openShards) ?? [];
		return { open: openShards.reduce((sum, count) => sum + count, 0) };
	}

	workers(): ReturnType<ShardPool["stats"]> {
		return this.parts?.pool.stats() ?? [];
	}

	eventLoopLagSeconds(): number {
		return this.own.lag.maxSeconds();
	}

	residentMemoryBytes(): number {
		return process.memoryUsage.rss();
	}
}
