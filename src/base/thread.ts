/** What a thread says to whoever started it. */
export interface ThreadEvents<Received> {
	message(message: Received): void;
	/** Once, when the thread has ended, whether it was told to or not. Nothing comes after it. */
	ended(cause: unknown): void;
}

/** A running thread. */
export interface Thread<Sent> {
	/** `transfer`: buffers that move. @throws when the message can't be cloned */
	post(message: Sent, transfer: ArrayBuffer[]): void;
	/** Ends the thread at once. In the middle of a native call that takes the process along. */
	terminate(): void;
}

/** @param code the module that the thread runs; in the compiled binary it lies beside the entry, under the same name. */
export function startThread<Sent, Received>(code: URL, events: ThreadEvents<Received>): Thread<Sent> {
	const worker = new Worker(code.href);
	let cause: unknown;
	worker.onmessage = (event: MessageEvent<Received>) => events.message(event.data);
	worker.onerror = (event: ErrorEvent) => {
		cause = event.error ?? event.message;
	};
	// A thread that failed to load, threw or exited: each ends with `close`.
	worker.addEventListener("close", () => events.ended(cause));
	return {
		post: (message, transfer) => worker.postMessage(message, transfer),
		terminate: () => worker.terminate(),
	};
}
