import { describe, expect, test } from "bun:test";
import { compareInstants, parseInstant } from "../../src/base/instant.ts";

describe("RFC 3339 times", () => {
	const table: [text: string, ms: number, ns?: number][] = [
		["1970-01-01T00:00:00Z", 0],
		["2024-02-29T12:34:56Z", Date.UTC(2024, 1, 29, 12, 34, 56)],
		["2024-02-29t12:34:56z", Date.UTC(2024, 1, 29, 12, 34, 56)],
		["2024-05-01T12:00:00+02:00", Date.UTC(2024, 4, 1, 10)],
		["2024-05-01T12:00:00-0930", Date.UTC(2024, 4, 1, 21, 30)],
		["2024-05-01T12:00:00", Date.UTC(2024, 4, 1, 12)],
		["2024-05-01 12:00", Date.UTC(2024, 4, 1, 12)],
		["2024-05-01", Date.UTC(2024, 4, 1)],
		["1969-12-31T23:59:59.999Z", -1],
		["1969-12-31T23:59:59.9999Z", -1, 900_000],
		["2016-12-31T23:59:60Z", Date.UTC(2017, 0, 1)],
		["2024-05-01T12:00:00.1Z", Date.UTC(2024, 4, 1, 12, 0, 0, 100)],
		["2024-05-01T12:00:00.123456789999Z", Date.UTC(2024, 4, 1, 12, 0, 0, 123), 456_789],
		["0000-01-01", -62_167_219_200_000],
		["0050-06-15", new Date("0050-06-15T00:00:00Z").getTime()],
		["9999-12-31T23:59:59Z", Date.UTC(9999, 11, 31, 23, 59, 59)],
	];
	for (const [text, ms, ns = 0] of table) {
		test(`${text} is ${ms} ms and ${ns} ns`, () => {
			expect(parseInstant(text)).toEqual({ ms, ns });
		});
	}

	for (const text of [
		"",
		"2024",
		"2024-5-1",
		"2024-13-01",
		"2024-00-10",
		"2023-02-29",
		"2024-04-31",
		"2024-05-01T24:00:00Z",
		"2024-05-01T12:60:00Z",
		"2024-05-01T12:00:61Z",
		"2024-05-01T12:00:00+24:00",
		"2024-05-01T12:00:00+02:60",
		"2024-05-01T12:00:00.Z",
		"2024-05-01T12",
		"2024-05-01Z",
		" 2024-05-01",
		"2024-05-01 ",
		"20240501T120000Z",
		"２０２４-05-01",
	]) {
		test(`${JSON.stringify(text)} is none`, () => {
			expect(parseInstant(text)).toBeUndefined();
		});
	}

	test("instants compare to the nanosecond", () => {
		const [a, b] = [
			{ ms: 5, ns: 1 },
			{ ms: 5, ns: 2 },
		];
		expect(compareInstants(a, b)).toBeLessThan(0);
		expect(compareInstants(b, a)).toBeGreaterThan(0);
		expect(compareInstants(a, a)).toBe(0);
		expect(compareInstants({ ms: -1, ns: 999_999 }, { ms: 0, ns: 0 })).toBeLessThan(0);
	});
});
