import { describe, expect, test } from "bun:test";
import { BruteForceGuard, type BruteForceLimits } from "../../src/access/brute-force-guard.ts";
import { FakeClock } from "./access-fixture.ts";

const LIMITS: BruteForceLimits = { failures: 5, windowSeconds: 60, blockSeconds: 300 };

function rig(limits: Partial<BruteForceLimits> = {}, addressCountMax?: number) {
	const clock = new FakeClock();
	const guard = new BruteForceGuard(clock, { ...LIMITS, ...limits }, addressCountMax);
	const isBlocked = (address: string) => guard.refusal(address) !== undefined;
	const fail = (address: string, count: number) => {
		const began: boolean[] = [];
		for (let time = 0; time < count; time++) began.push(guard.failed(address));
		return began;
	};
	return { clock, guard, isBlocked, fail };
}

describe("an address", () => {
	test("is shut out by the last of its failures, for the time that was set", () => {
		const { clock, guard, isBlocked, fail } = rig();
		expect(fail("192.0.2.7", 4)).toEqual([false, false, false, false]);
		expect(isBlocked("192.0.2.7")).toBe(false);
		expect(fail("192.0.2.7", 1)).toEqual([true]);
		clock.advance(1);
		const refusal = guard.refusal("192.0.2.7")!;
		expect([refusal.code, refusal.details]).toEqual(["AUTH_RATE_LIMIT", { retry_after_seconds: 300 }]);
		expect(refusal.message).not.toContain("192.0.2.7");
		expect(isBlocked("192.0.2.8")).toBe(false);
		clock.advance(299_998);
		expect(guard.refusal("192.0.2.7")!.details).toEqual({ retry_after_seconds: 1 });
		clock.advance(1);
		expect(isBlocked("192.0.2.7")).toBe(false);
		// And begins anew.
		expect(fail("192.0.2.7", 5)).toEqual([false, false, false, false, true]);
	});

	test("is not shut out longer for failing on", () => {
		const { clock, isBlocked, fail } = rig();
		fail("192.0.2.7", 5);
		clock.advance(299_999);
		expect(fail("192.0.2.7", 10)).not.toContain(true);
		clock.advance(1);
		expect(isBlocked("192.0.2.7")).toBe(false);
	});

	test("may fail again when its failures are older than the window, each by its own time", () => {
		const { clock, fail } = rig();
		for (let time = 0; time < 4; time++) {
			expect(fail("192.0.2.7", 1)).toEqual([false]);
			clock.advance(15_000);
		}
		expect(fail("192.0.2.7", 1)).toEqual([false]);
		expect(fail("192.0.2.7", 1)).toEqual([true]);
	});

	test("starts over after a success, but a block that stands, stands", () => {
		const { guard, isBlocked, fail } = rig();
		fail("192.0.2.7", 4);
		guard.succeeded("192.0.2.8");
		guard.succeeded("192.0.2.7");
		expect(fail("192.0.2.7", 4)).not.toContain(true);
		fail("192.0.2.7", 1);
		guard.succeeded("192.0.2.7");
		expect(isBlocked("192.0.2.7")).toBe(true);
	});

	test("is a /64 where it is IPv6, and the same mapped or not where it is IPv4", () => {
		const { isBlocked, fail } = rig();
		for (let host = 1; host <= 5; host++) fail(`2001:db8:0:1::${host}`, 1);
		expect(isBlocked("2001:db8:0:1:ffff:ffff:ffff:ffff")).toBe(true);
		expect(isBlocked("2001:db8:0:2::1")).toBe(false);
		fail("::ffff:192.0.2.7", 5);
		expect(isBlocked("192.0.2.7")).toBe(true);
	});

	test("is counted by a clock that no one can set", () => {
		const { clock, isBlocked, fail } = rig();
		fail("192.0.2.7", 5);
		clock.wallMs += 3_600_000;
		expect(isBlocked("192.0.2.7")).toBe(true);
	});
});

test("a single failure may be enough, and a million may be allowed", () => {
	expect(rig({ failures: 1 }).fail("192.0.2.7", 1)).toEqual([true]);
	const { clock, guard, fail } = rig({ failures: 100_000 });
	for (let time = 0; time < 99; time++) {
		fail("192.0.2.7", 1_000);
		clock.advance(500);
	}
	expect(fail("192.0.2.7", 999)).not.toContain(true);
	expect(guard.failed("192.0.2.7")).toBe(true);
	// A failure counts a little longer then, never less.
	const other = rig({ failures: 100 });
	other.fail("192.0.2.7", 50);
	other.clock.advance(59_999);
	expect(other.fail("192.0.2.7", 50).at(-1)).toBe(true);
	const late = rig({ failures: 100 });
	late.fail("192.0.2.7", 50);
	late.clock.advance(64_000);
	expect(late.fail("192.0.2.7", 99)).not.toContain(true);
});

describe("memory is bounded", () => {
	test("and counts go before blocks, the longest quiet first", () => {
		const { guard, isBlocked, fail } = rig({}, 3);
		fail("192.0.2.1", 5);
		fail("192.0.2.2", 4);
		fail("192.0.2.3", 4);
		for (let host = 10; host < 100; host++) fail(`198.51.100.${host}`, 1);
		expect(guard.addressCount).toBe(3);
		expect(isBlocked("192.0.2.1")).toBe(true);
		expect(fail("192.0.2.2", 1)).toEqual([false]);
		expect(fail("198.51.100.99", 4).at(-1)).toBe(true);
	});

	test("and when there is nothing but blocks, the one that ends first goes", () => {
		const { clock, guard, isBlocked, fail } = rig({}, 3);
		for (let host = 1; host <= 3; host++) {
			fail(`192.0.2.${host}`, 5);
			clock.advance(1_000);
		}
		fail("192.0.2.4", 1);
		expect(guard.addressCount).toBe(3);
		expect([1, 2, 3].map((host) => isBlocked(`192.0.2.${host}`))).toEqual([false, true, true]);
		// An address that fails on in a full store keeps its own count.
		expect(fail("192.0.2.4", 4).at(-1)).toBe(true);
		expect(isBlocked("192.0.2.2")).toBe(true);
	});

	test("and blocks that are over go by themselves", () => {
		const { clock, guard, fail } = rig();
		for (let host = 1; host <= 50; host++) fail(`192.0.2.${host}`, 5);
		expect(guard.addressCount).toBe(50);
		clock.advance(300_000);
		fail("198.51.100.1", 1);
		expect(guard.addressCount).toBe(1);
	});
});
