import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { HiveError } from "../../src/base/errors.ts";
import { OPERATIONS } from "../../src/operations/operation-table.ts";
import { startServer } from "./rest-harness.ts";

// The real table's places and schemas; what an operation answers is tested with the operations.
const server = startServer(
	OPERATIONS.map((each) => ({ ...each, run: async (input: Record<string, unknown>) => ({ input }) })),
);
afterAll(() => server.server.stop());
beforeEach(() => {
	server.requests.length = 0;
	server.refusal = undefined;
});

const fullPath = (each: (typeof OPERATIONS)[number]): string =>
	(each.rest.root ? each.rest.path : `/api/v1${each.rest.path}`).replace(/\{\w+\}/g, "abc");

describe("the real table", () => {
	test.each(OPERATIONS.map((each) => [each.rest.method, fullPath(each), each.name] as const))(
		"%s %s is %s",
		async (method, path, name) => {
			server.refusal = new HiveError("FORBIDDEN", "only asked");
			const response = await server.fetch(path, { method });
			expect(response.status).toBe(403);
			expect(server.requests.map((request) => request.operation)).toEqual([name]);
		},
	);

	test.each([...new Set(OPERATIONS.map(fullPath))])(
		"%s answers other methods with 405 and those it takes",
		async (path) => {
			const taken = OPERATIONS.filter((each) => fullPath(each) === path).map((each) => each.rest.method);
			const response = await server.fetch(path, { method: "OPTIONS" });
			expect(response.status).toBe(405);
			const allowed = response.headers.get("allow")!.split(", ");
			expect(taken.every((method) => allowed.includes(method))).toBe(true);
			expect(allowed).not.toContain("OPTIONS");
		},
	);

	test("query text becomes what the real schemas want", async () => {
		const response = await server.fetch("/api/v1/collections/docs/vectors/7?with_vector=true&id_type=string");
		expect(await response.json()).toEqual({
			input: { collection: "docs", id: "7", id_type: "string", with_payload: true, with_vector: true },
		});
		const page = await server.fetch("/api/v1/tenants?limit=3");
		expect(await page.json()).toEqual({ input: { limit: 3 } });
		const wrong = await server.fetch("/api/v1/tenants?limit=0");
		expect(await wrong.json()).toMatchObject({ code: "VALIDATION_FAILED", details: { field: "limit" } });
	});

	test.each(["..%2fx", "a%00b", "%EF%BC%8E%EF%BC%8E", "caf%C3%A9", "%E2%80%8B", "a".repeat(200)])(
		"the collection name %s is refused everywhere it can stand",
		async (name) => {
			for (const each of OPERATIONS.filter(({ rest }) => rest.path.includes("{collection}"))) {
				const path = fullPath(each).replace("abc", name);
				const body = each.rest.body === undefined ? null : "{}";
				const type = each.rest.body === "ndjson" ? "application/x-ndjson" : "application/json";
				const response = await server.fetch(path, {
					method: each.rest.method,
					headers: { "content-type": type },
					...(body === null ? {} : { body }),
				});
				expect(response.status).toBe(400);
				expect(await response.json()).toMatchObject({ code: "VALIDATION_FAILED" });
			}
		},
	);
});
