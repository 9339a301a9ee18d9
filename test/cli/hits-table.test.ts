import { describe, expect, test } from "bun:test";
import { type Hit, hitsTable } from "../../commands/shared/hits-table.ts";

const terminal = (columns: number) => ({ isTty: true, color: false, columns });
const pipe = { isTty: false, color: false, columns: 100 };
const HITS: readonly Hit[] = [
	{ id: "a", score: 0.5, payload: { title: "one", tags: ["x", "y"] } },
	{ id: 7, score: 0.25, payload: { title: "two", text: "word ".repeat(40) } },
	{ id: 8, score: 0.125 },
];

describe("hits as a table", () => {
	test("each payload field is a column, whole where no screen bounds it", () => {
		const { columns, rows, hidden } = hitsTable(HITS, pipe);
		expect(columns.map(({ title }) => title)).toEqual(["#", "ID", "SCORE", "title", "tags", "text"]);
		expect(rows).toEqual([
			["1", "a", "0.500000", "one", '["x","y"]', ""],
			["2", "7", "0.250000", "two", "", "word ".repeat(40)],
			["3", "8", "0.125000", "", "", ""],
		]);
		expect(hidden).toEqual([]);
	});

	test.each([30, 40, 60, 80, 200])("a line fits a screen of %d columns, and what found no room is named", (width) => {
		const { columns, rows, hidden } = hitsTable(HITS, terminal(width));
		const widths = columns.map(({ title }, at) =>
			Math.max(...[title, ...rows.map((row) => row[at]!)].map((text) => Bun.stringWidth(text))),
		);
		expect(widths.reduce((sum, each) => sum + each + 2, 0)).toBeLessThanOrEqual(width);
		expect([...columns.slice(3).map(({ title }) => title), ...hidden]).toEqual(["title", "tags", "text"]);
	});

	test("a cut never splits a wide character, and escape sequences are made harmless", () => {
		const { rows } = hitsTable([{ id: 1, score: 1, payload: { t: "漢字".repeat(40), e: "\u001b[2J" } }], terminal(100));
		expect(Bun.stringWidth(rows[0]![3]!)).toBeLessThanOrEqual(40);
		expect(rows[0]![3]).toEndWith("…");
		expect(rows[0]![4]).toBe("·[2J");
	});

	test("no hits are a table without rows", () => {
		expect(hitsTable([], terminal(80)).rows).toEqual([]);
	});
});
