import { describe, expect, test } from "bun:test";
import { fullAtAfterTake, fullAtUnderLimit, remainingTokens, waitMs } from "../../src/access/token-bucket.ts";
import { seededRandom } from "../system/random.ts";

const WINDOW_MS = 60_000;

/** Takes a token if there is one. */
class Bucket {
	fullAtMs = 0;

	constructor(
		public limit: number,
		private readonly windowMs = WINDOW_MS,
	) {}

	take(nowMs: number): boolean {
		if (waitMs(this.fullAtMs, this.limit, this.windowMs, nowMs) > 0) return false;
		this.fullAtMs = fullAtAfterTake(this.fullAtMs, this.limit, this.windowMs, nowMs);
		return true;
	}

	takeAll(nowMs: number): number {
		let count = 0;
		while (this.take(nowMs)) count++;
		return count;
	}

	remaining(nowMs: number): number {
		return remainingTokens(this.fullAtMs, this.limit, this.windowMs, nowMs);
	}
}

describe("a token bucket", () => {
	test("never admits more than its limit and what was refilled, in any window of any random run", () => {
		for (let seed = 1; seed <= 40; seed++) {
			const random = seededRandom(seed);
			const limit = 1 + Math.floor(random() * 50);
			const bucket = new Bucket(limit);
			const admittedMs: number[] = [];
			let nowMs = random() * 1e9;
			for (let step = 0; step < 600; step++) {
				// Bursts, with pauses around the time that a token takes.
				if (random() < 0.4) nowMs += (random() * 3 * WINDOW_MS) / limit;
				if (bucket.take(nowMs)) admittedMs.push(nowMs);
			}
			for (let from = 0; from < admittedMs.length; from++) {
				for (let to = from; to < admittedMs.length; to++) {
					const spanMs = admittedMs[to]! - admittedMs[from]!;
					expect(to - from + 1).toBeLessThanOrEqual(limit + (spanMs * limit) / WINDOW_MS + 1e-3);
				}
			}
		}
	});

	test("admits the whole limit at once when full, whatever the limit", () => {
		for (const limit of [1, 2, 3, 7, 60, 999, 1_000, 9_973, 10_000]) {
			for (const windowMs of [60_000, 3_600_000]) expect(new Bucket(limit, windowMs).takeAll(123_456.789)).toBe(limit);
		}
	});

	test("says how long to wait: no earlier and no later", () => {
		const random = seededRandom(7);
		for (let round = 0; round < 200; round++) {
			const limit = 1 + Math.floor(random() * 200);
			const nowMs = random() * 1e7;
			const bucket = new Bucket(limit);
			bucket.takeAll(nowMs);
			const wait = waitMs(bucket.fullAtMs, limit, WINDOW_MS, nowMs);
			expect(wait).toBeGreaterThan(0);
			expect(bucket.take(nowMs + wait * 0.99)).toBe(false);
			expect(bucket.take(nowMs + wait)).toBe(true);
		}
	});

	test("tells exactly how many tokens are left", () => {
		const random = seededRandom(11);
		for (let round = 0; round < 200; round++) {
			const limit = 1 + Math.floor(random() * 100);
			const bucket = new Bucket(limit);
			const nowMs = random() * 1e7;
			const taken = Math.floor(random() * (limit + 1));
			for (let count = 0; count < taken; count++) bucket.take(nowMs);
			expect(bucket.remaining(nowMs)).toBe(limit - taken);
			const laterMs = nowMs + random() * WINDOW_MS;
			const left = bucket.remaining(laterMs);
			expect(bucket.takeAll(laterMs)).toBe(left);
		}
	});

	test("counts the tokens that are spent when its limit changes, at most all there are", () => {
		const bucket = new Bucket(100);
		for (let count = 0; count < 75; count++) bucket.take(0);
		const under = (limit: number, limitBefore = 100) => {
			const changed = new Bucket(limit);
			changed.fullAtMs = fullAtUnderLimit(bucket.fullAtMs, limitBefore, limit, WINDOW_MS, 0);
			return changed;
		};
		expect(under(1_000).takeAll(0)).toBe(925);
		expect(under(80).takeAll(0)).toBe(5);
		expect(under(75).takeAll(0)).toBe(0);
		expect(under(8).takeAll(0)).toBe(0);
		expect(under(8).takeAll(WINDOW_MS)).toBe(8);
		expect(under(100).takeAll(0)).toBe(25);
		// Reckoned under any limit, the share stays.
		expect(under(1_000, 0).takeAll(0)).toBe(250);
	});

	test("that is full stays full under another limit", () => {
		expect(fullAtUnderLimit(500, 10, 20, WINDOW_MS, 1_000)).toBe(1_000);
	});

	test("is never fuller than full", () => {
		const bucket = new Bucket(5);
		bucket.takeAll(0);
		expect(bucket.remaining(100 * WINDOW_MS)).toBe(5);
		expect(bucket.takeAll(100 * WINDOW_MS)).toBe(5);
	});
});
