import ms from "ms";
import { usageFailure } from "./failure.ts";

/** `90d`, `12h`, `30m`, `45s`, `2w`, `1y` in milliseconds. A bare number is refused: nobody agrees on its unit. */
export function parseDurationMs(text: string): number {
	const milliseconds = /^\d+(\.\d+)?(ms|s|m|h|d|w|y)$/.test(text) ? ms(text as ms.StringValue) : Number.NaN;
	if (!Number.isFinite(milliseconds) || milliseconds < 0) {
		throw usageFailure(`"${text}" is not a duration`, "write a number and a unit: 45s, 30m, 12h, 7d, 2w, 1y");
	}
	return milliseconds;
}

const BYTE_UNITS: Readonly<Record<string, number>> = {
	"": 1,
	B: 1,
	KB: 1e3,
	MB: 1e6,
	GB: 1e9,
	TB: 1e12,
	PB: 1e15,
	KIB: 2 ** 10,
	MIB: 2 ** 20,
	GIB: 2 ** 30,
	TIB: 2 ** 40,
	PIB: 2 ** 50,
};

/** `10GB` (10⁹), `512MiB` (2²⁰) or a plain number of bytes. */
export function parseByteSize(text: string): number {
	const match = /^(\d+(?:\.\d+)?)\s*([KMGTP]?I?B)?$/i.exec(text.trim());
	const unit = match === null ? undefined : BYTE_UNITS[(match[2] ?? "").toUpperCase()];
	const bytes = match === null || unit === undefined ? Number.NaN : Math.round(Number(match[1]) * unit);
	if (!Number.isSafeInteger(bytes)) {
		throw usageFailure(`"${text}" is not a size`, "write bytes or a size with its unit: 1048576, 512MiB, 10GB");
	}
	return bytes;
}

/** A whole number, `_` and `,` allowed between digits, or with `k`, `M`, `G` behind it. */
export function parseCount(text: string): number {
	const match = /^(\d[\d_,]*(?:\.\d+)?)([kKmMgG])?$/.exec(text.trim());
	const factor = { "": 1, k: 1e3, m: 1e6, g: 1e9 }[(match?.[2] ?? "").toLowerCase()] ?? 1;
	const count = match === null ? Number.NaN : Number(match[1]!.replaceAll(/[_,]/g, "")) * factor;
	if (!Number.isSafeInteger(count)) throw usageFailure(`"${text}" is not a whole number`);
	return count;
}

/** A quota: what `parse` reads, or `unlimited`, which is null on the wire. */
export function parseQuota(text: string, parse: (text: string) => number): number | null {
	return text.toLowerCase() === "unlimited" ? null : parse(text);
}

export function formatBytes(bytes: number): string {
	const units = ["B", "kB", "MB", "GB", "TB", "PB"];
	const power = bytes < 1_000 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3), units.length - 1);
	const value = bytes / 1_000 ** power;
	return `${power === 0 ? value : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ${units[power]}`;
}

export const formatCount = (count: number): string => count.toLocaleString("en-US");

export const formatQuota = (value: number | null | undefined, format: (value: number) => string): string =>
	value === null || value === undefined ? "unlimited" : format(value);
