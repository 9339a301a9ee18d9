import { describe, expect, test } from "bun:test";
import { type Condition, type Filter, parseFilter } from "../../src/base/filter.ts";
import type { VectorId } from "../../src/base/ids.ts";
import type { Payload } from "../../src/base/schemas.ts";
import { compileFilter } from "../../src/storage/filter-evaluator.ts";
import { FilterGenerator } from "./filter-generator.ts";
import { oracleMatches } from "./filter-oracle.ts";

const holds = (condition: Condition, payload: Payload | undefined, id: VectorId = 1) =>
	compileFilter(parseFilter({ must: [condition] }))(payload, id);

// The cities of Qdrant's filtering page.
const cities = [
	{ id: 1, city: "London", color: "green" },
	{ id: 2, city: "London", color: "red" },
	{ id: 3, city: "London", color: "blue" },
	{ id: 4, city: "Berlin", color: "red" },
	{ id: 5, city: "Moscow", color: "green" },
	{ id: 6, city: "Moscow", color: "blue" },
];
const london = { key: "city", match: { value: "London" } };
const red = { key: "color", match: { value: "red" } };

describe("clauses, as on Qdrant's filtering page", () => {
	const table: [rule: string, filter: unknown, ids: number[]][] = [
		["an empty filter matches everything", {}, [1, 2, 3, 4, 5, 6]],
		["must is AND", { must: [london, red] }, [2]],
		["should is OR", { should: [london, red] }, [1, 2, 3, 4]],
		["must_not is none of them", { must_not: [london, red] }, [5, 6]],
		["clauses combine", { must: [london], must_not: [red] }, [1, 3]],
		["must and should combine", { must: [london], should: [red, { has_id: [3] }] }, [2, 3]],
		["an empty should asks nothing", { must: [red], should: [] }, [2, 4]],
		["must_not of a filter negates the whole", { must_not: [{ must: [london, red] }] }, [1, 3, 4, 5, 6]],
		["min_should counts", { min_should: { conditions: [london, red, { has_id: [2, 4] }], min_count: 2 } }, [2, 4]],
		["min_should of 0 asks nothing", { min_should: { conditions: [london], min_count: 0 } }, [1, 2, 3, 4, 5, 6]],
		["min_should past its conditions never holds", { min_should: { conditions: [london], min_count: 2 } }, []],
		["match any", { must: [{ key: "color", match: { any: ["black", "red"] } }] }, [2, 4]],
		["match except", { must: [{ key: "color", match: { except: ["green", "red"] } }] }, [3, 6]],
		["has_id", { must: [{ has_id: [1, 3, 5, 7] }] }, [1, 3, 5]],
	];
	for (const [rule, filter, ids] of table) {
		test(rule, () => {
			const matches = compileFilter(parseFilter(filter));
			expect(cities.filter((city) => matches(city, city.id)).map(({ id }) => id)).toEqual(ids);
		});
	}
});

describe("nested fields, as on Qdrant's filtering page", () => {
	const germany = {
		country: {
			name: "Germany",
			cities: [
				{ name: "Berlin", population: 3.7, sightseeing: ["Brandenburg Gate", "Reichstag"] },
				{ name: "Munich", population: 1.5, sightseeing: ["Marienplatz", "Olympiapark"] },
			],
		},
	};
	const trex = {
		diet: [
			{ food: "leaves", likes: false },
			{ food: "meat", likes: true },
		],
	};
	const diplodocus = {
		diet: [
			{ food: "leaves", likes: true },
			{ food: "meat", likes: false },
		],
	};
	const meat: Condition = { key: "food", match: { value: "meat" } };
	const likes: Condition = { key: "likes", match: { value: true } };

	test("a dotted key reaches into objects, [] into each element", () => {
		expect(holds({ key: "country.name", match: { value: "Germany" } }, germany)).toBe(true);
		expect(holds({ key: "country.cities[].population", range: { gte: 3 } }, germany)).toBe(true);
		expect(holds({ key: "country.cities[].sightseeing", match: { value: "Olympiapark" } }, germany)).toBe(true);
		expect(holds({ key: "country.cities[0].sightseeing", match: { value: "Olympiapark" } }, germany)).toBe(false);
		expect(holds({ key: "country.cities.population", range: { gte: 3 } }, germany)).toBe(false);
	});

	test("without nested, two conditions may hold for different elements", () => {
		const filter = parseFilter({
			must: [
				{ key: "diet[].food", match: { value: "meat" } },
				{ key: "diet[].likes", match: { value: true } },
			],
		});
		expect([trex, diplodocus].map((payload) => compileFilter(filter)(payload, 1))).toEqual([true, true]);
	});

	test("nested holds when one element matches the whole filter", () => {
		for (const key of ["diet", "diet[]"]) {
			const condition: Condition = { nested: { key, filter: { must: [meat, likes] } } };
			expect([trex, diplodocus].map((payload) => holds(condition, payload))).toEqual([true, false]);
		}
	});

	test("nested looks at objects in arrays alone", () => {
		const condition: Condition = { nested: { key: "diet", filter: { must_not: [likes] } } };
		expect(holds(condition, { diet: [{}] })).toBe(true);
		expect(holds(condition, { diet: [] })).toBe(false);
		expect(holds(condition, { diet: ["meat", null, [{}]] })).toBe(false);
		expect(holds(condition, { diet: {} })).toBe(false);
		expect(holds(condition, {})).toBe(false);
	});

	test("has_id within nested means the document", () => {
		const condition: Condition = { nested: { key: "diet", filter: { must: [meat, { has_id: [7] }] } } };
		expect(holds(condition, trex, 7)).toBe(true);
		expect(holds(condition, trex, 8)).toBe(false);
	});
});

describe("what each condition makes of a value", () => {
	const a = (check: object) => ({ key: "a", ...check }) as Condition;
	const berlin = { lat: 52.52, lon: 13.405 };
	const table: [condition: Condition, matching: unknown[], other: unknown[]][] = [
		[a({ match: { value: 1 } }), [1, 1.0, [0, 1]], ["1", true, 1.1, [[1]], { a: 1 }, null]],
		[a({ match: { value: "1" } }), ["1", ["1"]], [1, "01", " 1"]],
		[a({ match: { value: true } }), [true, [false, true]], [1, "true", false]],
		[a({ match: { value: 0 } }), [0, -0], [false, "", null, []]],
		[a({ match: { any: ["x", 2] } }), ["x", 2, ["y", 2]], ["2", "X", true, []]],
		[a({ match: { any: [] } }), [], ["x", 1, null, []]],
		[
			a({ match: { except: ["x", 2] } }),
			["y", 1, "2", true, {}, [[]], ["x", "y"]],
			["x", 2, null, [], ["x", 2], [null]],
		],
		[a({ match: { except: [] } }), ["x", 0], [null, []]],
		[
			a({ match: { text: "Quick fox" } }),
			["the quick, brown FOX", ["no", "fox quick"]],
			["quick", ["quick", "fox"], "quickfox", 5],
		],
		[a({ match: { text: "ÉCOLE 3" } }), ["école 3", "e\u0301cole-3"], ["ecole 3", "école 33"]],
		[a({ match: { text: "東京" } }), ["東京都", "京東"], ["東", "大阪"]],
		[a({ match: { text: "…" } }), [], ["…", "", "word"]],
		[a({ range: { gt: 1, lte: 3 } }), [1.5, 3, [0, 2]], [1, 3.01, "2", true, null, [[2]]]],
		[a({ range: { gte: -1 } }), [-1, 0, 1e300], [-1.5]],
		[a({ range: { gt: 1, lt: 2, gte: 1.5 } }), [1.5], [1.2, 2, [1, 2]]],
		[
			a({ range: { gte: "2024-05-01T10:00:00Z", lt: "2024-05-02" } }),
			["2024-05-01T12:00:00+02:00", "2024-05-01T23:59:59.999999999Z", "2024-05-01 10:00"],
			["2024-05-01", "2024-05-02T00:00:00Z", 1714600000000, "May"],
		],
		[
			a({ range: { gt: "2024-05-01T10:00:00.0000001Z" } }),
			["2024-05-01T10:00:00.0000002Z"],
			["2024-05-01T10:00:00.0000001Z"],
		],
		[a({ range: { lt: "1950-01-01" } }), ["1949-12-31T23:59:59Z", "0001-01-01"], ["1950-01-01", "1970-01-01"]],
		[
			a({ values_count: { gt: 1 } }),
			[
				[1, 2],
				[null, null],
			],
			[[1], 1, "ab", { x: 1, y: 2 }, null],
		],
		[a({ values_count: { gte: 1, lt: 2 } }), ["x", {}, [1]], [[], null]],
		[a({ values_count: { lt: 1 } }), [[], null], [1, [0]]],
		[{ is_empty: { key: "a" } }, [null, []], [0, "", false, {}, [null]]],
		[{ is_null: { key: "a" } }, [null], [0, "", [], [null], {}]],
		[{ is_null: { key: "a[].b" } }, [[{ b: 1 }, { b: null }]], [[{ b: 1 }], [{}], null]],
		[
			a({ geo_radius: { center: berlin, radius: 2_000 } }),
			[berlin, { lat: 52.511, lon: 13.423, name: "near" }, [{ lat: 0, lon: 0 }, berlin]],
			[{ lat: 52.511, lon: 20 }, { lat: "52.52", lon: "13.405" }, { lat: 52.52 }, "52.52,13.405", null],
		],
		[
			a({ geo_radius: { center: { lat: 0, lon: 180 }, radius: 200_000 } }),
			[{ lat: 0, lon: -179 }],
			[{ lat: 0, lon: 178 }],
		],
		[
			a({ geo_radius: { center: { lat: 90, lon: 0 }, radius: 200_000 } }),
			[{ lat: 89, lon: 123 }],
			[{ lat: -90, lon: 0 }],
		],
		[
			a({ geo_bounding_box: { top_left: { lat: 53, lon: 13 }, bottom_right: { lat: 52, lon: 14 } } }),
			[berlin],
			[
				{ lat: 51, lon: 13.5 },
				{ lat: 54, lon: 13.5 },
				{ lat: 52.5, lon: 12 },
				{ lat: 52.5, lon: 15 },
				{ lat: 53, lon: 13.5 },
			],
		],
		[
			a({ geo_bounding_box: { top_left: { lat: 10, lon: 170 }, bottom_right: { lat: -10, lon: -170 } } }),
			[
				{ lat: 0, lon: 175 },
				{ lat: 0, lon: -175 },
				{ lat: 0, lon: 180 },
			],
			[
				{ lat: 0, lon: 0 },
				{ lat: 0, lon: 169 },
				{ lat: 0, lon: -169 },
				{ lat: 11, lon: 175 },
			],
		],
	];
	for (const [condition, matching, other] of table) {
		test(JSON.stringify(condition), () => {
			for (const value of matching) expect([value, holds(condition, { a: value })]).toEqual([value, true]);
			for (const value of other) expect([value, holds(condition, { a: value })]).toEqual([value, false]);
		});
	}

	test("a missing field is empty, has no values, and nothing else", () => {
		for (const payload of [undefined, {}, { b: 1 }]) {
			expect(holds({ is_empty: { key: "a" } }, payload)).toBe(true);
			expect(holds(a({ values_count: { lt: 1 } }), payload)).toBe(true);
			expect(holds(a({ values_count: { gte: 1 } }), payload)).toBe(false);
			expect(holds({ is_null: { key: "a" } }, payload)).toBe(false);
			expect(holds(a({ match: { except: ["x"] } }), payload)).toBe(false);
			expect(holds(a({ range: { lt: 1e9 } }), payload)).toBe(false);
		}
	});

	test('has_id tells 1 from "1"', () => {
		expect(holds({ has_id: [1] }, {}, 1)).toBe(true);
		expect(holds({ has_id: [1] }, {}, "1")).toBe(false);
		expect(holds({ has_id: ["1"] }, {}, 1)).toBe(false);
	});

	test("what an object inherits is not in a payload", () => {
		expect(holds({ is_empty: { key: "constructor.name" } }, {})).toBe(true);
		expect(holds({ key: "__proto__", match: { value: 1 } }, JSON.parse('{"__proto__":1}'))).toBe(true);
	});
});

test("compiled filters agree with a plain reading of the grammar on generated payloads", () => {
	const generator = new FilterGenerator(20_240_501);
	let matchCount = 0;
	for (let round = 0; round < 1_500; round++) {
		const filter: Filter = generator.filter();
		expect(parseFilter(JSON.parse(JSON.stringify(filter)))).toEqual(JSON.parse(JSON.stringify(filter)));
		const matches = compileFilter(filter);
		for (let sample = 0; sample < 20; sample++) {
			const [payload, id] = [generator.payload(), generator.id()];
			const expected = oracleMatches(filter, payload, id);
			if (matches(payload, id) !== expected) {
				throw new Error(`expected ${expected}: ${JSON.stringify({ filter, payload, id }, null, 1)}`);
			}
			if (expected) matchCount++;
		}
	}
	expect(matchCount).toBeGreaterThan(3_000);
	expect(matchCount).toBeLessThan(27_000);
});

test("a filter that was not checked is refused when it is compiled", () => {
	expect(() => compileFilter({ must: [{ is_null: { key: "a[" } }] })).toThrow("parseFilter");
});
