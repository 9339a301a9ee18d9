import type { ScrollPage, SearchAnswer, StoredVector } from "../storage/shard-types.ts";
import type { ShardMethod } from "./pool-types.ts";
import type { ShardCall } from "./worker-messages.ts";

/**
 * Cloning a view for another thread clones the whole buffer behind it, and transferring takes that buffer away from
 * whoever else looks at it: only arrays that have their buffer to themselves may cross.
 */
export function ownBuffer(vector: Float32Array): Float32Array {
	return vector.byteLength === vector.buffer.byteLength ? vector : vector.slice();
}

/** The call as it may cross, and the buffers that move: those of an upsert, the one large thing and not reused by its caller. */
export function outgoing(call: ShardCall): { readonly call: ShardCall; readonly transfer: ArrayBuffer[] } {
	switch (call.method) {
		case "upsert": {
			const [batch, allowance] = call.args;
			const vectors = ownBuffer(batch.vectors);
			return {
				call: { ...call, args: [{ ...batch, vectors }, allowance] },
				transfer: vectors.buffer instanceof ArrayBuffer ? [vectors.buffer] : [],
			};
		}
		case "measure": {
			const [write] = call.args;
			if ("upsert" in write) {
				const upsert = { ...write.upsert, vectors: ownBuffer(write.upsert.vectors) };
				return { call: { ...call, args: [{ upsert }] }, transfer: [] };
			}
			return { call: { ...call, args: [{ update: withOwnBuffer(write.update) }] }, transfer: [] };
		}
		case "update": {
			const [request, allowance] = call.args;
			return { call: { ...call, args: [withOwnBuffer(request), allowance] }, transfer: [] };
		}
		case "search":
			return { call: { ...call, args: [call.args[0].map(withOwnBuffer)] }, transfer: [] };
		default:
			return { call, transfer: [] };
	}
}

/** A result as it may cross. Its buffers are cloned, not moved: they may be the shard's own. */
export function incoming(method: ShardMethod, value: unknown): unknown {
	switch (method) {
		case "get":
			return (value as readonly (StoredVector | undefined)[]).map((stored) => stored && withOwnBuffer(stored));
		case "scroll": {
			const page = value as ScrollPage;
			return { ...page, vectors: page.vectors.map(withOwnBuffer) };
		}
		case "search":
			return (value as readonly SearchAnswer[]).map((answer) => ({
				...answer,
				hits: answer.hits.map(withOwnBuffer),
			}));
		default:
			return value;
	}
}

function withOwnBuffer<Holder extends { readonly vector?: Float32Array }>(holder: Holder): Holder {
	const { vector } = holder;
	if (vector === undefined || vector.byteLength === vector.buffer.byteLength) return holder;
	return { ...holder, vector: vector.slice() };
}
