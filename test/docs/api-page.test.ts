import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { API_PAGE_PATH, apiPage } from "../../scripts/api-page.ts";
import { TOOLS } from "../../src/api/mcp/mcp-tools.ts";
import { OPERATIONS } from "../../src/operations/operation-table.ts";

test("docs/api.md is what the operation table says; `node_modules/.bin/bun scripts/api-reference.ts` writes it anew", () => {
	expect(readFileSync(API_PAGE_PATH, "utf8") === apiPage(OPERATIONS)).toBe(true);
});

test("the API reference has every operation once, and every tool", () => {
	const page = apiPage(OPERATIONS);
	const headings = Array.from(page.matchAll(/^### (.+)$/gm), (match) => match[1]!);
	expect(headings.sort()).toEqual(OPERATIONS.map(({ name }) => name).sort());
	for (const { name } of TOOLS) expect(page).toContain(`\`${name}\``);
});

test("an operation that asks for another permission is another page", () => {
	const changed = OPERATIONS.map((operation) =>
		operation.name === "vectors.upsert" ? { ...operation, permissions: ["ADMIN" as const] } : operation,
	);
	expect(apiPage(changed)).not.toBe(apiPage(OPERATIONS));
});
