import { HiveError } from "../base/errors.ts";
import type { HubDirectory } from "../hub/hub-client-types.ts";
import type { EventLoopLag } from "../observe/event-loop-lag.ts";
import type { MetricsProbes } from "../observe/metrics.ts";
import type { ClusterControl, NodeInfo, Readiness } from "../operations/node-services.ts";
import type { ShardPool } from "../shards/pool-types.ts";
import type { StoredUsage } from "./stored-usage.ts";

/** The parts whose state is shown. */
export interface StatefulParts {
	readonly directory: Pick<HubDirectory, "connected">;
	readonly pool: Pick<ShardPool, "stats">;
	readonly stored: Pick<StoredUsage, "all">;
	readonly cluster: Pick<ClusterControl, "state">;
	readonly hints: { pendingByNode(): ReadonlyMap<string, number> };
	/** Absent on a node that is single-tenant. */
	readonly member?: { readonly isSettled: boolean; readonly hasLeft: boolean; readonly hasCompany: boolean };
}

/** How the node is doing, as readiness, cluster health and metrics show it. */
export class NodeState implements MetricsProbes {
	private parts: StatefulParts | undefined;
	private wasHubSeen = false;
	private isDraining = false;

	constructor(private readonly lag: EventLoopLag) {}

	/** From here on there is something to show. */
	wire(parts: StatefulParts): void {
		this.parts = parts;
	}

	drain(): void {
		this.isDraining = true;
	}

	get isStopping(): boolean {
		return this.isDraining || this.parts?.member?.hasLeft === true;
	}

	/**
	 * Ready once the hub has answered, or another member that may tell what it had from the hub; a hub that goes away later leaves
	 * the node ready, answering from its cache. A node of a cluster has to be a member of it.
	 */
	readiness(): Readiness {
		const { member } = this.parts ?? {};
		this.wasHubSeen ||= this.isHubUp() || member?.hasCompany === true;
		const isSettled = member === undefined || member.isSettled;
		return {
			state: this.isStopping ? "draining" : this.wasHubSeen && isSettled ? "ready" : "starting",
			checks: {
				hub: this.isHubUp() ? "connected" : "disconnected",
				open_shards: this.shards().open,
				...(member !== undefined && { settled: member.isSettled }),
			},
		};
	}

	/** Why the node takes no requests at all now. */
	refusal(): HiveError | undefined {
		const { member } = this.parts ?? {};
		if (member === undefined || (member.isSettled && !member.hasLeft)) return undefined;
		if (member.hasLeft) return new HiveError("NODE_DRAINING", "this node has left its cluster: ask another one");
		return this.isHubUp()
			? new HiveError("OVERLOADED", "this node is starting: it is no member of its cluster yet")
			: new HiveError("HUB_UNAVAILABLE", "this node is starting, and has not reached its hub yet");
	}

	*tenants(): Generator<{ tenantId: string; storageBytes: number; vectorCount: number }> {
		if (this.parts !== undefined) yield* this.parts.stored.all();
	}

	isHubUp(): boolean {
		return this.parts?.directory.connected === true;
	}

	clusterMembers(): Record<string, number> {
		const counts: Record<string, number> = {};
		for (const { state } of this.clusterNodes()) counts[state] = (counts[state] ?? 0) + 1;
		return counts;
	}

	*peers(): Generator<{ nodeId: string; lagSeconds: number }> {
		for (const node of this.clusterNodes()) {
			if (!node.self) yield { nodeId: node.node_id, lagSeconds: node.replication_lag_seconds };
		}
	}

	hintsPending(): ReadonlyMap<string, number> {
		const pending = new Map<string, number>();
		for (const { nodeId } of this.peers()) pending.set(nodeId, 0);
		for (const [nodeId, count] of this.parts?.hints.pendingByNode() ?? []) pending.set(nodeId, count);
		return pending;
	}

	shards(): { open: number } {
		const openShards = this.parts?.pool.stats().map((worker) => worker.openShards) ?? [];
		return { open: openShards.reduce((sum, count) => sum + count, 0) };
	}

	workers(): ReturnType<ShardPool["stats"]> {
		return this.parts?.pool.stats() ?? [];
	}

	eventLoopLagSeconds(): number {
		return this.lag.maxSeconds();
	}

	residentMemoryBytes(): number {
		return process.memoryUsage.rss();
	}

	private clusterNodes(): readonly NodeInfo[] {
		return this.parts?.cluster.state().nodes ?? [];
	}
}
