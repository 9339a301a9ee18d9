import type { Column } from "./table.ts";
import { printable, type Terminal } from "./terminal.ts";

export interface Hit {
	readonly id: string | number;
	readonly score: number;
	readonly payload?: unknown;
}

interface Table {
	readonly columns: readonly Column[];
	readonly rows: readonly (readonly string[])[];
	/** Payload fields that found no room. */
	readonly hidden: readonly string[];
}

const CELL_MAX = 40;
/** A column narrower than this says nothing. */
const CELL_MIN = 12;
const GAP = 2;

/** Hits as rows, each field of their payloads a column: in a terminal as many and as wide as fit, elsewhere all, whole. */
export function hitsTable(hits: readonly Hit[], terminal: Terminal): Table {
	const fixed = hits.map((hit, index) => [String(index + 1), String(hit.id), hit.score.toFixed(6)]);
	const titles = ["#", "ID", "SCORE"];
	const fields = [...new Set(hits.flatMap((hit) => Object.keys(payloadOf(hit))))];
	const shown: { readonly title: string; readonly cells: readonly string[] }[] = [];
	let room =
		terminal.columns - titles.reduce((sum, title, at) => sum + widthOf([title, ...column(fixed, at)]) + GAP, 0);
	for (const field of fields) {
		const cells = hits.map((hit) => cellText(payloadOf(hit)[field]));
		if (!terminal.isTty) {
			shown.push({ title: field, cells });
			continue;
		}
		const width = Math.min(widthOf([field, ...cells]), CELL_MAX, room - GAP);
		// Once a field was left out, narrower ones behind it are too: the order is the payload's own.
		if (width < Math.min(CELL_MIN, widthOf([field, ...cells]))) break;
		shown.push({ title: shortened(field, width), cells: cells.map((cell) => shortened(cell, width)) });
		room -= width + GAP;
	}
	return {
		columns: [
			{ title: "#", align: "right" },
			{ title: "ID" },
			{ title: "SCORE", align: "right" },
			...shown.map(({ title }) => ({ title: printable(title) })),
		],
		rows: fixed.map((cells, row) => [...cells, ...shown.map((field) => field.cells[row]!)]),
		hidden: fields.slice(shown.length),
	};
}

const payloadOf = (hit: Hit): Readonly<Record<string, unknown>> =>
	typeof hit.payload === "object" && hit.payload !== null ? { ...hit.payload } : {};

const column = (rows: readonly (readonly string[])[], at: number): string[] => rows.map((row) => row[at]!);

const widthOf = (texts: readonly string[]): number => Math.max(...texts.map((text) => Bun.stringWidth(text)));

function cellText(value: unknown): string {
	if (value === undefined) return "";
	return printable(typeof value === "string" ? value : JSON.stringify(value));
}

function shortened(text: string, width: number): string {
	if (Bun.stringWidth(text) <= width) return text;
	let short = "";
	for (const character of text) {
		if (Bun.stringWidth(short + character) >= width) break;
		short += character;
	}
	return `${short}…`;
}
