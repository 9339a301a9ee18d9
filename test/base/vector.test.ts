import { describe, expect, test } from "bun:test";
import { HiveError } from "../../src/base/errors.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { parseVector, requireFit } from "../../src/base/vector.ts";

const FLOAT32_MAX = 3.4028234663852886e38;
/** From here on a double rounds to infinity as float32. */
const FLOAT32_OVERFLOW = 2 ** 128 - 2 ** 103;

function refusal(run: () => unknown): HiveError {
	try {
		run();
	} catch (error) {
		if (error instanceof HiveError) return error;
		throw error;
	}
	throw new Error("nothing was refused");
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");
const bytesOf = (...numbers: number[]): Uint8Array => new Uint8Array(Float32Array.from(numbers).buffer);

describe("a vector", () => {
	test("of numbers comes out as the nearest float32, up to the largest there is", () => {
		const numbers = [0.1, -1e-7, 1e-46, FLOAT32_MAX, -FLOAT32_MAX, FLOAT32_OVERFLOW - 2 ** 75];
		const vector = parseVector(numbers, "vector");
		expect([...vector]).toEqual(numbers.map(Math.fround));
		expect(vector.every(Number.isFinite)).toBe(true);
	});

	test.each([
		[FLOAT32_OVERFLOW],
		[-FLOAT32_OVERFLOW],
		[1e39],
		[Number.MAX_VALUE],
		[Number.NaN],
		[Number.POSITIVE_INFINITY],
		["1"],
		[null],
		[true],
		[[1]],
		[{}],
		[1n],
		[undefined],
	])("with the entry %p is refused by the entry's place", (entry) => {
		const error = refusal(() => parseVector([1, entry], "vectors[3].vector"));
		expect(error).toMatchObject({ code: "INVALID_VECTOR", details: { field: "vectors[3].vector[1]" } });
	});

	test("with a hole is refused by its place", () => {
		const holed = [1, 2, 3];
		delete holed[1];
		expect(refusal(() => parseVector(holed, "vector")).details).toEqual({ field: "vector[1]" });
	});

	test("of bytes is read where they start, aligned or not", () => {
		const bytes = bytesOf(1.5, -2.25);
		const shifted = new Uint8Array(bytes.length + 1);
		shifted.set(bytes, 1);
		expect([...parseVector(shifted.subarray(1), "vector")]).toEqual([1.5, -2.25]);
		expect([...parseVector({ base64: base64(bytes) }, "vector")]).toEqual([1.5, -2.25]);
	});

	test("of float32 is an array of its own, only its part of the buffer", () => {
		const whole = Float32Array.of(9, 1, 2, 9);
		const part = whole.subarray(1, 3);
		const vector = parseVector(part, "vector");
		whole.fill(0);
		expect([...vector]).toEqual([1, 2]);
		expect(vector.buffer.byteLength).toBe(8);
	});

	test.each([
		["without padding", base64(bytesOf(1)).replace(/=+$/, "")],
		["with white space", `${base64(bytesOf(1))}\n`],
		["with bits after its end", "AACAPx=="],
		["of the URL alphabet", base64(bytesOf(-1.9999)).replaceAll("+", "-").replaceAll("/", "_")],
	])("in base64 %s is refused", (_how, text) => {
		expect(refusal(() => parseVector({ base64: text }, "vector"))).toMatchObject({
			code: "INVALID_VECTOR",
			details: { field: "vector.base64" },
		});
	});

	test("that is not finite is refused in every form, by its place", () => {
		const numbers = [1, Number.NaN];
		for (const form of [Float32Array.from(numbers), bytesOf(...numbers), { base64: base64(bytesOf(...numbers)) }]) {
			expect(refusal(() => parseVector(form, "vector")).details).toEqual({ field: "vector[1]" });
		}
	});

	test("has 1 to 16,384 dimensions in every form", () => {
		for (const length of [0, LIMITS.dimensionMax + 1]) {
			const numbers = new Array<number>(length).fill(1);
			const bytes = bytesOf(...numbers);
			for (const form of [numbers, Float32Array.from(numbers), bytes, { base64: base64(bytes) }]) {
				expect(refusal(() => parseVector(form, "vector"))).toMatchObject({
					code: "INVALID_VECTOR",
					details: { field: "vector" },
				});
			}
		}
		const longest = bytesOf(...new Array<number>(LIMITS.dimensionMax).fill(1));
		expect(parseVector({ base64: base64(longest) }, "vector").length).toBe(LIMITS.dimensionMax);
	});

	test.each([[undefined], [null], [1], ["1,2"], [{}], [{ length: 2, 0: 1, 1: 2 }]])("is not %p", (value) => {
		expect(refusal(() => parseVector(value, "vector"))).toMatchObject({
			code: "INVALID_VECTOR",
			details: { field: "vector" },
		});
	});
});

describe("a collection", () => {
	const rule = { name: "docs", dimension: 3, metric: "cosine" } as const;

	test("refuses another dimension, telling both", () => {
		const error = refusal(() => requireFit(Float32Array.of(1, 2), rule, "vector", "the query"));
		expect(error.code).toBe("DIMENSION_MISMATCH");
		expect(error.message).toBe("collection docs stores 3 dimensions, the query has 2");
		expect(error.details).toEqual({ expected: 3, actual: 2, field: "vector" });
	});

	test("compared by cosine refuses what is zero once rounded to float32", () => {
		const tiny = parseVector([1e-46, -1e-46, -0], "vector");
		expect(refusal(() => requireFit(tiny, rule, "vector"))).toMatchObject({
			code: "INVALID_VECTOR",
			details: { field: "vector" },
		});
		requireFit(parseVector([1e-45, 0, 0], "vector"), rule, "vector");
	});

	test.each(["dot", "euclidean"] as const)("compared by %s takes the zero vector", (metric) => {
		requireFit(new Float32Array(3), { ...rule, metric }, "vector");
	});
});
