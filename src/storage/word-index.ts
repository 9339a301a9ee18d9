import type { LexicalSettings } from "../base/text-settings.ts";
import { metaKey } from "./keyspace.ts";
import { ANALYSIS_NAME, TextAnalyzer } from "./text-analyzer.ts";

export const WORDS_KEY = metaKey("words");

/** What a shard's database says of its index of words. Written with every commit that changes the index. */
export interface WordIndexRow extends LexicalSettings {
	/** How the texts were taken apart. */
	readonly analysis: string;
	/** Documents in lower slots are in it; null: all are. */
	readonly indexedTo: number | null;
	/** Documents in it that say anything. */
	readonly documentCount: number;
	/** Words of all of them. */
	readonly tokenCount: number;
}

/** An index of no documents. */
export function newWordIndex({ fields, language }: LexicalSettings, indexedTo: number | null): WordIndexRow {
	return { fields, language, analysis: ANALYSIS_NAME, indexedTo, documentCount: 0, tokenCount: 0 };
}

/** Which slots are in an index of words: those lower than this. */
export const indexedEnd = (row: WordIndexRow | undefined): number =>
	row === undefined ? 0 : (row.indexedTo ?? Number.POSITIVE_INFINITY);

/** The index of words that a shard keeps, as its database names it. */
export class WordIndex {
	#row: WordIndexRow | undefined;
	#analyzer: TextAnalyzer | undefined;

	constructor(row: WordIndexRow | undefined) {
		this.replace(row);
	}

	get row(): WordIndexRow | undefined {
		return this.#row;
	}

	/** Takes texts apart as the index has them. */
	get analyzer(): TextAnalyzer | undefined {
		return this.#analyzer;
	}

	replace(row: WordIndexRow | undefined): void {
		if (row === undefined) this.#analyzer = undefined;
		else if (!isSame(row, this.#row)) this.#analyzer = new TextAnalyzer(row);
		this.#row = row;
	}

	/** Whether it is the index that such settings want, as this program would make it. */
	fits(settings: LexicalSettings): boolean {
		return this.#row !== undefined && this.#row.analysis === ANALYSIS_NAME && isSame(this.#row, settings);
	}
}

function isSame(a: LexicalSettings, b: LexicalSettings | undefined): boolean {
	return a.language === b?.language && JSON.stringify(a.fields) === JSON.stringify(b.fields);
}
