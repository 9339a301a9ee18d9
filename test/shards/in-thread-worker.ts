import { type StorageOpener, WorkerEndpoint } from "../../src/shards/worker-endpoint.ts";
import type { FromWorker, ToWorker } from "../../src/shards/worker-messages.ts";
import type { StartWorker, WorkerEvents } from "../../src/shards/worker-thread.ts";

/** A worker that runs in the test's own thread behind real clones and transfers, and can be made to die. */
export class InThreadWorker {
	readonly received: ToWorker[] = [];
	terminated = false;
	readonly #events: WorkerEvents;
	readonly #endpoint: WorkerEndpoint;
	#dead = false;

	constructor(events: WorkerEvents, storage: StorageOpener) {
		this.#events = events;
		this.#endpoint = new WorkerEndpoint(storage, (message, transfer) => this.#tell(message, transfer));
	}

	post(message: ToWorker, transfer: ArrayBuffer[]): void {
		const copy = structuredClone(message, { transfer });
		this.received.push(copy);
		queueMicrotask(() => {
			if (!this.#dead) void this.#endpoint.receive(copy);
		});
	}

	terminate(): void {
		this.terminated = true;
	}

	/** As when the thread threw: nothing more is answered. */
	die(cause: unknown): void {
		this.#dead = true;
		this.#events.ended(cause);
	}

	#tell(message: FromWorker, transfer: ArrayBuffer[]): void {
		const copy = structuredClone(message, { transfer });
		queueMicrotask(() => {
			if (!this.#dead) this.#events.message(copy);
		});
	}
}

/** Starts workers in the test's thread and remembers them. */
export class InThreadWorkers {
	readonly started: InThreadWorker[] = [];
	readonly #storage: StorageOpener;

	constructor(storage: StorageOpener) {
		this.#storage = storage;
	}

	readonly start: StartWorker = (events) => {
		const worker = new InThreadWorker(events, this.#storage);
		this.started.push(worker);
		return worker;
	};
}
