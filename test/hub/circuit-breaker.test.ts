import { beforeEach, describe, expect, test } from "bun:test";
import { HiveError } from "../../src/base/errors.ts";
import type { TenantId } from "../../src/base/ids.ts";
import { CircuitBreaker, CircuitOpenError } from "../../src/hub/circuit-breaker.ts";
import { HUB_LIMITS } from "../../src/hub/hub-limits.ts";
import { newClient, rejectionOf, TestClock } from "./hub-rig.ts";

/** Jitter at its most, which comes to the whole pause all but a 512th. */
const mostJitter = (byteCount: number) => new Uint8Array(byteCount).fill(255);
const dead = () => Promise.reject(new Error("dead"));
const alive = () => Promise.resolve("an answer");

describe("a circuit breaker", () => {
	let clock: TestClock;
	let changes: string[];
	let breaker: CircuitBreaker;

	beforeEach(() => {
		clock = new TestClock();
		changes = [];
		breaker = new CircuitBreaker({
			clock,
			random: mostJitter,
			judge: (error) => (error as Error).message as "alive" | "dead" | "unknown",
			onChange: (state, error) => changes.push(error === undefined ? state : `${state}: ${(error as Error).message}`),
		});
	});

	const isOpen = async (): Promise<boolean> => {
		try {
			await breaker.run(alive);
			return false;
		} catch (error) {
			expect(error).toBeInstanceOf(CircuitOpenError);
			return true;
		}
	};
	const fail = async (count: number) => {
		for (let index = 0; index < count; index++) await rejectionOf(breaker.run(dead));
	};
	const advanceMs = (ms: number) => clock.advanceSeconds(ms / 1_000);

	test("opens after so many failures in a row, and a refusal ends a row as an answer does", async () => {
		for (const end of [alive, () => Promise.reject(new Error("alive"))]) {
			await fail(HUB_LIMITS.breakerFailuresMax - 1);
			await breaker.run(end).catch(() => {});
		}
		await fail(HUB_LIMITS.breakerFailuresMax - 1);
		// A call that never got there says nothing, one way or the other.
		await rejectionOf(breaker.run(() => Promise.reject(new Error("unknown"))));
		expect(changes).toEqual([]);
		await fail(1);
		expect(changes).toEqual(["open: dead"]);
		expect(await isOpen()).toBe(true);
	});

	test("lets one call find out after a pause, the others fail at once meanwhile, and an answer closes it", async () => {
		await fail(HUB_LIMITS.breakerFailuresMax);
		advanceMs(HUB_LIMITS.breakerPauseFirstMs * 0.99);
		expect(await isOpen()).toBe(true);
		advanceMs(HUB_LIMITS.breakerPauseFirstMs * 0.01);
		const answer = Promise.withResolvers<string>();
		const probe = breaker.run(() => answer.promise);
		expect(await isOpen()).toBe(true);
		answer.resolve("there");
		expect(await probe).toBe("there");
		expect(await isOpen()).toBe(false);
		expect(changes).toEqual(["open: dead", "closed"]);
	});

	test("pauses twice as long after each try in vain, up to its bound, and is told of once", async () => {
		await fail(HUB_LIMITS.breakerFailuresMax);
		for (let pauseMs: number = HUB_LIMITS.breakerPauseFirstMs, round = 0; round < 8; round++) {
			expect(await isOpen()).toBe(true);
			advanceMs(pauseMs * 0.9);
			expect(await isOpen()).toBe(true);
			advanceMs(pauseMs * 0.1);
			expect(String(await rejectionOf(breaker.run(dead)))).toContain("dead");
			pauseMs = Math.min(pauseMs * 2, HUB_LIMITS.breakerPauseMaxMs);
		}
		expect(changes).toEqual(["open: dead"]);
	});

	test("an answer that came another way closes it at once, and a probe that ends later opens nothing", async () => {
		await fail(HUB_LIMITS.breakerFailuresMax);
		breaker.close();
		expect(await isOpen()).toBe(false);
		await fail(HUB_LIMITS.breakerFailuresMax - 1);
		breaker.close();
		await fail(HUB_LIMITS.breakerFailuresMax - 1);
		expect(await isOpen()).toBe(false);
		await fail(HUB_LIMITS.breakerFailuresMax);
		advanceMs(HUB_LIMITS.breakerPauseFirstMs);
		const answer = Promise.withResolvers<string>();
		const probe = rejectionOf(breaker.run(() => answer.promise));
		breaker.close();
		answer.reject(new Error("dead"));
		await probe;
		expect(await isOpen()).toBe(false);
	});
});

describe("a hub client's circuit breaker", () => {
	const tenant = "acme" as TenantId;

	test("calls fail at once without being made, the long poll is made all the same and lets them through again", async () => {
		const calls: string[] = [];
		let isThere = false;
		const client = newClient(
			async (request) => {
				calls.push(new URL(request.url).pathname.slice("/api/v1".length));
				if (!isThere) throw new TypeError("connection refused");
				if (request.url.includes("/changes")) return Response.json({ changes: [], cursor: 7, reset: false });
				return Response.json({ error: "no", code: "TENANT_NOT_FOUND" }, { status: 404 });
			},
			{ clock: new TestClock() },
		);
		const never = new AbortController().signal;
		for (let index = 0; index < HUB_LIMITS.breakerFailuresMax; index++) await rejectionOf(client.getTenant(tenant));
		expect(calls).toHaveLength(HUB_LIMITS.breakerFailuresMax);
		const blocked = await rejectionOf(client.getTenant(tenant));
		expect(blocked).toBeInstanceOf(HiveError);
		expect(blocked).toMatchObject({
			code: "HUB_UNAVAILABLE",
			message: "the hub can't be reached",
			details: { retry_after_seconds: 1 },
		});
		expect(await rejectionOf(client.reportUsage({ node_id: "n", sequence: 1, entries: [] }))).toMatchObject({
			code: "HUB_UNAVAILABLE",
		});
		expect(calls).toHaveLength(HUB_LIMITS.breakerFailuresMax);
		await rejectionOf(client.changes(7, 0, never));
		expect(calls.at(-1)).toBe("/changes");
		await rejectionOf(client.getTenant(tenant));
		expect(calls.at(-1)).toBe("/changes");

		isThere = true;
		await rejectionOf(client.getTenant(tenant));
		expect(calls.at(-1)).toBe("/changes");
		await client.changes(7, 0, never);
		expect(await client.getTenant(tenant)).toBeUndefined();
	});

	test("a hub that refuses everything is there, however often it does", async () => {
		let callCount = 0;
		const client = newClient(async () => {
			callCount += 1;
			return Response.json({ error: "no", code: "CONFLICT" }, { status: 409 });
		});
		for (let index = 0; index < HUB_LIMITS.breakerFailuresMax * 3; index++) {
			expect(await rejectionOf(client.createTenant({ id: tenant, name: "x" }))).toMatchObject({ code: "CONFLICT" });
		}
		expect(callCount).toBe(HUB_LIMITS.breakerFailuresMax * 3);
	});
});
