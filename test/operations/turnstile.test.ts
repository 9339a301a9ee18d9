import { expect, test } from "bun:test";
import { HiveError } from "../../src/base/errors.ts";
import type { TenantId } from "../../src/base/ids.ts";
import { LoopTurns } from "../../src/operations/loop-turns.ts";
import { type Leave, Turnstile, type TurnstileBounds } from "../../src/operations/turnstile.ts";

const LARGE = 1_000;
const BOUNDS: TurnstileBounds = {
	small: {
		inAll: { countMax: 4, bytesMax: 10_000 },
		perTenant: { countMax: 2, bytesMax: 5_000 },
		waitingInAllMax: 6,
		waitingPerTenantMax: 4,
	},
	large: {
		inAll: { countMax: 3, bytesMax: 10_000 },
		perTenant: { countMax: 2, bytesMax: 6_000 },
		waitingInAllMax: 6,
		waitingPerTenantMax: 4,
	},
	streams: {
		inAll: { countMax: 3, bytesMax: Number.POSITIVE_INFINITY },
		perTenant: { countMax: 2, bytesMax: Number.POSITIVE_INFINITY },
		waitingInAllMax: 0,
		waitingPerTenantMax: 0,
	},
	largeBodyBytes: LARGE,
	undeclaredBodyBytes: 5_000,
	waitMsMax: 100,
};

const FLOODER = "flooder" as TenantId;
const CALM = "calm" as TenantId;

/** A turnstile at a clock that stands still, and what became of those who came to it. */
function setUp(bounds: TurnstileBounds = BOUNDS) {
	const time = { nowMs: 0, checks: new Set<() => void>() };
	const turnstile = new Turnstile({
		bounds,
		monotonicMs: () => time.nowMs,
		repeat: (_intervalMs, task) => {
			time.checks.add(task);
			return () => time.checks.delete(task);
		},
	});
	const entered: string[] = [];
	const leaves: Leave[] = [];
	const refused: string[] = [];
	const come = (tenantId: TenantId, bytes: number | undefined, name: string): void => {
		const leave = turnstile.enter(tenantId, bytes);
		const isIn = (leave: Leave): void => {
			entered.push(name);
			leaves.push(leave);
		};
		if (!(leave instanceof Promise)) isIn(leave);
		else
			leave.then(isIn, (error: HiveError) => {
				refused.push(`${name} ${error.code} ${error.details?.retry_after_seconds}`);
			});
	};
	const passMs = async (ms: number): Promise<void> => {
		time.nowMs += ms;
		for (const check of time.checks) check();
		await settled();
	};
	return { turnstile, entered, leaves, refused, come, passMs, time };
}

/** Whatever was resolved has been heard of. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("while there is room, a request enters at once, without a promise", () => {
	const { turnstile } = setUp();
	expect(turnstile.enter(CALM, 0)).toBeFunction();
	expect(turnstile.enter(CALM, 5_000)).toBeFunction();
	expect(turnstile.waitingCount).toBe(0);
});

test("a tenant has its share under way and no more, and the rest is free for others at once", async () => {
	const { come, entered, leaves, turnstile } = setUp();
	for (let call = 0; call < 5; call++) come(FLOODER, 10, `flood${call}`);
	come(CALM, 10, "calm");
	expect(entered).toEqual(["flood0", "flood1", "calm"]);
	expect(turnstile.waitingCount).toBe(3);
	leaves[0]?.();
	await settled();
	expect(entered).toEqual(["flood0", "flood1", "calm", "flood2"]);
});

test("leaving twice makes room once", async () => {
	const { come, entered, leaves } = setUp();
	for (let call = 0; call < 4; call++) come(FLOODER, 10, `flood${call}`);
	leaves[0]?.();
	leaves[0]?.();
	await settled();
	expect(entered).toEqual(["flood0", "flood1", "flood2"]);
});

test("when all places are taken, tenants enter in turn, not in the order in which they came", async () => {
	const { come, entered, leaves } = setUp();
	for (const tenant of ["a", "b"]) for (let call = 0; call < 2; call++) come(tenant as TenantId, 10, tenant);
	for (let call = 0; call < 3; call++) come("c" as TenantId, 10, `c${call}`);
	come("d" as TenantId, 10, "d0");
	for (let round = 0; round < 2; round++) {
		leaves[round]?.();
		await settled();
	}
	expect(entered.slice(4)).toEqual(["c0", "d0"]);
});

test("a full line is refused at once and told when to come back, the tenant's own before the common one", () => {
	const { come, turnstile } = setUp();
	for (let call = 0; call < 6; call++) come(FLOODER, 10, `flood${call}`);
	const refusal = refusalOf(() => turnstile.enter(FLOODER, 10));
	expect(refusal.code).toBe("OVERLOADED");
	expect(refusal.details).toEqual({ retry_after_seconds: 1 });
	// Its neighbours' lines are their own.
	for (let call = 0; call < 4; call++) come(CALM, 10, `calm${call}`);
	expect(turnstile.waitingCount).toBe(6);
	expect(refusalOf(() => turnstile.enter("late" as TenantId, 10)).code).toBe("OVERLOADED");
});

test("whoever waited too long is refused, and those behind it enter when there is room", async () => {
	const { come, entered, leaves, refused, passMs, time } = setUp();
	for (let call = 0; call < 3; call++) come(FLOODER, 10, `flood${call}`);
	await passMs(60);
	come(FLOODER, 10, "flood3");
	await passMs(60);
	expect(refused).toEqual(["flood2 OVERLOADED 1"]);
	leaves[0]?.();
	await settled();
	expect(entered).toEqual(["flood0", "flood1", "flood3"]);
	expect(time.checks.size).toBe(0);
});

test("one who was refused while it waited for room in all gives its share back", async () => {
	const { come, entered, leaves, refused, passMs } = setUp();
	for (const tenant of ["a", "b"]) for (let call = 0; call < 2; call++) come(tenant as TenantId, 10, tenant);
	come(CALM, 10, "late0");
	come(CALM, 10, "late1");
	await passMs(100);
	expect(refused).toHaveLength(2);
	come(CALM, 10, "calm0");
	leaves[0]?.();
	leaves[1]?.();
	await settled();
	come(CALM, 10, "calm1");
	expect(entered.slice(4)).toEqual(["calm0", "calm1"]);
});

test("large bodies count by their bytes and leave the way for small ones free", async () => {
	const { come, entered, leaves } = setUp();
	come(FLOODER, 4_000, "large0");
	come(FLOODER, 4_000, "large1");
	come(FLOODER, 10, "small");
	expect(entered).toEqual(["large0", "small"]);
	leaves[0]?.();
	await settled();
	expect(entered).toEqual(["large0", "small", "large1"]);
});

test("a body larger than all that may be under way passes alone", async () => {
	const { come, entered, leaves } = setUp();
	come(FLOODER, 1_000_000, "huge");
	come(CALM, 2_000, "calm");
	expect(entered).toEqual(["huge"]);
	leaves[0]?.();
	await settled();
	expect(entered).toEqual(["huge", "calm"]);
});

test("a body of undeclared length counts as large", () => {
	const { come, entered } = setUp();
	come(FLOODER, undefined, "first");
	come(FLOODER, undefined, "second");
	expect(entered).toEqual(["first"]);
});

test("one stream too many is refused at once, and its end makes room", () => {
	const { turnstile } = setUp();
	const leave = turnstile.enterStream(FLOODER) as Leave;
	void turnstile.enterStream(FLOODER);
	expect(refusalOf(() => turnstile.enterStream(FLOODER)).code).toBe("OVERLOADED");
	void turnstile.enterStream(CALM);
	expect(refusalOf(() => turnstile.enterStream("other" as TenantId)).code).toBe("OVERLOADED");
	leave();
	expect(turnstile.enterStream(FLOODER)).toBeFunction();
});

test("random traffic never passes a bound, loses nobody, and leaves nothing behind", async () => {
	let seed = 11;
	const random = (below: number): number => {
		seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
		return seed % below;
	};
	const { turnstile, passMs } = setUp();
	const inside = new Map<string, { leave: Leave; bytes: number }[]>();
	let came = 0;
	let served = 0;
	let refusedCount = 0;
	const check = (): void => {
		const all = [...inside.values()].flat();
		expect(all.filter(({ bytes }) => bytes < LARGE).length).toBeLessThanOrEqual(4);
		expect(all.filter(({ bytes }) => bytes >= LARGE).length).toBeLessThanOrEqual(3);
		for (const own of inside.values()) {
			const large = own.filter(({ bytes }) => bytes >= LARGE);
			expect(own.length - large.length).toBeLessThanOrEqual(2);
			const bytes = large.reduce((sum, next) => sum + next.bytes, 0);
			expect(large.length === 1 || bytes <= 6_000).toBe(true);
		}
	};
	for (let step = 0; step < 3_000; step++) {
		const tenant = `t${random(5)}`;
		if (random(2) === 0) {
			came++;
			const bytes = random(3) === 0 ? LARGE + random(4_000) : random(LARGE);
			const isIn = (leave: Leave): void => {
				served++;
				inside.set(tenant, [...(inside.get(tenant) ?? []), { leave, bytes }]);
			};
			try {
				const entered = turnstile.enter(tenant as TenantId, bytes);
				if (entered instanceof Promise) entered.then(isIn, () => refusedCount++);
				else isIn(entered);
			} catch {
				refusedCount++;
			}
		} else {
			const own = inside.get(tenant) ?? [];
			own.splice(random(own.length), 1)[0]?.leave();
		}
		if (random(50) === 0) await passMs(random(80));
		await settled();
		check();
	}
	while ([...inside.values()].some((own) => own.length > 0)) {
		for (const own of inside.values()) own.splice(0, 1)[0]?.leave();
		await settled();
	}
	expect(served + refusedCount).toBe(came);
	expect(turnstile.waitingCount).toBe(0);
	for (const tenant of ["t0", "t1"])
		for (let call = 0; call < 2; call++) expect(turnstile.enter(tenant as TenantId, 0)).toBeFunction();
});

test("slices of work get one turn each round of the event loop, tenants in turn", async () => {
	const rounds: (() => void)[] = [];
	const turns = new LoopTurns((task) => rounds.push(task));
	const order: string[] = [];
	for (let slice = 0; slice < 3; slice++) void turns.next(FLOODER).then(() => order.push(`flood${slice}`));
	void turns.next(CALM).then(() => order.push("calm"));
	await settled();
	expect(order).toEqual([]);
	while (rounds.length > 0) {
		const before = order.length;
		rounds.shift()?.();
		await settled();
		expect(order.length - before).toBeLessThanOrEqual(1);
	}
	expect(order).toEqual(["flood0", "calm", "flood1", "flood2"]);
	void turns.next(CALM).then(() => order.push("again"));
	rounds.shift()?.();
	await settled();
	expect(order.at(-1)).toBe("again");
});

test("more slices than there can be streams are refused", async () => {
	const turns = new LoopTurns(() => {});
	for (let slice = 0; slice < 4_096; slice++) void turns.next(FLOODER);
	expect(await messageOf(turns.next(CALM))).toContain("too many streams");
});

function refusalOf(work: () => unknown): HiveError {
	try {
		void work();
	} catch (error) {
		if (error instanceof HiveError) return error;
		throw error;
	}
	throw new Error("it was not refused");
}

async function messageOf(refused: unknown): Promise<string> {
	try {
		await refused;
	} catch (error) {
		return (error as Error).message;
	}
	throw new Error("it was not refused");
}
