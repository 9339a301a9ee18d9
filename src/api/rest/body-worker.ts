import { getPriority, setPriority } from "node:os";
import { answerBody } from "./body-endpoint.ts";
import type { ToBodyThread } from "./body-messages.ts";

/** The entry of the thread that parses large bodies, and the only module here that acts when imported. */

declare const self: Worker;

/** How much nicer than the rest of the node: bulk work gives way to small requests. */
const NICER_BY = 5;
const NICENESS_MAX = 19;

// Only on Linux is this of the thread; elsewhere it would be of the whole process.
if (process.platform === "linux") setPriority(0, Math.min(NICENESS_MAX, getPriority(0) + NICER_BY));

self.onmessage = (event: MessageEvent<ToBodyThread>) => {
	const { answer, transfer } = answerBody(event.data);
	postMessage(answer, transfer);
};
