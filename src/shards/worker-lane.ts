import { HiveError } from "../base/errors.ts";
import { bytesOf, costOf } from "./call-cost.ts";
import { FairQueue, type FairQueueBounds } from "./fair-queue.ts";
import type { ShardMethod } from "./pool-types.ts";
import { outgoing } from "./vector-transfer.ts";
import type { FromWorker, Gauges, LogLevel, ShardCall, WorkerSettings } from "./worker-messages.ts";
import type { StartWorker, WorkerPort } from "./worker-thread.ts";

/** How much is handed to a worker at once, of reads and of writes each; what is beyond waits on this side, where turns are taken. */
export interface LaneWindow {
	readonly callsMax: number;
	/** In the units of `costOf`. One call may pass it: a large one goes alone. */
	readonly costMax: number;
}

/** Told what happens in a lane. */
export interface LaneObserver {
	log(level: LogLevel, message: string, facts: Readonly<Record<string, unknown>>): void;
}

interface PendingCall {
	readonly call: ShardCall;
	readonly cost: number;
	readonly stream: Stream;
	resolve(value: unknown): void;
	reject(error: HiveError): void;
}

/**
 * Reads wait for reads and writes for writes: a write spends most of its time waiting for the disk or for the graph to follow,
 * while the worker has all its time for reads.
 */
interface Stream {
	readonly queue: FairQueue<PendingCall>;
	inFlightCount: number;
	inFlightCost: number;
}

const READ_METHODS: ReadonlySet<ShardMethod> = new Set([
	...(["search", "textStatistics", "get", "count", "scroll", "stats", "measure"] as const),
	...(["rows", "digest", "versions"] as const),
]);
const NO_GAUGES: Gauges = { openShards: 0, memoryBytes: 0 };

/** One worker and what waits for it. */
export class WorkerLane {
	readonly #index: number;
	readonly #settings: WorkerSettings;
	readonly #window: LaneWindow;
	readonly #start: StartWorker;
	readonly #observer: LaneObserver;
	readonly #reads: Stream;
	readonly #writes: Stream;
	readonly #inFlight = new Map<number, PendingCall>();
	#nextCallId = 0;
	#port: WorkerPort | undefined;
	#ready = false;
	#gauges = NO_GAUGES;
	/** Set by `close`; called when there is nothing left to wait for. */
	#drained: (() => void) | undefined;
	#closed: (() => void) | undefined;

	constructor(
		index: number,
		settings: WorkerSettings,
		bounds: FairQueueBounds,
		window: LaneWindow,
		start: StartWorker,
		observer: LaneObserver,
	) {
		this.#index = index;
		this.#settings = settings;
		this.#window = window;
		this.#start = start;
		this.#observer = observer;
		this.#reads = { queue: new FairQueue(bounds), inFlightCount: 0, inFlightCost: 0 };
		this.#writes = { queue: new FairQueue(bounds), inFlightCount: 0, inFlightCost: 0 };
	}

	/** @throws HiveError OVERLOADED, INTERNAL, or what the shard threw */
	call(call: ShardCall): Promise<unknown> {
		return new Promise((resolve, reject) => {
			const cost = costOf(call);
			const stream = READ_METHODS.has(call.method) ? this.#reads : this.#writes;
			const pending: PendingCall = { call, cost, stream, resolve, reject };
			if (!stream.queue.push(call.ref.tenantId, pending, cost, bytesOf(call))) {
				reject(
					new HiveError("OVERLOADED", "too many requests are waiting; retry in a moment", { retry_after_seconds: 1 }),
				);
				return;
			}
			this.#pump(stream);
		});
	}

	/** Calls that wait on this side. */
	get #waitingCount(): number {
		return this.#reads.queue.size + this.#writes.queue.size;
	}

	stats(): { worker: number; queueDepth: number; openShards: number; memoryBytes: number } {
		return { worker: this.#index, queueDepth: this.#waitingCount, ...this.#gauges };
	}

	/** Waits until every call is answered, has the worker close its shards and ends it. No call may come any more. */
	async close(): Promise<void> {
		if (this.#waitingCount + this.#inFlight.size > 0) {
			await new Promise<void>((resolve) => {
				this.#drained = resolve;
			});
		}
		const port = this.#port;
		if (port === undefined) return;
		await new Promise<void>((resolve) => {
			this.#closed = resolve;
			port.post({ type: "close" }, []);
		});
		this.#port = undefined;
		port.terminate();
	}

	/** Hands over what the stream's window has room for. */
	#pump(stream: Stream): void {
		const { callsMax, costMax } = this.#window;
		while (stream.inFlightCount < callsMax && stream.inFlightCost < costMax) {
			const next = stream.queue.shift();
			if (next === undefined) break;
			this.#hand(next.item);
		}
		if (this.#drained !== undefined && this.#inFlight.size === 0 && this.#waitingCount === 0) this.#drained();
	}

	#hand(pending: PendingCall): void {
		const callId = this.#nextCallId++;
		try {
			const { call, transfer } = outgoing(pending.call);
			this.#port ??= this.#startWorker();
			this.#port.post({ type: "call", callId, call }, transfer);
		} catch (error) {
			this.#observer.log("error", "a call could not be handed to a shard worker", { error });
			pending.reject(
				new HiveError("INTERNAL", "the call could not be handed to a shard worker", undefined, { cause: error }),
			);
			return;
		}
		this.#inFlight.set(callId, pending);
		pending.stream.inFlightCount++;
		pending.stream.inFlightCost += pending.cost;
	}

	#startWorker(): WorkerPort {
		this.#ready = false;
		const port = this.#start({
			message: (message) => this.#receive(message),
			ended: (cause) => this.#ended(port, cause),
		});
		port.post({ type: "init", settings: this.#settings }, []);
		return port;
	}

	#receive(message: FromWorker): void {
		switch (message.type) {
			case "result":
				this.#settle(message.callId, (pending) => pending.resolve(message.value));
				return;
			case "failure":
				this.#settle(message.callId, (pending) => pending.reject(HiveError.fromWire(message.error)));
				return;
			case "gauges":
				this.#gauges = message.gauges;
				return;
			case "log":
				this.#observer.log(message.level, message.message, { worker: this.#index, ...message.facts });
				return;
			case "ready":
				this.#ready = true;
				return;
			case "closed":
				this.#closed?.();
				return;
		}
	}

	#settle(callId: number, tell: (pending: PendingCall) => void): void {
		const pending = this.#inFlight.get(callId);
		if (pending === undefined) return;
		this.#inFlight.delete(callId);
		pending.stream.inFlightCount--;
		pending.stream.inFlightCost -= pending.cost;
		tell(pending);
		this.#pump(pending.stream);
	}

	#ended(port: WorkerPort, cause: unknown): void {
		if (this.#port !== port) return;
		this.#port = undefined;
		this.#gauges = NO_GAUGES;
		this.#observer.log("error", "a shard worker stopped", {
			worker: this.#index,
			calls_lost: this.#inFlight.size,
			error: cause,
		});
		// One that could not even start would fail again at once: then those who wait are told, and the next call tries anew.
		if (!this.#ready) {
			for (const { queue } of [this.#reads, this.#writes]) {
				for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
					next.item.reject(new HiveError("INTERNAL", "the shard worker could not start"));
				}
			}
		}
		const lost = [...this.#inFlight.keys()];
		for (const callId of lost) this.#settle(callId, (pending) => pending.reject(workerStopped()));
		this.#closed?.();
		for (const stream of [this.#reads, this.#writes]) this.#pump(stream);
	}
}

const workerStopped = (): HiveError =>
	new HiveError(
		"INTERNAL",
		"the shard worker stopped; retry. A write that was under way is on disk whole or not at all, and may be either",
	);
