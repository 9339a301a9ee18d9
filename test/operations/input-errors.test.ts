import { describe, expect, test } from "bun:test";
import { z } from "zod";
import { vectorIdSchema } from "../../src/base/schemas.ts";
import { inputError } from "../../src/operations/input-errors.ts";
import { OPERATIONS } from "../../src/operations/operation-table.ts";

function errorFor(schema: z.ZodType, input: unknown) {
	const parsed = schema.safeParse(input);
	if (parsed.success) throw new Error("it is valid");
	return inputError(parsed.error);
}

describe("what a schema finds wrong", () => {
	test("is told by field, first things first", () => {
		const schema = z.strictObject({
			a: z.int(),
			deep: z.strictObject({ list: z.array(z.strictObject({ b: z.string() })) }),
		});
		const error = errorFor(schema, { a: "x", deep: { list: [{ b: "" }, { b: 1, c: 2 }] } });
		expect(error.code).toBe("VALIDATION_FAILED");
		expect(error.message).toStartWith("a: ");
		expect(error.details?.field).toBe("a");
		expect(error.details?.issues).toMatchObject([
			{ field: "a" },
			{ field: "deep.list[1].b" },
			{ field: "deep.list[1].c" },
		]);
	});

	test("names the whole input `body`", () => {
		expect(errorFor(z.strictObject({}), []).details?.field).toBe("body");
	});

	test("of several forms is told by the one that was meant", () => {
		const id = z.strictObject({ id: vectorIdSchema });
		expect(errorFor(id, { id: "x".repeat(257) }).message).toBe("id: an id is at most 256 bytes of UTF-8");
		expect(errorFor(id, { id: {} }).message).toBe("id: expected string or number");
		const form = z.strictObject({ kind: z.union([z.strictObject({ a: z.int() }), z.literal("b"), z.int()]) });
		expect(errorFor(form, { kind: "c" }).details).toMatchObject({ field: "kind" });
		const texts = z.strictObject({ text: z.union([z.string().min(5), z.string().startsWith("x")]) });
		expect(errorFor(texts, { text: "abc" }).details).toMatchObject({ field: "text", issues: [{ field: "text" }] });
	});

	test("can carry a code of its own, and says its field once", () => {
		const schema = z.strictObject({
			filter: z.unknown().superRefine((_, context) => {
				context.addIssue({
					code: "custom",
					message: "filter.must is wrong",
					path: ["must"],
					params: { code: "INVALID_FILTER" },
				});
			}),
		});
		const error = errorFor(schema, { filter: 1 });
		expect(error.code).toBe("INVALID_FILTER");
		expect(error.message).toBe("filter.must is wrong");
		const odd = z.unknown().refine(() => false, { params: { code: "NO_SUCH_CODE" } });
		expect(errorFor(odd, 1).code).toBe("VALIDATION_FAILED");
	});

	test("is bounded, however much is wrong", () => {
		const many = Object.fromEntries(
			Array.from({ length: 5_000 }, (_, index) => [`field${index}${"x".repeat(500)}`, 1]),
		);
		const unknown = errorFor(z.strictObject({}), many);
		const wrong = errorFor(z.array(z.int()), Array(5_000).fill("x"));
		const both = errorFor(z.strictObject({ list: z.array(z.int()) }), { list: Array(15).fill("x"), ...many });
		const words = z.union([z.array(z.string().min(5)), z.int()]);
		const within = errorFor(words, Array(5_000).fill("x"));
		for (const error of [unknown, wrong, both, within]) {
			expect(error.details?.issues).toHaveLength(20);
			expect(JSON.stringify(error.toWire()).length).toBeLessThan(10_000);
		}
	});
});

describe("the operation table", () => {
	test("names each operation and each route once", () => {
		const names = OPERATIONS.map(({ name }) => name);
		expect(new Set(names).size).toBe(names.length);
		for (const name of names) expect(name).toMatch(/^[a-z_]+\.[a-z_]+$/);
		const routes = OPERATIONS.map(({ rest }) => `${rest.method} ${rest.root ? "" : "/api/v1"}${rest.path}`);
		expect(new Set(routes).size).toBe(routes.length);
	});

	test("refuses what it does not know, in every operation", () => {
		for (const { name, input } of OPERATIONS) {
			const parsed = input.safeParse({ surprise: 1 });
			expect([name, parsed.success]).toEqual([name, false]);
			const issues = inputError(parsed.error!).details?.issues as { field: string }[];
			expect([name, issues.some(({ field }) => field === "surprise")]).toEqual([name, true]);
		}
	});

	test("asks for a key and a permission wherever it is not public", () => {
		for (const { scope, permissions } of OPERATIONS) expect(permissions.length > 0).toBe(scope !== "public");
		for (const { scope, permissions } of OPERATIONS) {
			if (scope === "admin") expect(permissions).toEqual(["ADMIN"]);
		}
	});
});
