import { HiveError } from "../base/errors.ts";
import type { FairQueueBounds } from "./fair-queue.ts";
import type { NameOnlyMethod, ShardCalls, ShardMethod, ShardName, ShardPool, ShardRef } from "./pool-types.ts";
import { type LaneObserver, type LaneWindow, WorkerLane } from "./worker-lane.ts";
import type { ShardCall, WorkerSettings } from "./worker-messages.ts";
import type { StartWorker } from "./worker-thread.ts";

/** Enough that writes of one shard share an fsync, little enough that a newcomer's turn comes within milliseconds. */
const DEFAULT_WINDOW: LaneWindow = { callsMax: 64, costMax: 128 };

const DEFAULT_QUEUE_BOUNDS: FairQueueBounds = {
	perKeyMax: 1_000,
	totalMax: 10_000,
	bytesMax: 256 * 1024 * 1024,
};

export interface WorkerPoolOptions {
	/** 1 or more. */
	readonly workerCount: number;
	readonly settings: WorkerSettings;
	readonly startWorker: StartWorker;
	readonly observer: LaneObserver;
	/** For each worker. */
	readonly queueBounds?: FairQueueBounds;
	readonly window?: LaneWindow;
}

/**
 * Shard workers, each owning whole shards: which one is decided by the shard's name and stays while the pool lives. A
 * worker is started by its first call.
 */
export class WorkerPool implements ShardPool {
	readonly #lanes: readonly WorkerLane[];
	#closing: Promise<void> | undefined;

	constructor(options: WorkerPoolOptions) {
		const bounds = options.queueBounds ?? DEFAULT_QUEUE_BOUNDS;
		const window = options.window ?? DEFAULT_WINDOW;
		this.#lanes = Array.from(
			{ length: options.workerCount },
			(_, index) => new WorkerLane(index, options.settings, bounds, window, options.startWorker, options.observer),
		);
	}

	async call<M extends ShardMethod>(
		ref: M extends NameOnlyMethod ? ShardName : ShardRef,
		method: M,
		...args: Parameters<ShardCalls[M]>
	): Promise<ReturnType<ShardCalls[M]>> {
		if (this.#closing !== undefined) throw new HiveError("NODE_DRAINING", "the node is stopping");
		const answer = await this.#laneOf(ref).call({ ref, method, args } as ShardCall);
		return answer as ReturnType<ShardCalls[M]>;
	}

	close(): Promise<void> {
		this.#closing ??= Promise.all(this.#lanes.map((lane) => lane.close())).then(() => {});
		return this.#closing;
	}

	stats(): ReturnType<ShardPool["stats"]> {
		return this.#lanes.map((lane) => lane.stats());
	}

	#laneOf(name: ShardName): WorkerLane {
		// The shards of one collection go to different workers, so that a search uses them all.
		const index = (Bun.hash.xxHash32(name.collectionId) + name.shardIndex) % this.#lanes.length;
		return this.#lanes[index]!;
	}
}
