import { HiveError } from "../../src/base/errors.ts";
import type { NodeId } from "../../src/base/ids.ts";
import type { HintStorage } from "../../src/cluster/repair/hint-storage.ts";
import type { CopyState, LocalCopies, LocalCopy } from "../../src/cluster/replication/replica-types.ts";
import type { WriteEpochs } from "../../src/cluster/replication/write-epochs.ts";
import { shardKey } from "../../src/cluster/shard-facts.ts";
import type { Topology } from "../../src/hub/models.ts";
import type { ShardMethod, ShardName, ShardPool, ShardRef } from "../../src/shards/pool-types.ts";
import type { SeededRandom } from "../cluster/repair/virtual-time.ts";
import type { SimulatedHost } from "./simulated-host.ts";
import { SimulatedShard, type SimulatedShardParts } from "./simulated-shard.ts";

export interface DiskCopy {
	readonly shard: ShardRef;
	readonly rows: SimulatedShard;
	state: Exclude<CopyState, "none">;
}

/** What a node finds again when it starts. */
export class SimulatedDisk {
	readonly copies = new Map<string, DiskCopy>();
	readonly hints = new Map<NodeId, string>();
	topology: Topology | undefined;
	/** Told what becomes of copies. */
	trace: (line: string) => void = () => {};
	/** Told of a copy before it is gone. */
	onDrop: (copy: DiskCopy) => void = () => {};
	/** Nothing can be written. */
	isFull = false;

	constructor(
		readonly random: SeededRandom,
		readonly shardParts: Omit<SimulatedShardParts, "shard">,
	) {}

	/** Settles when it is on the disk; a process that is killed before has written nothing. @throws HiveError INTERNAL */
	async write<Result>(host: SimulatedHost, change: () => Result): Promise<Result> {
		await host.delay(1 + this.random.below(6));
		if (this.isFull) throw new HiveError("INTERNAL", "no space left on the device");
		return change();
	}

	copy(shard: ShardName): DiskCopy | undefined {
		return this.copies.get(shardKey(shard));
	}
}

/** One process's copies. */
export class SimulatedCopies implements LocalCopies {
	constructor(
		private readonly disk: SimulatedDisk,
		private readonly host: SimulatedHost,
		private readonly epochs: WriteEpochs,
	) {}

	knownState(shard: ShardName): CopyState {
		return this.disk.copy(shard)?.state ?? "none";
	}

	async state(shard: ShardName): Promise<CopyState> {
		return this.knownState(shard);
	}

	async make(shard: ShardRef, state: "complete" | "incoming"): Promise<void> {
		if (this.disk.copy(shard) !== undefined) return;
		await this.disk.write(this.host, () => {
			if (this.disk.copy(shard) !== undefined) return;
			const rows = new SimulatedShard({ ...this.disk.shardParts, shard });
			this.disk.copies.set(shardKey(shard), { shard, rows, state });
			this.#trace(shard, `is made, ${state}`);
		});
	}

	async markComplete(shard: ShardName): Promise<void> {
		await this.disk.write(this.host, () => {
			const copy = this.disk.copy(shard);
			if (copy !== undefined) copy.state = "complete";
			this.#trace(shard, "is complete");
		});
	}

	async drop(shard: ShardName): Promise<void> {
		await this.disk.write(this.host, () => {
			const copy = this.disk.copy(shard);
			if (copy !== undefined) this.disk.onDrop(copy);
			this.disk.copies.delete(shardKey(shard));
			this.#trace(shard, "is dropped");
		});
	}

	settled(_shard: ShardName, version: number): Promise<void> {
		return this.epochs.settled(version);
	}

	async *list(): AsyncGenerator<LocalCopy> {
		for (const { shard, state } of [...this.disk.copies.values()]) yield { ...shard, state };
	}

	#trace(shard: ShardName, what: string): void {
		this.disk.trace(`= ${shardKey(shard)} ${what} on ${this.host.nodeId}`);
	}
}

const WRITES: ReadonlySet<ShardMethod> = new Set<ShardMethod>(["upsert", "update", "delete", "merge"]);

export function simulatedPool(disk: SimulatedDisk, host: SimulatedHost): Pick<ShardPool, "call"> {
	return {
		async call(ref, method, ...args) {
			const answer = () => {
				const copy = disk.copy(ref);
				if (copy === undefined) throw new HiveError("INTERNAL", "the shard's files are not there");
				return copy.rows.answer(method, args);
			};
			return WRITES.has(method) ? await disk.write(host, answer) : answer();
		},
	};
}

/** One process's logs of hints. */
export class SimulatedHints implements HintStorage {
	constructor(
		private readonly disk: SimulatedDisk,
		private readonly host: SimulatedHost,
	) {}

	async nodes(): Promise<readonly NodeId[]> {
		return [...this.disk.hints.keys()];
	}

	async read(nodeId: NodeId): Promise<string> {
		return this.disk.hints.get(nodeId) ?? "";
	}

	async append(nodeId: NodeId, text: string): Promise<void> {
		await this.disk.write(this.host, () => this.disk.hints.set(nodeId, (this.disk.hints.get(nodeId) ?? "") + text));
	}

	async replace(nodeId: NodeId, text: string): Promise<void> {
		await this.disk.write(this.host, () => this.disk.hints.set(nodeId, text));
	}

	async remove(nodeId: NodeId): Promise<void> {
		await this.disk.write(this.host, () => this.disk.hints.delete(nodeId));
	}

	async close(): Promise<void> {}
}
