import { HiveError } from "../base/errors.ts";
import type { LexicalSettings } from "../base/text-settings.ts";
import { PREFIX, prefixEnd } from "./keyspace.ts";
import type { ShardState } from "./shard-state.ts";
import { indexedEnd, newWordIndex, type WordIndexRow } from "./word-index.ts";
import { type WriteCommand, writeResult } from "./write-commands.ts";
import type { RowChange } from "./write-draft.ts";
import type { Writer } from "./writer.ts";

/** Put into the index by one commit: a few whole blocks. */
const SLOTS_PER_COMMIT = 512;
const ROWS_PER_COMMIT = 500;

/** Makes a shard's index of words what its settings want. Cut short, it goes on where it was. */
export class WordIndexBuilder {
	readonly #state: ShardState;
	readonly #writer: Writer;
	readonly #isStopped: () => boolean;

	constructor(state: ShardState, writer: Writer, isStopped: () => boolean) {
		this.#state = state;
		this.#writer = writer;
		this.#isStopped = isStopped;
	}

	/** Resolves when every document is in the index. @throws OVERLOADED when the shard is being closed */
	async build(settings: LexicalSettings): Promise<void> {
		const { words } = this.#state;
		if (!words.fits(settings)) {
			await this.#change(() => undefined);
			// Also without an index: an interrupted removal may have left rows, which a new one must not inherit.
			await this.#removeRows();
			await this.#change(() => newWordIndex(settings, 0));
		}
		while (indexedEnd(words.row) !== Number.POSITIVE_INFINITY) {
			this.#goOn();
			await this.#change((row) => this.#extended(row!));
		}
	}

	/** As it is once the next documents are in. @throws HiveError INTERNAL when one of them is damaged */
	#extended(row: WordIndexRow): WordIndexRow {
		const { slots, documents } = this.#state;
		const end = indexedEnd(row) + SLOTS_PER_COMMIT;
		// Found out here, it stops this work alone; in the commit it would fail those as well that share it.
		for (let slot = indexedEnd(row); slot < Math.min(end, slots.slotCount); slot++) {
			const id = slots.idOf(slot);
			if (id !== undefined) documents.read(id);
		}
		return { ...row, indexedTo: end < slots.slotCount ? end : null };
	}

	async #change(decide: (row: WordIndexRow | undefined) => WordIndexRow | undefined): Promise<void> {
		await this.#writer.submit({
			rowCount: SLOTS_PER_COMMIT,
			byteCount: 0,
			plan: async (draft) => {
				draft.changeWordIndex(decide(this.#state.words.row));
				return writeResult(draft, 0);
			},
		});
	}

	async #removeRows(): Promise<void> {
		const range = { gte: PREFIX.word, lt: prefixEnd(PREFIX.word) };
		for await (const rows of this.#state.store.rows(range, ROWS_PER_COMMIT)) {
			this.#goOn();
			await this.#writer.submit(removal(rows.map(([key]) => ({ key }))));
		}
	}

	#goOn(): void {
		if (this.#isStopped()) throw new HiveError("OVERLOADED", "the shard is closing");
	}
}

function removal(changes: readonly RowChange[]): WriteCommand {
	return {
		rowCount: changes.length,
		byteCount: 0,
		plan: async (draft) => {
			for (const change of changes) draft.row(change);
			return writeResult(draft, 0);
		},
	};
}
