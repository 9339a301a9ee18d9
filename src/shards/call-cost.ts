import type { ShardCall } from "./worker-messages.ts";

/**
 * What a call costs its worker, in units of very roughly 50 µs of its time: good enough to take turns by, and to know how
 * much to hand to a worker at once.
 */
export function costOf(call: ShardCall): number {
	switch (call.method) {
		case "search": {
			let cost = 0;
			for (const request of call.args[0]) {
				cost += 8 + (request.exact === true ? 8 : 0) + (request.filter === undefined ? 0 : 8) + request.k / 64;
				if (request.lexical !== undefined) cost += 8;
			}
			return Math.max(1, cost);
		}
		case "upsert":
		case "merge":
			return 1 + call.args[0].ids.length;
		case "measure":
			return 1 + ("upsert" in call.args[0] ? call.args[0].upsert.ids.length / 8 : 1);
		case "get":
		case "rows":
			return 1 + call.args[0].length / 16;
		case "digest":
			return 4;
		case "versions":
			return 16;
		case "count":
			return call.args[0] === undefined ? 1 : 16;
		case "scroll":
			return 2 + call.args[0].limit / 16 + (call.args[0].filter === undefined ? 0 : 8);
		case "delete":
			return "ids" in call.args[0] ? 1 + call.args[0].ids.length / 4 : 16;
		case "update":
			return 2;
		case "textStatistics":
			return 1 + 8 * call.args[0].length;
		case "stats":
		case "allowPurge":
			return 1;
		case "create":
		case "drop":
		case "close":
			return 32;
		case "createPayloadIndex":
		case "dropPayloadIndex":
			return 64;
	}
}

/** Memory that a call holds while it waits: what could fill a queue with few calls. */
export function bytesOf(call: ShardCall): number {
	switch (call.method) {
		case "upsert":
		case "merge":
			return batchBytes(call.args[0]);
		case "measure":
			return "upsert" in call.args[0] ? batchBytes(call.args[0].upsert) : updateBytes(call.args[0].update);
		case "update":
			return updateBytes(call.args[0]);
		case "search": {
			let bytes = 0;
			for (const { vector, lexical } of call.args[0]) bytes += (vector?.byteLength ?? 0) + (lexical?.text.length ?? 0);
			return bytes;
		}
		case "textStatistics":
			return call.args[0].reduce((bytes, text) => bytes + text.length, 0);
		default:
			return 0;
	}
}

function batchBytes(batch: { vectors: Float32Array; payloads: readonly (string | undefined)[] }): number {
	let bytes = batch.vectors.byteLength;
	for (const payload of batch.payloads) bytes += payload?.length ?? 0;
	return bytes;
}

const updateBytes = (request: { vector?: Float32Array; payloadPatch?: string }): number =>
	(request.vector?.byteLength ?? 0) + (request.payloadPatch?.length ?? 0);
