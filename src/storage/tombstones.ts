import type { VectorId } from "../base/ids.ts";
import { versionMs } from "./hybrid-clock.ts";
import { encodeId } from "./id-order.ts";
import { documentKey, keyTombstone, PREFIX, prefixEnd, readDocument } from "./keyspace.ts";
import type { LevelStore } from "./level-store.ts";
import type { Version } from "./shard-types.ts";

/** Word of the documents that were deleted, as committed. */
export class Tombstones {
	readonly #store: LevelStore;
	/** No deletion that is known of is newer. */
	#newestMs: number;

	private constructor(store: LevelStore, newestMs: number) {
		this.#store = store;
		this.#newestMs = newestMs;
	}

	/** @param isReplicated whether `standing` will be asked often: then it is worth finding out the newest one. */
	static async open(store: LevelStore, isReplicated: boolean): Promise<Tombstones> {
		if (!isReplicated) return new Tombstones(store, Number.POSITIVE_INFINITY);
		const last = await store.lastKey({ gte: PREFIX.tombstone, lt: prefixEnd(PREFIX.tombstone) });
		return new Tombstones(store, last === undefined ? 0 : keyTombstone(last).deletedMs);
	}

	/** A document is being deleted in this version. */
	note(version: Version): void {
		this.#newestMs = Math.max(this.#newestMs, versionMs(version));
	}

	/**
	 * What a write of a document that does not live may find in its way. Reads nothing when all deletions are older than it, as is
	 * the rule.
	 *
	 * @returns the version in which the document was deleted; undefined when it was not, or certainly before `version`.
	 */
	standing(id: VectorId, version: Version): Version | undefined {
		return versionMs(version) > this.#newestMs ? undefined : this.version(id);
	}

	/** The version in which the document was deleted; undefined when it lives, or nothing is known of it. A new array. */
	version(id: VectorId): Version | undefined {
		const key = documentKey(encodeId(id));
		const value = this.#store.get(key);
		if (value === undefined) return undefined;
		const row = readDocument(key, value);
		return row.isTombstone ? new Uint8Array(row.version) : undefined;
	}
}
