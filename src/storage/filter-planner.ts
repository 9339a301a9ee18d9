import type { Condition, Filter, Match, Range } from "../base/filter.ts";
import type { VectorId } from "../base/ids.ts";
import { parseInstant } from "../base/instant.ts";
import { elementsOf, joinPaths, type PayloadPath, parsePayloadPath } from "../base/payload-path.ts";
import type { PayloadIndexType } from "../base/schemas.ts";
import {
	type IndexValue,
	indexValues,
	isDistinct,
	type KeyRange,
	rangePostings,
	valuePostings,
} from "./payload-index.ts";
import { SlotSet } from "./slot-set.ts";
import { textTokens } from "./text-tokens.ts";

/** What the planner reads: postings and ids of one shard, at one moment. */
export interface PostingReader {
	/**
	 * The slots (`postingSlot`) of the keys in a range, repeated where a document has several values in it.
	 *
	 * @returns undefined when the range holds more than `keyCountMax` keys; the reader reads no further than that.
	 */
	readSlots(range: KeyRange, keyCountMax: number): Promise<Iterable<number> | undefined>;
	/** The slots of those ids that exist, in any order. */
	slotsOfIds(ids: readonly VectorId[]): Promise<Iterable<number>>;
}

export interface FilterPlan {
	/** Every slot whose document matches, and no more than `slotLimit` in all. */
	readonly slots: SlotSet;
	/** The slots are exactly the matches; otherwise each must still be checked with `compileFilter`. */
	readonly exact: boolean;
}

/** How much a plan may read in all, as a multiple of `slotLimit`: a filter of many broad conditions must not cost more. */
const READ_BUDGET_FACTOR = 4;
const READ_BUDGET_MIN = 4_096;
/** A condition is first tried with so few keys, so that a selective one is found before a broad one is read. */
const FIRST_TRY_KEYS = 64;
const TRY_GROWTH = 8;
/** Narrowing pays while reading a posting is so many times cheaper than reading and checking a document. */
const NARROW_FACTOR = 8;

/**
 * Find the documents that can match a filter from the payload indexes, without reading documents.
 *
 * `must` conditions narrow each other, the most selective first; `should`, `min_should`, nested filters and `nested`
 * are followed where their branches are indexed; `must_not` never helps and is left to the check.
 *
 * @param definitions the shard's payload indexes: field to type. Their postings must be complete.
 * @param options     `slotLimit`: how many slots are still worth checking one by one, 1 or more.
 * @returns           undefined when no more than `slotLimit` slots can't be told from the indexes: scan, or search and
 *                    check. An empty set is an answer: nothing matches.
 * Cost: at most 4 × `slotLimit` postings read (4,096 if that is more), however many conditions.
 */
export async function planFilter(
	filter: Filter,
	definitions: Readonly<Record<string, PayloadIndexType>>,
	reader: PostingReader,
	options: { readonly slotLimit: number },
): Promise<FilterPlan | undefined> {
	return await new FilterPlanner(definitions, reader, options.slotLimit).plan(filter);
}

/** What is to be read: decided before the first read, so that undecidable branches cost nothing. */
type Node =
	| { readonly kind: "postings"; readonly range: KeyRange; readonly exact: boolean }
	| { readonly kind: "ids"; readonly ids: readonly VectorId[] }
	/** Documents in all of the parts. `exact` is false when something else must hold as well. */
	| { readonly kind: "all"; readonly parts: readonly Node[]; readonly exact: boolean }
	/** Documents in one of any `neededCount` of the parts: whichever of them are selective enough. */
	| { readonly kind: "any"; readonly parts: readonly Node[]; readonly neededCount: number; readonly exact: boolean };

interface FieldIndex {
	readonly field: string;
	readonly type: PayloadIndexType;
}

const NOTHING: Node = { kind: "any", parts: [], neededCount: 0, exact: true };

class FilterPlanner {
	readonly #indexes = new Map<string, FieldIndex[]>();
	readonly #reader: PostingReader;
	readonly #slotLimit: number;
	#readsLeft: number;

	constructor(definitions: Readonly<Record<string, PayloadIndexType>>, reader: PostingReader, slotLimit: number) {
		for (const [field, type] of Object.entries(definitions)) {
			const path = parsePayloadPath(field)?.text;
			if (path !== undefined) this.#indexes.set(path, [...(this.#indexes.get(path) ?? []), { field, type }]);
		}
		this.#reader = reader;
		this.#slotLimit = slotLimit;
		this.#readsLeft = Math.max(slotLimit * READ_BUDGET_FACTOR, READ_BUDGET_MIN);
	}

	async plan(filter: Filter): Promise<FilterPlan | undefined> {
		const node = this.#filterNode(filter, undefined);
		return node === undefined ? undefined : await this.#read(node, this.#slotLimit);
	}

	/** @param within the array whose elements the filter looks at, inside `nested`. */
	#filterNode(filter: Filter, within: PayloadPath | undefined): Node | undefined {
		const parts: (Node | undefined)[] = (filter.must ?? []).map((condition) => this.#conditionNode(condition, within));
		if (filter.should !== undefined && filter.should.length > 0) parts.push(this.#anyNode(filter.should, 1, within));
		if (filter.min_should !== undefined && filter.min_should.min_count > 0) {
			parts.push(this.#anyNode(filter.min_should.conditions, filter.min_should.min_count, within));
		}
		const known = parts.filter((part) => part !== undefined);
		if (known.length === 0) return undefined;
		const isWhole = known.length === parts.length && (filter.must_not ?? []).length === 0;
		// In `nested`, two conditions may hold for two different elements: together they only narrow.
		return { kind: "all", parts: known, exact: isWhole && (within === undefined || known.length === 1) };
	}

	/** At least `minCount` of the conditions. */
	#anyNode(conditions: readonly Condition[], minCount: number, within: PayloadPath | undefined): Node | undefined {
		if (minCount > conditions.length) return NOTHING;
		const parts = conditions.map((condition) => this.#conditionNode(condition, within));
		const known = parts.filter((part) => part !== undefined);
		if (minCount === conditions.length && minCount > 1) {
			if (known.length === 0) return undefined;
			return { kind: "all", parts: known, exact: known.length === parts.length && within === undefined };
		}
		// Whoever matches minCount of n matches one of any n - minCount + 1: the rest needn't be indexed.
		const neededCount = conditions.length - minCount + 1;
		if (known.length < neededCount) return undefined;
		return { kind: "any", parts: known, neededCount, exact: minCount === 1 };
	}

	#conditionNode(condition: Condition, within: PayloadPath | undefined): Node | undefined {
		if ("key" in condition) {
			if ("match" in condition) return matchNode(condition.match, this.#indexesAt(condition.key, within));
			if ("range" in condition) return rangeNode(condition.range, this.#indexesAt(condition.key, within));
			return undefined;
		}
		if ("is_empty" in condition || "is_null" in condition) return undefined;
		if ("has_id" in condition) {
			const node: Node = { kind: "ids", ids: condition.has_id };
			// In `nested`, the document must have an element there besides.
			return within === undefined ? node : { kind: "all", parts: [node], exact: false };
		}
		if ("nested" in condition) {
			const path = parsePayloadPath(condition.nested.key);
			if (path === undefined) return undefined;
			const elements = elementsOf(within === undefined ? path : joinPaths(within, path.steps));
			return this.#filterNode(condition.nested.filter, elements);
		}
		return this.#filterNode(condition, within);
	}

	#indexesAt(key: string, within: PayloadPath | undefined): readonly FieldIndex[] {
		const path = parsePayloadPath(key);
		if (path === undefined) return [];
		return this.#indexes.get(within === undefined ? path.text : joinPaths(within, path.steps).text) ?? [];
	}

	/** @returns undefined when the node can't be told to hold `limit` slots at most, or the budget is spent. */
	async #read(node: Node, limit: number): Promise<FilterPlan | undefined> {
		switch (node.kind) {
			case "postings":
				return await this.#readPostings(node.range, node.exact, limit);
			case "ids": {
				if (node.ids.length > Math.min(limit, this.#readsLeft)) return undefined;
				this.#readsLeft -= node.ids.length;
				return { slots: SlotSet.of(await this.#reader.slotsOfIds(node.ids)), exact: true };
			}
			case "all":
				return await this.#readAll(node.parts, node.exact, limit);
			case "any":
				return await this.#readAny(node.parts, node.neededCount, node.exact, limit);
		}
	}

	async #readPostings(range: KeyRange, exact: boolean, limit: number): Promise<FilterPlan | undefined> {
		const keyCountMax = Math.min(limit, this.#readsLeft);
		if (keyCountMax <= 0) return undefined;
		const slots = await this.#reader.readSlots(range, keyCountMax);
		if (slots === undefined) {
			this.#readsLeft -= keyCountMax;
			return undefined;
		}
		let keyCount = 0;
		const set = new SlotSet();
		for (const slot of slots) {
			keyCount++;
			set.add(slot);
		}
		// An empty range has cost a seek.
		this.#readsLeft -= Math.max(1, keyCount);
		return { slots: set, exact };
	}

	async #readAll(parts: readonly Node[], exact: boolean, limit: number): Promise<FilterPlan | undefined> {
		let found: FilterPlan | undefined;
		let pending = parts;
		for (let cap = Math.min(FIRST_TRY_KEYS, limit); found === undefined; cap = Math.min(cap * TRY_GROWTH, limit)) {
			const broader: Node[] = [];
			for (const part of pending) {
				const read = await this.#read(part, cap);
				if (read === undefined) broader.push(part);
				else found = found === undefined ? read : intersect(found, read);
				if (found?.slots.count === 0) return { slots: found.slots, exact: true };
			}
			pending = broader;
			if (found === undefined && cap >= limit) return undefined;
		}
		let isWhole = exact && found.exact;
		for (const part of pending) {
			const read = await this.#read(part, Math.min(limit, found.slots.count * NARROW_FACTOR));
			if (read === undefined) isWhole = false;
			else found = intersect(found, read);
		}
		return { slots: found.slots, exact: (isWhole && found.exact) || found.slots.count === 0 };
	}

	async #readAny(
		parts: readonly Node[],
		neededCount: number,
		exact: boolean,
		limit: number,
	): Promise<FilterPlan | undefined> {
		const slots = new SlotSet();
		let isWhole = exact;
		let readCount = 0;
		for (const [index, part] of parts.entries()) {
			if (readCount === neededCount) break;
			if (parts.length - index < neededCount - readCount) return undefined;
			const read = await this.#read(part, limit);
			if (read === undefined) continue;
			readCount++;
			slots.or(read.slots);
			isWhole &&= read.exact;
			if (slots.count > limit) return undefined;
		}
		if (readCount < neededCount) return undefined;
		return { slots, exact: isWhole || slots.count === 0 };
	}
}

function intersect(a: FilterPlan, b: FilterPlan): FilterPlan {
	return { slots: a.slots.and(b.slots), exact: a.exact && b.exact };
}

function matchNode(match: Match, indexes: readonly FieldIndex[]): Node | undefined {
	if ("value" in match) return valueNode(match.value, indexes);
	if ("any" in match) {
		const parts: Node[] = [];
		for (const value of new Set(match.any)) {
			const part = valueNode(value, indexes);
			if (part === undefined) return undefined;
			parts.push(part);
		}
		return { kind: "any", parts, neededCount: parts.length, exact: true };
	}
	if ("except" in match) return undefined;
	const index = indexes.find(({ type }) => type === "text");
	return index === undefined ? undefined : wordsNode(index, match.text, true);
}

/** The documents with a value in the field; by words or by time they are only narrowed down. */
function valueNode(value: unknown, indexes: readonly FieldIndex[]): Node | undefined {
	let fallback: Node | undefined;
	for (const index of indexes) {
		if (index.type === "text") {
			// A text without words has no postings, but may still be equal to the value.
			if (typeof value === "string" && textTokens(value).size > 0) fallback = wordsNode(index, value, false);
			continue;
		}
		for (const indexed of indexValues(index.type, value)) {
			const node = postingsNode(index, indexed);
			if (index.type !== "datetime") return node;
			fallback = { ...node, exact: false };
		}
	}
	return fallback;
}

/** @param asText whether having all the words is enough, rather than being equal to the text. */
function wordsNode(index: FieldIndex, text: string, asText: boolean): Node {
	const parts = [...textTokens(text)].map((word) => postingsNode(index, word));
	if (parts.length === 0) return NOTHING;
	// Several words may stand in different elements of an array, where none holds them all.
	return { kind: "all", parts, exact: asText && parts.length === 1 };
}

function postingsNode(index: FieldIndex, value: IndexValue): Extract<Node, { kind: "postings" }> {
	const range = valuePostings(index.field, index.type, value);
	return { kind: "postings", range, exact: isDistinct(value) };
}

function rangeNode(range: Range, indexes: readonly FieldIndex[]): Node | undefined {
	const bounds = Object.values(range) as (number | string)[];
	const isTime = typeof bounds[0] === "string";
	const index = indexes.find(({ type }) => (isTime ? type === "datetime" : type === "integer" || type === "float"));
	if (index === undefined) return undefined;
	const boundOf = (bound: number | string | undefined, inclusive: boolean) => {
		const value = typeof bound === "string" ? parseInstant(bound) : bound;
		return value === undefined ? undefined : { value, inclusive };
	};
	// Of two lower or two upper bounds both must hold; each is a range of its own, and one is within the other.
	const keys = [
		rangePostings(index.field, index.type, boundOf(range.gte, true), boundOf(range.lte, true)),
		rangePostings(index.field, index.type, boundOf(range.gt, false), boundOf(range.lt, false)),
	] as const;
	const gte = Buffer.compare(keys[0].gte, keys[1].gte) > 0 ? keys[0].gte : keys[1].gte;
	const lt = Buffer.compare(keys[0].lt, keys[1].lt) < 0 ? keys[0].lt : keys[1].lt;
	return Buffer.compare(gte, lt) < 0 ? { kind: "postings", range: { gte, lt }, exact: true } : NOTHING;
}
