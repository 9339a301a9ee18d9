import { describe, expect, test } from "bun:test";
import { parseInstant } from "../../src/base/instant.ts";
import type { PayloadIndexType } from "../../src/base/schemas.ts";
import {
	fieldPostings,
	type IndexValue,
	isDistinct,
	type KeyRange,
	postingKeys,
	postingSlot,
	rangePostings,
	valuePostings,
} from "../../src/storage/payload-index.ts";
import { textTokens } from "../../src/storage/text-tokens.ts";

const keyOf = (type: PayloadIndexType, value: unknown, slot = 0): Uint8Array => {
	const [key, ...more] = postingKeys("f", type, { f: value }, slot);
	if (key === undefined || more.length > 0) throw new Error("one posting expected");
	return key;
};
const isIn = (key: Uint8Array, { gte, lt }: KeyRange) => Buffer.compare(key, gte) >= 0 && Buffer.compare(key, lt) < 0;
const SLOTS = [0, 1, 0x7fffffff, 0xffffffff];

describe("postings sort as their values do", () => {
	const numbers = [
		-Number.MAX_VALUE,
		-1e300,
		-(2 ** 53),
		-1024,
		-2.5,
		-2,
		-1,
		-0.5,
		-Number.MIN_VALUE,
		0,
		Number.MIN_VALUE,
		1e-300,
		0.1,
		0.5,
		1,
		1.5,
		2,
		255,
		256,
		1024,
		2 ** 31,
		2 ** 32,
		2 ** 53,
		1e300,
		Number.MAX_VALUE,
	];
	const times = [
		"0000-01-01",
		"0001-01-01T00:00:00Z",
		"1900-01-01",
		"1969-12-31T23:59:59.998999999Z",
		"1969-12-31T23:59:59.999Z",
		"1969-12-31T23:59:59.9990001Z",
		"1970-01-01",
		"1970-01-01T00:00:00.000000001Z",
		"1970-01-01T00:00:00.001Z",
		"2024-05-01T12:00:00+02:00",
		"2024-05-01T10:00:01Z",
		"9999-12-31T23:59:59.999999999Z",
	];
	const columns: [PayloadIndexType, (number | string | boolean)[]][] = [
		["integer", numbers],
		["float", numbers],
		["datetime", times],
		["bool", [false, true]],
	];
	for (const [type, values] of columns) {
		test(type, () => {
			const indexed = (value: number | string | boolean): IndexValue =>
				type === "datetime" ? (parseInstant(value as string) as IndexValue) : value;
			for (const [i, a] of values.entries()) {
				for (const [j, b] of values.entries()) {
					for (const slot of SLOTS) {
						const key = keyOf(type, a, slot);
						expect(postingSlot(key)).toBe(slot);
						expect(Math.sign(Buffer.compare(key, keyOf(type, b, slot)))).toBe(Math.sign(i - j));
						expect(isIn(key, valuePostings("f", type, indexed(b)))).toBe(i === j);
						const bound = (inclusive: boolean) => ({ value: indexed(b), inclusive });
						expect(isIn(key, rangePostings("f", type, bound(true), undefined))).toBe(i >= j);
						expect(isIn(key, rangePostings("f", type, bound(false), undefined))).toBe(i > j);
						expect(isIn(key, rangePostings("f", type, undefined, bound(true)))).toBe(i <= j);
						expect(isIn(key, rangePostings("f", type, undefined, bound(false)))).toBe(i < j);
					}
				}
			}
		});
	}

	test("0 and -0 are one value", () => {
		expect(keyOf("float", -0)).toEqual(keyOf("float", 0));
		expect(postingKeys("f", "integer", { f: [0, -0] }, 1)).toHaveLength(1);
	});

	test("the same instant in two zones is one value", () => {
		expect(keyOf("datetime", "2024-05-01T12:00:00+02:00")).toEqual(keyOf("datetime", "2024-05-01T10:00:00Z"));
	});
});

describe("what is posted", () => {
	const values = ["text", "2024-05-01", 1, 1.5, true, false, null, {}, [["in"]], "text"];
	const counts: [PayloadIndexType, number][] = [
		["keyword", 2],
		["integer", 2],
		["float", 2],
		["bool", 2],
		["datetime", 1],
		["text", 4],
	];
	for (const [type, count] of counts) {
		test(`an array's values of type ${type}, each once`, () => {
			expect(postingKeys("f", type, { f: values }, 9)).toHaveLength(count);
		});
	}

	test("nothing for no payload, no field, no path", () => {
		for (const type of ["keyword", "text", "float"] as const) {
			expect(postingKeys("f", type, undefined, 1)).toEqual([]);
			expect(postingKeys("f", type, { g: "x" }, 1)).toEqual([]);
			expect(postingKeys("f[", type, { "f[": "x" }, 1)).toEqual([]);
		}
	});

	test("paths reach into objects and arrays", () => {
		expect(postingKeys("a[].b", "keyword", { a: [{ b: "x" }, { b: ["y", "x"] }, "z"] }, 1)).toHaveLength(2);
	});

	test("postings of a field lie in its range, apart from other fields, types and values", () => {
		for (const type of ["keyword", "integer", "float", "bool", "datetime", "text"] as const) {
			for (const value of ["2024-05-01", 5, true]) {
				for (const key of postingKeys("f", type, { f: value }, 0xffffffff)) {
					expect(isIn(key, fieldPostings("f"))).toBe(true);
					for (const other of ["", "e", "g", "ff", "f\u0000", "é".repeat(128)]) {
						expect(isIn(key, fieldPostings(other))).toBe(false);
					}
				}
			}
		}
		expect(isIn(keyOf("integer", 5), rangePostings("f", "float", undefined, undefined))).toBe(false);
		expect(isIn(keyOf("float", 5), rangePostings("f", "float", undefined, undefined))).toBe(true);
	});
});

describe("keywords", () => {
	const texts = [
		"",
		"a",
		"ab",
		"ab\u0000",
		"b",
		"\u0000",
		"é",
		"日本",
		"x".repeat(63),
		"x".repeat(64),
		"x".repeat(65),
		"x".repeat(66),
		"é".repeat(33),
	];
	test("each has postings of its own, whatever the slots", () => {
		for (const a of texts) {
			for (const b of texts) {
				for (const slot of [...SLOTS, 0x61626364, 0x00000001]) {
					expect(isIn(keyOf("keyword", a, slot), valuePostings("f", "keyword", b))).toBe(a === b);
				}
			}
		}
	});

	test("a key stays short however long the keyword", () => {
		expect(keyOf("keyword", "x".repeat(1_000_000)).length).toBeLessThan(100);
	});

	test("hashed ones, and those without a UTF-8 form, may share postings", () => {
		expect(texts.filter((text) => !isDistinct(text))).toEqual(["x".repeat(65), "x".repeat(66), "é".repeat(33)]);
		expect(isDistinct("\ud800")).toBe(false);
		expect(isDistinct("\ufffd")).toBe(false);
		expect(isDistinct(5)).toBe(true);
		expect(isIn(keyOf("keyword", "\ud800"), valuePostings("f", "keyword", "\udc00"))).toBe(true);
	});
});

describe("words of a text", () => {
	const table: [string, string[]][] = [
		["", []],
		["  … ?! _ ", []],
		["The quick-brown fox, the FOX", ["the", "quick", "brown", "fox"]],
		["don't snake_case", ["don", "t", "snake", "case"]],
		["v2.0 x86", ["v2", "0", "x86"]],
		["e\u0301cole École", ["école"]],
		["ﬁne Ｆｕｌｌ", ["fine", "full"]],
		["Straße ΣΟΦΟΣ", ["straße", "σοφος"]],
		["東京タワー", ["東", "京", "タ", "ワ", "ー"]],
		["hello世界ok", ["hello", "世", "界", "ok"]],
		["ที่นี่", ["ที่", "นี่"]],
		["हिन्दी", ["हिन्दी"]],
		["😀 smile", ["smile"]],
	];
	for (const [text, words] of table) {
		test(JSON.stringify(text), () => {
			expect([...textTokens(text)]).toEqual(words);
		});
	}
});
