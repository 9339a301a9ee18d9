import { describe, expect, test } from "bun:test";
import { encode } from "@msgpack/msgpack";
import { acceptedFormat, acceptsLines } from "../../src/api/rest/accept-header.ts";
import { requireSoundMsgpack } from "../../src/api/rest/msgpack-scan.ts";
import { type ImportLine, splitLines } from "../../src/api/rest/ndjson-lines.ts";
import { shortestNumber, toWireValue } from "../../src/api/wire/wire-value.ts";

/** A small generator with a seed (mulberry32), so that a failure can be seen again. */
function randomOf(seed: number): () => number {
	let state = seed;
	return () => {
		state = (state + 0x6d2b79f5) | 0;
		let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
		mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
		return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
	};
}

describe("numbers of vectors", () => {
	test("every float32 comes back exactly from its shortest number", () => {
		const random = randomOf(1);
		const bits = new Uint32Array(1);
		const floats = new Float32Array(bits.buffer);
		for (let round = 0; round < 20_000; round++) {
			bits[0] = Math.floor(random() * 2 ** 32);
			const float = floats[0]!;
			if (Number.isFinite(float)) expect(Math.fround(shortestNumber(float))).toBe(float);
		}
	});

	test("a number of up to seven digits reads as it was written", () => {
		const random = randomOf(2);
		for (let round = 0; round < 20_000; round++) {
			const written = Number((random() * 2 - 1).toPrecision(1 + Math.floor(random() * 7)));
			expect(shortestNumber(Math.fround(written))).toBe(written);
		}
	});

	test.each([0, 1, -3, 2 ** 24, 3.4028234663852886e38])("the integer %d stays as it is", (value) => {
		expect(shortestNumber(value)).toBe(value);
	});

	test("only what holds a vector is copied", () => {
		const payload = { list: [1, { a: null }], text: "x" };
		const output = { results: [{ payload, vector: new Float32Array([0.5]) }], plain: payload };
		const wire = toWireValue(output) as typeof output;
		expect(wire).toEqual({ results: [{ payload, vector: [0.5] as never }], plain: payload });
		expect(wire.plain).toBe(payload);
		expect(wire.results[0]!.payload).toBe(payload);
		expect(output.results[0]!.vector).toBeInstanceOf(Float32Array);
		expect(toWireValue(payload)).toBe(payload);
		expect(toWireValue(7)).toBe(7);
	});
});

describe("Accept", () => {
	test("a missing or empty header accepts everything", () => {
		expect([acceptedFormat(null), acceptedFormat("")]).toEqual(["json", "json"]);
		expect([acceptsLines(null), acceptsLines("")]).toEqual([true, true]);
	});

	test("a q-value that is none refuses its type", () => {
		expect(acceptedFormat("application/json;q=x")).toBeUndefined();
		expect(acceptsLines("application/x-ndjson;q=-1")).toBe(false);
	});
});

describe("msgpack", () => {
	const isSound = (bytes: Uint8Array | number[]): boolean => {
		try {
			requireSoundMsgpack(new Uint8Array(bytes), 128);
			return true;
		} catch (error) {
			expect(error).toMatchObject({ code: "VALIDATION_FAILED" });
			return false;
		}
	};
	const values = [
		null,
		-129,
		-40_000,
		-(2 ** 33),
		250,
		60_000,
		2 ** 31,
		2 ** 40,
		1.5,
		true,
		false,
		"",
		"é".repeat(20),
		"x".repeat(200),
		"y".repeat(70_000),
		new Uint8Array(300),
		new Uint8Array(70_000),
		Array.from({ length: 20 }, (_, index) => index),
		Array.from({ length: 70_000 }, () => 1),
		Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`k${index}`, index])),
		{ a: [{ b: [] }, {}] },
	];

	test("whatever the encoder writes is sound, and nothing shorter or longer", () => {
		for (const value of [...values, values]) {
			const bytes = encode(value);
			expect(isSound(bytes)).toBe(true);
			expect(isSound(encode(value, { forceFloat32: true }))).toBe(true);
			expect(isSound(bytes.subarray(0, -1))).toBe(false);
			expect(isSound([...bytes.subarray(0, 1_000_000), 0])).toBe(false);
		}
	});

	test.each([
		["nothing", []],
		["a number as key", [0x81, 0x01, 0x01]],
		["a flag as key", [0x81, 0xc3, 0x01]],
		["an array as key", [0x81, 0x91, 0x01, 0x01]],
		["a fixed extension", [0xd4, 0x01, 0x01]],
		["an extension", [0xc7, 0x01, 0x01, 0x01]],
		["the unused marker", [0xc1]],
		["an array of more than there is", [0xdd, 0xff, 0xff, 0xff, 0xff, 0x01]],
		["a map of more than there is", [0xde, 0xff, 0xff, 0xa1, 0x61]],
		["text of more than there is", [0xdb, 0xff, 0xff, 0xff, 0xff, 0x61]],
		["text that is not UTF-8", [0xd9, 0x01, 0xff]],
	])("%s is refused", (_, bytes) => {
		expect(isSound(bytes)).toBe(false);
	});

	test("levels are counted", () => {
		const nested = (levels: number) => [...new Array(levels).fill(0x91), 0x01];
		expect([isSound(nested(128)), isSound(nested(129))]).toEqual([true, false]);
	});
});

describe("lines", () => {
	async function linesOf(chunks: readonly (string | Uint8Array)[], bytesMax = 10): Promise<ImportLine[]> {
		async function* source() {
			for (const chunk of chunks) yield typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk;
		}
		return Array.fromAsync(splitLines(source(), bytesMax));
	}
	const tooLong = (line: number) => ({ line, error: "the line is longer than 10 bytes" });

	test("lines are numbered, empty ones too, and the last needs no end", async () => {
		expect(await linesOf(["a\r\n\n  \nb\n", "c"])).toEqual([
			{ line: 1, text: "a" },
			{ line: 4, text: "b" },
			{ line: 5, text: "c" },
		]);
		expect(await linesOf(["", "\n"])).toEqual([]);
	});

	test("chunks may end anywhere, within a character too", async () => {
		const bytes = new TextEncoder().encode("aé\nbb\ncc\n");
		for (let size = 1; size <= bytes.length; size++) {
			const chunks = [];
			for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.slice(at, at + size));
			expect((await linesOf(chunks)).map((line) => "text" in line && line.text)).toEqual(["aé", "bb", "cc"]);
		}
	});

	test("a line that is too long is an error, and the next is fine", async () => {
		const long = "x".repeat(11);
		expect(await linesOf([`${long}\na\n`, "xxxxx", "xxxxx", "xx", "xx\nb\n", "x".repeat(10), `\r\n${long}`])).toEqual([
			tooLong(1),
			{ line: 2, text: "a" },
			tooLong(3),
			{ line: 4, text: "b" },
			{ line: 5, text: "xxxxxxxxxx" },
			tooLong(6),
		]);
	});

	test("a line that is not UTF-8 is an error, and the next is fine", async () => {
		expect(await linesOf([new Uint8Array([0xff, 0x0a]), "b"])).toEqual([
			{ line: 1, error: "the line is not valid UTF-8" },
			{ line: 2, text: "b" },
		]);
	});

	test("nothing is read before it is asked for", async () => {
		let read = 0;
		async function* source() {
			for (;;) {
				read++;
				yield new TextEncoder().encode("a\nb\n");
			}
		}
		const lines = splitLines(source(), 10);
		expect(read).toBe(0);
		await lines.next();
		await lines.next();
		expect(read).toBe(1);
		await lines.return();
		expect(read).toBe(1);
	});
});
