/** Longer texts gain little from staying: reading them is not what takes the time. */
const TEXT_LENGTH_MAX = 8 * 1024;
const BYTES_MAX = 2 * 1024 * 1024;
const ENTRY_BYTES = 64;

/**
 * Payload texts of documents that were hits not long ago, by slot; the first in goes first. A search that finds its ten payloads here
 * spares a third of its time. Whoever changes a slot must `forget` it.
 */
export class PayloadCache {
	readonly #texts = new Map<number, string | undefined>();
	#bytes = 0;

	/** Estimated. */
	get bytes(): number {
		return this.#bytes;
	}

	/** What `read` told of this slot, or tells now; undefined for a document without payload. */
	text(slot: number, read: () => string | undefined): string | undefined {
		const known = this.#texts.get(slot);
		if (known !== undefined || this.#texts.has(slot)) return known;
		const text = read();
		if (text === undefined || text.length <= TEXT_LENGTH_MAX) {
			this.#texts.set(slot, text);
			this.#bytes += entryBytes(text);
			this.#shrink();
		}
		return text;
	}

	forget(slot: number): void {
		if (!this.#texts.has(slot)) return;
		this.#bytes -= entryBytes(this.#texts.get(slot));
		this.#texts.delete(slot);
	}

	#shrink(): void {
		for (const oldest of this.#texts.keys()) {
			if (this.#bytes <= BYTES_MAX) return;
			this.forget(oldest);
		}
	}
}

function entryBytes(text: string | undefined): number {
	return ENTRY_BYTES + 2 * (text?.length ?? 0);
}
