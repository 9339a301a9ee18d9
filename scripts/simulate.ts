import { parseArgs } from "node:util";
import { ClusterSimulation } from "../test/simulation/cluster-simulation.ts";
import { PLANTED_FAULTS } from "../test/simulation/planted-faults.ts";

/**
 * Puts simulated clusters through random lives, one a seed, and looks whether anything was lost. Ends with 1 when something was.
 */
const { values: flags } = parseArgs({
	options: {
		seeds: { type: "string", default: "300" },
		from: { type: "string", default: "1" },
		steps: { type: "string", default: "60" },
		patches: { type: "boolean", default: false },
		/** Part of the name of a fault that is planted: to see that it is found. */
		fault: { type: "string" },
		/** Prints what happened, with the first seed that fails, or the only one. */
		trace: { type: "boolean", default: false },
	},
});
const seedCount = Number(flags.seeds);
const from = Number(flags.from);
const steps = Number(flags.steps);
if (![seedCount, from, steps].every((number) => Number.isSafeInteger(number) && number > 0)) {
	console.error(
		"usage: bun scripts/simulate.ts [--seeds N] [--from S] [--steps M] [--patches] [--fault NAME] [--trace]",
	);
	process.exit(2);
}
const [faultName, plant] =
	flags.fault === undefined ? [] : (Object.entries(PLANTED_FAULTS).find(([name]) => name.includes(flags.fault!)) ?? []);
if (flags.fault !== undefined && plant === undefined) {
	console.error(`no such fault; there are:\n${Object.keys(PLANTED_FAULTS).join("\n")}`);
	process.exit(2);
}

const startedMs = performance.now();
const totals = { events: 0, writes: 0, acknowledged: 0, topologyChanges: 0, longestHealingMs: 0 };
const failedSeeds: number[] = [];
for (let seed = from; seed < from + seedCount; seed++) {
	const fault = plant?.();
	const simulation = new ClusterSimulation({
		seed,
		steps,
		patches: flags.patches,
		keepsTrace: flags.trace,
		...(fault !== undefined && { fault }),
	});
	const result = await simulation.run();
	totals.events += result.eventCount;
	totals.writes += result.operationCount;
	totals.acknowledged += result.acknowledgedCount;
	totals.topologyChanges += result.topologyVersion - 1;
	totals.longestHealingMs = Math.max(totals.longestHealingMs, result.healingMs);
	if (flags.trace && (result.problems.length > 0 || seedCount === 1)) console.log(result.trace.join("\n"));
	if (result.problems.length === 0) continue;
	failedSeeds.push(seed);
	console.log(`seed ${seed} (${result.traceHash}): ${result.problems.join("\n\t")}`);
	const given = [`--seeds 1 --from ${seed} --steps ${steps}`, flags.patches ? "--patches" : ""];
	if (faultName !== undefined) given.push(`--fault "${faultName}"`);
	console.log(`\tagain: bun scripts/simulate.ts ${given.filter(Boolean).join(" ")} --trace`);
	if (flags.trace) break;
}
const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
console.log(`${seedCount} seeds in ${seconds} s: ${failedSeeds.length} failed; ${JSON.stringify(totals)}`);
process.exit(failedSeeds.length > 0 ? 1 : 0);
