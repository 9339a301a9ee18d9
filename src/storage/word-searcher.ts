import { HiveError } from "../base/errors.ts";
import type { Filter } from "../base/filter.ts";
import { TermScorer, type TextStatistics, type WeightedTerm, weighTerms } from "./bm25.ts";
import { compileFilter } from "./filter-evaluator.ts";
import { exactVectorCountMax } from "./graph-keeper.ts";
import type { Row } from "./level-store.ts";
import type { Matcher, Narrowed } from "./matcher.ts";
import type { Candidate } from "./ranking.ts";
import { ScoreTable } from "./score-table.ts";
import type { ShardState } from "./shard-state.ts";
import type { LexicalQuery } from "./shard-types.ts";
import type { ChangeWatch } from "./slot-table.ts";
import type { TextAnalyzer } from "./text-analyzer.ts";
import { TimeSlice } from "./time-slice.ts";
import { blockOf, eachPosting, keyBlock, openBlock, postingCount, termRange, wordKey } from "./word-rows.ts";

/** Blocks of a term that are kept after counting, so that they needn't be read again. */
const KEPT_BYTES_MAX = 8 * 1024 * 1024;
/** So few blocks are read one by one; beyond, all of the term's are read through. */
const SINGLE_BLOCKS_MAX = 256;
const FIRST_WIDTH_FACTOR = 4;
const FIRST_WIDTH_MIN = 64;
const WIDTH_GROWTH = 8;
/** Documents that are held against a filter before the clock is looked at. */
const TESTS_AT_ONCE = 16;
/** Sums in another order differ by far less. */
const SUM_SLACK = 1 + 1e-9;

export interface WordsWanted {
	readonly query: LexicalQuery;
	readonly k: number;
	readonly filter: Filter | undefined;
	readonly scoreMin: number;
}

export interface WordsFound {
	/** A candidate's distance is its score negated. */
	readonly candidates: readonly Candidate[];
	/** Documents that were scored. */
	readonly scoredCount: number;
}

/** A term whose documents are looked for. */
interface SoughtTerm extends WeightedTerm {
	/** All of its blocks, where they were kept. */
	readonly kept: readonly Row[] | undefined;
	/** What a document can gain at most by this term and those behind it. */
	readonly gainLeft: number;
}

/** Finds documents by their words, best first by BM25. */
export class WordSearcher {
	readonly #state: ShardState;
	readonly #matcher: Matcher;

	constructor(state: ShardState, matcher: Matcher) {
		this.#state = state;
		this.#matcher = matcher;
	}

	/** @throws VALIDATION_FAILED, OVERLOADED */
	async statistics(text: string): Promise<TextStatistics> {
		return (await this.#count([...this.#analyzer().queryTerms(text).keys()], 0)).statistics;
	}

	/** @throws VALIDATION_FAILED, OVERLOADED */
	async search(wanted: WordsWanted): Promise<WordsFound> {
		const found = await this.#attempt(wanted, true);
		return found ?? (await this.#attempt(wanted, false))!;
	}

	/** @returns undefined when what made others seem hopeless has changed meanwhile; never without `mayPrune` */
	async #attempt(wanted: WordsWanted, mayPrune: boolean): Promise<WordsFound | undefined> {
		const analyzer = this.#analyzer();
		const run = new SearchRun(this.#state, this.#matcher, wanted);
		try {
			const counts = analyzer.queryTerms(wanted.query.text);
			const { statistics, kept } =
				wanted.query.statistics === undefined
					? await this.#count([...counts.keys()], KEPT_BYTES_MAX)
					: { statistics: wanted.query.statistics, kept: new Map<string, Row[]>() };
			return await run.run(weighTerms(counts, statistics), kept, new TermScorer(statistics), mayPrune);
		} finally {
			run.end();
		}
	}

	/** Counts the documents that say each term, and keeps the rows that were read while there is room. */
	async #count(
		terms: readonly string[],
		keptBytesMax: number,
	): Promise<{ readonly statistics: TextStatistics; readonly kept: ReadonlyMap<string, readonly Row[]> }> {
		const { store, words, clock } = this.#state;
		const { documentCount, tokenCount } = words.row!;
		const slice = new TimeSlice(clock);
		const documentCounts: [string, number][] = [];
		const kept = new Map<string, Row[]>();
		let keptBytes = 0;
		for (const term of terms) {
			let count = 0;
			const ofTerm: Row[] = [];
			for await (const rows of store.rows(termRange(term))) {
				for (const row of rows) {
					count += postingCount(openBlock(row[0], row[1]));
					keptBytes += row[0].length + row[1].length;
					if (keptBytes <= keptBytesMax) ofTerm.push(row);
					if (slice.isSpent) await slice.rest();
				}
			}
			documentCounts.push([term, count]);
			if (keptBytes <= keptBytesMax) kept.set(term, ofTerm);
		}
		return { statistics: { documentCount, tokenCount, documentCounts }, kept };
	}

	#analyzer(): TextAnalyzer {
		const { words, config } = this.#state;
		const { lexical } = config;
		if (lexical === undefined) {
			throw new HiveError("VALIDATION_FAILED", "the collection has no text fields", { field: "text" });
		}
		const isWhole = words.fits(lexical) && words.row?.indexedTo === null;
		if (isWhole && words.analyzer !== undefined) return words.analyzer;
		throw new HiveError("OVERLOADED", "the collection's index of words is being built", { retry_after_seconds: 1 });
	}
}

/**
 * One search: term by term, the rarest first, each document's gains are added up.
 *
 * Once the best k have more than any other document can still gain, only those that may yet be among the best are looked up. What
 * is written meanwhile is scored anew at the end, at one moment, so that the answer is that moment's.
 *
 * Source: Turtle and Flood, Query Evaluation: Strategies and Optimizations, 1995 (max_score, term at a time).
 */
class SearchRun {
	readonly #state: ShardState;
	readonly #matcher: Matcher;
	readonly #wanted: WordsWanted;
	readonly #table = new ScoreTable();
	readonly #slice: TimeSlice;
	#watch: ChangeWatch;
	/** Changed since the search began: what is known of the others does not hold for them. */
	readonly #changed = new Set<number>();
	readonly #verdicts = new Map<number, boolean>();
	#narrowed: Narrowed | undefined;
	/** Documents below this score were given up. */
	#givenUpBelow = 0;

	constructor(state: ShardState, matcher: Matcher, wanted: WordsWanted) {
		this.#state = state;
		this.#matcher = matcher;
		this.#wanted = wanted;
		this.#slice = new TimeSlice(state.clock);
		this.#watch = state.slots.watch();
	}

	end(): void {
		this.#watch.end();
	}

	async run(
		weighted: readonly WeightedTerm[],
		kept: ReadonlyMap<string, readonly Row[]>,
		scorer: TermScorer,
		mayPrune: boolean,
	): Promise<WordsFound | undefined> {
		const { filter } = this.#wanted;
		const { config } = this.#state;
		if (filter !== undefined)
			this.#narrowed = await this.#matcher.narrow(filter, exactVectorCountMax(config.dimension));
		const terms = soughtTerms(weighted, kept);
		await this.#score(terms, scorer, mayPrune && (filter === undefined || this.#narrowed?.isExact === true));
		const test = filter === undefined ? undefined : this.#matcher.slotTest(compileFilter(filter));
		for (let width = this.#firstWidth(); ; ) {
			if (!(await this.#catchUp(terms, scorer))) return undefined;
			const ranked = this.#table.best(width, this.#state.slots, this.#wanted.scoreMin);
			const candidates = this.#matching(ranked, test);
			if (candidates === undefined) await this.#slice.rest();
			else if (candidates.length === this.#wanted.k || ranked.length < width) {
				return { candidates, scoredCount: this.#table.count };
			} else width *= WIDTH_GROWTH;
		}
	}

	async #score(terms: readonly SoughtTerm[], scorer: TermScorer, mayPrune: boolean): Promise<void> {
		const { k } = this.#wanted;
		const { slots } = this.#state;
		const narrowed = this.#narrowed?.slots;
		const isFew = narrowed !== undefined && narrowed.count <= SINGLE_BLOCKS_MAX;
		let among: { has(slot: number): boolean } | undefined = narrowed;
		let blocks = isFew ? blocksOf(narrowed) : undefined;
		for (const term of terms) {
			if (mayPrune && this.#table.count >= k) {
				const least = this.#table.kthBest(k, slots);
				if (term.gainLeft < least) {
					this.#givenUpBelow = least;
					this.#table.dropBelow((least - term.gainLeft) / SUM_SLACK);
					among = this.#table;
					blocks = blocksOf(this.#table.slots());
				}
			}
			await this.#addTerm(term, scorer, among, blocks);
		}
	}

	/** @param blocks those that matter; undefined: all */
	async #addTerm(
		term: SoughtTerm,
		scorer: TermScorer,
		among: { has(slot: number): boolean } | undefined,
		blocks: ReadonlySet<number> | undefined,
	): Promise<void> {
		const { store } = this.#state;
		const add = async (key: Buffer, value: Buffer): Promise<void> => {
			eachPosting(openBlock(key, value), keyBlock(key), (slot, count, length) => {
				if (among !== undefined && !among.has(slot)) return;
				this.#table.set(slot, this.#table.get(slot) + scorer.gain(term.weight, count, length));
			});
			if (this.#slice.isSpent) await this.#slice.rest();
		};
		if (term.kept !== undefined) {
			for (const [key, value] of term.kept) if (blocks?.has(keyBlock(key)) !== false) await add(key, value);
		} else if (blocks !== undefined && blocks.size <= SINGLE_BLOCKS_MAX) {
			for (const block of blocks) {
				const key = wordKey(term.term, block);
				const value = store.get(key);
				if (value !== undefined) await add(key, value);
			}
		} else {
			for await (const rows of store.rows(termRange(term.term))) {
				for (const [key, value] of rows) if (blocks?.has(keyBlock(key)) !== false) await add(key, value);
			}
		}
	}

	/**
	 * Scores anew what was written meanwhile, until nothing is left to.
	 *
	 * @returns false when others were given up because of one that is worse now
	 */
	async #catchUp(terms: readonly SoughtTerm[], scorer: TermScorer): Promise<boolean> {
		const { slots } = this.#state;
		while (this.#watch.touched.size > 0) {
			const { touched } = this.#watch;
			this.#watch.end();
			this.#watch = slots.watch();
			for (const slot of touched) {
				const former = this.#table.get(slot);
				const score = slots.isLive(slot) ? this.#scoreOf(slot, terms, scorer) : 0;
				this.#table.set(slot, score);
				this.#changed.add(slot);
				this.#verdicts.delete(slot);
				// It may also match no longer.
				if (this.#givenUpBelow > 0 && former > 0) return false;
				if (this.#slice.isSpent) await this.#slice.rest();
			}
		}
		return true;
	}

	/** Of a document as it is now. */
	#scoreOf(slot: number, terms: readonly SoughtTerm[], scorer: TermScorer): number {
		let score = 0;
		for (const { term, weight } of terms) {
			const key = wordKey(term, blockOf(slot));
			const value = this.#state.store.get(key);
			if (value === undefined) continue;
			eachPosting(openBlock(key, value), blockOf(slot), (at, count, length) => {
				if (at === slot) score += scorer.gain(weight, count, length);
			});
		}
		return score;
	}

	/** The best that match, in order. @returns undefined when the time was up before enough of them were looked at */
	#matching(
		ranked: readonly Candidate[],
		test: ((slot: number) => boolean) | undefined,
	): readonly Candidate[] | undefined {
		const { k } = this.#wanted;
		if (test === undefined) return ranked.slice(0, k);
		const matching: Candidate[] = [];
		let testedCount = 0;
		for (const { slot, distance } of ranked) {
			if (matching.length === k) break;
			let verdict = this.#knownVerdict(slot);
			if (verdict === undefined) {
				if (testedCount >= TESTS_AT_ONCE && this.#slice.isSpent) return undefined;
				testedCount++;
				verdict = test(slot);
				this.#verdicts.set(slot, verdict);
			}
			if (verdict) matching.push({ slot, distance });
		}
		return matching;
	}

	#knownVerdict(slot: number): boolean | undefined {
		if (this.#narrowed !== undefined && !this.#changed.has(slot)) {
			if (!this.#narrowed.slots.has(slot)) return false;
			if (this.#narrowed.isExact) return true;
		}
		return this.#verdicts.get(slot);
	}

	#firstWidth(): number {
		const { k, filter } = this.#wanted;
		return filter === undefined ? k : Math.max(FIRST_WIDTH_FACTOR * k, FIRST_WIDTH_MIN);
	}
}

function soughtTerms(
	weighted: readonly WeightedTerm[],
	kept: ReadonlyMap<string, readonly Row[]>,
): readonly SoughtTerm[] {
	return weighted.map((term, index) => ({
		...term,
		kept: kept.get(term.term),
		gainLeft: weighted.slice(index).reduce((sum, { gainMax }) => sum + gainMax, 0),
	}));
}

function blocksOf(slots: Iterable<number>): Set<number> {
	const blocks = new Set<number>();
	for (const slot of slots) blocks.add(blockOf(slot));
	return blocks;
}
