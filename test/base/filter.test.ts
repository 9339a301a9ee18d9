import { describe, expect, test } from "bun:test";
import { z } from "zod";
import { HiveError } from "../../src/base/errors.ts";
import { type Filter, parseFilter } from "../../src/base/filter.ts";
import { filterJsonSchema, filterSchema } from "../../src/base/filter-schema.ts";
import { LIMITS } from "../../src/base/limits.ts";

function refusal(value: unknown, field?: string): HiveError {
	try {
		parseFilter(value, field);
	} catch (error) {
		if (error instanceof HiveError) return error;
		throw error;
	}
	throw new Error(`accepted: ${JSON.stringify(value)}`);
}

const match = { key: "city", match: { value: "Oslo" } };
const must = (condition: unknown) => ({ must: [condition] });
const at = (condition: object) => must({ key: "a", ...condition });
const point = { lat: 1, lon: 2 };

describe("what the grammar takes", () => {
	const accepted: Filter[] = [
		{},
		{ must: [], should: [], must_not: [] },
		{ must: [match], should: [match, match], must_not: [match] },
		{ min_should: { conditions: [match, { has_id: [1] }], min_count: 2 } },
		{ must: [{ key: "a", match: { value: 1.5 } }] },
		{ must: [{ key: "a", match: { value: false } }] },
		{ must: [{ key: "a", match: { value: "" } }] },
		{ must: [{ key: "a", match: { any: ["x", 1] } }] },
		{ must: [{ key: "a", match: { except: [] } }] },
		{ must: [{ key: "a", match: { text: "two words" } }] },
		{ must: [{ key: "a", range: { gt: -1, gte: -0.5, lt: 1e300, lte: 0 } }] },
		{ must: [{ key: "a", range: { gte: "2024-05-01", lt: "2024-05-01T12:00:00.5+02:00" } }] },
		{ must: [{ key: "a", geo_radius: { center: { lat: -90, lon: 180 }, radius: 0 } }] },
		{ must: [{ key: "a", geo_bounding_box: { top_left: { lat: 2, lon: 179 }, bottom_right: { lat: 1, lon: -179 } } }] },
		{ must: [{ key: "a", values_count: { gt: 0, lte: 3 } }] },
		{ must: [{ is_empty: { key: "a.b[].c" } }] },
		{ must: [{ is_null: { key: '"odd.key"[3]' } }] },
		{ must: [{ has_id: [1, "1", 0, Number.MAX_SAFE_INTEGER] }] },
		{ must: [{ nested: { key: "a[]", filter: { must_not: [match] } } }] },
		{ must: [{ should: [match, { must: [match] }] }] },
	];
	for (const filter of accepted) {
		test(`${JSON.stringify(filter)} comes out as it went in`, () => {
			expect(parseFilter(JSON.parse(JSON.stringify(filter)))).toEqual(filter);
		});
	}

	test("a single condition stands for a list of one", () => {
		expect(parseFilter({ must: match, should: { has_id: [1] }, must_not: { must: match } })).toEqual({
			must: [match],
			should: [{ has_id: [1] }],
			must_not: [{ must: [match] }],
		});
		expect(parseFilter({ min_should: { conditions: match, min_count: 1 } })).toEqual({
			min_should: { conditions: [match], min_count: 1 },
		});
	});

	test("null stands for a key left out", () => {
		const filter = { must: [{ ...match, range: null }], should: null, must_not: null, min_should: null };
		expect(parseFilter(filter)).toEqual({ must: [match] });
		expect(parseFilter(at({ range: { gt: 1, lt: null } }))).toEqual({ must: [{ key: "a", range: { gt: 1 } }] });
	});
});

describe("what the grammar refuses, and the field it names", () => {
	const refused: [value: unknown, field: string][] = [
		[undefined, "filter"],
		[null, "filter"],
		["city = Oslo", "filter"],
		[[match], "filter"],
		[match, "filter.key"],
		[{ any: [] }, "filter.any"],
		[{ must: "x" }, "filter.must"],
		[{ should: 3 }, "filter.should"],
		[{ must_not: true }, "filter.must_not"],
		[{ min_should: [match] }, "filter.min_should"],
		[{ min_should: { min_count: 1 } }, "filter.min_should.conditions"],
		[{ min_should: { conditions: [], min_count: 1 } }, "filter.min_should.conditions"],
		[{ min_should: { conditions: [match] } }, "filter.min_should.min_count"],
		[{ min_should: { conditions: [match], min_count: -1 } }, "filter.min_should.min_count"],
		[{ min_should: { conditions: [match], min_count: 1.5 } }, "filter.min_should.min_count"],
		[{ min_should: { conditions: [match], min_count: 1, max: 2 } }, "filter.min_should.max"],
		[must("x"), "filter.must[0]"],
		[must(null), "filter.must[0]"],
		[must([match]), "filter.must[0]"],
		[must({}), "filter.must[0]"],
		[must({ city: "Oslo" }), "filter.must[0].city"],
		[must({ must: [match], key: "a" }), "filter.must[0].key"],
		[{ must: [match, { key: "a" }] }, "filter.must[1]"],
		[must({ match: { value: 1 } }), "filter.must[0].key"],
		[must({ range: { gt: 1 }, is_null: { key: "a" } }), "filter.must[0].key"],
		[must({ key: 5, match: { value: 1 } }), "filter.must[0].key"],
		[must({ key: "", match: { value: 1 } }), "filter.must[0].key"],
		[must({ key: "a..b", match: { value: 1 } }), "filter.must[0].key"],
		[must({ key: "a[x]", match: { value: 1 } }), "filter.must[0].key"],
		[must({ key: "\ud800", match: { value: 1 } }), "filter.must[0].key"],
		[must({ key: "a".repeat(257), match: { value: 1 } }), "filter.must[0].key"],
		[at({ match: { value: 1 }, range: { gt: 1 } }), "filter.must[0].range"],
		[at({ geo_polygon: {} }), "filter.must[0].geo_polygon"],
		[at({ is_null: { key: "a" } }), "filter.must[0].is_null"],
		[at({ match: "x" }), "filter.must[0].match"],
		[at({ match: {} }), "filter.must[0].match"],
		[at({ match: { phrase: "x" } }), "filter.must[0].match.phrase"],
		[at({ match: { value: 1, text: "x" } }), "filter.must[0].match.text"],
		[at({ match: { value: null } }), "filter.must[0].match"],
		[at({ match: { value: [1] } }), "filter.must[0].match.value"],
		[at({ match: { value: Number.NaN } }), "filter.must[0].match.value"],
		[at({ match: { any: "x" } }), "filter.must[0].match.any"],
		[at({ match: { any: ["x", true] } }), "filter.must[0].match.any[1]"],
		[at({ match: { except: [{}] } }), "filter.must[0].match.except[0]"],
		[at({ match: { any: Array(10_001).fill(1) } }), "filter.must[0].match.any"],
		[at({ match: { text: 7 } }), "filter.must[0].match.text"],
		[at({ match: { text: "x".repeat(10_001) } }), "filter.must[0].match.text"],
		[at({ range: [] }), "filter.must[0].range"],
		[at({ range: {} }), "filter.must[0].range"],
		[at({ range: { from: 1 } }), "filter.must[0].range.from"],
		[at({ range: { gt: true } }), "filter.must[0].range.gt"],
		[at({ range: { gt: Number.POSITIVE_INFINITY } }), "filter.must[0].range.gt"],
		[at({ range: { gt: 1, lt: "2024-01-01" } }), "filter.must[0].range.lt"],
		[at({ range: { gte: "yesterday" } }), "filter.must[0].range.gte"],
		[at({ range: { lte: "2023-02-30" } }), "filter.must[0].range.lte"],
		[at({ geo_radius: { center: point } }), "filter.must[0].geo_radius.radius"],
		[at({ geo_radius: { radius: 1 } }), "filter.must[0].geo_radius.center"],
		[at({ geo_radius: { center: point, radius: -1 } }), "filter.must[0].geo_radius.radius"],
		[at({ geo_radius: { center: { lat: 91, lon: 0 }, radius: 1 } }), "filter.must[0].geo_radius.center.lat"],
		[at({ geo_radius: { center: { lat: 0, lon: 181 }, radius: 1 } }), "filter.must[0].geo_radius.center.lon"],
		[at({ geo_radius: { center: { lat: "0", lon: 1 }, radius: 1 } }), "filter.must[0].geo_radius.center.lat"],
		[at({ geo_radius: { center: point, radius: 1, unit: "km" } }), "filter.must[0].geo_radius.unit"],
		[at({ geo_bounding_box: { top_left: point } }), "filter.must[0].geo_bounding_box.bottom_right"],
		[
			at({ geo_bounding_box: { top_left: point, bottom_right: { lat: 5, lon: 5 } } }),
			"filter.must[0].geo_bounding_box.top_left.lat",
		],
		[at({ values_count: {} }), "filter.must[0].values_count"],
		[at({ values_count: { gt: -1 } }), "filter.must[0].values_count.gt"],
		[at({ values_count: { lt: 1.5 } }), "filter.must[0].values_count.lt"],
		[must({ is_empty: "a" }), "filter.must[0].is_empty"],
		[must({ is_empty: {} }), "filter.must[0].is_empty.key"],
		[must({ is_null: { key: "a", value: 1 } }), "filter.must[0].is_null.value"],
		[must({ is_null: { key: "a" }, is_empty: { key: "a" } }), "filter.must[0].is_null"],
		[must({ has_id: 1 }), "filter.must[0].has_id"],
		[must({ has_id: [1, -1] }), "filter.must[0].has_id[1]"],
		[must({ has_id: [""] }), "filter.must[0].has_id[0]"],
		[must({ has_id: [1.5] }), "filter.must[0].has_id[0]"],
		[must({ has_id: Array(10_001).fill(1) }), "filter.must[0].has_id"],
		[must({ nested: { key: "a" } }), "filter.must[0].nested.filter"],
		[must({ nested: { filter: {} } }), "filter.must[0].nested.key"],
		[must({ nested: { key: "a", filter: [] } }), "filter.must[0].nested.filter"],
		[must({ nested: { key: "a", filter: must({ x: 1 }) } }), "filter.must[0].nested.filter.must[0].x"],
		[{ should: { must_not: { range: 1 } } }, "filter.should.must_not.key"],
	];
	for (const [value, field] of refused) {
		test(`${JSON.stringify(value)?.slice(0, 100)}: ${field}`, () => {
			const error = refusal(value);
			expect(error.code).toBe("INVALID_FILTER");
			expect(error.details).toEqual({ field });
			expect(error.message.startsWith(`${field} `)).toBe(true);
		});
	}

	test("the caller's name for the filter stands in the field", () => {
		expect(refusal({ must: 1 }, "searches[2].filter").details).toEqual({ field: "searches[2].filter.must" });
	});

	test("a long unknown key is cut in the message", () => {
		expect(refusal({ ["k".repeat(1_000_000)]: 1 }).message.length).toBeLessThan(300);
	});

	test("keys of Object.prototype are unknown keys", () => {
		expect(refusal(JSON.parse('{"__proto__": []}')).details).toEqual({ field: "filter.__proto__" });
		expect(refusal(must({ constructor: 1 })).details).toEqual({ field: "filter.must[0].constructor" });
	});
});

describe("limits of size", () => {
	const wrap = (levels: number, wrapper: (inner: unknown) => unknown) => {
		let filter: unknown = must(match);
		for (let level = 1; level < levels; level++) filter = wrapper(filter);
		return filter;
	};
	const wrappers: [string, (inner: unknown) => unknown][] = [
		["must", (inner) => ({ must: [inner] })],
		["a single condition", (inner) => ({ should: inner })],
		["nested", (inner) => ({ must: [{ nested: { key: "a", filter: inner } }] })],
		["min_should", (inner) => ({ min_should: { conditions: [inner], min_count: 1 } })],
	];
	for (const [name, wrapper] of wrappers) {
		test(`${LIMITS.filterDepthMax} levels of ${name} pass, one more is refused, and 100,000 do no harm`, () => {
			expect(() => parseFilter(wrap(LIMITS.filterDepthMax, wrapper))).not.toThrow();
			expect(refusal(wrap(LIMITS.filterDepthMax + 1, wrapper)).message).toContain("16 levels");
			expect(refusal(wrap(100_000, wrapper)).code).toBe("INVALID_FILTER");
		});
	}

	test("conditions are counted over the whole filter", () => {
		const half = Array(LIMITS.filterConditionCountMax / 2).fill(match);
		expect(() => parseFilter({ must: half, should: half })).not.toThrow();
		expect(refusal({ must: half, should: half, must_not: match }).details).toEqual({ field: "filter.must_not" });
		expect(refusal({ must: Array(1_000_000) }).details).toEqual({ field: "filter.must" });
		// A filter within a list is a condition, and so are its own.
		expect(refusal({ must: [{ must: half }, { must: half }] }).code).toBe("INVALID_FILTER");
	});

	test("listed values are counted over the whole filter", () => {
		const has_id = Array(LIMITS.filterValueCountMax).fill(1);
		expect(() => parseFilter(must({ has_id }))).not.toThrow();
		expect(refusal({ must: [{ has_id }, { key: "a", match: { any: [1] } }] }).details).toEqual({
			field: "filter.must[1].match.any",
		});
	});
});

describe("the filter as a schema", () => {
	test("it gives what parseFilter gives", () => {
		expect(filterSchema.parse({ must: match })).toEqual({ must: [match] });
	});

	test("its issue carries the code, the path and the field", () => {
		const result = z
			.strictObject({ filter: filterSchema.optional() })
			.safeParse({ filter: at({ range: { gt: "x" } }) });
		expect(result.error?.issues).toEqual([
			{
				code: "custom",
				message: expect.stringContaining("RFC 3339"),
				path: ["filter", "must", 0, "range", "gt"],
				params: { code: "INVALID_FILTER", field: "filter.must[0].range.gt" },
			},
		]);
		expect(z.strictObject({ filter: filterSchema.optional() }).parse({})).toEqual({});
	});

	test("its JSON Schema is the grammar, described", () => {
		const schema = z.toJSONSchema(z.strictObject({ filter: filterSchema }), { io: "input" });
		expect(schema.properties?.filter).toMatchObject({
			properties: { must: {}, should: {}, must_not: {}, min_should: {} },
		});
		expect(filterJsonSchema.description).toContain("1000 conditions");
	});
});
