import type { NodeId } from "../../../src/base/ids.ts";
import { MoveRunner } from "../../../src/cluster/repair/move-runner.ts";
import { handleRepairCalls, RepairCalls } from "../../../src/cluster/repair/repair-calls.ts";
import { RepairLoop } from "../../../src/cluster/repair/repair-loop.ts";
import { ShardFiller } from "../../../src/cluster/repair/shard-filler.ts";
import { ShardReconciler } from "../../../src/cluster/repair/shard-reconciler.ts";
import { SurplusCopies } from "../../../src/cluster/repair/surplus-copies.ts";
import type { MemberState, Topology } from "../../../src/hub/models.ts";
import type { ShardRef } from "../../../src/shards/pool-types.ts";
import { versionAt } from "../../storage/copy-fixture.ts";
import { MemoryNodes, nodeIdOf, shardRef, topologyOf } from "./memory-nodes.ts";
import { VirtualTime } from "./virtual-time.ts";

/** Nodes in memory, with the parts of repair for any of them. */
export class RepairRig {
	readonly time = new VirtualTime();
	readonly world: MemoryNodes;
	readonly logged: string[] = [];
	hintCount = 0;

	constructor(members: Readonly<Record<string, MemberState>>) {
		this.world = new MemoryNodes(topologyOf(1, members));
		this.#listen();
	}

	/** The topology goes on, and all hear of it. */
	change(members: Readonly<Record<string, MemberState>>): Topology {
		this.world.change(topologyOf(this.world.topology.version + 1, members));
		this.#listen();
		return this.world.topology;
	}

	/** A shard whose copies shall be on these nodes, found by its name; none is made. */
	shardOn(
		replicas: number,
		isWanted: (placement: { current: readonly NodeId[]; next: readonly NodeId[] }) => boolean,
	): ShardRef {
		const view = this.world.nodes.values().next().value!.view();
		for (let index = 0; index < 2_000; index++) {
			const shard = shardRef(`s${index}`);
			if (!isWanted(view.placement(shard.collectionId, 0, replicas))) continue;
			return this.world.add(shard, replicas).shard;
		}
		throw new Error("no shard falls so");
	}

	/** Complete copies, each with these vectors, written at the time that their number says. */
	async fill(shard: ShardRef, nodes: readonly NodeId[], ...versionsMs: readonly number[]): Promise<void> {
		for (const nodeId of nodes) {
			const node = this.world.nodes.get(nodeId)!;
			await node.make(shard, "complete");
			node.rows(shard).put(versionsMs.map(written));
		}
	}

	partsOf(name: string) {
		const self = nodeIdOf(name);
		const node = this.world.node(name);
		const port = this.world.portOf(self);
		const reconciler = new ShardReconciler({ self, port, throttle: { take: async () => {} } });
		const calls = new RepairCalls(this.world.peersOf(self));
		const log = (_level: string, message: string): void => void this.logged.push(message);
		const shared = { membership: node, port, copies: node, catalog: this.world.catalog, reconciler, calls, log };
		return {
			...shared,
			filler: new ShardFiller(shared),
			surplus: new SurplusCopies(shared),
			timers: this.time,
			clock: this.time,
			agreedClock: this.time,
		};
	}

	moves(name: string): MoveRunner {
		return new MoveRunner({ ...this.partsOf(name), hintCount: () => this.hintCount });
	}

	repair(name: string, purgeMarginMs?: number): RepairLoop {
		return new RepairLoop({ ...this.partsOf(name), ...(purgeMarginMs !== undefined && { purgeMarginMs }) });
	}

	#listen(): void {
		for (const node of this.world.nodes.values()) {
			if (node.methods.size === 0) handleRepairCalls(node, { membership: node, copies: node, look: () => {} });
		}
	}
}

export const written = (ms: number) => ({
	id: ms,
	version: versionAt(ms),
	document: { payload: `${ms}`, vector: new Float32Array([1, ms]) },
});

export const deleted = (id: number, ms: number) => ({ id, version: versionAt(ms), document: undefined });

export const never = new AbortController().signal;
