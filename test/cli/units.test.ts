import { describe, expect, test } from "bun:test";
import {
	formatBytes,
	formatCount,
	formatQuota,
	parseByteSize,
	parseCount,
	parseDurationMs,
	parseQuota,
} from "../../commands/shared/units.ts";

describe("units on the command line", () => {
	test.each([
		["45s", 45_000],
		["30m", 1_800_000],
		["1.5h", 5_400_000],
		["7d", 604_800_000],
		["2w", 1_209_600_000],
		["0s", 0],
		["250ms", 250],
	] as const)("the duration %s is %d milliseconds", (text, milliseconds) => {
		expect(parseDurationMs(text)).toBe(milliseconds);
	});

	test.each(["90", "", "d", "-1d", "7 days", "1d2h", "1e3s", "NaNs"])("%p is no duration", (text) => {
		expect(() => parseDurationMs(text)).toThrow(/not a duration/);
	});

	test.each([
		["1048576", 1_048_576],
		["10GB", 10_000_000_000],
		["10gb", 10_000_000_000],
		["512MiB", 536_870_912],
		["1.5 KiB", 1_536],
		["0", 0],
		["7B", 7],
	] as const)("the size %s is %d bytes", (text, bytes) => {
		expect(parseByteSize(text)).toBe(bytes);
	});

	test.each(["", "GB", "-1GB", "10XB", "1e9", "9999999999PB", "10 G B"])("%p is no size", (text) => {
		expect(() => parseByteSize(text)).toThrow(/not a size/);
	});

	test.each([
		["100000", 100_000],
		["100_000", 100_000],
		["100,000", 100_000],
		["500k", 500_000],
		["1.5M", 1_500_000],
	] as const)("the count %s is %d", (text, count) => {
		expect(parseCount(text)).toBe(count);
	});

	test.each(["", "-1", "1.5", "ten", "99999999999999999999"])("%p is no count", (text) => {
		expect(() => parseCount(text)).toThrow(/not a whole number/);
	});

	test("unlimited is null on the wire", () => {
		expect(parseQuota("unlimited", parseCount)).toBeNull();
		expect(parseQuota("12", parseCount)).toBe(12);
	});

	test("sizes and counts are shown short", () => {
		expect([0, 999, 1_000, 12_345, 123_456_789, 1e18].map(formatBytes)).toEqual([
			"0 B",
			"999 B",
			"1.00 kB",
			"12.3 kB",
			"123 MB",
			"1000 PB",
		]);
		expect(formatCount(1_234_567)).toBe("1,234,567");
		expect(formatQuota(null, formatCount)).toBe("unlimited");
		expect(formatQuota(5, formatCount)).toBe("5");
	});
});
