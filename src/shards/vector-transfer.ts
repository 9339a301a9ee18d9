import type {
	ScrollPage,
	SearchAnswer,
	ShardDigest,
	StoredVector,
	VersionedRows,
	VersionList,
} from "../storage/shard-types.ts";
import type { ShardMethod } from "./pool-types.ts";
import type { ShardCall } from "./worker-messages.ts";

type Numbers = Float32Array | Uint8Array | Uint32Array;

/**
 * Cloning a view for another thread clones the whole buffer behind it, and transferring takes that buffer away from
 * whoever else looks at it: only arrays that have their buffer to themselves may cross.
 */
export function ownBuffer<List extends Numbers>(numbers: List): List {
	return numbers.byteLength === numbers.buffer.byteLength ? numbers : (numbers.slice() as List);
}

/**
 * The call as it may cross, and the buffers that move: those of an upsert, which its caller does not use again, and of a merge what
 * had to be copied anyway. The rows of a merge stay the caller's: other copies may be given them too.
 */
export function outgoing(call: ShardCall): { readonly call: ShardCall; readonly transfer: ArrayBuffer[] } {
	switch (call.method) {
		case "upsert": {
			const [batch, allowance, version] = call.args;
			const vectors = ownBuffer(batch.vectors);
			const owned = { ...batch, vectors };
			const args = version === undefined ? [owned, allowance] : [owned, allowance, ownBuffer(version)];
			return { call: { ...call, args: args as typeof call.args }, transfer: buffersOf(vectors) };
		}
		case "merge": {
			const [rows] = call.args;
			const owned = ownRows(rows);
			const transfer = owned.vectors === rows.vectors ? [] : buffersOf(owned.vectors);
			return { call: { ...call, args: [owned] }, transfer };
		}
		case "delete": {
			const [selector, version] = call.args;
			if (version === undefined) return { call, transfer: [] };
			return { call: { ...call, args: [selector, ownBuffer(version)] }, transfer: [] };
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
			const [request, allowance, stamp] = call.args;
			const owned = withOwnBuffer(request);
			if (stamp === undefined) return { call: { ...call, args: [owned, allowance] }, transfer: [] };
			const ownStamp = { version: ownBuffer(stamp.version), known: ownRows(stamp.known) };
			return { call: { ...call, args: [owned, allowance, ownStamp] }, transfer: [] };
		}
		case "search":
			return { call: { ...call, args: [call.args[0].map(withOwnBuffer)] }, transfer: [] };
		default:
			return { call, transfer: [] };
	}
}

/**
 * A result as it may cross, and the buffers that move. Those of hits are cloned, for they may be the shard's own; what copies of a
 * shard exchange is large and made for its caller.
 */
export function incoming(
	method: ShardMethod,
	value: unknown,
): { readonly value: unknown; readonly transfer: ArrayBuffer[] } {
	switch (method) {
		case "get":
			return cloned((value as readonly (StoredVector | undefined)[]).map((stored) => stored && withOwnBuffer(stored)));
		case "scroll": {
			const page = value as ScrollPage;
			return cloned({ ...page, vectors: page.vectors.map(withOwnBuffer) });
		}
		case "search":
			return cloned(
				(value as readonly SearchAnswer[]).map((answer) => ({ ...answer, hits: answer.hits.map(withOwnBuffer) })),
			);
		case "rows": {
			const { vectors, versions, deleted } = value as VersionedRows;
			return { value, transfer: buffersOf(vectors, versions, deleted) };
		}
		case "versions": {
			const { versions, deleted } = value as VersionList;
			return { value, transfer: buffersOf(versions, deleted) };
		}
		case "digest":
			return { value, transfer: buffersOf((value as ShardDigest).sums) };
		default:
			return cloned(value);
	}
}

const ownRows = (rows: VersionedRows): VersionedRows => ({
	...rows,
	vectors: ownBuffer(rows.vectors),
	versions: ownBuffer(rows.versions),
	deleted: ownBuffer(rows.deleted),
});

const cloned = (value: unknown) => ({ value, transfer: [] });

function buffersOf(...lists: readonly Numbers[]): ArrayBuffer[] {
	return lists.map(({ buffer }) => buffer).filter((buffer) => buffer instanceof ArrayBuffer);
}

function withOwnBuffer<Holder extends { readonly vector?: Float32Array }>(holder: Holder): Holder {
	const { vector } = holder;
	if (vector === undefined || vector.byteLength === vector.buffer.byteLength) return holder;
	return { ...holder, vector: vector.slice() };
}
