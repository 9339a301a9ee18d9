import { beforeAll, expect, test } from "bun:test";
import { comparable, LeakDetector, Renaming } from "../../scripts/attacks/answer-view.ts";
import { type AttackReport, runAttack } from "../../scripts/attacks/attack-run.ts";
import type { Inhabitant } from "../../scripts/attacks/attack-world.ts";
import { type Belongings, inventBelongings, shadowOf } from "../../scripts/attacks/belongings.ts";
import { Dice } from "../../scripts/attacks/dice.ts";
import { INTROSPECTION, SUBSCRIPTIONS } from "../../scripts/attacks/graphql-attack.ts";
import { MCP_METHODS } from "../../scripts/attacks/mcp-attack.ts";
import type { RawAnswer, RawRequest } from "../../scripts/attacks/raw-http.ts";
import { OPERATION_FIELDS } from "../../src/api/graphql/operation-fields.ts";
import { TOOLS } from "../../src/api/mcp/mcp-tools.ts";
import { OPERATIONS } from "../../src/operations/operation-table.ts";

/** The full run is `scripts/attack`; the same seed makes the same calls. */
const CALLS = 4_000;
const SEED = 20_260_301;

let report: AttackReport;

beforeAll(async () => {
	report = await runAttack({ callCount: CALLS, seed: SEED, tenantCount: 5 });
}, 120_000);

const violationsOf = (...rules: string[]): string[] =>
	report.violations.filter(({ rule }) => rules.includes(rule)).map(({ name, text }) => `${name}: ${text}`);

test("no answer to one tenant holds a mark of another tenant's data", () => {
	expect(report.callCount).toBe(CALLS);
	expect(violationsOf("leak")).toEqual([]);
});

test("what is another's answers byte for byte as what was never used", () => {
	expect(violationsOf("difference", "undo")).toEqual([]);
});

test("nothing that tenants do to each other changes what is there or what was counted", () => {
	expect(violationsOf("changed")).toEqual([]);
});

test("no attack makes the node fail or fall silent", () => {
	expect(violationsOf("server error", "no answer")).toEqual([]);
	expect(report.violationCount).toBe(0);
});

const outcomesOf = (name: string): string[] => [...(report.answers.get(name)?.keys() ?? [])];

test("every operation is attacked, and as far as to where it decides", () => {
	for (const operation of OPERATIONS) {
		const outcomes = outcomesOf(`rest ${operation.name}`);
		expect(outcomes.length, operation.name).toBeGreaterThan(0);
		if (operation.scope === "public") continue;
		const isInCollection = operation.rest.path.includes("{collection}");
		const tenantScoped = isInCollection ? "404 COLLECTION_NOT_FOUND" : "404 TENANT_NOT_FOUND";
		expect(outcomes, operation.name).toContain(operation.scope === "admin" ? "403 FORBIDDEN" : tenantScoped);
	}
});

test("every field is attacked, and as far as to where it decides", () => {
	for (const { field, operation: named } of OPERATION_FIELDS) {
		const { scope, rest } = OPERATIONS.find(({ name }) => name === named)!;
		const outcomes = outcomesOf(`graphql ${field}`).join();
		const inside = rest.path.includes("{collection}") ? "COLLECTION_NOT_FOUND" : "200";
		expect(outcomes, field).toContain(scope === "admin" ? "FORBIDDEN" : inside);
	}
	for (const name of [...SUBSCRIPTIONS, INTROSPECTION]) expect(outcomesOf(`graphql ${name}`), name).not.toEqual([]);
	expect(outcomesOf("graphql collectionChanged")).toContain("101");
});

test("every tool and method is attacked, and as far as to where it decides", () => {
	for (const { name, operation: named } of TOOLS) {
		const { path } = OPERATIONS.find((each) => each.name === named)!.rest;
		const outcomes = outcomesOf(`mcp ${name}`).join();
		expect(outcomes, name).toContain(path.includes("{collection}") ? "-32007 COLLECTION_NOT_FOUND" : "200");
		expect(outcomes, name).toContain("101");
	}
	for (const name of MCP_METHODS) expect(outcomesOf(`mcp ${name}`), name).not.toEqual([]);
	// Header and body that disagree, and pages of foreign origins.
	expect(outcomesOf("mcp resources/read")).toContain("400 -32020");
	expect(outcomesOf("mcp resources/read").join()).toContain("403 -32003 FORBIDDEN");
});

const victim = inventBelongings(new Dice(1), 0);
const inhabitant = (owns: Belongings): Inhabitant => ({
	owns,
	shadow: shadowOf(new Dice(2), owns),
	keys: { READ_WRITE: "", READ_ONLY: "", MCP: "", revoked: "" },
});
const answer = (body: string, status = 200): RawAnswer => ({ status, headers: [], body: Buffer.from(body) });
const request = (target: string): RawRequest => ({ method: "GET", target, headers: [] });

test("a leak would be found, and giving back what the caller sent is none", () => {
	const [owner, attacker] = [inhabitant(victim), inhabitant(inventBelongings(new Dice(3), 1))];
	const detector = new LeakDetector(attacker, [owner, attacker]);
	const [name] = victim.collections;
	for (const leaked of [name!, victim.payloadTexts[0]!, String(victim.numericIds[0]), victim.cursors[0]!]) {
		expect(detector.leaks(request("/x"), answer(`{"found":"${leaked}"}`)), leaked).toEqual([leaked]);
	}
	expect(detector.leaks(request("/x"), answer(JSON.stringify(victim.vectors[0]))).length).toBe(4);
	expect(detector.leaks(request(`/collections/${name}`), answer(`no ${name}`))).toEqual([]);
	expect(detector.leaks(request("/x"), answer(`no ${attacker.owns.collections[0]}`))).toEqual([]);
});

test("a difference would be found, and another name in the same words is none", () => {
	const shadow = shadowOf(new Dice(2), victim);
	const seen = comparable(answer(`no ${victim.collections[0]}`, 404));
	const renaming = new Renaming(victim, shadow);
	expect(renaming.of(seen)).toBe(comparable(answer(`no ${shadow.collections[0]}`, 404)));
	expect(renaming.of(seen)).not.toBe(comparable(answer(`not ${shadow.collections[0]}`, 404)));
	expect(comparable(answer("{}", 404))).not.toBe(comparable(answer("{}", 403)));
});
