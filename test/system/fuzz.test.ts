import { beforeAll, expect, test } from "bun:test";
import { type FuzzReport, runFuzz } from "../../scripts/attacks/fuzz-run.ts";
import { OPERATIONS } from "../../src/operations/operation-table.ts";

/** The full run is `scripts/attack --fuzz N`; the same seed makes the same requests. */
const REQUESTS = 3_000;
const SEED = 20_260_301;
/** The others want more luck than so few requests have. */
const SUCCEEDING_SHARE_MIN = 0.6;

let report: FuzzReport;

beforeAll(async () => {
	report = await runFuzz({ requestCount: REQUESTS, seed: SEED });
}, 120_000);

const violationsOf = (...rules: string[]): string[] =>
	report.violations.filter(({ rule }) => rules.includes(rule)).map(({ text }) => text);

test("no request makes the node fail, hang or crash", () => {
	expect(report.requestCount).toBe(REQUESTS);
	expect(violationsOf("server error", "hang", "no answer", "not ready")).toEqual([]);
});

test("every refusal has the body and the code that the contract gives it, and every answer its headers", () => {
	expect(violationsOf("error body", "headers")).toEqual([]);
	expect(report.violationCount).toBe(0);
});

test("the requests get past validation: most operations also succeed", () => {
	const succeeded = OPERATIONS.filter(({ name }) => report.succeeded.has(name));
	expect(succeeded.length / OPERATIONS.length).toBeGreaterThan(SUCCEEDING_SHARE_MIN);
	expect(report.statuses.get(400)).toBeGreaterThan(REQUESTS / 20);
});
