import type { Condition, CountRange, Filter, Match, Range } from "../base/filter.ts";
import type { VectorId } from "../base/ids.ts";
import { compareInstants, type Instant, parseInstant } from "../base/instant.ts";
import { elementsOf, type PayloadPath, parsePayloadPath, someAtPath, someElementAtPath } from "../base/payload-path.ts";
import type { Payload } from "../base/schemas.ts";
import { geoDistanceMetres, geoPointOf, isWithinGeoBox } from "./geo.ts";
import { textTokens } from "./text-tokens.ts";

/** Whether a document matches. An absent payload is an empty one. */
export type FilterTest = (payload: Payload | undefined, id: VectorId) => boolean;

type Test = (payload: Payload, id: VectorId) => boolean;
type ValueTest = (value: unknown) => boolean;

const EMPTY_PAYLOAD: Payload = {};

/**
 * Compile a checked filter (`parseFilter`) into a test, with Qdrant's semantics:
 *
 * - `must`: all hold; `should`: at least one, unless the list is empty; `must_not`: none; `min_should`: at least
 *   `min_count`. All four together. An empty filter matches everything.
 * - A field that holds an array matches when one of its elements does; arrays within the array are not opened.
 * - `match.value` and `match.any` compare type and value: 1 is 1.0, but not "1" nor true.
 * - `match.except`: there is an element that is neither null nor listed. A missing field has none.
 * - `match.text`: one element holds all words of the text, in any order (`textTokens` says what a word is). A text
 *   without words matches nothing.
 * - `range` of numbers looks at numbers, of times at strings that are RFC 3339 times, to the nanosecond.
 * - `is_empty`: missing, null or `[]`. `is_null`: there, and null. `[null]` is neither.
 * - `values_count`: an array's length, 1 for any other value, 0 for null and for a missing field.
 * - `geo_radius`: strictly nearer than the radius. `geo_bounding_box`: strictly inside.
 * - `nested`: some object in the array at the key matches the whole filter by itself. `has_id` within means the document.
 *
 * @returns a pure function, to be called any number of times. Paths, sets and bounds are prepared once.
 */
export function compileFilter(filter: Filter): FilterTest {
	const test = compileClauses(filter);
	return (payload, id) => test(payload ?? EMPTY_PAYLOAD, id);
}

function compileClauses(filter: Filter): Test {
	const tests: Test[] = (filter.must ?? []).map(compileCondition);
	if (filter.should !== undefined && filter.should.length > 0) {
		const should = filter.should.map(compileCondition);
		tests.push((payload, id) => should.some((test) => test(payload, id)));
	}
	for (const condition of filter.must_not ?? []) {
		const test = compileCondition(condition);
		tests.push((payload, id) => !test(payload, id));
	}
	if (filter.min_should !== undefined) {
		tests.push(atLeast(filter.min_should.min_count, filter.min_should.conditions.map(compileCondition)));
	}
	if (tests.length === 1) return tests[0] as Test;
	return (payload, id) => tests.every((test) => test(payload, id));
}

function atLeast(minCount: number, tests: readonly Test[]): Test {
	return (payload, id) => {
		let missing = minCount;
		for (const test of tests) {
			if (missing <= 0) return true;
			if (test(payload, id)) missing--;
		}
		return missing <= 0;
	};
}

function compileCondition(condition: Condition): Test {
	if ("key" in condition) return compileFieldCondition(condition);
	if ("is_empty" in condition) {
		const isFilled = (value: unknown) => value !== null && !(Array.isArray(value) && value.length === 0);
		const some = someAtPath(pathOf(condition.is_empty.key), isFilled);
		return (payload, id) => !some(payload, id);
	}
	if ("is_null" in condition) return someAtPath(pathOf(condition.is_null.key), (value) => value === null);
	if ("has_id" in condition) {
		const ids = new Set<VectorId>(condition.has_id);
		return (_payload, id) => ids.has(id);
	}
	if ("nested" in condition) {
		const path = elementsOf(pathOf(condition.nested.key));
		const test = compileClauses(condition.nested.filter);
		return someAtPath(path, (value, id: VectorId) => isObject(value) && test(value, id));
	}
	return compileClauses(condition);
}

function compileFieldCondition(condition: Extract<Condition, { readonly key: string }>): Test {
	const path = pathOf(condition.key);
	if ("match" in condition) return someElementAtPath(path, compileMatch(condition.match));
	if ("range" in condition) return someElementAtPath(path, compileRange(condition.range));
	if ("geo_radius" in condition) {
		const { center, radius } = condition.geo_radius;
		return someElementAtPath(path, (value) => {
			const point = geoPointOf(value);
			return point !== undefined && geoDistanceMetres(center, point) < radius;
		});
	}
	if ("geo_bounding_box" in condition) {
		const box = condition.geo_bounding_box;
		return someElementAtPath(path, (value) => {
			const point = geoPointOf(value);
			return point !== undefined && isWithinGeoBox(point, box);
		});
	}
	const isWithin = compileBounds(condition.values_count, (a, b) => a - b);
	const some = someAtPath(path, (value) => isWithin(valueCount(value)));
	if (!isWithin(0)) return some;
	const has = someAtPath(path, () => true);
	return (payload, id) => some(payload, id) || !has(payload, id);
}

function valueCount(value: unknown): number {
	if (Array.isArray(value)) return value.length;
	return value === null ? 0 : 1;
}

function compileMatch(match: Match): ValueTest {
	if ("value" in match) return (value) => value === match.value;
	if ("any" in match) {
		const any = new Set<unknown>(match.any);
		return (value) => any.has(value);
	}
	if ("except" in match) {
		const except = new Set<unknown>(match.except);
		return (value) => value !== null && !except.has(value);
	}
	const words = textTokens(match.text);
	return (value) => words.size > 0 && typeof value === "string" && words.isSubsetOf(textTokens(value));
}

function compileRange(range: Range): ValueTest {
	if (Object.values(range).some((bound) => typeof bound === "number")) {
		const isWithin = compileBounds(range as CountRange, (a, b) => a - b);
		return (value) => typeof value === "number" && isWithin(value);
	}
	const bounds = Object.entries(range).map(([name, text]) => [name, parseInstant(text as string)] as const);
	const isWithin = compileBounds<Instant>(Object.fromEntries(bounds), compareInstants);
	return (value) => {
		const instant = typeof value === "string" ? parseInstant(value) : undefined;
		return instant !== undefined && isWithin(instant);
	};
}

interface Bounds<T> {
	readonly gt?: T;
	readonly gte?: T;
	readonly lt?: T;
	readonly lte?: T;
}

function compileBounds<T>({ gt, gte, lt, lte }: Bounds<T>, compare: (a: T, b: T) => number): (value: T) => boolean {
	return (value) =>
		(gt === undefined || compare(value, gt) > 0) &&
		(gte === undefined || compare(value, gte) >= 0) &&
		(lt === undefined || compare(value, lt) < 0) &&
		(lte === undefined || compare(value, lte) <= 0);
}

function pathOf(key: string): PayloadPath {
	const path = parsePayloadPath(key);
	if (path === undefined) throw new Error("a filter must be checked with parseFilter before it is compiled");
	return path;
}

function isObject(value: unknown): value is Payload {
	return typeof value === "object" && value !== null && !Array.isArray(value);
}
