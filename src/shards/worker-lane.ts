import { HiveError } from "../base/errors.ts";
import { bytesOf, costOf } from "./call-cost.ts";
import { FairQueue, type FairQueueBounds } from "./fair-queue.ts";
import { outgoing } from "./vector-transfer.ts";
import type { FromWorker, Gauges, LogLevel, ShardCall, WorkerSettings } from "./worker-messages.ts";
import type { StartWorker, WorkerPort } from "./worker-thread.ts";

/** How much is handed to a worker at once; what is beyond waits on this side, where turns are taken. */
export interface LaneWindow {
	readonly callsMax: number;
	/** In the units of `costOf`. One call may pass it: a large one goes alone. */
	readonly costMax: number;
}

/** Told what happens in a lane, for metrics and logs. */
export interface LaneObserver {
	queueDepth(worker: number, depth: number): void;
	log(level: LogLevel, message: string, facts: Readonly<Record<string, unknown>>): void;
}

interface PendingCall {
	readonly call: ShardCall;
	readonly cost: number;
	resolve(value: unknown): void;
	reject(error: HiveError): void;
}

const NO_GAUGES: Gauges = { openShards: 0, memoryBytes: 0 };

/** One worker and what waits for it. */
export class WorkerLane {
	readonly #index: number;
	readonly #settings: WorkerSettings;
	readonly #window: LaneWindow;
	readonly #start: StartWorker;
	readonly #observer: LaneObserver;
	readonly #queue: FairQueue<PendingCall>;
	readonly #inFlight = new Map<number, PendingCall>();
	#inFlightCost = 0;
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
		this.#queue = new FairQueue(bounds);
	}

	/** @throws HiveError OVERLOADED, INTERNAL, or what the shard threw */
	call(call: ShardCall): Promise<unknown> {
		return new Promise((resolve, reject) => {
			const cost = costOf(call);
			const pending: PendingCall = { call, cost, resolve, reject };
			if (!this.#queue.push(call.ref.tenantId, pending, cost, bytesOf(call))) {
				reject(
					new HiveError("OVERLOADED", "too many requests are waiting; retry in a moment", { retry_after_seconds: 1 }),
				);
				return;
			}
			this.#pump();
		});
	}

	stats(): { worker: number; queueDepth: number; openShards: number; memoryBytes: number } {
		return { worker: this.#index, queueDepth: this.#queue.size, ...this.#gauges };
	}

	/** Waits until every call is answered, has the worker close its shards and ends it. No call may come any more. */
	async close(): Promise<void> {
		if (this.#queue.size + this.#inFlight.size > 0) {
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

	/** Hands over what the window has room for. */
	#pump(): void {
		while (this.#inFlight.size < this.#window.callsMax && this.#inFlightCost < this.#window.costMax) {
			const next = this.#queue.shift();
			if (next === undefined) break;
			this.#hand(next.item);
		}
		this.#observer.queueDepth(this.#index, this.#queue.size);
		if (this.#drained !== undefined && this.#inFlight.size === 0 && this.#queue.size === 0) this.#drained();
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
		this.#inFlightCost += pending.cost;
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
				this.#settle(message.callId)?.resolve(message.value);
				this.#pump();
				return;
			case "failure":
				this.#settle(message.callId)?.reject(HiveError.fromWire(message.error));
				this.#pump();
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

	#settle(callId: number): PendingCall | undefined {
		const pending = this.#inFlight.get(callId);
		if (pending === undefined) return undefined;
		this.#inFlight.delete(callId);
		this.#inFlightCost -= pending.cost;
		return pending;
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
		const lost = [...this.#inFlight.keys()];
		for (const callId of lost) this.#settle(callId)?.reject(workerStopped());
		// One that could not even start would fail again at once: then those who wait are told, and the next call tries anew.
		if (!this.#ready) {
			for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
				next.item.reject(new HiveError("INTERNAL", "the shard worker could not start"));
			}
		}
		this.#closed?.();
		this.#pump();
	}
}

const workerStopped = (): HiveError =>
	new HiveError(
		"INTERNAL",
		"the shard worker stopped; retry. A write that was under way is on disk whole or not at all, and may be either",
	);
