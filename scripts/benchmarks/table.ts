import Table from "cli-table3";

/** Prints a table: the first column is text, the others are figures. */
export function printTable(head: readonly string[], rows: readonly (readonly string[])[]): void {
	const drawn = new Table({
		head: [...head],
		style: { head: [], border: [] },
		colAligns: ["left", ...head.slice(1).map(() => "right" as const)],
	});
	drawn.push(...rows.map((row) => [...row]));
	console.log(drawn.toString());
}

export const whole = (number: number): string => Math.round(number).toLocaleString("en");
export const ms = (number: number): string => number.toFixed(2);
export const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
export const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
