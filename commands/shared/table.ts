import Table from "cli-table3";
import { printable, type Terminal } from "./terminal.ts";

const NO_LINES = Object.fromEntries(
	[
		...["top", "top-mid", "top-left", "top-right", "bottom", "bottom-mid", "bottom-left", "bottom-right"],
		...["left", "left-mid", "mid", "mid-mid", "right", "right-mid", "middle"],
	].map((name) => [name, ""]),
);

export interface Column {
	readonly title: string;
	readonly align?: "left" | "right";
}

/** Columns without rules, so that `grep`, `awk` and `cut` read them as easily as people do. Ends with a line break. */
export function renderTable(
	columns: readonly Column[],
	rows: readonly (readonly string[])[],
	terminal: Terminal,
): string {
	const table = new Table({
		head: columns.map((column) => heading(column.title, terminal)),
		colAligns: columns.map((column) => column.align ?? "left"),
		chars: NO_LINES,
		style: { head: [], border: [], "padding-left": 0, "padding-right": 2 },
	});
	for (const row of rows) table.push(row.map(printable));
	return trimEnds(table.toString());
}

/** One thing, a field a line. */
export function renderRecord(fields: readonly (readonly [name: string, value: string])[], terminal: Terminal): string {
	const table = new Table({
		chars: NO_LINES,
		style: { head: [], border: [], "padding-left": 0, "padding-right": 2 },
	});
	for (const [name, value] of fields) {
		table.push([heading(name, terminal), printable(value)]);
	}
	return trimEnds(table.toString());
}

/** Written out: the table's own styling looks at the environment and would overrule what the terminal was found to be. */
const heading = (text: string, terminal: Terminal): string => (terminal.color ? `\u001b[1m${text}\u001b[22m` : text);

const trimEnds = (text: string): string => `${text.replaceAll(/[ \t]+$/gm, "")}\n`;
