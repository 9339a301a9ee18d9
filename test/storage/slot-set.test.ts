import { describe, expect, test } from "bun:test";
import { SlotSet } from "../../src/storage/slot-set.ts";
import { FilterGenerator } from "./filter-generator.ts";

const EDGES = [0, 1, 31, 32, 33, 4_095, 4_096, 65_535, 65_536, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff];
const sorted = (slots: Iterable<number>) => [...slots].sort((a, b) => a - b);

describe("a slot set", () => {
	test("holds any unsigned 32-bit slot, in order", () => {
		const set = SlotSet.of(EDGES.toReversed());
		expect([...set]).toEqual(EDGES);
		expect([...set.toUint32Array()]).toEqual(EDGES);
		expect(set.count).toBe(EDGES.length);
		expect(EDGES.every((slot) => set.has(slot))).toBe(true);
		expect([2, 30, 34, 4_097, 0x7ffffffe, 0x80000001].some((slot) => set.has(slot))).toBe(false);
	});

	test("agrees with a Set through generated operations", () => {
		const generator = new FilterGenerator(99);
		const slot = () => (generator.chance(80) ? generator.below(300) : generator.pick(EDGES));
		for (let round = 0; round < 200; round++) {
			const [a, b] = [new Set(generator.list(300, slot)), new Set(generator.list(300, slot))];
			const [setA, setB] = [SlotSet.of(a), SlotSet.of(b)];
			for (let step = 0; step < 20; step++) {
				const one = slot();
				expect(setA.add(one)).toBe(!a.has(one));
				a.add(one);
			}
			expect([...setA]).toEqual(sorted(a));
			expect(setA.count).toBe(a.size);
			const joined = SlotSet.of(setA).or(setB);
			expect([...joined]).toEqual(sorted(a.union(b)));
			expect(joined.count).toBe(a.union(b).size);
			setA.and(setB);
			expect([...setA]).toEqual(sorted(a.intersection(b)));
			expect(setA.count).toBe(a.intersection(b).size);
			expect([...setB]).toEqual(sorted(b));
		}
	});
});
