import { HiveError } from "../base/errors.ts";
import { VERSION_BYTES } from "./hybrid-clock.ts";
import type { Scorer } from "./scorer.ts";
import type {
	UpdateRequest,
	UpdateResult,
	UpdateStamp,
	VersionedRow,
	VersionedRows,
	WriteAllowance,
} from "./shard-types.ts";
import { Superseded } from "./superseded.ts";
import { updateCommand, type WriteCommand, writeResult } from "./write-commands.ts";

/** Rows as they go to another copy. New arrays, each with a buffer of its own. */
export function packRows(rows: readonly VersionedRow[], dimension: number): VersionedRows {
	const versions = new Uint8Array(rows.length * VERSION_BYTES);
	const deleted = new Uint8Array(rows.length);
	const living = rows.filter(({ document }) => document !== undefined);
	const vectors = new Float32Array(living.length * dimension);
	for (const [at, { document }] of living.entries()) vectors.set(document!.vector, at * dimension);
	for (const [at, { version, document }] of rows.entries()) {
		versions.set(version, at * VERSION_BYTES);
		if (document === undefined) deleted[at] = 1;
	}
	return {
		ids: rows.map(({ id }) => id),
		versions,
		deleted,
		vectors,
		payloads: rows.map(({ document }) => document?.payload),
	};
}

/** An update that also tells what has become of the document. @throws as `updateCommand` and, of the stamp, `mergeCommand` */
export function updateRowCommand(
	request: UpdateRequest,
	allowance: WriteAllowance,
	scorer: Scorer,
	stamp?: UpdateStamp,
): WriteCommand<UpdateResult> {
	const command = updateCommand(request, allowance, scorer, stamp?.version);
	const catchUp = stamp && mergeCommand(stamp.known, scorer);
	return {
		...command,
		async plan(draft, slice) {
			await catchUp?.plan(draft, slice);
			// What the copy had missed was counted when it was written.
			const { vectorCountDelta: caughtUpCount, bytesDelta: caughtUpBytes } = draft;
			const result = await command.plan(draft, slice);
			return {
				...result,
				vectorCountDelta: result.vectorCountDelta - caughtUpCount,
				bytesDelta: result.bytesDelta - caughtUpBytes,
				wasBehind: caughtUpCount !== 0 || caughtUpBytes !== 0,
				row: packRows(result.supersededBy === undefined ? [draft.living(request.id)] : [], scorer.dimension),
			};
		},
	};
}

/**
 * Takes over rows of another copy, for each id the newest version. `affectedCount` of its result: rows that are in force here now, be
 * they documents or deletions, whether or not they were before.
 *
 * @throws HiveError DIMENSION_MISMATCH; RangeError when the lists don't belong together. When planned INVALID_VECTOR.
 */
export function mergeCommand(rows: VersionedRows, scorer: Scorer): WriteCommand {
	const { ids, versions, deleted, vectors, payloads } = rows;
	const { dimension } = scorer;
	const fits = versions.length === ids.length * VERSION_BYTES && deleted.length === ids.length;
	if (!fits || payloads.length !== ids.length) throw new RangeError("the lists of a merge differ in length");
	const livingCount = deleted.reduce((count, isDeleted) => count + (isDeleted === 0 ? 1 : 0), 0);
	if (vectors.length !== livingCount * dimension) {
		throw new HiveError("DIMENSION_MISMATCH", `the collection stores ${dimension} dimensions a vector`, {
			field: "vectors",
			expected: dimension,
			actual: livingCount === 0 ? vectors.length : vectors.length / livingCount,
		});
	}
	return {
		rowCount: ids.length,
		byteCount: vectors.byteLength + payloads.reduce((sum, payload) => sum + (payload?.length ?? 0), 0),
		async plan(draft, slice) {
			const superseded = new Superseded();
			const scratch = new Float64Array(dimension);
			let vectorAt = 0;
			for (const [at, id] of ids.entries()) {
				const version = versions.subarray(at * VERSION_BYTES, (at + 1) * VERSION_BYTES);
				if (deleted[at] !== 0) superseded.note(draft.putVersion(id, undefined, version), version);
				else {
					const vector = vectors.subarray(vectorAt, vectorAt + dimension);
					vectorAt += dimension;
					scorer.normalise(vector, scratch, `rows[${at}].vector`);
					const payload = payloads[at] === undefined ? undefined : Buffer.from(payloads[at]);
					superseded.note(draft.putVersion(id, { payload, vector }, version), version);
				}
				if (slice.isSpent) await slice.rest();
			}
			return writeResult(draft, ids.length - superseded.count, superseded.newest);
		},
	};
}
