import type { VectorId } from "../../base/ids.ts";
import { compareVersions, VERSION_BYTES } from "../../storage/hybrid-clock.ts";
import type { ReadOptions, StoredVector, VersionedRow, VersionedRows } from "../../storage/shard-types.ts";

/** Rows as copies exchange them, one by one. The vectors are views of theirs. */
export function unpackRows(rows: VersionedRows, dimension: number): VersionedRow[] {
	let vectorAt = 0;
	return rows.ids.map((id, at) => {
		const version = rows.versions.subarray(at * VERSION_BYTES, (at + 1) * VERSION_BYTES);
		if (rows.deleted[at] !== 0) return { id, version, document: undefined };
		const vector = rows.vectors.subarray(vectorAt, vectorAt + dimension);
		vectorAt += dimension;
		return { id, version, document: { payload: rows.payloads[at], vector } };
	});
}

/** What is known of ids, by one copy or by several together. */
export class RowSet {
	readonly #rows = new Map<VectorId, VersionedRow>();

	/** For each id the newest version stays. */
	add(rows: Iterable<VersionedRow>): this {
		for (const row of rows) {
			const known = this.#rows.get(row.id);
			if (known === undefined || compareVersions(known.version, row.version) < 0) this.#rows.set(row.id, row);
		}
		return this;
	}

	get(id: VectorId): VersionedRow | undefined {
		return this.#rows.get(id);
	}

	all(): Iterable<VersionedRow> {
		return this.#rows.values();
	}

	/** Rows here of which the other knows nothing, or something older. */
	newerThan(other: RowSet): VersionedRow[] {
		return [...this.#rows.values()].filter((row) => {
			const known = other.get(row.id);
			return known === undefined || compareVersions(known.version, row.version) < 0;
		});
	}
}

/** @returns undefined when the document was deleted, or never was */
export function storedVector(row: VersionedRow | undefined, options: ReadOptions): StoredVector | undefined {
	if (row?.document === undefined) return undefined;
	const { payload, vector } = row.document;
	return {
		id: row.id,
		...(options.withPayload && payload !== undefined && { payload }),
		// Of its own: the rows it came in with may be large.
		...(options.withVector && { vector: vector.slice() }),
	};
}
