import { HiveError } from "../../base/errors.ts";
import { parseBody } from "./body-format.ts";
import type { FromBodyThread, ToBodyThread } from "./body-messages.ts";
import { buffersOf, packVectors } from "./body-packing.ts";

/** The thread's end of the conversation: what to answer, and the buffers that move with it. Never throws. */
export function answerBody({ id, bytes, format }: ToBodyThread): {
	readonly answer: FromBodyThread;
	readonly transfer: ArrayBuffer[];
} {
	try {
		const body = packVectors(parseBody(bytes, format));
		return { answer: { id, body }, transfer: buffersOf(body) };
	} catch (error) {
		if (error instanceof HiveError) return { answer: { id, error: error.toWire() }, transfer: [] };
		// Beyond what a body can do wrong, such as memory that is not there.
		return { answer: { id, error: { code: "INTERNAL", message: "the body could not be parsed" } }, transfer: [] };
	}
}
