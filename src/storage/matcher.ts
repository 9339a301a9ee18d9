import type { Filter } from "../base/filter.ts";
import type { VectorId } from "../base/ids.ts";
import { parsePayload } from "./documents.ts";
import { compileFilter, type FilterTest } from "./filter-evaluator.ts";
import { type PostingReader, planFilter } from "./filter-planner.ts";
import { versionStamp } from "./hybrid-clock.ts";
import { isSealed, keyId, PREFIX, prefixEnd, readDocument } from "./keyspace.ts";
import { type KeyRange, postingSlot } from "./payload-index.ts";
import { damagedDocument, damagedRow } from "./shard-errors.ts";
import type { ShardState } from "./shard-state.ts";
import { SlotSet } from "./slot-set.ts";
import { TimeSlice } from "./time-slice.ts";

const REMEMBERED_FILTERS_MAX = 16;

/** What is known about a filter's matches, without having read the documents. */
export interface Narrowed {
	/** Has every match. */
	readonly slots: SlotSet;
	/** Has nothing else. */
	readonly isExact: boolean;
}

/** Finds the documents that match a filter: from the payload indexes, from what was found a moment ago, or by reading all. */
export class Matcher {
	readonly #state: ShardState;
	/** By filter text, oldest first: the matches as of a commit. */
	readonly #remembered = new Map<string, { readonly seq: number; readonly slots: SlotSet }>();

	constructor(state: ShardState) {
		this.#state = state;
	}

	/** Tells of a live slot whether its document matches now. */
	slotTest(test: FilterTest): (slot: number) => boolean {
		const { slots, documents } = this.#state;
		return (slot) => {
			const id = slots.idOf(slot);
			return id !== undefined && test(documents.payload(id), id);
		};
	}

	/**
	 * Narrow a filter down without reading documents.
	 *
	 * @param slotLimit how many slots are worth narrowing down to.
	 * @returns         undefined when nothing is known. What changed since the call may be missing or too much: whoever
	 *                  rests on it watches the slots meanwhile.
	 */
	async narrow(filter: Filter, slotLimit: number): Promise<Narrowed | undefined> {
		const known = this.#recall(filter);
		if (known !== undefined) return { slots: known, isExact: true };
		const { complete } = this.#state.definitions;
		const { seq } = this.#state.committed;
		const plan = await planFilter(filter, complete, this.#reader, { slotLimit });
		if (plan === undefined) return undefined;
		if (plan.exact && seq === this.#state.committed.seq) this.#remember(filter, plan.slots);
		return { slots: plan.slots, isExact: plan.exact };
	}

	/** Every match, exactly, as of the end of the call. */
	async matches(filter: Filter, slotLimit: number): Promise<SlotSet> {
		const watch = this.#state.slots.watch();
		try {
			const narrowed = await this.narrow(filter, slotLimit);
			const test = compileFilter(filter);
			const matchesNow = this.slotTest(test);
			let matches: SlotSet;
			if (narrowed === undefined) matches = await this.#scan(test, watch.touched);
			else matches = narrowed.isExact ? narrowed.slots : await this.#check(narrowed.slots, matchesNow);
			if (watch.touched.size > 0) {
				matches = SlotSet.of([...matches].filter((slot) => !watch.touched.has(slot)));
				for (const slot of watch.touched) if (matchesNow(slot)) matches.add(slot);
			}
			if (narrowed === undefined) this.#remember(filter, matches);
			return matches;
		} finally {
			watch.end();
		}
	}

	/** The matches among all documents; what changes meanwhile may be missing or too much. */
	async #scan(test: FilterTest, touched: ReadonlySet<number>): Promise<SlotSet> {
		const { store, slots } = this.#state;
		let documentCount = 0;
		const matches = new SlotSet();
		const slice = this.#slice();
		for await (const rows of store.rows({ gte: PREFIX.document, lt: prefixEnd(PREFIX.document) })) {
			for (const [key, value] of rows) {
				const row = readDocument(key, value);
				if (row.isTombstone) continue;
				const { slot } = row;
				const id = keyId(key);
				const isCurrent = slots.idOf(slot) === id && slots.stampOf(slot) === versionStamp(row.version);
				if (!isCurrent && !touched.has(slot)) throw damagedDocument(id);
				documentCount++;
				if (test(parsePayload(row.payloadText), id)) matches.add(slot);
				if (slice.isSpent) await slice.rest();
			}
		}
		// Something hides a row: a damaged key, for instance.
		if (touched.size === 0 && documentCount !== slots.count) throw damagedRow("document");
		return matches;
	}

	/** As `scan`, among some. */
	async #check(candidates: SlotSet, matchesNow: (slot: number) => boolean): Promise<SlotSet> {
		const matches = new SlotSet();
		const slice = this.#slice();
		for (const slot of candidates) {
			if (matchesNow(slot)) matches.add(slot);
			if (slice.isSpent) await slice.rest();
		}
		return matches;
	}

	get #reader(): PostingReader {
		const { store, slots } = this.#state;
		return {
			async readSlots(range: KeyRange, keyCountMax: number) {
				const found: number[] = [];
				for await (const rows of store.rows(range, keyCountMax + 1)) {
					if (found.length + rows.length > keyCountMax) return undefined;
					for (const [key, value] of rows) {
						if (!isSealed(key, value)) throw damagedRow("posting");
						found.push(postingSlot(key));
					}
				}
				return found;
			},
			async slotsOfIds(ids: readonly VectorId[]) {
				return ids.map((id) => slots.slotOf(id)).filter((slot) => slot !== undefined);
			},
		};
	}

	#recall(filter: Filter): SlotSet | undefined {
		const remembered = this.#remembered.get(JSON.stringify(filter));
		// A copy: whoever gets it may change it.
		return remembered?.seq === this.#state.committed.seq ? new SlotSet().or(remembered.slots) : undefined;
	}

	#remember(filter: Filter, matches: SlotSet): void {
		const text = JSON.stringify(filter);
		this.#remembered.delete(text);
		this.#remembered.set(text, { seq: this.#state.committed.seq, slots: new SlotSet().or(matches) });
		for (const oldest of this.#remembered.keys()) {
			if (this.#remembered.size <= REMEMBERED_FILTERS_MAX) break;
			this.#remembered.delete(oldest);
		}
	}

	#slice(): TimeSlice {
		return new TimeSlice(this.#state.clock);
	}
}
