import { describe, expect, test } from "bun:test";
import { HOUR_MS, MINUTE_MS } from "../../src/access/bucket-kinds.ts";
import { RateLimiter } from "../../src/access/rate-limiter.ts";
import type { RateLimits } from "../../src/hub/models.ts";
import { seededRandom } from "../system/random.ts";
import { FakeClock, keyRecord, START_MS, tenantRecord } from "./access-fixture.ts";

const limits = (perMinute: number, perHour: number, mcpPerMinute = 5): RateLimits => ({
	requests_per_minute: perMinute,
	requests_per_hour: perHour,
	mcp_requests_per_minute: mcpPerMinute,
});
const unixSeconds = (ms: number): number => Math.ceil(ms / 1000);

type Payer = Parameters<RateLimiter["take"]>[0];

function admitted(limiter: RateLimiter, payer: Payer, tries: number, protocol: "rest" | "graphql" | "mcp" = "rest") {
	let count = 0;
	for (let attempt = 0; attempt < tries; attempt++) {
		if (limiter.take(payer, protocol).refusal === undefined) count++;
	}
	return count;
}

describe("the rate limiter", () => {
	test("holds minute and hour limits in every window of any random run", () => {
		for (let seed = 1; seed <= 15; seed++) {
			const random = seededRandom(seed);
			const clock = new FakeClock();
			const perMinute = 2 + Math.floor(random() * 10);
			const perHour = perMinute * (2 + Math.floor(random() * 4));
			const limiter = new RateLimiter(clock, limits(perMinute, perHour));
			const payer = { tenant: tenantRecord("acme") };
			const times: number[] = [];
			for (let step = 0; step < 400; step++) {
				clock.advance(random() < 0.2 ? random() * 10 * MINUTE_MS : random() * 5_000);
				// A wall clock that is set changes nothing.
				if (random() < 0.1) clock.wallMs += (random() - 0.5) * 1e9;
				if (limiter.take(payer, random() < 0.5 ? "rest" : "graphql").refusal === undefined) times.push(clock.elapsedMs);
			}
			for (let from = 0; from < times.length; from++) {
				for (let to = from; to < times.length; to++) {
					const spanMs = times[to]! - times[from]!;
					const count = to - from + 1;
					expect(count).toBeLessThanOrEqual(perMinute + (spanMs * perMinute) / MINUTE_MS + 0.01);
					expect(count).toBeLessThanOrEqual(perHour + (spanMs * perHour) / HOUR_MS + 0.01);
				}
			}
		}
	});

	test("an hour's limit refuses when the minute's would not, and says so", () => {
		const clock = new FakeClock();
		const limiter = new RateLimiter(clock, limits(5, 12));
		const payer = { tenant: tenantRecord("acme") };
		let count = 0;
		for (let minute = 0; minute < 3; minute++) {
			count += admitted(limiter, payer, 10);
			clock.advance(MINUTE_MS);
		}
		// 12 at once, and one token of the hour comes back every 5 minutes.
		expect(count).toBe(12);
		const decision = limiter.take(payer, "rest");
		expect(decision.refusal?.code).toBe("RATE_LIMITED");
		expect(decision.refusal?.details).toMatchObject({ limit: 12, window: "hour", retry_after_seconds: 120 });
		expect(decision.facts).toMatchObject({ limit: 12, remaining: 0 });
	});

	test("a refusal takes no token from any bucket", () => {
		const clock = new FakeClock();
		const limiter = new RateLimiter(clock, limits(1, 100));
		const tenant = tenantRecord("acme");
		expect(admitted(limiter, { tenant }, 50)).toBe(1);
		expect(limiter.usage(tenant).requests_per_hour.used).toBe(1);
	});

	test("says when to come again, and then admits", () => {
		const clock = new FakeClock();
		const limiter = new RateLimiter(clock, limits(2, 1_000));
		const payer = { tenant: tenantRecord("acme") };
		admitted(limiter, payer, 2);
		clock.advance(1_000);
		const refused = limiter.take(payer, "rest");
		if (refused.refusal === undefined) throw new Error("admitted");
		expect(refused.refusal.details).toEqual({
			limit: 2,
			window: "minute",
			reset_at: new Date(START_MS + MINUTE_MS).toISOString(),
			retry_after_seconds: 29,
		});
		expect(refused.facts).toEqual({ limit: 2, remaining: 0, resetUnixSeconds: unixSeconds(START_MS + MINUTE_MS) });
		clock.advance(28_000);
		expect(limiter.take(payer, "rest").refusal).toBeDefined();
		clock.advance(1_000);
		expect(limiter.take(payer, "rest").refusal).toBeUndefined();
	});

	test("never asks to wait less than a second", () => {
		const clock = new FakeClock();
		const limiter = new RateLimiter(clock, limits(60_000, 100_000_000));
		const payer = { tenant: tenantRecord("acme") };
		admitted(limiter, payer, 60_000);
		expect(limiter.take(payer, "rest")).toMatchObject({ refusal: { details: { retry_after_seconds: 1 } } });
	});

	test("tells of the bucket with the fewest tokens left, and when it is full again", () => {
		const clock = new FakeClock();
		const limiter = new RateLimiter(clock, limits(10, 12));
		const payer = { tenant: tenantRecord("acme") };
		expect(limiter.take(payer, "rest").facts).toEqual({
			limit: 10,
			remaining: 9,
			resetUnixSeconds: unixSeconds(START_MS + MINUTE_MS / 10),
		});
		admitted(limiter, payer, 8);
		clock.advance(MINUTE_MS);
		expect(limiter.take(payer, "rest").facts).toEqual({
			limit: 12,
			remaining: 2,
			resetUnixSeconds: unixSeconds(START_MS + 10 * (HOUR_MS / 12)),
		});
	});

	test("telling what is spent takes nothing", () => {
		const clock = new FakeClock();
		const limiter = new RateLimiter(clock, limits(4, 100));
		const payer = { tenant: tenantRecord("acme") };
		expect(limiter.usage(payer.tenant).requests_per_minute).toEqual({ used: 0, limit: 4, reset_in_seconds: 0 });
		limiter.take(payer, "rest");
		expect(limiter.usage(payer.tenant).requests_per_minute).toEqual({ used: 1, limit: 4, reset_in_seconds: 15 });
		expect(admitted(limiter, payer, 10)).toBe(3);
	});

	test("a tenant's own limits replace the node's", () => {
		const limiter = new RateLimiter(new FakeClock(), limits(100, 1_000));
		expect(admitted(limiter, { tenant: tenantRecord("slow", { rate_limits: limits(3, 50) }) }, 20)).toBe(3);
		expect(admitted(limiter, { tenant: tenantRecord("other") }, 20)).toBe(20);
	});

	test("tenants do not spend each other's tokens; a tenant's keys share theirs", () => {
		const limiter = new RateLimiter(new FakeClock(), limits(5, 100));
		const tenant = tenantRecord("acme");
		expect(admitted(limiter, { tenant, key: keyRecord("acme") }, 4)).toBe(4);
		expect(admitted(limiter, { tenant, key: keyRecord("acme") }, 4)).toBe(1);
		expect(admitted(limiter, { tenant: tenantRecord("beta"), key: keyRecord("beta") }, 9)).toBe(5);
	});

	test("a key with limits of its own has buckets of its own, completed by its tenant's limits", () => {
		const limiter = new RateLimiter(new FakeClock(), undefined);
		const tenant = tenantRecord("acme", { rate_limits: limits(5, 7) });
		const key = keyRecord("acme", { rate_limit_override: { requests_per_minute: 20 } });
		expect(admitted(limiter, { tenant, key }, 30)).toBe(7);
		expect(admitted(limiter, { tenant }, 30)).toBe(5);
		const tight = keyRecord("acme", { rate_limit_override: { requests_per_minute: 1 } });
		expect(limiter.take({ tenant, key: tight }, "rest").facts).toMatchObject({ limit: 1, remaining: 0 });
		expect(admitted(limiter, { tenant, key: tight }, 5)).toBe(0);
	});

	test("a key's own limits hold where its tenant is not limited", () => {
		const limiter = new RateLimiter(new FakeClock(), undefined);
		const key = keyRecord("acme", { rate_limit_override: { requests_per_hour: 2 } });
		expect(admitted(limiter, { tenant: tenantRecord("acme"), key }, 9)).toBe(2);
	});

	test("calls over MCP have a bucket of their own", () => {
		const limiter = new RateLimiter(new FakeClock(), limits(5, 5, 3));
		const payer = { tenant: tenantRecord("acme") };
		expect(admitted(limiter, payer, 10, "mcp")).toBe(3);
		expect(admitted(limiter, payer, 3, "graphql") + admitted(limiter, payer, 10, "rest")).toBe(5);
		const refused = limiter.take(payer, "mcp").refusal;
		expect(refused?.details).toMatchObject({ limit: 3, window: "minute" });
	});

	test("who is not limited is admitted without facts", () => {
		const limiter = new RateLimiter(new FakeClock(), undefined);
		const payer = { tenant: tenantRecord("default") };
		expect(admitted(limiter, payer, 5_000)).toBe(5_000);
		expect(limiter.take(payer, "rest")).toEqual({});
		const unlimited = { used: 0, limit: null, reset_in_seconds: 0 };
		expect(limiter.usage(payer.tenant)).toEqual({ requests_per_minute: unlimited, requests_per_hour: unlimited });
	});

	test("only what was set limits, when not everything was", () => {
		const limiter = new RateLimiter(new FakeClock(), { requests_per_minute: 2 });
		const payer = { tenant: tenantRecord("default") };
		expect(admitted(limiter, payer, 9)).toBe(2);
		expect(admitted(limiter, payer, 9, "mcp")).toBe(9);
		expect(limiter.take(payer, "mcp")).toEqual({});
	});

	test("a changed limit counts the tokens that are spent, whichever way it goes", () => {
		const clock = new FakeClock();
		const limiter = new RateLimiter(clock, undefined);
		const acme = (perMinute: number) => ({ tenant: tenantRecord("acme", { rate_limits: limits(perMinute, 100_000) }) });
		expect(admitted(limiter, acme(1_000), 2_000)).toBe(1_000);
		expect(limiter.usage(acme(2_000).tenant).requests_per_minute).toMatchObject({ used: 1_000, limit: 2_000 });
		expect(admitted(limiter, acme(2_000), 400)).toBe(400);
		// Lower again: 1,400 are spent.
		expect(limiter.usage(acme(1_500).tenant).requests_per_minute).toMatchObject({ used: 1_400, limit: 1_500 });
		expect(admitted(limiter, acme(1_500), 200)).toBe(100);
	});

	test("a limit lowered below what is spent leaves nothing, and refills as the new limit says from then on", () => {
		const clock = new FakeClock();
		const limiter = new RateLimiter(clock, undefined);
		const acme = (perMinute: number) => ({ tenant: tenantRecord("acme", { rate_limits: limits(perMinute, 100_000) }) });
		admitted(limiter, acme(1_000), 500);
		expect(limiter.take(acme(10), "rest")).toMatchObject({
			refusal: { details: { retry_after_seconds: 6 } },
			facts: { limit: 10, remaining: 0 },
		});
		clock.advance(5_900);
		expect(admitted(limiter, acme(10), 5)).toBe(0);
		clock.advance(100);
		expect(admitted(limiter, acme(10), 5)).toBe(1);
		clock.advance(MINUTE_MS);
		expect(admitted(limiter, acme(10), 50)).toBe(10);
	});

	test("tokens spent never come back by changing limits, in any random run", () => {
		for (let seed = 1; seed <= 20; seed++) {
			const random = seededRandom(seed);
			const clock = new FakeClock();
			const limiter = new RateLimiter(clock, undefined);
			let limit = 50;
			let tokens = limit;
			for (let step = 0; step < 400; step++) {
				const ms = Math.floor(random() * 2_000);
				clock.advance(ms);
				// Reckoned as anybody would: tokens there, refilled under the limit there was.
				tokens = Math.min(limit, tokens + (ms * limit) / MINUTE_MS);
				if (random() < 0.1) {
					const before = limit;
					limit = 1 + Math.floor(random() * 100);
					tokens = Math.max(0, limit - (before - tokens));
				}
				const tenant = tenantRecord("acme", { rate_limits: limits(limit, 1_000_000) });
				const isAdmitted = limiter.take({ tenant }, "rest").refusal === undefined;
				// Within a rounding of a whole token either answer is right.
				if (Math.abs(tokens - 1) > 1e-3) expect(isAdmitted).toBe(tokens >= 1);
				if (isAdmitted) tokens -= 1;
			}
		}
	});

	test("a tenant that has a key's name has no part in the key's buckets", () => {
		const limiter = new RateLimiter(new FakeClock(), limits(3, 100));
		const key = keyRecord("acme", { rate_limit_override: { requests_per_minute: 2 } });
		expect(admitted(limiter, { tenant: tenantRecord("acme"), key }, 9)).toBe(2);
		expect(admitted(limiter, { tenant: tenantRecord(key.api_key_id) }, 9)).toBe(3);
	});

	test("whoever gets the name of a tenant that is gone starts afresh", () => {
		const limiter = new RateLimiter(new FakeClock(), limits(3, 100));
		const payer = { tenant: tenantRecord("acme") };
		expect(admitted(limiter, payer, 9)).toBe(3);
		limiter.forgetTenant(payer.tenant.id);
		expect(admitted(limiter, payer, 9)).toBe(3);
	});

	test("being forgotten hands out no fresh allowance, in whatever order subjects come", () => {
		const random = seededRandom(3);
		const clock = new FakeClock();
		const limiter = new RateLimiter(clock, limits(4, 1_000), undefined, 3);
		const tenants = Array.from({ length: 12 }, (_, index) => tenantRecord(`tenant-${index}`));
		const times = new Map<string, number[]>();
		for (let step = 0; step < 3_000; step++) {
			clock.advance(random() * 1_500);
			const tenant = tenants[Math.floor(random() * tenants.length)]!;
			if (limiter.take({ tenant }, "rest").refusal !== undefined) continue;
			times.set(tenant.id, [...(times.get(tenant.id) ?? []), clock.elapsedMs]);
		}
		expect(times.size).toBe(tenants.length);
		for (const admittedMs of times.values()) {
			for (let from = 0; from < admittedMs.length; from++) {
				for (let to = from; to < admittedMs.length; to++) {
					const spanMs = admittedMs[to]! - admittedMs[from]!;
					expect(to - from + 1).toBeLessThanOrEqual(4 + (spanMs * 4) / MINUTE_MS + 0.01);
				}
			}
		}
	});

	test("a wall clock that jumps neither frees nor blocks anyone", () => {
		const clock = new FakeClock();
		const limiter = new RateLimiter(clock, limits(2, 100));
		const payer = { tenant: tenantRecord("acme") };
		admitted(limiter, payer, 2);
		clock.wallMs += 365 * 24 * HOUR_MS;
		expect(admitted(limiter, payer, 5)).toBe(0);
		clock.wallMs -= 3 * 365 * 24 * HOUR_MS;
		expect(limiter.take(payer, "rest")).toMatchObject({ refusal: { details: { retry_after_seconds: 30 } } });
		clock.elapsedMs += MINUTE_MS;
		expect(admitted(limiter, payer, 5)).toBe(2);
	});

	test("usage tells what is spent and when nothing will be", () => {
		const clock = new FakeClock();
		const limiter = new RateLimiter(clock, limits(60, 3_600));
		const tenant = tenantRecord("acme");
		admitted(limiter, { tenant }, 30);
		expect(limiter.usage(tenant)).toEqual({
			requests_per_minute: { used: 30, limit: 60, reset_in_seconds: 30 },
			requests_per_hour: { used: 30, limit: 3_600, reset_in_seconds: 30 },
		});
		clock.advance(10_500);
		expect(limiter.usage(tenant).requests_per_minute).toEqual({ used: 20, limit: 60, reset_in_seconds: 20 });
		clock.advance(MINUTE_MS);
		expect(limiter.usage(tenant).requests_per_minute).toEqual({ used: 0, limit: 60, reset_in_seconds: 0 });
	});
});
