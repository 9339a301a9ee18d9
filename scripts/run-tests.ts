import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { parseArgs } from "node:util";
import { coverageReport } from "./line-coverage.ts";

/**
 * Runs each folder of test/ in a process of its own, so that a crash of one costs only its own results, and adds them up.
 */
const LINE_COVERAGE_MIN = 0.95;
const FOLDER_TIMEOUT_MS = 30 * 60 * 1000;
/** These drive the compiled binary, whose lines coverage can't see. */
const BINARY_FOLDERS: ReadonlySet<string> = new Set(["cli", "protocols", "system"]);

const { values, positionals } = parseArgs({
	args: Bun.argv.slice(2),
	allowPositionals: true,
	options: { coverage: { type: "boolean", default: false } },
});

const folders =
	positionals.length > 0
		? positionals
		: readdirSync("test", { withFileTypes: true })
				.filter((entry) => entry.isDirectory() && containsTests(`test/${entry.name}`))
				.map((entry) => entry.name)
				.sort();

rmSync("coverage", { recursive: true, force: true });
mkdirSync("coverage", { recursive: true });

const totals = { passed: 0, failed: 0, skipped: 0 };
const lcovPaths: string[] = [];
for (const folder of folders) {
	const junitPath = `coverage/${folder}.xml`;
	const args = ["test", `./test/${folder}/`, "--reporter=junit", `--reporter-outfile=${junitPath}`, "--timeout=120000"];
	if (values.coverage && !BINARY_FOLDERS.has(folder)) {
		args.push("--coverage", "--coverage-reporter=lcov", `--coverage-dir=coverage/${folder}`);
		lcovPaths.push(`coverage/${folder}/lcov.info`);
	}
	console.log(`\n=== test/${folder}`);
	const run = Bun.spawn([process.execPath, ...args], {
		stdin: "ignore",
		stdout: "inherit",
		stderr: "inherit",
		timeout: FOLDER_TIMEOUT_MS,
	});
	const exitCode = await run.exited;
	const counts = countCases(junitPath);
	totals.passed += counts.passed;
	totals.skipped += counts.skipped;
	totals.failed += counts.failed;
	// A crash, a time-out or an error outside any test leaves no failed case behind it, yet must fail the run.
	if (exitCode !== 0 && counts.failed === 0) {
		console.error(`test/${folder} ended with exit code ${exitCode} (${run.signalCode ?? "no signal"})`);
		totals.failed += 1;
	}
	if (exitCode === 0 && counts.passed === 0) {
		console.error(`test/${folder} ran no test`);
		totals.failed += 1;
	}
}

if (values.coverage) {
	const report = coverageReport(lcovPaths, "src");
	console.log(`\n${report.text}`);
	if (report.ratio < LINE_COVERAGE_MIN) {
		console.error(`line coverage of src/ is below ${LINE_COVERAGE_MIN * 100} %`);
		totals.failed += 1;
	}
}

const skipped = totals.skipped > 0 ? `, ${totals.skipped} skipped` : "";
console.log(`\n${totals.passed} passed, ${totals.failed} failed${skipped}`);
process.exit(totals.failed > 0 ? 1 : 0);

function containsTests(folder: string): boolean {
	return readdirSync(folder, { recursive: true }).some((name) => String(name).endsWith(".test.ts"));
}

/** The counts of the outermost element of Bun's JUnit file; none when the run died before writing it. */
function countCases(path: string): { passed: number; failed: number; skipped: number } {
	let text: string;
	try {
		text = readFileSync(path, "utf8");
	} catch {
		return { passed: 0, failed: 0, skipped: 0 };
	}
	const root = /<testsuites\b[^>]*>/.exec(text)?.[0] ?? "";
	const count = (name: string): number => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(root)?.[1] ?? 0);
	const failed = count("failures") + count("errors");
	return { passed: count("tests") - failed - count("skipped"), failed, skipped: count("skipped") };
}
