import { parsePayload } from "./documents.ts";
import { encodeMeta } from "./keyspace.ts";
import type { RowBatch } from "./level-store.ts";
import type { ShardState } from "./shard-state.ts";
import { type KnownStems, TextAnalyzer, type TextTerms } from "./text-analyzer.ts";
import type { TimeSlice } from "./time-slice.ts";
import { indexedEnd, WORDS_KEY, type WordIndexRow } from "./word-index.ts";
import { BlockEditor, blockOf, firstSlotOf, openBlock, wordKey } from "./word-rows.ts";
import type { CommitDraft, DocumentChange } from "./write-draft.ts";

/** Rows between two looks at the clock. */
const ROWS_BETWEEN_RESTS = 16;

/** A document that comes into a slot, or leaves it. */
interface Note {
	readonly slot: number;
	readonly isAdded: boolean;
	/** JSON text in UTF-8. */
	readonly payload: () => Buffer | undefined;
}

/** Undefined when a commit leaves the index of words alone. */
export function wordEdits(state: ShardState, draft: CommitDraft): WordEdits | undefined {
	const target = draft.wordIndex === undefined ? state.words.row : draft.wordIndex.row;
	return target === undefined && draft.wordIndex === undefined ? undefined : new WordEdits(state, draft, target);
}

/**
 * What one commit changes in the index of words. Documents are noted first and worked off block by block, so that a row is read and
 * written once, and memory holds the words of one block's documents only.
 */
export class WordEdits {
	readonly #state: ShardState;
	readonly #draft: CommitDraft;
	readonly #target: WordIndexRow | undefined;
	/** Documents in lower slots are in the index, before the commit and after. */
	readonly #endBefore: number;
	readonly #endAfter: number;
	readonly #notes: Note[] = [];
	readonly #editor = new BlockEditor();
	#documentCountDelta = 0;
	#tokenCountDelta = 0;
	#after: WordIndexRow | undefined;

	/** @param target the index as it shall be, but for the counts */
	constructor(state: ShardState, draft: CommitDraft, target: WordIndexRow | undefined) {
		this.#state = state;
		this.#draft = draft;
		this.#target = target;
		this.#endBefore = indexedEnd(state.words.row);
		this.#endAfter = indexedEnd(target);
	}

	/** @param slot where the document is now; undefined when it is deleted */
	note({ before, after }: DocumentChange, slot: number | undefined): void {
		const former = before?.payload;
		const current = after?.payload;
		const isInPlace = before !== undefined && before.slot === slot && slot < this.#endBefore;
		if (isInPlace && (former === undefined ? current === undefined : current?.equals(former) === true)) return;
		if (former !== undefined && before !== undefined && before.slot < this.#endBefore) {
			this.#notes.push({ slot: before.slot, isAdded: false, payload: () => former });
		}
		if (current !== undefined && slot !== undefined && slot < this.#endAfter) {
			this.#notes.push({ slot, isAdded: true, payload: () => current });
		}
	}

	/** Puts the rows into the batch. */
	async write(batch: RowBatch, slice: TimeSlice): Promise<void> {
		if (this.#target === undefined) {
			batch.del(WORDS_KEY);
			return;
		}
		this.#noteUncovered();
		if (this.#notes.length > 0) await this.#writeBlocks(this.#target, batch, slice);
		this.#after = {
			...this.#target,
			documentCount: this.#target.documentCount + this.#documentCountDelta,
			tokenCount: this.#target.tokenCount + this.#tokenCountDelta,
		};
		if (this.#notes.length > 0 || this.#draft.wordIndex !== undefined) batch.put(WORDS_KEY, encodeMeta(this.#after));
	}

	/** The batch is on disk. */
	apply(): void {
		this.#state.words.replace(this.#after);
	}

	/** Documents that the index comes to cover, and that this commit does not change. */
	#noteUncovered(): void {
		const { slots, documents } = this.#state;
		const end = Math.min(this.#endAfter, slots.slotCount);
		for (let slot = this.#endBefore; slot < end; slot++) {
			const id = slots.idOf(slot);
			if (id === undefined || this.#draft.changes.has(id)) continue;
			this.#notes.push({ slot, isAdded: true, payload: () => documents.read(id)?.payload });
		}
	}

	async #writeBlocks(target: WordIndexRow, batch: RowBatch, slice: TimeSlice): Promise<void> {
		// What leaves a slot goes before what comes into it.
		const notes = this.#notes.sort((a, b) => a.slot - b.slot || Number(a.isAdded) - Number(b.isAdded));
		const analyzer = new TextAnalyzer(target);
		const stems: KnownStems = new Map();
		for (let at = 0; at < notes.length; ) {
			const block = blockOf(notes[at]!.slot);
			/** By term, as `BlockEditor` takes them. */
			const edits = new Map<string, number[]>();
			for (; at < notes.length && blockOf(notes[at]!.slot) === block; at++) {
				const note = notes[at]!;
				const terms = await analyzer.documentTerms(parsePayload(note.payload()?.toString()), stems, slice);
				this.#edit(edits, note, terms);
			}
			await this.#writeBlock(batch, block, edits, slice);
		}
	}

	#edit(edits: Map<string, number[]>, { slot, isAdded }: Note, { counts, length }: TextTerms): void {
		if (length === 0) return;
		const sign = isAdded ? 1 : -1;
		this.#documentCountDelta += sign;
		this.#tokenCountDelta += sign * length;
		for (const [term, count] of counts) {
			let ofTerm = edits.get(term);
			if (ofTerm === undefined) {
				ofTerm = [];
				edits.set(term, ofTerm);
			}
			// What comes into a slot takes the place of what leaves it.
			if (ofTerm.at(-3) === slot) ofTerm.length -= 3;
			ofTerm.push(slot, isAdded ? count : 0, length);
		}
	}

	async #writeBlock(
		batch: RowBatch,
		block: number,
		edits: ReadonlyMap<string, readonly number[]>,
		slice: TimeSlice,
	): Promise<void> {
		const isFilled = this.#hasDocuments(block);
		let rowCount = 0;
		for (const [term, ofTerm] of edits) {
			const key = wordKey(term, block);
			const value = isFilled ? this.#state.store.get(key) : undefined;
			const body = this.#editor.edited(value === undefined ? undefined : openBlock(key, value), ofTerm);
			if (body !== undefined) batch.put(key, body);
			else if (value !== undefined) batch.del(key);
			if (++rowCount % ROWS_BETWEEN_RESTS === 0 && slice.isSpent) await slice.rest();
		}
	}

	/** Of a block without any there are no rows to look for. */
	#hasDocuments(block: number): boolean {
		const { slots } = this.#state;
		for (let slot = firstSlotOf(block); slot < firstSlotOf(block + 1); slot++) if (slots.isLive(slot)) return true;
		return false;
	}
}
