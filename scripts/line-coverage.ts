import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";

/**
 * Line coverage of a folder from several lcov files, a line counting as covered when any of them covers it. Files that
 * no test loads count as uncovered, all their lines, unless they hold nothing but types.
 */
export function coverageReport(lcovPaths: readonly string[], folder: string): { ratio: number; text: string } {
	const lines = new Map<string, Map<number, number>>();
	for (const path of lcovPaths) {
		if (existsSync(path)) addLcov(readFileSync(path, "utf8"), lines);
	}
	const rows: { path: string; covered: number; total: number; missed: number[] }[] = [];
	for (const name of readdirSync(folder, { recursive: true }).map(String).sort()) {
		if (!name.endsWith(".ts")) continue;
		const path = join(folder, name);
		const hits = lines.get(path);
		if (hits === undefined) {
			const total = runtimeLineCount(path);
			if (total > 0) rows.push({ path, covered: 0, total, missed: [] });
			continue;
		}
		const missed = [...hits].filter(([, count]) => count === 0).map(([line]) => line);
		rows.push({ path, covered: hits.size - missed.length, total: hits.size, missed });
	}
	const total = rows.reduce((sum, row) => sum + row.total, 0);
	const covered = rows.reduce((sum, row) => sum + row.covered, 0);
	const ratio = total === 0 ? 0 : covered / total;
	const percent = (part: number, whole: number): string => `${((100 * part) / whole).toFixed(1)} %`.padStart(7);
	const text = [
		...rows
			.filter((row) => row.covered < row.total)
			.map((row) => `${percent(row.covered, row.total)}  ${row.path}  ${spans(row.missed)}`),
		`${percent(covered, total)}  all of ${folder}/ (${covered} of ${total} lines)`,
	].join("\n");
	return { ratio, text };
}

function addLcov(text: string, lines: Map<string, Map<number, number>>): void {
	let hits = new Map<number, number>();
	for (const row of text.split("\n")) {
		if (row.startsWith("SF:")) {
			const path = relative(process.cwd(), row.slice(3));
			hits = lines.get(path) ?? new Map();
			lines.set(path, hits);
		} else if (row.startsWith("DA:")) {
			const [line, count] = row.slice(3).split(",").map(Number) as [number, number];
			hits.set(line, (hits.get(line) ?? 0) + count);
		}
	}
}

/** How many lines are left of a file when its types are gone. */
function runtimeLineCount(path: string): number {
	const script = new Bun.Transpiler({ loader: "ts" }).transformSync(readFileSync(path, "utf8"));
	return script.split("\n").filter((line) => line.trim() !== "" && !/^(import|export) /.test(line)).length;
}

/** `3-5, 9`: line numbers as ranges. */
function spans(numbers: readonly number[]): string {
	const ranges: [number, number][] = [];
	for (const line of [...numbers].sort((a, b) => a - b)) {
		const last = ranges.at(-1);
		if (last !== undefined && line === last[1] + 1) last[1] = line;
		else ranges.push([line, line]);
	}
	return ranges.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(", ");
}
