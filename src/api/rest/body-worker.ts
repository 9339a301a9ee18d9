import { setPriority } from "node:os";
import { answerBody } from "./body-endpoint.ts";
import type { ToBodyThread } from "./body-messages.ts";

/** The entry of the thread that parses large bodies, and the only module here that acts when imported. */

declare const self: Worker;

/** Bulk work gives way to requests that are small; only on Linux is this of the thread and not of the whole process. */
const NICENESS = 5;

if (process.platform === "linux") setPriority(0, NICENESS);

self.onmessage = (event: MessageEvent<ToBodyThread>) => {
	const { answer, transfer } = answerBody(event.data);
	postMessage(answer, transfer);
};
