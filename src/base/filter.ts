import { HiveError } from "./errors.ts";
import type { VectorId } from "./ids.ts";
import { parseInstant } from "./instant.ts";
import { LIMITS } from "./limits.ts";
import { parsePayloadPath } from "./payload-path.ts";
import { vectorIdSchema } from "./schemas.ts";

/**
 * The filter grammar, Qdrant's (CONTRACT section 3). Wire form; `parseFilter` turns unknown JSON into it or throws
 * `INVALID_FILTER` with `details.field` naming the place, for instance `filter.must[0].range.gt`.
 */
export interface Filter {
	readonly must?: readonly Condition[];
	readonly should?: readonly Condition[];
	readonly must_not?: readonly Condition[];
	readonly min_should?: { readonly conditions: readonly Condition[]; readonly min_count: number };
}

export type Scalar = string | number | boolean;

export type Match =
	| { readonly value: Scalar }
	| { readonly any: readonly (string | number)[] }
	| { readonly except: readonly (string | number)[] }
	| { readonly text: string };

/** Bounds are all numbers, or all RFC 3339 times. */
export interface Range {
	readonly gt?: number | string;
	readonly gte?: number | string;
	readonly lt?: number | string;
	readonly lte?: number | string;
}

export interface GeoPoint {
	readonly lat: number;
	readonly lon: number;
}

export interface CountRange {
	readonly gt?: number;
	readonly gte?: number;
	readonly lt?: number;
	readonly lte?: number;
}

export type Condition =
	| { readonly key: string; readonly match: Match }
	| { readonly key: string; readonly range: Range }
	| { readonly key: string; readonly geo_radius: { readonly center: GeoPoint; readonly radius: number } }
	| {
			readonly key: string;
			readonly geo_bounding_box: { readonly top_left: GeoPoint; readonly bottom_right: GeoPoint };
	  }
	| { readonly key: string; readonly values_count: CountRange }
	| { readonly is_empty: { readonly key: string } }
	| { readonly is_null: { readonly key: string } }
	| { readonly has_id: readonly (string | number)[] }
	| { readonly nested: { readonly key: string; readonly filter: Filter } }
	| Filter;

/**
 * Check unknown JSON against the grammar.
 *
 * As in Qdrant, a single condition may stand where a list is expected (it comes out as a list), and `null` where a key
 * may be left out. A condition makes exactly one check.
 *
 * @param field what to call the value in errors, as in `filter.must[0].range.gt`.
 * @throws HiveError INVALID_FILTER with `details.field`; also past `LIMITS.filterDepthMax` levels (this one, and each
 *         filter within a condition or `nested`), `filterConditionCountMax` conditions or `filterValueCountMax` listed
 *         values in all. Stops at the first fault, and never descends past the depth limit.
 */
export function parseFilter(value: unknown, field = "filter"): Filter {
	return new FilterParser().filter(value, field, 1);
}

type JsonObject = Readonly<Record<string, unknown>>;

const CLAUSES = ["must", "should", "must_not", "min_should"] as const;
const FIELD_CHECKS = ["match", "range", "geo_radius", "geo_bounding_box", "values_count"] as const;
const OTHER_CHECKS = ["is_empty", "is_null", "has_id", "nested"] as const;
const MATCHES = ["value", "any", "except", "text"] as const;
const BOUNDS = ["gt", "gte", "lt", "lte"] as const;

class FilterParser {
	#conditionCount = 0;
	#valueCount = 0;

	filter(value: unknown, field: string, depth: number): Filter {
		if (depth > LIMITS.filterDepthMax) {
			throw invalid(field, `lies deeper than a filter may be nested, which is ${LIMITS.filterDepthMax} levels`);
		}
		const clauses = objectOf(value, field, CLAUSES);
		return {
			...(clauses.must !== undefined && { must: this.#conditions(clauses.must, `${field}.must`, depth) }),
			...(clauses.should !== undefined && { should: this.#conditions(clauses.should, `${field}.should`, depth) }),
			...(clauses.must_not !== undefined && {
				must_not: this.#conditions(clauses.must_not, `${field}.must_not`, depth),
			}),
			...(clauses.min_should !== undefined && {
				min_should: this.#minShould(clauses.min_should, `${field}.min_should`, depth),
			}),
		};
	}

	#minShould(value: unknown, field: string, depth: number): NonNullable<Filter["min_should"]> {
		const parts = objectOf(value, field, ["conditions", "min_count"]);
		const conditions = this.#conditions(required(parts, "conditions", field), `${field}.conditions`, depth);
		if (conditions.length === 0) throw invalid(`${field}.conditions`, "must hold at least one condition");
		const min_count = countOf(required(parts, "min_count", field), `${field}.min_count`);
		return { conditions, min_count };
	}

	#conditions(value: unknown, field: string, depth: number): Condition[] {
		if (isObject(value)) return [this.#condition(value, field, depth)];
		if (!Array.isArray(value)) throw invalid(field, `must be a list of conditions, not ${kindOf(value)}`);
		// Told by its length, a list far too long is refused before it is walked.
		this.#countConditions(value.length, field);
		this.#conditionCount -= value.length;
		return value.map((condition, index) => this.#condition(condition, `${field}[${index}]`, depth));
	}

	#countConditions(count: number, field: string): void {
		this.#conditionCount += count;
		if (this.#conditionCount > LIMITS.filterConditionCountMax) {
			throw invalid(field, `takes the filter past ${LIMITS.filterConditionCountMax} conditions`);
		}
	}

	#condition(value: unknown, field: string, depth: number): Condition {
		this.#countConditions(1, field);
		if (!isObject(value)) throw invalid(field, `must be a condition (an object), not ${kindOf(value)}`);
		const keys = Object.keys(value).filter((key) => value[key] !== null && value[key] !== undefined);
		if (keys.some((key) => CLAUSES.some((clause) => clause === key))) return this.filter(value, field, depth + 1);
		if (keys.includes("key")) return this.#fieldCondition(value, field);

		const given = objectOf(value, field, OTHER_CHECKS, "key", ...FIELD_CHECKS);
		const needsKey = keys.find((key) => FIELD_CHECKS.some((check) => check === key));
		if (needsKey !== undefined)
			throw invalid(`${field}.key`, `is missing: ${needsKey} needs the payload field to look at`);
		const check = oneOf(given, OTHER_CHECKS, field, `a filter, {key, …}, ${OTHER_CHECKS.join(", ")}`);
		switch (check) {
			case "is_empty":
				return { is_empty: this.#keyAlone(given.is_empty, `${field}.is_empty`) };
			case "is_null":
				return { is_null: this.#keyAlone(given.is_null, `${field}.is_null`) };
			case "has_id":
				return { has_id: this.#list(given.has_id, `${field}.has_id`, idOf) };
			case "nested": {
				const nested = objectOf(given.nested, `${field}.nested`, ["key", "filter"]);
				const key = keyOf(required(nested, "key", `${field}.nested`), `${field}.nested.key`);
				const filter = required(nested, "filter", `${field}.nested`);
				return { nested: { key, filter: this.filter(filter, `${field}.nested.filter`, depth + 1) } };
			}
		}
	}

	#fieldCondition(value: JsonObject, field: string): Condition {
		const given = objectOf(value, field, ["key", ...FIELD_CHECKS]);
		const key = keyOf(given.key, `${field}.key`);
		switch (oneOf(given, FIELD_CHECKS, field, FIELD_CHECKS.join(", "))) {
			case "match":
				return { key, match: this.#match(given.match, `${field}.match`) };
			case "range":
				return { key, range: rangeOf(given.range, `${field}.range`) };
			case "geo_radius": {
				const circle = objectOf(given.geo_radius, `${field}.geo_radius`, ["center", "radius"]);
				const center = pointOf(required(circle, "center", `${field}.geo_radius`), `${field}.geo_radius.center`);
				const radius = required(circle, "radius", `${field}.geo_radius`);
				return { key, geo_radius: { center, radius: numberOf(radius, `${field}.geo_radius.radius`, 0) } };
			}
			case "geo_bounding_box": {
				const at = `${field}.geo_bounding_box`;
				const box = objectOf(given.geo_bounding_box, at, ["top_left", "bottom_right"]);
				const top_left = pointOf(required(box, "top_left", at), `${at}.top_left`);
				const bottom_right = pointOf(required(box, "bottom_right", at), `${at}.bottom_right`);
				if (top_left.lat < bottom_right.lat) {
					throw invalid(`${at}.top_left.lat`, "must not lie south of bottom_right.lat");
				}
				return { key, geo_bounding_box: { top_left, bottom_right } };
			}
			case "values_count":
				return { key, values_count: countRangeOf(given.values_count, `${field}.values_count`) };
		}
	}

	#match(value: unknown, field: string): Match {
		const given = objectOf(value, field, MATCHES);
		switch (oneOf(given, MATCHES, field, MATCHES.join(", "))) {
			case "value":
				return { value: scalarOf(given.value, `${field}.value`) };
			case "any":
				return { any: this.#list(given.any, `${field}.any`, listedOf) };
			case "except":
				return { except: this.#list(given.except, `${field}.except`, listedOf) };
			case "text":
				if (typeof given.text !== "string") {
					throw invalid(`${field}.text`, `must be a string, not ${kindOf(given.text)}`);
				}
				if (given.text.length > LIMITS.filterTextLengthMax) {
					throw invalid(`${field}.text`, `must be at most ${LIMITS.filterTextLengthMax} characters`);
				}
				return { text: given.text };
		}
	}

	#list<T>(value: unknown, field: string, itemOf: (item: unknown, field: string) => T): T[] {
		if (!Array.isArray(value)) throw invalid(field, `must be a list, not ${kindOf(value)}`);
		this.#valueCount += value.length;
		if (this.#valueCount > LIMITS.filterValueCountMax) {
			throw invalid(field, `takes the filter past ${LIMITS.filterValueCountMax} listed values`);
		}
		return value.map((item, index) => itemOf(item, `${field}[${index}]`));
	}

	#keyAlone(value: unknown, field: string): { key: string } {
		const given = objectOf(value, field, ["key"]);
		return { key: keyOf(required(given, "key", field), `${field}.key`) };
	}
}

function rangeOf(value: unknown, field: string): Range {
	const given = objectOf(value, field, BOUNDS);
	const bounds = BOUNDS.filter((bound) => given[bound] !== undefined);
	if (bounds.length === 0) throw invalid(field, `must have a bound: ${BOUNDS.join(", ")}`);
	const range: { -readonly [B in keyof Range]: Range[B] } = {};
	for (const bound of bounds) {
		const at = `${field}.${bound}`;
		const limit = given[bound];
		if (typeof limit !== typeof given[bounds[0] as (typeof BOUNDS)[number]]) {
			throw invalid(at, `must be of the kind of ${bounds[0]}: bounds are all numbers, or all RFC 3339 times`);
		}
		if (typeof limit === "string") {
			if (parseInstant(limit) === undefined) {
				throw invalid(at, "must be a number, or an RFC 3339 time such as 2024-05-01T12:00:00Z or 2024-05-01");
			}
			range[bound] = limit;
		} else range[bound] = numberOf(limit, at);
	}
	return range;
}

function countRangeOf(value: unknown, field: string): CountRange {
	const given = objectOf(value, field, BOUNDS);
	const bounds = BOUNDS.filter((bound) => given[bound] !== undefined);
	if (bounds.length === 0) throw invalid(field, `must have a bound: ${BOUNDS.join(", ")}`);
	return Object.fromEntries(bounds.map((bound) => [bound, countOf(given[bound], `${field}.${bound}`)]));
}

function pointOf(value: unknown, field: string): GeoPoint {
	const given = objectOf(value, field, ["lat", "lon"]);
	return {
		lat: numberOf(required(given, "lat", field), `${field}.lat`, -90, 90),
		lon: numberOf(required(given, "lon", field), `${field}.lon`, -180, 180),
	};
}

function numberOf(value: unknown, field: string, min = -Infinity, max = Infinity): number {
	if (typeof value !== "number" || !Number.isFinite(value)) {
		throw invalid(field, `must be a finite number, not ${kindOf(value)}`);
	}
	if (value < min || value > max) {
		throw invalid(field, max === Infinity ? `must be at least ${min}` : `must lie between ${min} and ${max}`);
	}
	return value;
}

function countOf(value: unknown, field: string): number {
	if (!Number.isSafeInteger(value) || (value as number) < 0) {
		throw invalid(field, `must be a whole number from 0 on, not ${kindOf(value)}`);
	}
	return value as number;
}

function scalarOf(value: unknown, field: string): Scalar {
	return typeof value === "boolean" ? value : listedOf(value, field);
}

function listedOf(value: unknown, field: string): string | number {
	if (typeof value === "string" || (typeof value === "number" && Number.isFinite(value))) return value;
	throw invalid(field, `must be a string or a finite number, not ${kindOf(value)}`);
}

function idOf(value: unknown, field: string): VectorId {
	const parsed = vectorIdSchema.safeParse(value);
	if (parsed.success) return parsed.data;
	throw invalid(
		field,
		`must be a vector id: a string of 1 to ${LIMITS.vectorIdBytesMax} bytes, or an integer from 0 on`,
	);
}

function keyOf(value: unknown, field: string): string {
	if (typeof value !== "string") throw invalid(field, `must be a string, not ${kindOf(value)}`);
	if (value.length > LIMITS.payloadFieldPathLengthMax) {
		throw invalid(field, `must be at most ${LIMITS.payloadFieldPathLengthMax} characters`);
	}
	if (parsePayloadPath(value) === undefined) {
		throw invalid(field, 'must be a payload field such as city, address.city, tags[] or "a key.with dots"');
	}
	return value;
}

/** The object's keys that are not null, when every key is known; `misplaced` keys are left for the caller to refuse. */
function objectOf<K extends string>(
	value: unknown,
	field: string,
	known: readonly K[],
	...misplaced: string[]
): { readonly [_ in K]?: unknown } {
	if (!isObject(value)) throw invalid(field, `must be an object, not ${kindOf(value)}`);
	const given: Record<string, unknown> = {};
	for (const [key, part] of Object.entries(value)) {
		if (!known.some((name) => name === key) && !misplaced.includes(key)) {
			const shown = key.length > 64 ? `${key.slice(0, 64)}…` : key;
			throw invalid(`${field}.${shown}`, `is unknown here; known: ${known.join(", ")}`);
		}
		if (part !== null && part !== undefined) given[key] = part;
	}
	return given as { readonly [_ in K]?: unknown };
}

function oneOf<K extends string>(
	given: { readonly [_ in K]?: unknown },
	names: readonly K[],
	field: string,
	all: string,
): K {
	const [first, second] = names.filter((name) => given[name] !== undefined);
	if (first === undefined) throw invalid(field, `must have one of: ${all}`);
	if (second !== undefined) {
		throw invalid(
			`${field}.${second}`,
			`must not stand beside ${first}: one check a condition, join several with must`,
		);
	}
	return first;
}

function required<K extends string>(given: { readonly [_ in K]?: unknown }, name: K, field: string): unknown {
	if (given[name] === undefined) throw invalid(`${field}.${name}`, "is missing");
	return given[name];
}

function isObject(value: unknown): value is JsonObject {
	return typeof value === "object" && value !== null && !Array.isArray(value);
}

function kindOf(value: unknown): string {
	if (value === null) return "null";
	if (Array.isArray(value)) return "a list";
	if (typeof value === "object") return "an object";
	return typeof value === "number" || typeof value === "boolean" ? String(value) : `a ${typeof value}`;
}

function invalid(field: string, fault: string): HiveError {
	return new HiveError("INVALID_FILTER", `${field} ${fault}`, { field });
}
