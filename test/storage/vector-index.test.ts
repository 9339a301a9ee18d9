import { afterAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { Quantizer } from "../../src/storage/quantizer.ts";
import { Scorer } from "../../src/storage/scorer.ts";
import { nearestRows, VectorIndex, type VectorIndexOptions } from "../../src/storage/vector-index.ts";
import { gaussian, seededRandom, temporaryFolder } from "./shard-fixture.ts";

const folder = temporaryFolder();
afterAll(() => folder.remove());

const OPTIONS: VectorIndexOptions = { dimension: 4, metric: "ip", kind: "f32", m: 16, efConstruction: 64 };

function filled(changes: Partial<VectorIndexOptions> = {}): VectorIndex {
	const index = new VectorIndex({ ...OPTIONS, ...changes });
	const rows = [1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 3, 0];
	index.add([10, 20, 30], index.options.kind === "i8" ? Int8Array.from(rows) : Float32Array.from(rows));
	return index;
}

describe("what USearch would crash or err on is refused at the door", () => {
	const index = filled();
	const refused: readonly [string, () => unknown][] = [
		["a row too short", () => index.add([1], new Float32Array(3))],
		["a row too long", () => index.add([1], new Float32Array(5))],
		["fewer rows than keys", () => index.add([1, 2], new Float32Array(4))],
		["another kind of numbers", () => index.add([1], new Int8Array(4))],
		["a key that is there", () => index.add([40, 20], new Float32Array(8))],
		["a key twice", () => index.add([40, 40], new Float32Array(8))],
		["a negative key", () => index.add([-1], new Float32Array(4))],
		["a key past the slots", () => index.add([2 ** 32], new Float32Array(4))],
		["a broken key", () => index.add([1.5], new Float32Array(4))],
		["a query of another dimension", () => index.search(new Float32Array(3), 1)],
		["two queries", () => index.search(new Float32Array(8), 1)],
		["a query of another kind", () => index.search(new Int8Array(4), 1)],
		["removing a broken key", () => index.remove(-5)],
		["a scan of more rows than there are", () => nearestRows(new Float32Array(8), 3, new Float32Array(4), 1, "ip")],
		["a scan for more than there are", () => nearestRows(new Float32Array(8), 2, new Float32Array(4), 3, "ip")],
		["a scan for nothing", () => nearestRows(new Float32Array(8), 2, new Float32Array(4), 0, "ip")],
		["a scan from a view", () => nearestRows(new Float32Array(12).subarray(4), 2, new Float32Array(4), 1, "ip")],
		["a scan with a view", () => nearestRows(new Float32Array(8), 2, new Float32Array(8).subarray(4), 1, "ip")],
	];
	for (const [name, call] of refused) test(name, () => expect(call).toThrow());

	test("a detached buffer", () => {
		const rows = new Float32Array(4);
		structuredClone(rows.buffer, { transfer: [rows.buffer] });
		expect(() => index.add([1], rows)).toThrow();
		expect(() => index.search(rows, 1)).toThrow();
	});

	test("nothing of it was applied", () => expect([index.count, index.tombstoneCount]).toEqual([3, 0]));
});

test("a search returns no more than there are, nearest first", () => {
	for (const kind of ["f32", "f16", "bf16", "i8"] as const) {
		const index = filled({ kind });
		const query = kind === "i8" ? Int8Array.of(1, 2, 3, 0) : Float32Array.of(1, 2, 3, 0);
		const { keys, count } = index.search(query, 100);
		expect([...keys].slice(0, count)).toEqual([30, 20, 10]);
		expect(index.search(query, 0).count).toBe(0);
	}
	expect(new VectorIndex(OPTIONS).search(new Float32Array(4), 5).count).toBe(0);
});

test("removed vectors never come back, and their nodes are used again", () => {
	const index = filled();
	expect(index.remove(20)).toBe(true);
	expect(index.remove(20)).toBe(false);
	expect([index.count, index.tombstoneCount]).toEqual([2, 1]);
	expect([...index.search(Float32Array.of(0, 1, 0, 0), 5).keys]).not.toContain(20);
	index.add([20], Float32Array.of(0, 0, 0, 9));
	expect([index.count, index.tombstoneCount]).toEqual([3, 0]);
	expect(index.search(Float32Array.of(0, 0, 0, 1), 1).keys[0]).toBe(20);
});

test("a saved graph is loaded as it was", () => {
	const path = join(folder.path, "graph");
	const index = filled({ kind: "i8", metric: "l2sq" });
	index.remove(10);
	index.save(path);
	const loaded = new VectorIndex(index.options);
	loaded.load(path, 1);
	expect([loaded.count, loaded.tombstoneCount]).toEqual([2, 1]);
	expect(loaded.search(Int8Array.of(0, 0, 3, 0), 3)).toEqual(index.search(Int8Array.of(0, 0, 3, 0), 3));
	expect(() => new VectorIndex({ ...index.options, dimension: 5 }).load(path, 1)).toThrow();
});

describe("a quantizer keeps what ranks apart", () => {
	const random = seededRandom(3);
	const sampleOf = (count: number, number: (at: number) => number) =>
		Float32Array.from({ length: count * 4 }, (_, at) => number(Math.floor(at / 4)));

	test("rows within its range fit, others don't, and zeros always do", () => {
		const sample = sampleOf(500, () => gaussian(random) * 100);
		for (const kind of ["f32", "f16", "bf16", "i8"] as const) {
			const quantizer = Quantizer.choose("dot", kind, sample, 4);
			expect(quantizer.state.kind).toBe(kind);
			const buffer = quantizer.buffer(4);
			const fits = (numbers: number[]) => quantizer.encodeRow(Float32Array.from(numbers), 0, 4, buffer, 0);
			expect(fits([100, -50, 0, 1])).toBe(true);
			expect(fits([0, 0, 0, 0])).toBe(true);
			expect(fits([1e30, 0, 0, 0])).toBe(false);
			expect(fits([1e-30, 0, 0, 0])).toBe(false);
		}
	});

	test("data that a narrow kind can't hold lies in a wide one", () => {
		const sample = sampleOf(500, (at) => (1 + random()) * 10 ** (at % 15));
		expect(Quantizer.choose("dot", "i8", sample, 4).state.kind).toBe("bf16");
		expect(Quantizer.choose("dot", "f16", sample, 4).state.kind).toBe("bf16");
	});

	test("a far centre costs distances no digits", () => {
		const sample = sampleOf(500, () => 1_000_000 + gaussian(random));
		const quantizer = Quantizer.choose("euclidean", "i8", sample, 4);
		const [a, b] = [quantizer.buffer(4), quantizer.buffer(4)];
		quantizer.encodeRow(Float32Array.of(1_000_000, 1_000_000, 1_000_000, 1_000_000), 0, 4, a, 0);
		quantizer.encodeRow(Float32Array.of(1_000_001, 1_000_000, 1_000_000, 1_000_000), 0, 4, b, 0);
		expect(b[0]! - a[0]!).toBeGreaterThan(10);
	});

	test("a query too far out is not for the graph", () => {
		const quantizer = Quantizer.choose(
			"euclidean",
			"i8",
			sampleOf(500, () => gaussian(random)),
			4,
		);
		const scorer = new Scorer("euclidean", 4);
		expect(quantizer.encodeQuery(scorer.query(Float32Array.of(1, 1, 1, 1), "vector"))).toBeInstanceOf(Int8Array);
		expect(quantizer.encodeQuery(scorer.query(Float32Array.of(1e9, 1, 1, 1), "vector"))).toBeUndefined();
	});
});
