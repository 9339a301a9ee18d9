import { describe, expect, test } from "bun:test";
import { BucketStore } from "../../src/access/bucket-store.ts";

describe("a store of buckets", () => {
	test("remembers what was written for a subject", () => {
		const store = new BucketStore(2, 10);
		store.use("a", 0)[1] = 500;
		expect([...store.use("a", 0)]).toEqual([0, 500]);
		expect([...store.peek("a")]).toEqual([0, 500]);
		expect([...store.use("b", 0)]).toEqual([0, 0]);
	});

	test("remembers nobody who was only looked at", () => {
		const store = new BucketStore(1, 10);
		expect([...store.peek("a")]).toEqual([0]);
		expect(store.subjectCount).toBe(0);
	});

	test("never holds more subjects than it may, full buckets going first", () => {
		const store = new BucketStore(1, 3);
		store.use("busy", 0)[0] = 1_000;
		store.use("idle", 0)[0] = 10;
		store.use("late", 0)[0] = 1_000;
		store.use("new", 100);
		expect(store.subjectCount).toBe(3);
		expect(store.peek("busy")[0]).toBe(1_000);
		expect(store.peek("late")[0]).toBe(1_000);
		// Nothing was spent that had to be remembered.
		expect(store.peek("stranger")[0]).toBe(0);
	});

	test("the least recently used goes, and whoever comes next starts with what it had spent", () => {
		const store = new BucketStore(2, 2);
		store.use("a", 0).set([700, 100]);
		store.use("b", 0).set([600, 900]);
		store.use("a", 0);
		expect([...store.use("c", 0)]).toEqual([600, 900]);
		expect([...store.peek("a")]).toEqual([700, 100]);
		// `b` itself included: being forgotten was no way out.
		expect([...store.use("b", 0)]).toEqual([700, 900]);
		expect(store.subjectCount).toBe(2);
	});

	test("shrinks as new subjects come once the old ones' buckets are full", () => {
		const store = new BucketStore(1, 100);
		for (let subject = 0; subject < 100; subject++) store.use(`old ${subject}`, 0)[0] = 1_000;
		for (let subject = 0; subject < 25; subject++) store.use(`new ${subject}`, 2_000)[0] = 3_000;
		expect(store.subjectCount).toBeLessThanOrEqual(26);
	});
});
