import { expect, test } from "bun:test";
import { AddressLimiter } from "../../src/access/address-limiter.ts";
import { FakeClock, START_MS } from "./access-fixture.ts";

const OPERATION = "keys.validate";

function limiterAndAdmitted(limit: number, addressCountMax?: number) {
	const clock = new FakeClock();
	const limiter = new AddressLimiter(clock, addressCountMax);
	const admits = (address: string, operation = OPERATION) =>
		limiter.take(operation, address, limit)?.refusal === undefined;
	return { clock, limiter, admits };
}

test("an address has so many tokens a minute, and is told when to come again", () => {
	const { clock, limiter, admits } = limiterAndAdmitted(2);
	expect([1, 2, 3].map(() => admits("192.0.2.7"))).toEqual([true, true, false]);
	expect(admits("192.0.2.8")).toBe(true);
	const refused = limiter.take(OPERATION, "192.0.2.7", 2)!;
	expect(refused.refusal.code).toBe("RATE_LIMITED");
	expect(refused.refusal.details).toMatchObject({ retry_after_seconds: 30 });
	expect(refused.facts).toEqual({ limit: 2, remaining: 0, resetUnixSeconds: START_MS / 1000 + 60 });
	clock.advance(30_000);
	expect([1, 2].map(() => admits("192.0.2.7"))).toEqual([true, false]);
});

test("each operation counts for itself", () => {
	const { admits } = limiterAndAdmitted(1);
	expect(admits("192.0.2.7")).toBe(true);
	expect(admits("192.0.2.7", "other.operation")).toBe(true);
	expect(admits("192.0.2.7")).toBe(false);
});

test.each([
	["2001:db8:1:2::1", "2001:db8:1:2:aaaa:bbbb:cccc:dddd", true],
	["2001:db8:1:2::1", "2001:DB8:1:2::2", true],
	["2001:db8:1:2::1", "2001:db8:1:3::1", false],
	["2001:db8::1", "2001:db8:0:0:9::", true],
	["::1", "::2", true],
	["::1", "1::1", false],
	["fe80::1", "fe80:0:0:0:1:2:3:4", true],
	["1::", "1:0:0:0:5:6:7:8", true],
	["::ffff:192.0.2.7", "192.0.2.7", true],
	["::ffff:192.0.2.7", "::ffff:192.0.2.8", false],
])("%s and %s are of one household: %p", (first, second, isSame) => {
	const { admits } = limiterAndAdmitted(1);
	expect(admits(first)).toBe(true);
	expect(admits(second)).toBe(!isSame);
});

test("many addresses do not wash away what one has spent", () => {
	const { admits } = limiterAndAdmitted(1, 10);
	expect(admits("192.0.2.7")).toBe(true);
	for (let host = 0; host < 50; host++) admits(`198.51.100.${host}`);
	expect(admits("192.0.2.7")).toBe(false);
});

test("a refusal takes nothing", () => {
	const { clock, admits } = limiterAndAdmitted(1);
	admits("192.0.2.7");
	for (let attempt = 0; attempt < 100; attempt++) expect(admits("192.0.2.7")).toBe(false);
	clock.advance(60_000);
	expect(admits("192.0.2.7")).toBe(true);
});
