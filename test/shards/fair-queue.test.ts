import { expect, test } from "bun:test";
import { FairQueue } from "../../src/shards/fair-queue.ts";

const BOUNDS = { perKeyMax: 10_000, totalMax: 100_000, bytesMax: 1_000_000 };

function drain(queue: FairQueue<string>): string[] {
	const order: string[] = [];
	for (let next = queue.shift(); next !== undefined; next = queue.shift()) order.push(next.item);
	return order;
}

test("a tenant's items are served in the order in which they came", () => {
	const queue = new FairQueue<string>(BOUNDS);
	const items = Array.from({ length: 300 }, (_, index) => `a${index}`);
	for (const item of items) queue.push("a", item, 1, 0);
	expect(drain(queue)).toEqual(items);
	expect(queue.size).toBe(0);
});

test("a newcomer's first item is served next but one, however many another has waiting", () => {
	const queue = new FairQueue<string>(BOUNDS);
	for (let index = 0; index < 1_000; index++) queue.push("flood", `flood${index}`, 1, 0);
	for (let index = 0; index < 10; index++) queue.shift();
	queue.push("calm", "calm", 1, 0);
	const order = [queue.shift()?.item, queue.shift()?.item];
	expect(order).toContain("calm");
});

test("tenants get equal cost, not equal counts", () => {
	const queue = new FairQueue<string>(BOUNDS);
	for (let index = 0; index < 100; index++) queue.push("heavy", "heavy", 10, 0);
	for (let index = 0; index < 1_000; index++) queue.push("light", "light", 1, 0);
	let heavy = 0;
	let light = 0;
	for (let index = 0; index < 550; index++) {
		if (queue.shift()?.item === "heavy") heavy += 10;
		else light += 1;
	}
	expect(Math.abs(heavy - light)).toBeLessThanOrEqual(20);
});

test("letting one's line run empty gains no turn", () => {
	const queue = new FairQueue<string>(BOUNDS);
	for (let index = 0; index < 50; index++) queue.push("steady", "steady", 1, 0);
	let greedy = 0;
	for (let index = 0; index < 40; index++) {
		// One item at a time, a new one as soon as the last was taken.
		if (index === 0) queue.push("greedy", "greedy", 4, 0);
		if (queue.shift()?.item === "greedy") {
			greedy++;
			queue.push("greedy", "greedy", 4, 0);
		}
	}
	expect(greedy).toBeLessThanOrEqual(9);
});

test("random traffic comes out complete, each tenant's in order", () => {
	let seed = 7;
	const random = (below: number): number => {
		seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
		return seed % below;
	};
	const queue = new FairQueue<string>(BOUNDS);
	const pushed = new Map<string, string[]>();
	const taken = new Map<string, string[]>();
	const note = (log: Map<string, string[]>, item: string): void => {
		const key = item.split(":")[0]!;
		log.set(key, [...(log.get(key) ?? []), item]);
	};
	for (let step = 0; step < 5_000; step++) {
		if (random(5) < 3) {
			const item = `${random(20)}:${step}`;
			queue.push(item.split(":")[0]!, item, 1 + random(50), 0);
			note(pushed, item);
		} else {
			const next = queue.shift();
			if (next !== undefined) note(taken, next.item);
		}
	}
	for (const item of drain(queue)) note(taken, item);
	expect(taken).toEqual(pushed);
});

test("thousands of tenants that came and went are forgotten without losing those who wait", () => {
	const queue = new FairQueue<string>(BOUNDS);
	queue.push("last", "first", 1, 0);
	queue.push("last", "second", 1_000_000, 0);
	queue.shift();
	for (let index = 0; index < 3_000; index++) {
		queue.push(`tenant${index}`, `item${index}`, 1, 0);
		queue.push(`tenant${index}`, `more${index}`, 1, 0);
		queue.shift();
		queue.shift();
	}
	expect(drain(queue)).toHaveLength(1);
});

test("an item past a bound is refused and changes nothing", () => {
	const perKey = new FairQueue<string>({ ...BOUNDS, perKeyMax: 2 });
	expect([perKey.push("a", "1", 1, 0), perKey.push("a", "2", 1, 0), perKey.push("a", "3", 1, 0)]).toEqual([
		true,
		true,
		false,
	]);
	expect(perKey.push("b", "4", 1, 0)).toBe(true);
	expect(drain(perKey)).toEqual(["1", "4", "2"]);

	const total = new FairQueue<string>({ ...BOUNDS, totalMax: 1 });
	expect([total.push("a", "1", 1, 0), total.push("b", "2", 1, 0)]).toEqual([true, false]);

	const bytes = new FairQueue<string>({ ...BOUNDS, bytesMax: 10 });
	expect([bytes.push("a", "1", 1, 8), bytes.push("b", "2", 1, 8)]).toEqual([true, false]);
	bytes.shift();
	// Larger than the bound, but alone.
	expect(bytes.push("b", "2", 1, 80)).toBe(true);
});
