import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { AuditRig, action, allEntries, DAY_MS, failure } from "./audit-rig.ts";

let rig: AuditRig;
beforeEach(() => {
	rig = new AuditRig();
});
afterEach(() => rig.leave());

const MINUTE_MS = 60_000;

describe("a flood of what anybody can cause", () => {
	test("from one network is 60 lines a minute and one that counts the rest", async () => {
		const log = await rig.open();
		// The /64 is one client, whatever address of it comes.
		for (let i = 0; i < 10_000; i++) void log.record(failure(`2001:db8::${i.toString(16)}`), "queued");
		void log.record(failure("192.0.2.1"), "queued");
		rig.clock.advance(MINUTE_MS);
		await log.record(failure("2001:db8::1"), "queued");
		const entries = await allEntries(log);
		expect(entries.map(({ event }) => String(event))).toEqual([
			...Array<string>(61).fill("auth.failed"),
			"auth.failures_suppressed",
			"auth.failed",
		]);
		expect(entries[61]).toMatchObject({
			outcome: "refused",
			details: {
				event: "auth.failed",
				count: 9_940,
				seconds: 60,
				loudest_source: "2001:db8:0:0::/64",
				loudest_count: 9_940,
			},
		});
		expect(await log.verify()).toMatchObject({ intact: true });
	});

	test("from many networks is 600 lines a minute, and its memory is bounded", async () => {
		const log = await rig.open();
		for (let i = 0; i < 5_000; i++) void log.record(failure(`10.0.${i >> 8}.${i & 255}`), "queued");
		rig.clock.advance(MINUTE_MS);
		await log.record(action(1), "synced");
		const entries = await allEntries(log);
		expect(entries).toHaveLength(602);
		expect(entries[600]).toMatchObject({ details: { count: 4_400 } });
	});

	test("that lasts gets only its sums once the day's lines are used up, until a day later", async () => {
		const log = await rig.open({ linesPerDay: 100 });
		for (let minute = 0; minute < 5; minute++) {
			for (let i = 0; i < 70; i++) void log.record(failure("192.0.2.1"), "queued");
			rig.clock.advance(MINUTE_MS);
		}
		rig.clock.advance(DAY_MS);
		await log.record(failure("192.0.2.1"), "queued");
		const counted = (await allEntries(log)).map(({ event, details }) => details?.count ?? event);
		const one = "auth.failed";
		expect(counted).toEqual([...Array(60).fill(one), 10, ...Array(40).fill(one), 30, 70, 70, 70, one]);
	});

	test("of a tenant's own making leaves room for other tenants and other events", async () => {
		const log = await rig.open();
		const limit = (tenant_id: string) =>
			action(0, { event: "rate_limit.exceeded", outcome: "refused", tenant_id, actor_tenant_id: undefined as never });
		for (let i = 0; i < 1_000; i++) void log.record(limit("loud"), "queued");
		for (let i = 0; i < 3; i++) void log.record(limit("quiet"), "queued");
		for (let i = 0; i < 3; i++) void log.record(action(i, { event: "quota.exceeded" }), "queued");
		await log.close();
		const entries = await allEntries(log);
		expect(entries).toHaveLength(60 + 3 + 3 + 1);
		expect(entries.at(-1)).toMatchObject({
			event: "audit.events_suppressed",
			details: { event: "rate_limit.exceeded", count: 940, seconds: 0, loudest_source: "loud", loudest_count: 940 },
		});
	});

	test("holds no admin's doing back", async () => {
		const log = await rig.open();
		for (let i = 0; i < 500; i++) {
			void log.record(action(i), "queued");
			void log.record(action(i, { event: "tenant.impersonated" }), "queued");
			void log.record(action(i, { event: "hub.webhook" }), "queued");
		}
		expect(await allEntries(log)).toHaveLength(1_500);
	});

	test("that stops for good is counted all the same", async () => {
		const log = await rig.open({ windowMs: 20 });
		for (let i = 0; i < 61; i++) void log.record(failure("192.0.2.1"), "queued");
		expect(await allEntries(log)).toHaveLength(60);
		const written = new Promise<void>((resolve) => {
			rig.disk.fault = (call) => void (call === "write" && resolve());
		});
		rig.clock.advance(20);
		await written;
		expect((await allEntries(log)).at(-1)).toMatchObject({ event: "auth.failures_suppressed", details: { count: 1 } });
	});

	test("is not let through by a wall clock that jumps", async () => {
		const log = await rig.open();
		for (let i = 0; i < 100; i++) {
			rig.clock.wallMs += MINUTE_MS;
			void log.record(failure("192.0.2.1"), "queued");
		}
		expect(await allEntries(log)).toHaveLength(60);
	});
});
