import { HiveError } from "../base/errors.ts";
import type { VectorId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import { parsePayload } from "./documents.ts";
import type { FilterTest } from "./filter-evaluator.ts";
import type { Scorer } from "./scorer.ts";
import type { UpdateRequest, UpsertBatch, Version, WriteAllowance, WriteResult } from "./shard-types.ts";
import { Superseded } from "./superseded.ts";
import type { TimeSlice } from "./time-slice.ts";
import type { RequestDraft } from "./write-draft.ts";

/** One request to change the shard. */
export interface WriteCommand<Result extends WriteResult = WriteResult> {
	/** For bounding what one commit gathers. */
	readonly rowCount: number;
	readonly byteCount: number;
	/**
	 * Put the changes into the draft.
	 *
	 * @returns      what they come to, once they are on disk.
	 * @throws HiveError when the request is refused; nothing of it is written then.
	 */
	plan(draft: RequestDraft, slice: TimeSlice): Promise<Result>;
}

/**
 * @param version of all the documents, the newest of which stays; undefined writes them anyhow, in a version newer than any.
 * @throws HiveError DIMENSION_MISMATCH, INVALID_VECTOR. Nothing is planned yet.
 */
export function upsertCommand(
	batch: UpsertBatch,
	allowance: WriteAllowance,
	scorer: Scorer,
	version?: Version,
): WriteCommand {
	const { ids, vectors, payloads } = batch;
	const { dimension } = scorer;
	if (vectors.length !== ids.length * dimension || payloads.length !== ids.length) {
		throw new HiveError("DIMENSION_MISMATCH", `the collection stores ${dimension} dimensions a vector`, {
			field: "vectors",
			expected: dimension,
			actual: ids.length === 0 ? vectors.length : vectors.length / ids.length,
		});
	}
	const rowOf = (row: number) => vectors.subarray(row * dimension, (row + 1) * dimension);
	const scratch = new Float64Array(dimension);
	for (let row = 0; row < ids.length; row++) scorer.normalise(rowOf(row), scratch, `vectors[${row}].vector`);
	return {
		rowCount: ids.length,
		byteCount: vectors.byteLength + payloads.reduce((sum, payload) => sum + (payload?.length ?? 0), 0),
		async plan(draft, slice) {
			const payloadOf = (row: number) => {
				const payload = payloads[row];
				return payload === undefined ? undefined : Buffer.from(payload);
			};
			if (version !== undefined) {
				// Of equal ids the last is meant: with the same version, none could take the place of another.
				const lastRows = new Map(ids.map((id, row) => [id, row]));
				const superseded = new Superseded();
				for (const [id, row] of lastRows) {
					const after = { payload: payloadOf(row), vector: rowOf(row) };
					superseded.note(draft.putVersion(id, after, version), version);
					if (slice.isSpent) await slice.rest();
				}
				checkAllowance(draft, allowance);
				return writeResult(draft, lastRows.size - superseded.count, superseded.newest);
			}
			const distinct = new Set<VectorId>();
			for (const [row, id] of ids.entries()) {
				draft.put(id, payloadOf(row), rowOf(row));
				distinct.add(id);
				if (slice.isSpent) await slice.rest();
			}
			checkAllowance(draft, allowance);
			return writeResult(draft, distinct.size);
		},
	};
}

/**
 * @param version that the document will have, unless it has a newer one; undefined: newer than any.
 * @throws HiveError DIMENSION_MISMATCH, INVALID_VECTOR; when planned VECTOR_NOT_FOUND, VALIDATION_FAILED, QUOTA_EXCEEDED.
 */
export function updateCommand(
	request: UpdateRequest,
	allowance: WriteAllowance,
	scorer: Scorer,
	version?: Version,
): WriteCommand {
	const { id, vector, payloadPatch } = request;
	if (vector !== undefined) scorer.query(vector, "vector");
	return {
		rowCount: 1,
		byteCount: (vector?.byteLength ?? 0) + (payloadPatch?.length ?? 0),
		async plan(draft) {
			const standing = version && draft.newerThan(id, version);
			if (standing !== undefined) return writeResult(draft, 0, standing);
			const found = draft.find(id);
			if (found === undefined) throw new HiveError("VECTOR_NOT_FOUND", "there is no vector with this id", { id });
			const payload = payloadPatch === undefined ? found.payload : mergePayload(found.payload, payloadPatch);
			if (version === undefined) draft.put(id, payload, vector);
			else draft.putVersion(id, { payload, vector }, version);
			checkAllowance(draft, allowance);
			return writeResult(draft, 1);
		},
	};
}

/** @param test deletes only those that match when their turn comes; undefined deletes all of them. */
export function deleteCommand(ids: readonly VectorId[], test: FilterTest | undefined): WriteCommand {
	return {
		rowCount: ids.length,
		byteCount: 0,
		async plan(draft, slice) {
			let deletedCount = 0;
			for (const id of ids) {
				if (slice.isSpent) await slice.rest();
				const found = test === undefined ? undefined : draft.find(id);
				if (test !== undefined && (found === undefined || !test(parsePayload(found.payload?.toString()), id))) continue;
				if (draft.remove(id)) deletedCount++;
			}
			return writeResult(draft, deletedCount);
		},
	};
}

/**
 * Deletes what is older than the version, and leaves word of it also where there is nothing (yet).
 *
 * @param given undefined: newer than all that the shard holds
 */
export function deleteVersionCommand(ids: readonly VectorId[], given: Version | undefined): WriteCommand {
	return {
		rowCount: ids.length,
		byteCount: 0,
		async plan(draft, slice) {
			const superseded = new Superseded();
			const version = given ?? draft.version;
			for (const id of ids) {
				superseded.note(draft.putVersion(id, undefined, version), version);
				if (slice.isSpent) await slice.rest();
			}
			return writeResult(draft, 0 - draft.vectorCountDelta, superseded.newest);
		},
	};
}

/** Writes nothing: what waits for it has the disk looked at that refused an earlier write. */
export const nothing: WriteCommand = { rowCount: 0, byteCount: 0, plan: async (draft) => writeResult(draft, 0) };

/** What a plan came to. */
export function writeResult(draft: RequestDraft, affectedCount: number, supersededBy?: Version): WriteResult {
	const { vectorCountDelta, bytesDelta } = draft;
	const counts = { vectorCountDelta, bytesDelta, affectedCount };
	return supersededBy === undefined ? counts : { ...counts, supersededBy };
}

function checkAllowance(draft: RequestDraft, allowance: WriteAllowance): void {
	const { vectorCountDelta, bytesDelta } = draft;
	if (allowance.vectorCountMax !== undefined && vectorCountDelta > Math.max(0, allowance.vectorCountMax)) {
		throw new HiveError("QUOTA_EXCEEDED", "the write would exceed the quota of vectors", {
			quota: "vectors",
			requested_vectors: vectorCountDelta,
			available_vectors: Math.max(0, allowance.vectorCountMax),
		});
	}
	if (allowance.bytesMax !== undefined && bytesDelta > Math.max(0, allowance.bytesMax)) {
		throw new HiveError("QUOTA_EXCEEDED", "the write would exceed the quota of storage", {
			quota: "storage",
			requested_bytes: bytesDelta,
			available_bytes: Math.max(0, allowance.bytesMax),
		});
	}
}

/** Top-level fields of the patch replace those of the payload; null removes one. */
function mergePayload(payload: Buffer | undefined, patchText: string): Buffer | undefined {
	// Without a prototype, so that a field named __proto__ is one like any other.
	const merged: Record<string, unknown> = Object.create(null);
	for (const [field, value] of Object.entries(parsePayload(payload?.toString()) ?? {})) merged[field] = value;
	for (const [field, value] of Object.entries(JSON.parse(patchText) as Record<string, unknown>)) {
		if (value === null) delete merged[field];
		else merged[field] = value;
	}
	if (payload === undefined && Object.keys(merged).length === 0) return undefined;
	const bytes = Buffer.from(JSON.stringify(merged));
	if (bytes.length > LIMITS.payloadBytesMax) {
		throw new HiveError("VALIDATION_FAILED", `the payload would grow past ${LIMITS.payloadBytesMax} bytes`, {
			field: "payload",
			bytes_max: LIMITS.payloadBytesMax,
			bytes: bytes.length,
		});
	}
	return bytes;
}
