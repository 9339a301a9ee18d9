import { describe, expect, test } from "bun:test";
import { Writable } from "node:stream";
import { startProgress } from "../../commands/shared/progress.ts";
import { renderRecord, renderTable } from "../../commands/shared/table.ts";
import { printable, terminalOf } from "../../commands/shared/terminal.ts";

const PLAIN = { isTty: false, color: false, columns: 80 };
const COLOR = { isTty: true, color: true, columns: 80 };

describe("what people see", () => {
	test("colour needs a terminal that wants it", () => {
		expect(terminalOf({ isTTY: true, columns: 120 }, {})).toEqual({ isTty: true, color: true, columns: 120 });
		expect(terminalOf({ isTTY: true }, { NO_COLOR: "1" }).color).toBe(false);
		expect(terminalOf({ isTTY: true }, { TERM: "dumb" }).color).toBe(false);
		expect(terminalOf({}, {})).toEqual({ isTty: false, color: false, columns: 100 });
	});

	test("a table has aligned columns and no rules, so that awk and cut read it", () => {
		const table = renderTable(
			[{ title: "ID" }, { title: "VECTORS", align: "right" }],
			[
				["a", "1"],
				["longer", "1,000"],
			],
			PLAIN,
		);
		expect(table).toBe("ID      VECTORS\na             1\nlonger    1,000\n");
		expect(renderTable([{ title: "ID" }], [["a"]], COLOR)).toContain("\u001b[1mID");
	});

	test("a record shows a field a line", () => {
		expect(
			renderRecord(
				[
					["name", "acme"],
					["max vectors", "5"],
				],
				PLAIN,
			),
		).toBe("name         acme\nmax vectors  5\n");
	});

	test("escape sequences in data do not reach the screen", () => {
		expect(printable("a\u001b[2Jb\u202ec\nd")).toBe("a·[2Jb·c·d");
		expect(renderTable([{ title: "ID" }], [["\u001b]0;x\u0007"]], PLAIN)).not.toContain("\u001b");
	});

	test("a progress bar is drawn on a terminal, and nothing anywhere else", () => {
		const draw = (terminal: typeof PLAIN, total: number | undefined) => {
			const shown: string[] = [];
			const sink = new Writable({ write: (chunk, _encoding, done) => done(void shown.push(String(chunk))) });
			const stream = Object.assign(sink, { isTTY: terminal.isTty, columns: 80 });
			const bar = startProgress(stream, terminal, "bytes", total);
			bar.update(500, "12 vectors");
			bar.update(1000, "24 vectors");
			bar.stop();
			return shown.join("");
		};
		expect(draw(PLAIN, 1000)).toBe("");
		expect(draw({ ...COLOR, color: false }, 1000)).toBe("");
		expect(draw(COLOR, 1000)).toContain("24 vectors");
		expect(draw(COLOR, undefined)).toContain("1.00 kB");
	});
});
