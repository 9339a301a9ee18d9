import { systemClock } from "../base/clock.ts";
import { storageOpener } from "./storage-opener.ts";
import { WorkerEndpoint } from "./worker-endpoint.ts";
import type { ToWorker } from "./worker-messages.ts";

/** The entry of a shard worker's thread, and the only module here that acts when imported. */

declare const self: Worker;

const endpoint = new WorkerEndpoint(storageOpener(systemClock), (message, transfer) => postMessage(message, transfer));

self.onmessage = (event: MessageEvent<ToWorker>) => {
	// A message that may not come now is a defect: it ends the worker loudly, as an unhandled rejection.
	void endpoint.receive(event.data);
};
