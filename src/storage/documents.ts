import type { VectorId } from "../base/ids.ts";
import type { Payload } from "../base/schemas.ts";
import { versionStamp } from "./hybrid-clock.ts";
import { encodeId } from "./id-order.ts";
import { type DocumentRow, documentKey, readDocument, readVector, vectorKey } from "./keyspace.ts";
import type { LevelStore } from "./level-store.ts";
import { PayloadCache } from "./payload-cache.ts";
import { damagedDocument } from "./shard-errors.ts";
import type { ReadOptions, StoredVector } from "./shard-types.ts";
import type { SlotTable } from "./slot-table.ts";

/** Reads living documents. What memory says lives and the database does not hold, or not as it was written, is damage. */
export class Documents {
	readonly #store: LevelStore;
	readonly #slots: SlotTable;
	readonly #dimension: number;
	readonly #hitPayloads = new PayloadCache();

	constructor(store: LevelStore, slots: SlotTable, dimension: number) {
		this.#store = store;
		this.#slots = slots;
		this.#dimension = dimension;
	}

	/** @returns undefined when no such document lives. @throws HiveError INTERNAL when it is damaged. */
	read(id: VectorId): DocumentRow | undefined {
		const slot = this.#slots.slotOf(id);
		if (slot === undefined) return undefined;
		const key = documentKey(encodeId(id));
		const value = this.#store.get(key);
		if (value === undefined) throw damagedDocument(id);
		const row = readDocument(key, value);
		if (row.isTombstone || row.slot !== slot || versionStamp(row.version) !== this.#slots.stampOf(slot))
			throw damagedDocument(id);
		return row;
	}

	/** The payload of the document in a live slot, for a hit. @throws HiveError INTERNAL when it is damaged. */
	hitPayload(slot: number, id: VectorId): string | undefined {
		return this.#hitPayloads.text(slot, () => this.read(id)?.payloadText);
	}

	/** The document in a slot changed. */
	forget(slot: number): void {
		this.#hitPayloads.forget(slot);
	}

	/** Bytes of memory that hits' payloads take, estimated. */
	get memoryBytes(): number {
		return this.#hitPayloads.bytes;
	}

	/** The vector in a live slot as inserted. A new array. @throws HiveError INTERNAL when it is damaged. */
	vector(slot: number): Float32Array {
		const key = vectorKey(slot);
		const value = this.#store.get(key);
		const vector = value === undefined ? undefined : readVector(key, value, this.#dimension);
		if (vector === undefined) throw damagedDocument(this.#slots.idOf(slot));
		return vector;
	}

	/** As `options` ask. @returns undefined when no such document lives. */
	get(id: VectorId, options: ReadOptions): StoredVector | undefined {
		const slot = this.#slots.slotOf(id);
		if (slot === undefined) return undefined;
		// Also when no payload is asked for: the record tells whether the document is whole.
		const row = this.read(id);
		const payload = options.withPayload ? row?.payloadText : undefined;
		return {
			id,
			...(payload === undefined ? {} : { payload }),
			...(options.withVector ? { vector: this.vector(slot) } : {}),
		};
	}

	/** @throws HiveError INTERNAL when the document is damaged. */
	payload(id: VectorId): Payload | undefined {
		return parsePayload(this.read(id)?.payloadText);
	}
}

export function parsePayload(text: string | undefined): Payload | undefined {
	return text === undefined ? undefined : (JSON.parse(text) as Payload);
}
