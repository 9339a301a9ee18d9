import { parseArgs } from "node:util";
import { type AttackReport, runAttack } from "./attacks/attack-run.ts";
import { runFuzz } from "./attacks/fuzz-run.ts";

const { values } = parseArgs({
	args: Bun.argv.slice(2),
	options: {
		calls: { type: "string" },
		fuzz: { type: "string" },
		seed: { type: "string", default: String(Date.now() % 1_000_000) },
		tenants: { type: "string", default: "8" },
	},
});
const seed = countFrom("--seed", values.seed);
const callCount = countFrom("--calls", values.calls ?? (values.fuzz === undefined ? "100000" : "0"));
const fuzzCount = countFrom("--fuzz", values.fuzz ?? (values.calls === undefined ? "50000" : "0"));
const tenantCount = countFrom("--tenants", values.tenants);
if (tenantCount < 3 || tenantCount > 24) throw new Error("--tenants: 3 to 24");
const PROGRESS_STEP = 5_000;

console.log(`seed ${seed}`);
let violationCount = 0;
if (callCount > 0) {
	const startMs = performance.now();
	const report = await runAttack({
		callCount,
		seed,
		tenantCount,
		onProgress: (count) => {
			if (count % PROGRESS_STEP === 0) console.log(`${count} calls`);
		},
	});
	violationCount += report.violationCount;
	printAttack(report, (performance.now() - startMs) / 1000);
}
if (fuzzCount > 0) {
	const startMs = performance.now();
	const report = await runFuzz({ requestCount: fuzzCount, seed });
	violationCount += report.violationCount;
	const seconds = ((performance.now() - startMs) / 1000).toFixed(0);
	console.log(`\nfuzz: ${report.requestCount} requests in ${seconds} s, ${report.violationCount} violations`);
	console.log(
		[...report.statuses]
			.sort()
			.map(([status, count]) => `  ${status}: ${count}`)
			.join("\n"),
	);
	for (const { rule, text } of report.violations) console.log(`\n--- ${rule}\n${text}`);
}
process.exit(violationCount > 0 ? 1 : 0);

function printAttack(report: AttackReport, seconds: number): void {
	console.log(
		`attack: ${report.callCount} calls, ${report.requestCount} requests with their twins and undoing, in ${seconds.toFixed(0)} s: ${report.violationCount} violations`,
	);
	for (const [name, counts] of [...report.answers].sort()) {
		const outcomes = [...counts].sort((a, b) => b[1] - a[1]).map(([outcome, count]) => `${outcome} ×${count}`);
		console.log(`  ${name.padEnd(32)} ${outcomes.join(", ")}`);
	}
	console.log(
		"\nmedian milliseconds of a foreign name, of an unused one (for a reader: noise included, nothing is asserted)",
	);
	for (const [name, { foreign, unused }] of [...report.timings].sort()) {
		console.log(`  ${name.padEnd(32)} ${median(foreign)} ${median(unused)}   of ${foreign.length}`);
	}
	for (const { rule, name, seed: callSeed, text } of report.violations) {
		console.log(`\n--- ${rule}: ${name} (call ${callSeed})\n${text}`);
	}
}

function countFrom(flag: string, text: string): number {
	if (!/^\d{1,9}$/.test(text)) throw new Error(`${flag}: a whole number is expected`);
	return Number(text);
}

function median(values: readonly number[]): string {
	return (values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0).toFixed(3);
}
