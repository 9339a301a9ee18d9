import { type PayloadPath, parsePayloadPath, someElementAtPath } from "../base/payload-path.ts";
import type { Payload } from "../base/schemas.ts";
import type { LexicalSettings } from "../base/text-settings.ts";
import { STEMMERS, type Stemmer } from "./stemmers.ts";
import { type Token, tokensOf } from "./text-tokens.ts";
import type { TimeSlice } from "./time-slice.ts";

/** To be raised when the same text comes to other terms: what was indexed before is indexed anew then. */
const ANALYSIS = 1;
/** What a document says beyond so many different words is not searched by its words. */
export const DOCUMENT_TERMS_MAX = 16_384;
/** Different words of a query that are looked up. */
const QUERY_TERMS_MAX = 256;
/** Longer ones are no words, and are taken as they are. */
const STEMMED_LENGTH_MAX = 64;
const REMEMBERED_STEMS_MAX = 16_384;
const TOKENS_BETWEEN_RESTS = 64;

/** Names how texts are taken apart here: what a letter is, and its lower case, changes with the version of Unicode. */
export const ANALYSIS_NAME = `${ANALYSIS}, Unicode ${process.versions.unicode}`;

/** A text as a bag of words. */
export interface TextTerms {
	/** How often each stands there. */
	readonly counts: ReadonlyMap<string, number>;
	/** All of them together. */
	readonly length: number;
}

/** Stems that were worked out, for work on many documents. */
export type KnownStems = Map<string, string>;

/** Takes texts apart into terms: words cut down to their stems; of scripts without spaces, characters and pairs of them. */
export class TextAnalyzer {
	readonly #paths: readonly PayloadPath[];
	readonly #stemmer: Stemmer | undefined;

	constructor({ fields, language }: LexicalSettings) {
		this.#paths = fields.map((field) => parsePayloadPath(field)).filter((path) => path !== undefined);
		this.#stemmer = language === "none" ? undefined : STEMMERS[language];
	}

	/** What the searched fields of a document say, as one text. */
	async documentTerms(payload: Payload | undefined, stems: KnownStems, slice: TimeSlice): Promise<TextTerms> {
		const counts = new Map<string, number>();
		let length = 0;
		const add = (term: string): void => {
			const count = counts.get(term);
			if (count === undefined && counts.size >= DOCUMENT_TERMS_MAX) return;
			counts.set(term, (count ?? 0) + 1);
			length++;
		};
		let tokenCount = 0;
		for (const text of this.#texts(payload)) {
			let former: Token | undefined;
			for (const token of tokensOf(text)) {
				if (!token.isCharacter) add(this.#stem(token.text, stems));
				else {
					add(token.text);
					if (isPair(former, token)) add(former.text + token.text);
				}
				former = token;
				if (++tokenCount % TOKENS_BETWEEN_RESTS === 0 && slice.isSpent) await slice.rest();
			}
		}
		return { counts, length };
	}

	/** What a query looks for, and how often it says so. A run of characters is looked for by its pairs. */
	queryTerms(text: string): ReadonlyMap<string, number> {
		const counts = new Map<string, number>();
		const stems: KnownStems = new Map();
		/** A character that so far stands alone. */
		let single: string | undefined;
		let former: Token | undefined;
		const add = (term: string | undefined): void => {
			if (term !== undefined) counts.set(term, (counts.get(term) ?? 0) + 1);
		};
		for (const token of tokensOf(text)) {
			if (isPair(former, token)) {
				add(former.text + token.text);
				single = undefined;
			} else {
				add(single);
				single = token.isCharacter ? token.text : undefined;
				if (!token.isCharacter) add(this.#stem(token.text, stems));
			}
			if (counts.size >= QUERY_TERMS_MAX) return counts;
			former = token;
		}
		add(single);
		return counts;
	}

	#texts(payload: Payload | undefined): string[] {
		const texts: string[] = [];
		if (payload === undefined) return texts;
		for (const path of this.#paths) {
			someElementAtPath(path, (value) => {
				if (typeof value === "string") texts.push(value);
				return false;
			})(payload, undefined);
		}
		return texts;
	}

	#stem(word: string, stems: KnownStems): string {
		if (this.#stemmer === undefined || word.length > STEMMED_LENGTH_MAX) return word;
		let stem = stems.get(word);
		if (stem === undefined) {
			// Of a word that is all ending nothing would be left.
			stem = this.#stemmer(word) || word;
			if (stems.size >= REMEMBERED_STEMS_MAX) stems.clear();
			stems.set(word, stem);
		}
		return stem;
	}
}

const isPair = (former: Token | undefined, token: Token): former is Token =>
	former?.isCharacter === true && token.isCharacter && token.isJoined;
