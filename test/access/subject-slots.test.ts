import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HOUR_MS, MINUTE_MS } from "../../src/access/bucket-kinds.ts";
import { RateLimiter } from "../../src/access/rate-limiter.ts";
import { SLOT_BYTES, type SlotDisk, SlotFile } from "../../src/access/slot-file.ts";
import { keySubject, SubjectSlots } from "../../src/access/subject-slots.ts";
import type { RateLimits } from "../../src/hub/models.ts";
import { seededRandom } from "../system/random.ts";
import { FakeClock, keyRecord, tenantRecord } from "./access-fixture.ts";

const root = mkdtempSync(join(tmpdir(), "hive-subjects-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
/** What a promise is rejected with. */
const failureOf = (promise: Promise<unknown>): Promise<string> =>
	promise.then(
		() => "nothing",
		(error: Error) => error.message,
	);

let path = "";
let count = 0;
let logged: string[] = [];
beforeEach(() => {
	path = join(root, `counters-${count++}`);
	logged = [];
});

const MADE = "2029-12-31T00:00:00.000Z";
const limits = (perMinute: number, perHour: number, mcpPerMinute = 5): RateLimits => ({
	requests_per_minute: perMinute,
	requests_per_hour: perHour,
	mcp_requests_per_minute: mcpPerMinute,
});

/** What a process does that starts on the file; the one before was killed. */
function open(clock = new FakeClock(), disk?: SlotDisk): SubjectSlots {
	const log = { warn: (_: unknown, message: string) => void logged.push(message) };
	return new SubjectSlots(clock, log, (onSlot) =>
		SlotFile.open(path, onSlot, {
			onDamage: (message) => void logged.push(message),
			...(disk !== undefined && { disk }),
		}),
	);
}

/** A later process: its monotonic clock starts anew. */
function restarted(clock: FakeClock, awayMs: number, wallJumpMs = 0): FakeClock {
	const next = new FakeClock();
	next.wallMs = clock.wallMs + awayMs + wallJumpMs;
	next.elapsedMs = 7;
	return next;
}

describe("counts", () => {
	test("that were settled outlive the process, and what was not is as it was", () => {
		const slots = open();
		slots.counting("acme", MADE).requests = 3;
		slots.settle("acme");
		slots.counting("acme", MADE).requests = 4;
		slots.counting("beta", MADE).searches = 1;
		const next = open();
		expect(next.get("acme")).toMatchObject({ createdAtMs: Date.parse(MADE), requests: 3, searches: 0 });
		expect(next.get("beta")).toBeUndefined();
	});

	test("are exact beyond 32 bits", () => {
		const slots = open();
		const slot = slots.counting("acme", MADE);
		slot.requests = Number.MAX_SAFE_INTEGER;
		slot.reported = { requests: Number.MAX_SAFE_INTEGER - 1, searches: 0, vectorsWritten: 0 };
		slots.settle("acme");
		const { requests, reported } = open().get("acme")!;
		expect(requests - reported.requests).toBe(1);
	});

	test("belong to a tenant, not to its name: the next of that name starts at nothing", () => {
		const slots = open();
		const slot = slots.counting("acme", MADE);
		slot.requests = 9;
		slot.reported = { requests: 5, searches: 0, vectorsWritten: 0 };
		slots.settle("acme");
		expect(slots.counting("acme", "2030-01-01T00:00:00.000Z")).toMatchObject({
			requests: 0,
			reported: { requests: 0 },
		});
		slots.settle("acme");
		expect(open().get("acme")).toMatchObject({ requests: 0, createdAtMs: Date.parse("2030-01-01T00:00:00.000Z") });
	});

	test("stay a tenant's however the hub writes its time of creation", () => {
		for (const createdAt of [
			"2029-12-31T00:00:00Z",
			"2029-12-31T00:00:00.000400Z",
			"2029-12-31T01:00:00+01:00",
			"once",
		]) {
			open().forget("acme");
			const slots = open();
			slots.counting("acme", createdAt).requests = 9;
			slots.settle("acme");
			expect(open().counting("acme", createdAt).requests).toBe(9);
		}
	});

	test("of a subject that is gone are gone, and its slot is another's", () => {
		const slots = open();
		slots.counting("acme", MADE).requests = 9;
		slots.settle("acme");
		slots.forget("acme");
		slots.forget("nobody");
		expect(open().get("acme")).toBeUndefined();
	});

	test("of many tenants keep apart over restarts, in any random run", () => {
		const random = seededRandom(5);
		const expected = new Map<string, number>();
		for (let run = 0; run < 6; run++) {
			const slots = open();
			for (const [tenant, requests] of expected) expect(slots.get(tenant)?.requests).toBe(requests);
			expect([...slots.all()]).toHaveLength(expected.size);
			for (let step = 0; step < 2_000; step++) {
				const tenant = `tenant-${Math.floor(random() * 1_500)}`;
				if (random() < 0.1) {
					slots.forget(tenant);
					expected.delete(tenant);
					continue;
				}
				slots.counting(tenant, MADE).requests++;
				slots.settle(tenant);
				expected.set(tenant, (expected.get(tenant) ?? 0) + 1);
			}
		}
	});

	test("of a tenant with the longest name come back", () => {
		const longest = `a${"-".repeat(62)}`;
		const slots = open();
		slots.counting(longest, MADE).requests = 1;
		slots.settle(longest);
		expect(open().get(longest)?.requests).toBe(1);
	});
});

describe("a disk that fails", () => {
	function failingDisk() {
		const disk = {
			fails: false,
			/** Makes no room, but lets what is there be written. */
			isFull: false,
			write: (file: number, bytes: Uint8Array, offset: number, length: number, position: number): number => {
				if (disk.fails || (disk.isFull && length > SLOT_BYTES)) throw new Error("EIO");
				return writeSync(file, bytes, offset, length, position);
			},
			sync: async () => {
				if (disk.fails) throw new Error("EIO");
			},
		};
		return disk;
	}

	test("stops no counting, is told of once, and has everything when it is back", async () => {
		const disk = failingDisk();
		const slots = open(new FakeClock(), disk);
		slots.counting("acme", MADE).requests = 1;
		slots.settle("acme");
		disk.fails = true;
		for (let request = 0; request < 5; request++) {
			slots.counting("acme", MADE).requests++;
			slots.settle("acme");
		}
		expect(logged).toHaveLength(1);
		expect(await failureOf(slots.sync())).toContain("can't be brought to disk");
		expect(slots.get("acme")?.requests).toBe(6);
		disk.fails = false;
		slots.settle("acme");
		expect(logged).toEqual([expect.any(String), "counters are on disk again"]);
		expect(open().get("acme")?.requests).toBe(6);
	});

	test("keeps no tenant from being counted when it is full", async () => {
		const disk = failingDisk();
		const slots = open(new FakeClock(), disk);
		disk.isFull = true;
		const tenants = Array.from({ length: 1_500 }, (_, index) => `tenant-${index}`);
		for (const tenant of tenants) {
			slots.counting(tenant, MADE).requests = 1;
			slots.settle(tenant);
		}
		expect(open().get("tenant-1000")?.requests).toBe(1);
		expect(await failureOf(slots.sync())).toContain("brought to disk");
		disk.isFull = false;
		await slots.sync();
		expect([...open().all()]).toHaveLength(1_500);
		await slots.close();
	});

	test("does not keep the counters from closing, after which nothing is taken for synced", async () => {
		const disk = failingDisk();
		const slots = open(new FakeClock(), disk);
		slots.counting("acme", MADE);
		disk.fails = true;
		await slots.close();
		await slots.close();
		expect(await failureOf(slots.sync())).toContain("closed");
		slots.counting("acme", MADE);
		slots.settle("acme");
	});

	test("may keep a slot that was given back: of two of one tenant the later holds", () => {
		const disk = failingDisk();
		let slots = open(new FakeClock(), disk);
		slots.counting("acme", MADE).requests = 50;
		slots.counting("blocker", MADE);
		slots.settle("acme");
		slots.settle("blocker");
		disk.fails = true;
		slots.forget("acme");
		disk.fails = false;
		// The slot that comes free last is given out first.
		slots.forget("blocker");
		slots.counting("acme", "2030-01-01T00:00:00.000Z").requests = 2;
		slots.settle("acme");
		for (let restart = 0; restart < 2; restart++) {
			slots = open();
			expect(slots.get("acme")?.requests).toBe(2);
			expect([...slots.all()]).toHaveLength(1);
		}
	});
});

test("without a file everything is in memory, and closing and syncing are nothing", async () => {
	const slots = new SubjectSlots(new FakeClock(), { warn: () => {} });
	slots.counting("acme", MADE).requests = 1;
	slots.settle("acme");
	await slots.sync();
	expect(slots.get("acme")?.requests).toBe(1);
	await slots.close();
});

describe("spent tokens", () => {
	const tenant = tenantRecord("acme");
	const admitted = (
		limiter: RateLimiter,
		payer: Parameters<RateLimiter["take"]>[0],
		protocol: "rest" | "mcp" = "rest",
	) => {
		let admittedCount = 0;
		while (limiter.take(payer, protocol).refusal === undefined) admittedCount++;
		limiter.settle(payer);
		return admittedCount;
	};
	const limiterOn = (clock: FakeClock, of = limits(20, 60, 3)) => new RateLimiter(clock, of, open(clock));

	test("stay spent over a kill, of each window and of MCP for itself", () => {
		const clock = new FakeClock();
		expect(admitted(limiterOn(clock), { tenant })).toBe(20);
		// Half a minute away: half a minute's tokens, and no more.
		const later = restarted(clock, MINUTE_MS / 2);
		const limiter = limiterOn(later);
		expect(limiter.usage(tenant)).toMatchObject({
			requests_per_minute: { used: 10, reset_in_seconds: 30 },
			requests_per_hour: { used: 20 },
		});
		expect(admitted(limiter, { tenant }, "mcp")).toBe(3);
		expect(admitted(limiter, { tenant })).toBe(10);
		const last = limiterOn(restarted(later, 0));
		expect(admitted(last, { tenant })).toBe(0);
		expect(admitted(last, { tenant }, "mcp")).toBe(0);
	});

	test("never come to more than the limits allow, however often the node is killed", () => {
		const random = seededRandom(9);
		const times: number[] = [];
		let clock = new FakeClock();
		for (let run = 0; run < 60; run++) {
			const limiter = limiterOn(clock, limits(10, 40));
			for (let step = 0; step < 10; step++) {
				clock.advance(random() * 8_000);
				if (limiter.take({ tenant }, "rest").refusal === undefined) times.push(clock.wallMs);
				limiter.settle({ tenant });
			}
			clock = restarted(clock, Math.floor(random() * 3_000));
		}
		expect(times.length).toBeGreaterThan(40);
		for (let from = 0; from < times.length; from++) {
			for (let to = from; to < times.length; to++) {
				const spanMs = times[to]! - times[from]!;
				expect(to - from + 1).toBeLessThanOrEqual(10 + (spanMs * 10) / MINUTE_MS + 0.01);
				expect(to - from + 1).toBeLessThanOrEqual(40 + (spanMs * 40) / HOUR_MS + 0.01);
			}
		}
	});

	test("lock nobody out for longer than a window when the wall clock was set back meanwhile", () => {
		const clock = new FakeClock();
		admitted(limiterOn(clock), { tenant });
		const later = restarted(clock, 0, -365 * 24 * HOUR_MS);
		const limiter = limiterOn(later);
		// As if nothing were left: a clock that was set back can't be used to get more.
		expect(admitted(limiter, { tenant })).toBe(0);
		later.advance(MINUTE_MS);
		// The hour's bucket is empty too, and gives a token a minute.
		expect(admitted(limiter, { tenant })).toBe(1);
		later.advance(HOUR_MS);
		expect(admitted(limiter, { tenant })).toBe(20);
	});

	test("are no more than refilled when the wall clock was set forward meanwhile", () => {
		const clock = new FakeClock();
		admitted(limiterOn(clock), { tenant });
		const limiter = limiterOn(restarted(clock, 0, 365 * 24 * HOUR_MS));
		expect(admitted(limiter, { tenant })).toBe(20);
	});

	test("are counted in tokens also when the limit changed while the node was away", () => {
		const clock = new FakeClock();
		admitted(limiterOn(clock), { tenant });
		const limiter = limiterOn(restarted(clock, 0), limits(30, 60));
		expect(limiter.usage(tenant).requests_per_minute).toMatchObject({ limit: 30, used: 20 });
		expect(admitted(limiter, { tenant })).toBe(10);
	});

	test("of a key with limits of its own stay spent, and take no slot once they are back", () => {
		const clock = new FakeClock();
		const key = keyRecord("acme", { rate_limit_override: { requests_per_minute: 2 } });
		const payer = { tenant, key };
		expect(admitted(limiterOn(clock), payer)).toBe(2);
		const later = restarted(clock, 0);
		expect(admitted(limiterOn(later), payer)).toBe(0);
		expect(open(later).get(keySubject(key.api_key_id))).toBeDefined();
		expect(open(restarted(later, 2 * HOUR_MS)).get(keySubject(key.api_key_id))).toBeUndefined();
	});

	test("of keys take no more slots than there are keys in memory; of tenants each keeps its own", () => {
		const clock = new FakeClock();
		const slots = open(clock);
		const limiter = new RateLimiter(clock, limits(2, 100), slots, 5);
		const keyPayer = () => ({ tenant, key: keyRecord("acme", { rate_limit_override: { requests_per_minute: 2 } }) });
		for (let key = 0; key < 40; key++) limiter.take(keyPayer(), "rest");
		expect([...slots.all()].length).toBeLessThanOrEqual(5);
		for (let index = 0; index < 40; index++) admitted(limiter, { tenant: tenantRecord(`tenant-${index}`) });
		for (let index = 0; index < 40; index++) {
			expect(limiter.usage(tenantRecord(`tenant-${index}`)).requests_per_minute.used).toBe(2);
		}
	});

	test("cost a request nothing more than its counts: both are in one slot", () => {
		const clock = new FakeClock();
		let writeCount = 0;
		const slots = open(clock, {
			write: (file, bytes, offset, length, position) => {
				writeCount++;
				return writeSync(file, bytes, offset, length, position);
			},
			sync: async () => {},
		});
		const limiter = new RateLimiter(clock, limits(20, 60), slots);
		const before = writeCount;
		limiter.take({ tenant }, "rest");
		slots.counting("acme", tenant.created_at).requests++;
		slots.settle("acme");
		limiter.settle({ tenant });
		expect(writeCount - before).toBe(1);
	});
});
