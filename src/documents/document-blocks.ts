import MarkdownIt, { type Token } from "markdown-it";
import { DOCUMENT_LIMITS } from "./document-limits.ts";

export type DocumentFormat = "markdown" | "text";

/** A run of whole lines: a heading, a paragraph, a list, a fenced code block. White space after it belongs to it. */
export interface Block {
	/** UTF-16 units from the beginning of the document. */
	readonly start: number;
	readonly end: number;
	/** The headings it stands under, outermost first; its own is the last where it is one. */
	readonly headings: readonly string[];
	readonly isHeading: boolean;
	/** Code within it, which is better not cut. */
	readonly code: readonly { readonly start: number; readonly end: number }[];
}

const LINE_END = /\r\n?|\n/g;
const FRONT_MATTER = /^\uFEFF?---[ \t]*(?:\r\n?|\n)(?:.*(?:\r\n?|\n))*?---[ \t]*(?:\r\n?|\n|$)/;
/** Where front matter that never ends would be looked for. */
const FRONT_MATTER_CHARS_MAX = 16 * 1024;

/**
 * The blocks of a document, which together are all of it.
 *
 * @param pause awaited between pieces of work of some milliseconds
 */
export async function blocksOf(text: string, format: DocumentFormat, pause: () => Promise<void>): Promise<Block[]> {
	return format === "markdown" ? new MarkdownBlocks(text).all(pause) : paragraphs(text);
}

/** Blank lines part them. */
function paragraphs(text: string): Block[] {
	const blocks: Block[] = [];
	let start = 0;
	for (const { index, 0: gap } of text.matchAll(/(?:\r\n?|\n)[ \t]*(?:\r\n?|\n)\s*/g)) {
		const end = index + gap.length;
		blocks.push({ start, end, headings: [], isHeading: false, code: [] });
		start = end;
	}
	if (start < text.length) blocks.push({ start, end: text.length, headings: [], isHeading: false, code: [] });
	return blocks;
}

class MarkdownBlocks {
	readonly #text: string;
	readonly #blocks: Block[] = [];
	readonly #headings: { readonly level: number; readonly text: string }[] = [];
	readonly #parser = new MarkdownIt("commonmark");

	constructor(text: string) {
		this.#text = text;
	}

	/**
	 * Slice by slice. What follows can change only the last block of a slice, so the next slice begins there; where the slice is all one
	 * block it is made longer.
	 */
	async all(pause: () => Promise<void>): Promise<Block[]> {
		const { parseSliceChars, parseBlockCharsMax } = DOCUMENT_LIMITS;
		let start = this.#frontMatter();
		let sliceChars: number = parseSliceChars;
		while (start < this.#text.length) {
			const end = this.#lineEnd(start + sliceChars);
			const isLast = end === this.#text.length;
			const blocks = this.#parse(start, end);
			if (!isLast && blocks.length > 1) blocks.pop();
			else if (!isLast && sliceChars < parseBlockCharsMax) {
				sliceChars *= 2;
				continue;
			}
			for (const { heading, ...block } of blocks) this.#add(block, heading);
			start = this.#blocks.at(-1)?.end ?? end;
			sliceChars = parseSliceChars;
			await pause();
		}
		return this.#blocks;
	}

	#add(block: { start: number; end: number; code: Block["code"] }, heading: Heading | undefined): void {
		if (heading !== undefined) {
			while ((this.#headings.at(-1)?.level ?? 0) >= heading.level) this.#headings.pop();
			this.#headings.push(heading);
		}
		const headings = this.#headings.map(({ text }) => text);
		this.#blocks.push({ ...block, headings, isHeading: heading !== undefined });
	}

	/** The end of the line that `position` is in. */
	#lineEnd(position: number): number {
		const end = this.#text.indexOf("\n", position);
		return end < 0 ? this.#text.length : end + 1;
	}

	/** Settings of other tools at the beginning, which are no Markdown. @returns where the document goes on */
	#frontMatter(): number {
		const found = FRONT_MATTER.exec(this.#text.slice(0, FRONT_MATTER_CHARS_MAX));
		if (found === null) return 0;
		const end = found[0].length;
		this.#add({ start: 0, end, code: [{ start: 0, end }] }, undefined);
		return end;
	}

	#parse(start: number, end: number): ParsedBlock[] {
		const slice = this.#text.slice(start, end);
		const lineStarts = [start];
		for (const { index, 0: lineEnd } of slice.matchAll(LINE_END)) lineStarts.push(start + index + lineEnd.length);
		const tokens: Token[] = [];
		const at = (line: number): number => lineStarts[line] ?? end;
		// Only blocks are looked for: what is within a line does not matter here, and takes most of the time.
		this.#parser.block.parse(slice.replaceAll(LINE_END, "\n"), this.#parser, {}, tokens);
		const blocks: ParsedBlock[] = [];
		for (const [index, { type, level, map, nesting, tag }] of tokens.entries()) {
			if (map === null) continue;
			if (level === 0 && nesting >= 0) {
				const isHeading = type === "heading_open";
				// What stands before the first block, or between two, belongs to the one before.
				const blockStart = blocks.length === 0 ? start : at(map[0]);
				const before = blocks.at(-1);
				if (before !== undefined) before.end = blockStart;
				blocks.push({
					start: blockStart,
					end,
					code: [],
					heading: isHeading ? headingOf(tag, tokens[index + 1]) : undefined,
				});
			}
			if (type === "fence" || type === "code_block") {
				blocks.at(-1)?.code.push({ start: at(map[0]), end: at(map[1]) });
			}
		}
		if (blocks.length === 0) blocks.push({ start, end, code: [], heading: undefined });
		return blocks;
	}
}

interface Heading {
	readonly level: number;
	readonly text: string;
}

interface ParsedBlock {
	readonly start: number;
	end: number;
	readonly code: { start: number; end: number }[];
	readonly heading: Heading | undefined;
}

function headingOf(tag: string, inline: Token | undefined): Heading {
	const text = (inline?.content ?? "").trim().slice(0, DOCUMENT_LIMITS.headingLengthMax);
	return { level: Number(tag.slice(1)), text: text.toWellFormed() };
}
