import { HiveError } from "../../../src/base/errors.ts";
import type { VectorId } from "../../../src/base/ids.ts";
import { compareVersions, VERSION_BYTES, versionMs } from "../../../src/storage/hybrid-clock.ts";
import { compareIds, encodeId } from "../../../src/storage/id-order.ts";
import { bucketOfId } from "../../../src/storage/shard-digests.ts";
import type {
	ShardDigest,
	UpsertBatch,
	Version,
	VersionedRow,
	VersionedRows,
	VersionList,
	WriteResult,
} from "../../../src/storage/shard-types.ts";
import { packRows } from "../../../src/storage/versioned-rows.ts";

/** What a copy of a shard keeps and tells, in memory: for each id the newest version, deletions included. */
export class MemoryShard {
	readonly rows = new Map<VectorId, VersionedRow>();
	#seq = 0;

	/** @param tombstoneRetentionMs word of deletions is kept so long, and until `allowPurge` */
	constructor(
		readonly dimension: number,
		private readonly nowMs: () => number = () => 0,
		private readonly tombstoneRetentionMs = 0,
	) {}

	/** The version wins that is newer; the same one again changes nothing. Overridden to plant a fault. */
	protected takes(row: VersionedRow, standing: VersionedRow | undefined): boolean {
		return standing === undefined || compareVersions(row.version, standing.version) > 0;
	}

	put(rows: readonly VersionedRow[]): WriteResult {
		let affectedCount = 0;
		let vectorCountDelta = 0;
		let supersededBy: Version | undefined;
		for (const row of rows) {
			const standing = this.rows.get(row.id);
			if (this.takes(row, standing)) {
				vectorCountDelta += Number(row.document !== undefined) - Number(standing?.document !== undefined);
				this.rows.set(row.id, row);
				affectedCount++;
			} else if (compareVersions(standing!.version, row.version) === 0) affectedCount++;
			else if (supersededBy === undefined || compareVersions(standing!.version, supersededBy) > 0) {
				supersededBy = standing!.version;
			}
		}
		this.#seq++;
		const result = { affectedCount, vectorCountDelta, bytesDelta: 0 };
		return supersededBy === undefined ? result : { ...result, supersededBy };
	}

	upsert({ ids, vectors, payloads }: UpsertBatch, version: Version): WriteResult {
		const rows = ids.map((id, at): VersionedRow => {
			const vector = vectors.slice(at * this.dimension, (at + 1) * this.dimension);
			return { id, version, document: { payload: payloads[at], vector } };
		});
		return this.put([...new Map(rows.map((row) => [row.id, row])).values()]);
	}

	delete(ids: readonly VectorId[], version: Version): WriteResult {
		return this.put(ids.map((id) => ({ id, version, document: undefined })));
	}

	merge(rows: VersionedRows): WriteResult {
		return this.put(unpackRows(rows, this.dimension));
	}

	rowsOf(ids: readonly VectorId[]): VersionedRows {
		const found = [...new Set(ids)].map((id) => this.rows.get(id)).filter((row) => row !== undefined);
		return packRows(found, this.dimension);
	}

	digest(bucketCount: number): ShardDigest {
		const sums = new Uint32Array(2 * bucketCount);
		let vectorCount = 0;
		for (const { id, version, document } of this.rows.values()) {
			if (document === undefined) continue;
			vectorCount++;
			const encodedId = encodeId(id);
			const at = 2 * bucketOfId(encodedId, bucketCount);
			const stamp = Bun.hash.xxHash64(Buffer.concat([encodedId, version]));
			sums[at] = sums[at]! + Number(stamp & 0xffff_ffffn);
			sums[at + 1] = sums[at + 1]! + Number(stamp >> 32n);
		}
		return { seq: this.#seq, bucketCount, sums, vectorCount };
	}

	versions(bucketCount: number, buckets: readonly number[]): VersionList {
		const wanted = new Set(buckets);
		const rows = [...this.rows.values()].filter(({ id }) => wanted.has(bucketOfId(encodeId(id), bucketCount)));
		const versions = new Uint8Array(rows.length * VERSION_BYTES);
		for (const [at, { version }] of rows.entries()) versions.set(version, at * VERSION_BYTES);
		return {
			ids: rows.map(({ id }) => id),
			versions,
			deleted: Uint8Array.from(rows, ({ document }) => (document === undefined ? 1 : 0)),
		};
	}

	allowPurge(beforeMs: number): void {
		const endMs = Math.min(beforeMs, this.nowMs() - this.tombstoneRetentionMs);
		for (const { id, version, document } of [...this.rows.values()]) {
			if (document === undefined && versionMs(version) < endMs) this.rows.delete(id);
		}
	}

	/** The documents, as text, in the order of their ids: equal for copies that agree. */
	get content(): string {
		const living = [...this.rows.values()].filter(({ document }) => document !== undefined);
		return living
			.sort((a, b) => compareIds(a.id, b.id))
			.map(({ id, version, document }) => `${id}@${Buffer.from(version).toString("hex")}=${document?.payload}`)
			.join("\n");
	}

	get vectorCount(): number {
		return [...this.rows.values()].filter(({ document }) => document !== undefined).length;
	}
}

export function unpackRows(rows: VersionedRows, dimension: number): VersionedRow[] {
	let vectorAt = 0;
	return rows.ids.map((id, at): VersionedRow => {
		const version = rows.versions.slice(at * VERSION_BYTES, (at + 1) * VERSION_BYTES);
		if (rows.deleted[at] !== 0) return { id, version, document: undefined };
		const vector = rows.vectors.slice(vectorAt, vectorAt + dimension);
		vectorAt += dimension;
		return { id, version, document: { payload: rows.payloads[at], vector } };
	});
}

/** What a shard says that can't give so much at once. */
export const tooLarge = (): HiveError => new HiveError("PAYLOAD_TOO_LARGE", "these rows are too large for one answer");
