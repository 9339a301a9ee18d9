import type { FromBodyThread, ToBodyThread } from "./body-messages.ts";

/** What the thread says to whoever started it. */
export interface BodyThreadEvents {
	message(message: FromBodyThread): void;
	/** Once, when the thread has ended. Nothing comes after it. */
	ended(cause: unknown): void;
}

/** A running thread. */
export interface BodyThread {
	/** @throws when the message can't be cloned */
	post(message: ToBodyThread, transfer: ArrayBuffer[]): void;
	terminate(): void;
}

export type StartBodyThread = (events: BodyThreadEvents) => BodyThread;

/** Starts a thread of its own. The compiled binary finds its code beside the entry: `bin/body-worker.ts`. */
export const startBodyThread: StartBodyThread = (events) => {
	const worker = new Worker(new URL("./body-worker.ts", import.meta.url).href);
	let cause: unknown;
	worker.onmessage = (event: MessageEvent<FromBodyThread>) => events.message(event.data);
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
