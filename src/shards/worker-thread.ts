import type { FromWorker, ToWorker } from "./worker-messages.ts";

/** What a worker says to whoever started it. */
export interface WorkerEvents {
	message(message: FromWorker): void;
	/** Once, when the worker has ended, whether it was told to or not. Nothing comes after it. */
	ended(cause: unknown): void;
}

/** A running worker. */
export interface WorkerPort {
	/** `transfer`: buffers that move. @throws when the message can't be cloned */
	post(message: ToWorker, transfer: ArrayBuffer[]): void;
	/** Ends the thread. Only for one that acknowledged `close`: ended in the middle of a native call it takes the process along. */
	terminate(): void;
}

export type StartWorker = (events: WorkerEvents) => WorkerPort;

/** Starts a shard worker in a thread of its own. */
export const startWorkerThread: StartWorker = (events) => {
	const worker = new Worker(new URL("./shard-worker.ts", import.meta.url).href);
	let cause: unknown;
	worker.onmessage = (event: MessageEvent<FromWorker>) => events.message(event.data);
	worker.onerror = (event: ErrorEvent) => {
		cause = event.error ?? event.message;
	};
	// A worker that failed to load, threw or exited: each ends with `close`.
	worker.addEventListener("close", () => events.ended(cause));
	return {
		post: (message, transfer) => worker.postMessage(message, transfer),
		terminate: () => worker.terminate(),
	};
};
