import { describe, expect, test } from "bun:test";
import { BucketStore } from "../../src/access/bucket-store.ts";

describe("a store of buckets", () => {
	test("remembers what was written for a subject", () => {
		const store = new BucketStore(2, 10);
		store.use("a", 0)[1] = 500;
		expect([...store.use("a", 0)]).toEqual([0, 500, 0, 0]);
		expect([...store.peek("a")]).toEqual([0, 500, 0, 0]);
		expect([...store.use("b", 0)]).toEqual([0, 0, 0, 0]);
	});

	test("remembers nobody who was only looked at", () => {
		const store = new BucketStore(1, 10);
		expect([...store.peek("a")]).toEqual([0, 0]);
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

	test("the least recently used goes, its limits with it, and whoever comes next starts with what it had spent", () => {
		const store = new BucketStore(2, 2);
		store.use("a", 0).set([700, 100, 7, 7]);
		store.use("b", 0).set([600, 900, 7, 7]);
		store.use("a", 0);
		expect([...store.use("c", 0)]).toEqual([600, 900, 0, 0]);
		expect([...store.peek("a")]).toEqual([700, 100, 7, 7]);
		// `b` itself included: being forgotten was no way out.
		expect([...store.use("b", 0)]).toEqual([700, 900, 0, 0]);
		expect(store.subjectCount).toBe(2);
	});

	test("shrinks as new subjects come once the old ones' buckets are full", () => {
		const store = new BucketStore(1, 100);
		for (let subject = 0; subject < 100; subject++) store.use(`old ${subject}`, 0)[0] = 1_000;
		for (let subject = 0; subject < 25; subject++) store.use(`new ${subject}`, 2_000)[0] = 3_000;
		expect(store.subjectCount).toBeLessThanOrEqual(26);
	});

	test("takes over what its archive kept, and leaves to it whom it still keeps", () => {
		const kept = new Map<string, Float64Array>([["tenant", new Float64Array([500, 3])]]);
		const retired: string[] = [];
		const store = new BucketStore(1, 1, {
			bucketsOf: (subject) => kept.get(subject),
			keep: (subject, buckets) => void kept.set(subject, buckets),
			retire: (subject) => {
				retired.push(subject);
				return subject === "tenant";
			},
		});
		expect([...store.peek("tenant")]).toEqual([500, 3]);
		const buckets = store.use("tenant", 0);
		buckets[0] = 700;
		store.keep("tenant", buckets);
		// Out of memory, and nobody else pays for it.
		expect([...store.use("stranger", 0)]).toEqual([0, 0]);
		expect(retired).toEqual(["tenant"]);
		expect([...store.use("tenant", 0)]).toEqual([700, 3]);
	});

	test("starts afresh with whoever gets the name of a subject that is gone", () => {
		const store = new BucketStore(1, 10);
		store.use("a", 0)[0] = 500;
		store.forget("a");
		expect([...store.use("a", 0)]).toEqual([0, 0]);
	});
});
