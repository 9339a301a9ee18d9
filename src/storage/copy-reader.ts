import { HiveError } from "../base/errors.ts";
import type { VectorId } from "../base/ids.ts";
import { VERSION_BYTES } from "./hybrid-clock.ts";
import { decodeId, encodeId } from "./id-order.ts";
import { keyTombstone, ownerKey, PREFIX, prefixEnd, readOwner } from "./keyspace.ts";
import { bucketOfId, checkBucketCount, type ShardDigests } from "./shard-digests.ts";
import { damagedRow } from "./shard-errors.ts";
import type { ShardState } from "./shard-state.ts";
import type { Version, VersionedRow, VersionedRows, VersionList } from "./shard-types.ts";
import { TimeSlice } from "./time-slice.ts";
import { packRows } from "./versioned-rows.ts";

/** What one answer may hold, or a few thousand large payloads would take all of the memory. */
const ROWS_BYTES_MAX = 32 * 1024 * 1024;

type KnownVersions = Map<VectorId, { readonly version: Version; readonly isDeleted: boolean }>;

/** Reads what other copies of the shard are told: documents in their versions, and word of the deleted ones. */
export class CopyReader {
	readonly #state: ShardState;
	readonly #digests: ShardDigests;

	constructor(state: ShardState, digests: ShardDigests) {
		this.#state = state;
		this.#digests = digests;
	}

	/**
	 * Each row as it is at one moment; not all of the same commit.
	 *
	 * @throws HiveError PAYLOAD_TOO_LARGE when several rows are more than 32 MiB together: ask for fewer; INTERNAL when one is damaged.
	 */
	async rows(ids: readonly VectorId[]): Promise<VersionedRows> {
		const slice = this.#slice();
		const rows: VersionedRow[] = [];
		let bytes = 0;
		for (const id of new Set(ids)) {
			const row = this.#row(id);
			if (row === undefined) continue;
			rows.push(row);
			bytes += (row.document?.vector.byteLength ?? 0) + (row.document?.payload?.length ?? 0);
			if (bytes > ROWS_BYTES_MAX && rows.length > 1) {
				throw new HiveError("PAYLOAD_TOO_LARGE", "these rows are too large for one answer", {
					bytes_max: ROWS_BYTES_MAX,
				});
			}
			if (slice.isSpent) await slice.rest();
		}
		return packRows(rows, this.#state.config.dimension);
	}

	/**
	 * Every id of the buckets that was known when the call began, in a version that it had since. In no order.
	 *
	 * @throws RangeError when there are no such buckets.
	 */
	async versions(bucketCount: number, buckets: readonly number[]): Promise<VersionList> {
		checkBucketCount(bucketCount);
		const isWanted = new Uint8Array(bucketCount);
		for (const bucket of buckets) {
			if (!Number.isInteger(bucket) || bucket < 0 || bucket >= bucketCount) throw new RangeError("no such bucket");
			isWanted[bucket] = 1;
		}
		const { slots, store, tombstones } = this.#state;
		const slice = this.#slice();
		const known: KnownVersions = new Map();
		const noteLiving = (slot: number) => {
			if (!slots.isLive(slot) || isWanted[this.#digests.bucketOf(slot, bucketCount)] === 0) return;
			known.set(slots.idOf(slot)!, { version: this.#livingVersion(slot), isDeleted: false });
		};
		const watch = slots.watch();
		try {
			for (const slot of slots.liveSlots()) {
				noteLiving(slot);
				if (slice.isSpent) await slice.rest();
			}
			// One that was written anew meanwhile may have moved to a slot that was passed before.
			for (const slot of watch.touched) noteLiving(slot);
		} finally {
			watch.end();
		}
		for await (const rows of store.rows({ gte: PREFIX.tombstone, lt: prefixEnd(PREFIX.tombstone) })) {
			for (const [key] of rows) {
				const encodedId = Buffer.from(keyTombstone(key).encodedId);
				if (isWanted[bucketOfId(encodedId, bucketCount)] === 0) continue;
				const id = decodeId(encodedId);
				const slot = slots.slotOf(id);
				const version = slot === undefined ? tombstones.version(id) : undefined;
				if (version !== undefined) known.set(id, { version, isDeleted: true });
				// It came back to life, maybe after its slot was passed.
				else if (slot !== undefined && !known.has(id)) noteLiving(slot);
				if (slice.isSpent) await slice.rest();
			}
		}
		return listOf(known);
	}

	#row(id: VectorId): VersionedRow | undefined {
		const { documents, tombstones } = this.#state;
		const living = documents.read(id);
		if (living !== undefined) {
			const document = { payload: living.payloadText, vector: documents.vector(living.slot) };
			return { id, version: living.version, document };
		}
		const version = tombstones.version(id);
		return version === undefined ? undefined : { id, version, document: undefined };
	}

	/** From the owner's row, which is shorter than the document's. */
	#livingVersion(slot: number): Version {
		const key = ownerKey(slot);
		const value = this.#state.store.get(key);
		if (value === undefined) throw damagedRow("owner");
		const { version, encodedId } = readOwner(key, value);
		if (!encodedId.equals(encodeId(this.#state.slots.idOf(slot)!))) throw damagedRow("owner");
		// A copy: a view would keep the database's buffer.
		return new Uint8Array(version);
	}

	#slice(): TimeSlice {
		return new TimeSlice(this.#state.clock);
	}
}

function listOf(known: KnownVersions): VersionList {
	const versions = new Uint8Array(known.size * VERSION_BYTES);
	const deleted = new Uint8Array(known.size);
	let at = 0;
	for (const { version, isDeleted } of known.values()) {
		versions.set(version, at * VERSION_BYTES);
		deleted[at] = isDeleted ? 1 : 0;
		at++;
	}
	return { ids: [...known.keys()], versions, deleted };
}
