import { type Block, blocksOf, type DocumentFormat } from "./document-blocks.ts";

export interface SplitOptions {
	readonly format: DocumentFormat;
	/** Characters (UTF-16 units) of a chunk; a heading above it or white space after it may take it further. */
	readonly size: number;
	/** Characters of a chunk that are repeated from the end of the one before, at most; less than half of `size`. */
	readonly overlap: number;
}

/** A part of a document. Without what they repeat, the chunks one after the other are the document, byte for byte. */
export interface DocumentChunk {
	readonly text: string;
	/** Where `text` lies in the document, in bytes of UTF-8. */
	readonly start: number;
	readonly end: number;
	/** Bytes at its beginning that are also the end of the chunk before. */
	readonly overlap: number;
	/** The headings it stands under, outermost first. */
	readonly headings: readonly string[];
}

interface Span {
	readonly start: number;
	end: number;
	readonly headings: readonly string[];
	/** A heading stands at its beginning, so that what is before belongs to something else. */
	readonly isSection: boolean;
}

const SENTENCE_END = /[.!?…。！？]["'”’)\]]*\s/g;

/**
 * Splits a document where it is structured: before headings, between blocks, else at ends of lines, sentences, words. Code is cut only where
 * it is larger than a chunk, and then between lines.
 *
 * @param text not blank
 * @param pause awaited between pieces of work of some milliseconds
 */
export async function splitDocument(
	text: string,
	options: SplitOptions,
	pause: () => Promise<void>,
): Promise<readonly DocumentChunk[]> {
	const blocks = await blocksOf(text, options.format, pause);
	const code = blocks.flatMap((block) => block.code);
	const cuts = new Cuts(text, code);
	const packer = new Packer(text, options.size, cuts);
	for (const block of blocks) packer.add(block);
	const spans = packer.finish();
	let byteOffset = 0;
	return spans.map((span, index) => {
		const from =
			index === 0 || span.isSection
				? span.start
				: cuts.overlapStart(spans[index - 1]!.start, span.start, options.overlap);
		const overlap = Buffer.byteLength(text.slice(from, span.start));
		const end = byteOffset + Buffer.byteLength(text.slice(span.start, span.end));
		const chunk: DocumentChunk = {
			text: text.slice(from, span.end),
			start: byteOffset - overlap,
			end,
			overlap,
			headings: span.headings,
		};
		byteOffset = end;
		return chunk;
	});
}

/** Gathers blocks into spans of at most `size`. */
class Packer {
	readonly #text: string;
	readonly #size: number;
	readonly #cuts: Cuts;
	readonly #spans: Span[] = [];
	#start = 0;
	#end = 0;
	/** Where the span's first body begins, behind the headings it stands under. */
	#bodyStart: number | undefined;
	#headings: readonly string[] = [];
	#isSection = false;

	constructor(text: string, size: number, cuts: Cuts) {
		this.#text = text;
		this.#size = size;
		this.#cuts = cuts;
	}

	add(block: Block): void {
		const size = this.#size;
		const fitsAlone = block.end - block.start <= size;
		if (this.#bodyStart === undefined) {
			if (block.isHeading && block.end - this.#start > size) this.#flush();
		} else {
			const left = this.#bodyStart + size - block.start;
			const isFull = block.end - this.#bodyStart > size && (fitsAlone || left < size / 2);
			if (block.isHeading || isFull) this.#flush();
		}
		this.#headings = block.headings;
		if (block.isHeading && fitsAlone) {
			this.#isSection = true;
			this.#end = block.end;
			return;
		}
		this.#bodyStart ??= block.start;
		// Larger than what is left: in pieces, the first of them behind what is there.
		let position = block.start;
		while (block.end - this.#bodyStart > size) {
			position = this.#cuts.best(position, this.#bodyStart + size, size);
			this.#end = position;
			this.#flush();
			this.#bodyStart = position;
		}
		this.#end = block.end;
	}

	finish(): readonly Span[] {
		this.#flush();
		// What is left is blank.
		const last = this.#spans.at(-1);
		if (last !== undefined) last.end = this.#text.length;
		return this.#spans;
	}

	/** White space alone is no chunk: it stays, and goes with what follows. */
	#flush(): void {
		this.#bodyStart = undefined;
		if (this.#text.slice(this.#start, this.#end).trim() === "") return;
		this.#spans.push({
			start: this.#start,
			end: this.#end,
			headings: this.#headings,
			isSection: this.#isSection,
		});
		this.#start = this.#end;
		this.#isSection = false;
	}
}

/** Where a text may be cut. */
class Cuts {
	readonly #text: string;
	/** In order, none within another. */
	readonly #code: readonly { readonly start: number; readonly end: number }[];

	constructor(text: string, code: readonly { readonly start: number; readonly end: number }[]) {
		this.#text = text;
		this.#code = code;
	}

	/** @returns the best cut from `start` on, up to `limit`; after `start` where that is `size` away */
	best(start: number, limit: number, size: number): number {
		const code = this.#codeAround(limit);
		const floor = start + ((limit - start) >> 1);
		if (code !== undefined) {
			if (code.start > start || code.end - code.start <= size) return Math.max(start, code.start);
			return this.#after("\n", start, limit) ?? this.#anywhere(start, limit);
		}
		return (
			this.#after("\n\n", floor, limit) ??
			this.#after("\n", floor, limit) ??
			this.#sentenceCut(floor, limit) ??
			this.#spaceCut(floor, limit) ??
			this.#anywhere(start, limit)
		);
	}

	/** Where a chunk begins that repeats up to `overlap` characters from before `start`. @returns `start` for nowhere */
	overlapStart(floor: number, start: number, overlap: number): number {
		let from = Math.max(floor, start - overlap);
		const code = this.#codeAround(from);
		// Half a code block is no help, unless the chunk itself goes on with it.
		if (code !== undefined && code.end <= start) from = code.end;
		if (from > floor) {
			const tail = this.#text.slice(from - 1, start);
			const line = tail.indexOf("\n");
			const space = line >= 0 && line + 1 < tail.length ? line : tail.search(/\s/);
			if (space < 0) return start;
			from += space;
		}
		return this.#text.slice(from, start).trim() === "" ? start : from;
	}

	/** The code that a cut at `position` would go through. */
	#codeAround(position: number): { readonly start: number; readonly end: number } | undefined {
		let low = 0;
		let high = this.#code.length;
		while (low < high) {
			const middle = (low + high) >> 1;
			if (this.#code[middle]!.end <= position) low = middle + 1;
			else high = middle;
		}
		const found = this.#code[low];
		return found !== undefined && found.start < position ? found : undefined;
	}

	/** Behind the last `mark` between `floor` and `limit`. */
	#after(mark: string, floor: number, limit: number): number | undefined {
		const at = this.#text.slice(floor, limit).lastIndexOf(mark);
		return at < 0 ? undefined : floor + at + mark.length;
	}

	#sentenceCut(floor: number, limit: number): number | undefined {
		let cut: number | undefined;
		for (const { index, 0: end } of this.#text.slice(floor, limit).matchAll(SENTENCE_END)) {
			cut = floor + index + end.length;
		}
		return cut;
	}

	#spaceCut(floor: number, limit: number): number | undefined {
		for (let at = limit; at > floor; at--) {
			if (/\s/.test(this.#text[at - 1]!)) return at;
		}
		return undefined;
	}

	/** Not within a surrogate pair or a line's end. */
	#anywhere(start: number, limit: number): number {
		const unit = this.#text.charCodeAt(limit);
		const isWithin = (unit >= 0xdc00 && unit < 0xe000) || (unit === 0x0a && this.#text[limit - 1] === "\r");
		return isWithin && limit - 1 > start ? limit - 1 : limit;
	}
}
