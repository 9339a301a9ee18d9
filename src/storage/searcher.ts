import { HiveError } from "../base/errors.ts";
import type { Filter } from "../base/filter.ts";
import type { VectorId } from "../base/ids.ts";
import { compileFilter } from "./filter-evaluator.ts";
import { exactVectorCountMax } from "./graph-keeper.ts";
import type { Matcher, Narrowed } from "./matcher.ts";
import { type Candidate, NearestHeap, rank } from "./ranking.ts";
import type { Query } from "./scorer.ts";
import type { ShardState } from "./shard-state.ts";
import type { Hit, LexicalQuery, SearchAnswer, SearchPlan, SearchRequest } from "./shard-types.ts";
import { TimeSlice } from "./time-slice.ts";
import type { WordSearcher } from "./word-searcher.ts";

/** A filtered search first asks for so many times the hits wanted. */
const FIRST_WIDTH_FACTOR = 4;
const FIRST_WIDTH_MIN = 64;
const WIDTH_MAX = 4_096;
/** A look at so many of the nearest costs less than reading what an index names. */
const NEAR_WIDTH_MAX = 768;
/** So few documents are compared one by one before anything else is tried. */
const FEW_SLOTS = 256;
/** Hits of a filtered search lie farther out, where the graph finds less: it is searched more widely than asked for. */
const FILTERED_EF_FACTOR = 1.5;
/** The far end of a graph's candidates has gaps: hits are taken from the nearer half. */
const TRUSTED_SHARE = 0.5;
/** Scoring so many vectors one by one is done in one go. */
const UNSLICED_SLOTS_MAX = 20_000;
/** Spare places for hits that change while a long scan goes on. */
const SPARE_HITS = 32;
const SCAN_ATTEMPTS_MAX = 3;

interface Found {
	readonly candidates: readonly Candidate[];
	readonly plan: SearchPlan;
}

/** What a request asks for, checked and made ready. */
interface Wanted {
	readonly query: Query;
	readonly k: number;
	readonly ef: number;
	/** Whether a distance is within the score threshold. */
	readonly isWithin: (distance: number) => boolean;
	/** The document whose vector is the query; not a hit. */
	readonly ownId: VectorId | undefined;
	readonly isExact: boolean;
}

/** Answers searches: picks the plan, and turns slots into hits. */
export class Searcher {
	readonly #state: ShardState;
	readonly #matcher: Matcher;
	readonly #words: WordSearcher;
	readonly #efSearch: () => number;

	constructor(state: ShardState, matcher: Matcher, words: WordSearcher, efSearch: () => number) {
		this.#state = state;
		this.#matcher = matcher;
		this.#words = words;
		this.#efSearch = efSearch;
	}

	async search(requests: readonly SearchRequest[]): Promise<readonly SearchAnswer[]> {
		const answers: SearchAnswer[] = [];
		const slice = new TimeSlice(this.#state.clock);
		for (const request of requests) {
			if (answers.length > 0 && slice.isSpent) await slice.rest();
			if (request.lexical !== undefined) {
				answers.push(await this.#byWords(request, request.lexical));
				continue;
			}
			const wanted = this.#prepare(request);
			const { filter } = request;
			const found = filter === undefined || isVoid(filter) ? this.#plain(wanted) : await this.#filtered(wanted, filter);
			const scoreOf = (distance: number) => this.#state.scorer.score(distance);
			answers.push({ hits: this.#hits(found.candidates, request, scoreOf), plan: found.plan });
		}
		return answers;
	}

	async #byWords(request: SearchRequest, query: LexicalQuery): Promise<SearchAnswer> {
		if (request.vector !== undefined || request.id !== undefined) throw noSingleQuery();
		const { filter } = request;
		const { candidates, scoredCount } = await this.#words.search({
			query,
			k: request.k,
			filter: filter === undefined || isVoid(filter) ? undefined : filter,
			scoreMin: request.scoreThreshold ?? 0,
		});
		return {
			hits: this.#hits(candidates, request, (distance) => -distance),
			plan: { kind: "lexical", candidateCount: scoredCount },
		};
	}

	#prepare(request: SearchRequest): Wanted {
		const { scorer, slots, vectors } = this.#state;
		const ownSlot = request.id === undefined ? undefined : slots.slotOf(request.id);
		if ((request.vector === undefined) === (request.id === undefined)) throw noSingleQuery();
		if (request.id !== undefined && ownSlot === undefined) {
			throw new HiveError("VECTOR_NOT_FOUND", "there is no vector with this id", { id: request.id });
		}
		return {
			query:
				request.vector === undefined
					? scorer.storedQuery(vectors.rows, ownSlot!)
					: scorer.query(request.vector, "vector"),
			k: request.k,
			ef: request.efSearch ?? this.#efSearch(),
			isWithin: (distance) => scorer.isWithin(distance, request.scoreThreshold),
			ownId: request.id,
			isExact: request.exact === true,
		};
	}

	#plain(wanted: Wanted): Found {
		const { keeper, slots } = this.#state;
		const { query, k, ef, ownId } = wanted;
		if (slots.count === 0) return { candidates: [], plan: { kind: "empty", candidateCount: 0 } };
		const asked = ownId === undefined ? k : k + 1;
		const nearest = wanted.isExact ? keeper.scan(query, asked) : keeper.nearest(query, asked, ef);
		const candidates = nearest.candidates.filter(({ slot, distance }) => {
			return wanted.isWithin(distance) && (ownId === undefined || slots.idOf(slot) !== ownId);
		});
		if (candidates.length > k) candidates.length = k;
		const { scoredCount, tailCount } = nearest;
		const plan: SearchPlan = nearest.isExact
			? { kind: "exact", candidateCount: scoredCount }
			: { kind: "hnsw", candidateCount: scoredCount, efSearch: Math.max(ef, asked), tailCount };
		return { candidates, plan };
	}

	/**
	 * Cheapest first: the few documents that an index names; a look at the nearest vectors, whatever the filter; all that
	 * an index names; a wide look; and in the end every document.
	 */
	async #filtered(wanted: Wanted, filter: Filter): Promise<Found> {
		const slotLimit = exactVectorCountMax(this.#state.config.dimension);
		const watch = this.#state.slots.watch();
		try {
			const test = this.#matcher.slotTest(compileFilter(filter));
			const narrow = async (limit: number): Promise<Narrowed | undefined> =>
				this.#upToDate(await this.#matcher.narrow(filter, limit), watch.touched);
			let narrowed = await narrow(wanted.isExact ? slotLimit : FEW_SLOTS);
			if (!wanted.isExact && (narrowed === undefined || narrowed.slots.count > FEW_SLOTS)) {
				const near = this.#widening(wanted, narrowed, test, NEAR_WIDTH_MAX);
				if (near !== undefined) return near;
				narrowed ??= await narrow(slotLimit);
				if (narrowed === undefined || narrowed.slots.count > slotLimit) {
					const wide = this.#widening(wanted, narrowed, test, WIDTH_MAX);
					if (wide !== undefined) return wide;
				}
			}
			const known = narrowed ?? { slots: await this.#matcher.matches(filter, slotLimit), isExact: true };
			const candidates = await this.#among(wanted, this.#upToDate(known, watch.touched), test);
			return { candidates, plan: { kind: "filter_exact", candidateCount: known.slots.count } };
		} finally {
			watch.end();
		}
	}

	/** What changed while others were looked at may match now, or not any more. */
	#upToDate<T extends Narrowed | undefined>(narrowed: T, touched: ReadonlySet<number>): T | Narrowed {
		if (narrowed === undefined || touched.size === 0) return narrowed;
		for (const slot of touched) narrowed.slots.add(slot);
		return { slots: narrowed.slots, isExact: false };
	}

	/**
	 * Take the hits from ever more of the nearest vectors.
	 *
	 * @returns undefined when they would have to be too many, or to come from where the graph can't be trusted.
	 */
	#widening(
		wanted: Wanted,
		narrowed: Narrowed | undefined,
		test: (slot: number) => boolean,
		widthLimit: number,
	): Found | undefined {
		const { keeper, slots } = this.#state;
		const { query, k, ef, isWithin } = wanted;
		const verdicts = new Map<number, boolean>();
		const isMatch = (slot: number): boolean => {
			if (narrowed?.slots.has(slot) === false || this.#isOwn(slot, wanted)) return false;
			if (narrowed?.isExact) return true;
			let verdict = verdicts.get(slot);
			if (verdict === undefined) {
				verdict = test(slot);
				verdicts.set(slot, verdict);
			}
			return verdict;
		};
		const reach = Math.ceil(ef * FILTERED_EF_FACTOR);
		const widthMax = Math.max(widthLimit, FIRST_WIDTH_FACTOR * k);
		let width = Math.max(FIRST_WIDTH_FACTOR * k, FIRST_WIDTH_MIN);
		while (width <= widthMax) {
			const nearest = keeper.nearest(query, width, reach);
			const trustedCount = nearest.isExact ? width : Math.max(width * TRUSTED_SHARE, k);
			const candidates: Candidate[] = [];
			let seenCount = 0;
			for (const candidate of nearest.candidates) {
				if (seenCount >= trustedCount || candidates.length >= k || !isWithin(candidate.distance)) break;
				seenCount++;
				if (isMatch(candidate.slot)) candidates.push(candidate);
			}
			const next = nearest.candidates[seenCount];
			const isBeyondThreshold = next !== undefined && !isWithin(next.distance);
			const isAll = nearest.isExact && width >= slots.count;
			if (candidates.length >= k || isBeyondThreshold || isAll) {
				const { tailCount } = nearest;
				const plan: SearchPlan = nearest.isExact
					? { kind: "filter_exact", candidateCount: nearest.scoredCount }
					: { kind: "hnsw_filtered", candidateCount: seenCount, efSearch: Math.max(reach, width), tailCount };
				return { candidates, plan };
			}
			// As many as are needed if the rest matches as often as these did, with some to spare.
			const rate = candidates.length / Math.max(1, seenCount);
			const needed = rate === 0 ? width * 16 : (1.5 * k) / rate / TRUSTED_SHARE;
			width = Math.ceil(Math.max(width * 2, needed));
		}
		return undefined;
	}

	/** The nearest of the given slots that match. Long sets are worked off in slices. */
	async #among(wanted: Wanted, known: Narrowed, test: (slot: number) => boolean): Promise<Candidate[]> {
		const { slots, clock } = this.#state;
		for (let attempt = 1; ; attempt++) {
			const isSliced = known.slots.count > UNSLICED_SLOTS_MAX && attempt < SCAN_ATTEMPTS_MAX;
			const watch = slots.watch();
			try {
				const heap = new NearestHeap(wanted.k + (isSliced ? SPARE_HITS : 0), slots);
				const slice = new TimeSlice(clock);
				for (const slot of known.slots) {
					this.#consider(heap, slot, wanted, known.isExact ? undefined : test);
					if (isSliced && slice.isSpent) await slice.rest();
				}
				const heapCount = heap.count;
				const candidates = heap.ranked().filter(({ slot }) => !watch.touched.has(slot));
				const lostCount = heapCount - candidates.length;
				const again = new NearestHeap(watch.touched.size, slots);
				for (const slot of watch.touched) this.#consider(again, slot, wanted, test);
				if (lostCount > SPARE_HITS) {
					for (const slot of watch.touched) known.slots.add(slot);
					known = { slots: known.slots, isExact: false };
					continue;
				}
				return rank([...candidates, ...again.ranked()], slots).slice(0, wanted.k);
			} finally {
				watch.end();
			}
		}
	}

	#consider(heap: NearestHeap, slot: number, wanted: Wanted, test: ((slot: number) => boolean) | undefined): void {
		const { slots, scorer, vectors } = this.#state;
		if (!slots.isLive(slot) || this.#isOwn(slot, wanted)) return;
		const distance = scorer.distance(vectors.rows, slot, wanted.query);
		if (distance > heap.distanceMax || !wanted.isWithin(distance)) return;
		if (test === undefined || test(slot)) heap.push(slot, distance);
	}

	#isOwn(slot: number, { ownId }: Wanted): boolean {
		return ownId !== undefined && this.#state.slots.idOf(slot) === ownId;
	}

	#hits(candidates: readonly Candidate[], request: SearchRequest, scoreOf: (distance: number) => number): Hit[] {
		const { slots, documents } = this.#state;
		return candidates.map(({ slot, distance }) => {
			const id = slots.idOf(slot)!;
			const payload = request.withPayload ? documents.hitPayload(slot, id) : undefined;
			return {
				id,
				score: scoreOf(distance),
				...(payload === undefined ? {} : { payload }),
				...(request.withVector ? { vector: documents.vector(slot) } : {}),
			};
		});
	}
}

const noSingleQuery = (): HiveError =>
	new HiveError("VALIDATION_FAILED", "a search takes either a vector, an id or a text", { field: "vector" });

/** Says nothing, so that everything matches. */
function isVoid(filter: Filter): boolean {
	return (
		(filter.must ?? []).length + (filter.should ?? []).length + (filter.must_not ?? []).length === 0 &&
		filter.min_should === undefined
	);
}
