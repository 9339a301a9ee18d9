import { describe, expect, test } from "bun:test";
import { isOffered, type Requirement, requirePermission } from "../../src/access/permissions.ts";
import { HiveError } from "../../src/base/errors.ts";
import type { Permission } from "../../src/base/schemas.ts";

const READ: Requirement = { scope: "tenant", permissions: ["ADMIN", "READ_WRITE", "READ_ONLY", "MCP"] };
const INSERT: Requirement = { scope: "tenant", permissions: ["ADMIN", "READ_WRITE", "MCP"] };
const DELETE: Requirement = { scope: "tenant", permissions: ["ADMIN", "READ_WRITE"] };
const MANAGE: Requirement = { scope: "admin", permissions: ["ADMIN"] };

function outcome(granted: readonly Permission[], requirement: Requirement, protocol: "rest" | "graphql" | "mcp") {
	try {
		requirePermission(new Set(granted), requirement, protocol);
		return "yes";
	} catch (error) {
		if (!(error instanceof HiveError)) throw error;
		expect(error.code).toBe("FORBIDDEN");
		return error.details;
	}
}

const isAllowed = (...asked: Parameters<typeof outcome>): boolean => outcome(...asked) === "yes";

describe("who may do what", () => {
	// CONTRACT section 2, column by column: read, insert, delete, manage.
	test.each<[Permission, boolean[]]>([
		["ADMIN", [true, true, true, true]],
		["READ_WRITE", [true, true, true, false]],
		["READ_ONLY", [true, false, false, false]],
		["MCP", [true, true, false, false]],
	])("%s, over MCP", (permission, expected) => {
		expect([READ, INSERT, DELETE, MANAGE].map((required) => isAllowed([permission], required, "mcp"))).toEqual(
			expected,
		);
	});

	test.each<[Permission, boolean[]]>([
		["ADMIN", [true, true, true, true]],
		["READ_WRITE", [true, true, true, false]],
		["READ_ONLY", [true, false, false, false]],
		["MCP", [false, false, false, false]],
	])("%s, over REST and GraphQL", (permission, expected) => {
		for (const protocol of ["rest", "graphql"] as const) {
			expect([READ, INSERT, DELETE, MANAGE].map((required) => isAllowed([permission], required, protocol))).toEqual(
				expected,
			);
		}
	});

	test("MCP beside another permission bars from no protocol", () => {
		for (const protocol of ["rest", "graphql", "mcp"] as const) {
			expect(isAllowed(["READ_ONLY", "MCP"], READ, protocol)).toBe(true);
			expect(isAllowed(["READ_WRITE", "MCP"], DELETE, protocol)).toBe(true);
		}
	});

	test("a key without any permission may do nothing", () => {
		expect(outcome([], READ, "rest")).toEqual({ required: [...READ.permissions], granted: [] });
	});

	test("a refusal names what is required and what was granted", () => {
		expect(outcome(["READ_ONLY"], INSERT, "rest")).toEqual({
			required: ["ADMIN", "READ_WRITE", "MCP"],
			granted: ["READ_ONLY"],
		});
		// MCP would not help over REST, so it is not named.
		expect(outcome(["MCP"], INSERT, "rest")).toEqual({ required: ["ADMIN", "READ_WRITE"], granted: ["MCP"] });
	});
});

test("over MCP there are no admin operations", () => {
	expect([READ, MANAGE].map((requirement) => isOffered(requirement, "mcp"))).toEqual([true, false]);
	for (const protocol of ["rest", "graphql"] as const) expect(isOffered(MANAGE, protocol)).toBe(true);
});
