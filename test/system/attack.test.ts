import { beforeAll, expect, test } from "bun:test";
import { comparable, LeakDetector, renamed } from "../../scripts/attacks/answer-view.ts";
import { type AttackReport, runAttack } from "../../scripts/attacks/attack-run.ts";
import type { Inhabitant } from "../../scripts/attacks/attack-world.ts";
import { type Belongings, inventBelongings, shadowOf } from "../../scripts/attacks/belongings.ts";
import { Dice } from "../../scripts/attacks/dice.ts";
import type { RawAnswer, RawRequest } from "../../scripts/attacks/raw-http.ts";
import { OPERATIONS } from "../../src/operations/operation-table.ts";

/** The full run is `scripts/attack`; the same seed makes the same calls. */
const CALLS = 4_000;
const SEED = 20_260_301;

let report: AttackReport;

beforeAll(async () => {
	report = await runAttack({ callCount: CALLS, seed: SEED, tenantCount: 5 });
}, 120_000);

const violationsOf = (...rules: string[]): string[] =>
	report.violations.filter(({ rule }) => rules.includes(rule)).map(({ operation, text }) => `${operation}: ${text}`);

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

test("every operation is attacked, and as far as to where it decides", () => {
	for (const operation of OPERATIONS) {
		const outcomes = [...(report.answers.get(operation.name)?.keys() ?? [])];
		expect(outcomes.length, operation.name).toBeGreaterThan(0);
		if (operation.scope === "public") continue;
		const isInCollection = operation.rest.path.includes("{collection}");
		const tenantScoped = isInCollection ? "404 COLLECTION_NOT_FOUND" : "404 TENANT_NOT_FOUND";
		expect(outcomes, operation.name).toContain(operation.scope === "admin" ? "403 FORBIDDEN" : tenantScoped);
	}
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
	expect(renamed(seen, victim, shadow)).toBe(comparable(answer(`no ${shadow.collections[0]}`, 404)));
	expect(renamed(seen, victim, shadow)).not.toBe(comparable(answer(`not ${shadow.collections[0]}`, 404)));
	expect(comparable(answer("{}", 404))).not.toBe(comparable(answer("{}", 403)));
});
