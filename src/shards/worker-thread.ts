import { startThread, type Thread, type ThreadEvents } from "../base/thread.ts";
import type { FromWorker, ToWorker } from "./worker-messages.ts";

export type WorkerEvents = ThreadEvents<FromWorker>;
/** To be terminated only once it acknowledged `close`. */
export type WorkerPort = Thread<ToWorker>;
export type StartWorker = (events: WorkerEvents) => WorkerPort;

/** Starts a shard worker in a thread of its own. */
export const startWorkerThread: StartWorker = (events) =>
	startThread(new URL("./shard-worker.ts", import.meta.url), events);
