import { describe, expect, test } from "bun:test";
import { ClusterSimulation, type SimulationResult } from "./cluster-simulation.ts";
import { History } from "./history.ts";
import { LateCoordinators, PLANTED_FAULTS } from "./planted-faults.ts";

const STEPS = 50;
const SEED_COUNT = 150;
const PATCHED_STEPS = 120;
const PATCHED_SEED_COUNT = 40;

const run = (seed: number, fault?: string, steps = STEPS): Promise<SimulationResult> =>
	new ClusterSimulation({
		seed,
		steps,
		...(fault !== undefined && { fault: PLANTED_FAULTS[fault]!() }),
	}).run();

const isLoss = (problem: string): boolean => !problem.endsWith("failed with all well");

test("whatever befalls a cluster, it loses nothing that was acknowledged, and its copies agree when all is well again", async () => {
	const sums = { acknowledged: 0, topologyChanges: 0 };
	for (let seed = 1; seed <= SEED_COUNT; seed++) {
		const { problems, acknowledgedCount, topologyVersion } = await run(seed);
		expect({ seed, steps: STEPS, problems }).toEqual({ seed, steps: STEPS, problems: [] });
		sums.acknowledged += acknowledgedCount;
		sums.topologyChanges += topologyVersion - 1;
	}
	// Had nothing happened, nothing would be shown.
	expect(sums.acknowledged).toBeGreaterThan(20 * SEED_COUNT);
	expect(sums.topologyChanges).toBeGreaterThan(2 * SEED_COUNT);
});

test("whatever stops while vectors are updated in place, nothing that was acknowledged is undone", async () => {
	let acknowledged = 0;
	for (let seed = 1; seed <= PATCHED_SEED_COUNT; seed++) {
		const result = await new ClusterSimulation({ seed, steps: PATCHED_STEPS, patches: true }).run();
		expect({ seed, problems: result.problems }).toEqual({ seed, problems: [] });
		acknowledged += result.acknowledgedCount;
	}
	expect(acknowledged).toBeGreaterThan(40 * PATCHED_SEED_COUNT);
});

test("the same seed gives the same life, and another one another", async () => {
	const first = await run(7);
	expect(await run(7)).toEqual(first);
	expect((await run(8)).traceHash).not.toBe(first.traceHash);
});

describe("the simulation finds out whether or when", () => {
	/** Where to look for what takes more than the first few seeds. */
	const places: Readonly<Record<string, { readonly from: number; readonly steps: number }>> = {
		"a copy is called complete before it is filled": { from: 100, steps: STEPS },
		"word of deletions goes when not all have heard of them": { from: 20, steps: STEPS },
		"who is left of a shard's holders does not mend what the others took along": { from: 220, steps: 60 },
		"an update reads before its version is claimed": { from: 22, steps: PATCHED_STEPS },
		"an update is as new as when it is done": { from: 20, steps: PATCHED_STEPS },
		"a surplus copy goes without a last word": { from: 30, steps: STEPS },
	};
	const SEEDS_MAX = 25;
	/** This one costs answers, and nothing else. */
	const UNANSWERED = "a coordinator does not go on from what stood in its way";

	test("nothing is wrong but that coordinators are late: nothing is lost", async () => {
		for (let seed = 1; seed <= SEEDS_MAX; seed++) {
			const { problems } = await new ClusterSimulation({ seed, steps: STEPS, fault: new LateCoordinators() }).run();
			expect({ seed, losses: problems.filter(isLoss) }).toEqual({ seed, losses: [] });
		}
	});

	test.each(Object.keys(PLANTED_FAULTS))("%s", async (fault) => {
		const { from, steps } = places[fault] ?? { from: 1, steps: STEPS };
		let found: SimulationResult | undefined;
		for (let seed = from; seed < from + SEEDS_MAX && found === undefined; seed++) {
			const result = await run(seed, fault, steps);
			if (result.problems.some(isLoss) || (fault === UNANSWERED && result.problems.length > 0)) found = result;
		}
		expect(found?.problems).not.toEqual([]);
		expect(found).toBeDefined();
		expect(await run(found!.seed, fault, steps)).toEqual(found!);
	});
});

describe("what is found fits what was done", () => {
	const historyOf = (...writes: readonly (readonly ["upsert" | "delete" | "patch", number, number?])[]): History => {
		const history = new History();
		for (const [kind, startMs, acknowledgedMs] of writes) {
			history.begin(kind, "x", startMs).acknowledgedMs = acknowledgedMs;
		}
		return history;
	};

	test("when it is the newest that was acknowledged, or one that went on at the same time", () => {
		const history = historyOf(["upsert", 0, 10], ["upsert", 5, 20]);
		expect(history.judge("x", { op: 1 })).toBeUndefined();
		expect(history.judge("x", { op: 2 })).toBeUndefined();
	});

	test("not when something later was acknowledged, a deletion included", () => {
		const history = historyOf(["upsert", 0, 10], ["delete", 20, 30]);
		expect(history.judge("x", undefined)).toBeUndefined();
		expect(history.judge("x", { op: 1 })).toContain("delete 2");
		expect(history.judge("x", { op: 1 }, 25)).toBeUndefined();
	});

	test("also when nobody knows whether it was done", () => {
		const history = historyOf(["upsert", 0], ["upsert", 20, 30]);
		expect(history.judge("x", { op: 1 })).toBeUndefined();
		expect(history.judge("x", undefined)).toContain("upsert 2");
	});

	test("a patch is found with what it patched", () => {
		const history = historyOf(["upsert", 0, 10], ["patch", 20, 30], ["upsert", 40, 50]);
		expect(history.judge("x", { op: 1, patch: 2 })).toContain("upsert 3");
		expect(history.judge("x", { op: 3 })).toBeUndefined();
		expect(historyOf(["upsert", 0, 10], ["patch", 20, 30]).judge("x", { op: 1 })).toContain("patch 2");
	});

	test("not when nobody wrote it", () => {
		expect(new History().judge("x", { op: 1 })).toContain("nobody");
	});
});
