import { describe, expect, test } from "bun:test";
import {
	elementsOf,
	fieldPathSchema,
	joinPaths,
	parsePayloadPath,
	someAtPath,
	someElementAtPath,
} from "../../src/base/payload-path.ts";
import type { Payload } from "../../src/base/schemas.ts";

function path(text: string) {
	const parsed = parsePayloadPath(text);
	if (parsed === undefined) throw new Error(`no path: ${text}`);
	return parsed;
}

function valuesAt(text: string, payload: Payload): unknown[] {
	const values: unknown[] = [];
	someAtPath(path(text), (value) => {
		values.push(value);
		return false;
	})(payload, undefined);
	return values;
}

describe("the syntax of a payload path", () => {
	const paths: [text: string, steps: unknown[], canonical?: string][] = [
		["city", ["city"]],
		["a.b.c", ["a", "b", "c"]],
		["a[].b", ["a", null, "b"]],
		["a[0][12].b-c_d", ["a", 0, 12, "b-c_d"]],
		["a[007]", ["a", 7], "a[7]"],
		['"a.b"."c[]"', ["a.b", "c[]"]],
		['"plain"[]."x"', ["plain", null, "x"], "plain[].x"],
		['""', [""]],
		["naïve key 日本", ["naïve key 日本"]],
	];
	for (const [text, steps, canonical = text] of paths) {
		test(`${text} is ${JSON.stringify(steps)}`, () => {
			expect(path(text)).toEqual({ text: canonical, steps } as never);
			expect(fieldPathSchema.parse(text)).toBe(text);
		});
	}

	for (const text of [
		"",
		".",
		"a.",
		".a",
		"a..b",
		"[]",
		"[0].a",
		"a[",
		"a]",
		"a[x]",
		"a[-1]",
		"a.[0]",
		'a"b"',
		'"a',
		'"a"b',
		"a[]b",
		"\udc00",
	]) {
		test(`${JSON.stringify(text)} is none`, () => {
			expect(parsePayloadPath(text)).toBeUndefined();
			expect(fieldPathSchema.safeParse(text).success).toBe(false);
		});
	}

	test("joined and opened paths have the text of their steps", () => {
		expect(joinPaths(path("a"), path("b.c").steps)).toEqual(path("a.b.c"));
		expect(elementsOf(path("a"))).toEqual(path("a[]"));
		expect(elementsOf(path("a[]"))).toEqual(path("a[]"));
	});
});

describe("the values at a path", () => {
	const payload = {
		a: { b: 1, list: [1, [2], null] },
		objects: [{ x: 1 }, { x: [2, 3] }, 4, { y: 5 }],
		"p.q": "quoted",
	};
	const table: [string, unknown[]][] = [
		["a.b", [1]],
		["a.c", []],
		["a.b.c", []],
		["a.list", [[1, [2], null]]],
		["a.list[]", [1, [2], null]],
		["a.list[][]", [2]],
		["a.list[1]", [[2]]],
		["a.list[9]", []],
		["a[0]", []],
		["objects[].x", [1, [2, 3]]],
		["objects[].x[]", [2, 3]],
		["objects.x", []],
		["objects[3].y", [5]],
		['"p.q"', ["quoted"]],
		["p.q", []],
		["constructor", []],
		["a.list.length", []],
	];
	for (const [text, values] of table) {
		test(`${text}: ${JSON.stringify(values)}`, () => {
			expect(valuesAt(text, payload)).toEqual(values);
		});
	}

	test("elements are opened one level", () => {
		const seen: unknown[] = [];
		someElementAtPath(path("a.list"), (value) => seen.push(value) === 0)(payload, undefined);
		expect(seen).toEqual([1, [2], null]);
	});

	test("the context reaches the test", () => {
		expect(someAtPath<number>(path("a.b"), (value, context) => value === context)(payload, 1)).toBe(true);
	});
});
