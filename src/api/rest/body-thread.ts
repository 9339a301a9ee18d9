import { startThread, type Thread, type ThreadEvents } from "../../base/thread.ts";
import type { FromBodyThread, ToBodyThread } from "./body-messages.ts";

export type BodyThreadEvents = ThreadEvents<FromBodyThread>;
export type BodyThread = Thread<ToBodyThread>;
export type StartBodyThread = (events: BodyThreadEvents) => BodyThread;

/** Starts the thread that parses large bodies. */
export const startBodyThread: StartBodyThread = (events) =>
	startThread(new URL("./body-worker.ts", import.meta.url), events);
