import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { newApiKey, newServiceKey, systemRandom } from "../../src/base/ids.ts";
import { START_MS } from "./access-fixture.ts";
import { AuditRig, action, allEntries, DAY_MS, failure, reasonOf } from "./audit-rig.ts";

let rig: AuditRig;
beforeEach(() => {
	rig = new AuditRig();
});
afterEach(() => rig.leave());

const numbers = (entries: readonly { readonly details?: { readonly number?: unknown } }[]) =>
	entries.map(({ details }) => details?.number);

/** SHA-256 of an entry as docs/audit.md says, by other means. */
function hashByHand(line: string): string {
	const { hash: _, ...body } = JSON.parse(line) as Record<string, unknown>;
	const sorted = Object.fromEntries(Object.entries(body).sort(([a], [b]) => (a < b ? -1 : 1)));
	return new Bun.CryptoHasher("sha256").update(JSON.stringify(sorted)).digest("hex");
}

describe("an audit log's lines", () => {
	test("are chained by SHA-256 from 64 zeros on, over restarts and days", async () => {
		await rig.session((log) => Promise.all([log.record(action(1), "queued"), log.record(action(2), "synced")]));
		rig.clock.advance(DAY_MS);
		await rig.session((log) => log.record(action(3), "synced"));
		expect(rig.files()).toEqual(["2030-01-01.jsonl", "2030-01-02.jsonl", "head"]);
		const lines = [...rig.lines("2030-01-01.jsonl"), ...rig.lines("2030-01-02.jsonl")];
		const entries = lines.map((line) => JSON.parse(line));
		expect(entries.map(({ seq }) => seq)).toEqual([1, 2, 3]);
		expect(numbers(entries)).toEqual([1, 2, 3]);
		expect(entries.map(({ prev }) => prev)).toEqual(["0".repeat(64), entries[0].hash, entries[1].hash]);
		expect(entries.map(({ hash }) => hash)).toEqual(lines.map(hashByHand));
		expect(entries[0].time).toBe(new Date(START_MS).toISOString());
	});

	test("are for the owner's eyes alone", async () => {
		await rig.session((log) => log.record(action(1), "synced"));
		expect(statSync(rig.folder).mode & 0o777).toBe(0o700);
		for (const file of rig.files()) expect(statSync(join(rig.folder, file)).mode & 0o777).toBe(0o600);
	});

	test("hold no key and no secret, wherever in an event it stands", async () => {
		const secrets = [
			newApiKey(systemRandom, "live"),
			newApiKey(systemRandom, "test"),
			newServiceKey(systemRandom),
			`whsec_${Buffer.from(systemRandom(32)).toString("base64")}`,
		];
		await rig.session(async (log) => {
			for (const secret of secrets) {
				const text = `Bearer ${secret}!`;
				await log.record(
					action(1, { request_id: text, tenant_id: text, operation: secret, details: { text, [secret]: 1 } }),
					"synced",
				);
			}
		});
		for (const secret of secrets) expect(rig.text("2030-01-01.jsonl")).not.toContain(secret.slice(0, 20));
		expect(rig.text("2030-01-01.jsonl")).toContain("Bearer hh_live_***!");
		expect(rig.text("2030-01-01.jsonl")).toContain("Bearer whsec_***!");
		expect((await (await rig.open()).verify()).intact).toBe(true);
	});

	test("stay short and well-formed, whatever an event holds", async () => {
		const details = Object.fromEntries(
			Array.from({ length: 100 }, (_, i) => [`f${i}`, "é".repeat(2_000)] as [string, string]),
		);
		await rig.session(async (log) => {
			await log.record(action(1, { operation: "\ud800x", details }), "synced");
			await log.record(
				action(2, { details: { huge: 10n as never, far: Number.NaN, no: false, none: null } }),
				"synced",
			);
		});
		const [long, odd] = rig.lines("2030-01-01.jsonl") as [string, string];
		expect(Buffer.byteLength(long)).toBeLessThan(64 * 1024);
		expect(JSON.parse(long).operation).toBe("\ufffdx");
		expect(Object.values(JSON.parse(long).details)[0]).toBe(`${"é".repeat(511)}…`);
		expect(JSON.parse(odd).details).toEqual({ huge: "10", far: "NaN", no: false, none: null });
		expect((await (await rig.open()).verify()).intact).toBe(true);
	});

	test("stand in the file of their UTC day, and a clock set back opens no older file", async () => {
		const log = await rig.open();
		rig.clock.wallMs = Date.parse("2030-01-01T23:59:59.999Z");
		await log.record(action(1), "synced");
		rig.clock.wallMs += 1;
		await log.record(action(2), "queued");
		rig.clock.wallMs -= 3 * DAY_MS;
		await log.record(action(3), "synced");
		await log.close();
		await rig.session((again) => again.record(action(4), "synced"));
		expect(rig.files()).toEqual(["2030-01-01.jsonl", "2030-01-02.jsonl", "head"]);
		const later = rig.lines("2030-01-02.jsonl").map((line) => JSON.parse(line));
		expect(numbers(later)).toEqual([2, 3, 4]);
		expect(later.map(({ seq }) => seq)).toEqual([2, 3, 4]);
		expect(later[1].time).toBe("2029-12-30T00:00:00.000Z");
		expect((await (await rig.open()).verify()).intact).toBe(true);
	});

	test("are deleted when their day is older than retention, at the turn of a day and at the start, oldest first", async () => {
		const log = await rig.open({}, 3);
		for (let day = 1; day <= 6; day++) {
			await log.record(action(day), "synced");
			rig.clock.advance(DAY_MS);
		}
		expect(rig.files()).toEqual([3, 4, 5, 6].map((day) => `2030-01-0${day}.jsonl`).concat("head"));
		expect(await log.verify()).toMatchObject({ intact: true, first_seq: 3, last_seq: 6, entries: 4, files: 4 });
		await log.close();
		rig.write("2030-01-03.jsonl.torn-9", "{");
		rig.clock.advance(DAY_MS);
		const again = await rig.open({}, 3);
		expect(rig.files()).toEqual([5, 6].map((day) => `2030-01-0${day}.jsonl`).concat("head"));
		await again.close();
		rig.clock.advance(100 * DAY_MS);
		const late = await rig.open({}, 3);
		expect(rig.files()).toEqual(["2030-01-06.jsonl", "head"]);
		await late.record(action(7), "synced");
		expect(rig.files()).toEqual(["2030-04-18.jsonl", "head"]);
		expect(await late.verify()).toMatchObject({ intact: true, first_seq: 7 });
	});
});

describe("recording", () => {
	test("those who wait for the disk at the same time share a sync", async () => {
		const log = await rig.open();
		const before = rig.disk.syncCount;
		await Promise.all(Array.from({ length: 300 }, (_, i) => log.record(action(i), "synced")));
		expect(rig.disk.syncCount).toBe(before + 1);
		expect(numbers(await allEntries(log))).toEqual(Array.from({ length: 300 }, (_, i) => i));
	});

	test("queued and synced events keep their order", async () => {
		const log = await rig.open({ linesPerSource: 1_000 });
		const all = Array.from({ length: 500 }, (_, i) => log.record(action(i), i % 7 === 0 ? "synced" : "queued"));
		await Promise.all(all);
		expect(numbers(await allEntries(log))).toEqual(Array.from({ length: 500 }, (_, i) => i));
	});

	test("a queued event settles while the disk still works, and a reader sees it all the same", async () => {
		const log = await rig.open();
		const { promise: released, resolve: release } = Promise.withResolvers<void>();
		rig.disk.fault = () => released;
		await log.record(action(1), "queued");
		release();
		expect(numbers((await log.list({ limit: 10 })).entries)).toEqual([1]);
	});

	test("a queued event is synced soon, without anybody asking", async () => {
		const log = await rig.open({ syncDelayMs: 1 });
		const synced = new Promise<void>((resolve) => {
			rig.disk.fault = (call) => void (call === "datasync" && resolve());
		});
		await log.record(action(1), "queued");
		await synced;
		await log.close();
		expect(rig.text("head")).toContain('"seq":1,');
	});

	test("a full queue counts what it can't hold, and refuses to vouch for more", async () => {
		const log = await rig.open({ queueLength: 10 });
		const waiting = [];
		for (let i = 0; i < 20; i++) waiting.push(log.record(action(i), "synced"));
		const refused = log.record(action(20), "synced").catch((error: { code: string }) => error.code);
		for (let i = 0; i < 7; i++) void log.record(action(100 + i, { event: "tenant.impersonated" }), "queued");
		expect(await refused).toBe("OVERLOADED");
		await Promise.all(waiting);
		rig.clock.advance(60_000);
		await log.record(action(21), "synced");
		const entries = await allEntries(log);
		expect(numbers(entries.slice(0, 20))).toEqual(Array.from({ length: 20 }, (_, i) => i));
		expect(entries.at(-2)).toMatchObject({
			event: "audit.events_suppressed",
			details: { event: "tenant.impersonated", count: 7, seconds: 60 },
		});
	});

	test("after close nothing is taken any more, and what was taken is on disk", async () => {
		const log = await rig.open();
		for (let i = 0; i < 70; i++) await log.record(failure("192.0.2.1"), "queued");
		const closing = log.close();
		expect(log.close()).toBe(closing);
		expect(await reasonOf(log.record(action(1), "synced"))).toMatchObject({ code: "NODE_DRAINING" });
		await log.record(action(2), "queued");
		expect(rig.logged.map(({ message }) => message)).toEqual(["an event came after the audit log was closed"]);
		expect((await log.list({ limit: 1 })).entries[0]).toMatchObject({
			event: "auth.failures_suppressed",
			details: { event: "auth.failed", count: 10, loudest_source: "192.0.2.1", loudest_count: 10 },
		});
		expect(await log.verify()).toMatchObject({ intact: true, entries: 61 });
		expect(rig.text("head")).toContain('"seq":61,');
	});
});

describe("a disk that fails", () => {
	test.each(["write", "datasync"] as const)(
		"rejects those who wait for it at %s, and the next are written",
		async (call) => {
			const log = await rig.open();
			await log.record(action(1), "synced");
			rig.disk.bytesBeforeFault = 100;
			rig.disk.breakAt(call);
			const failing = await Promise.allSettled([log.record(action(2), "synced"), log.record(action(3), "synced")]);
			expect(failing).toMatchObject(Array(2).fill({ status: "rejected", reason: { message: `no ${call}` } }));
			rig.disk.heal();
			await log.record(action(4), "synced");
			// What was written and not synced stands: it happened.
			expect(numbers(await allEntries(log))).toEqual(call === "write" ? [1, 4] : [1, 2, 3, 4]);
			expect(await log.verify()).toMatchObject({ intact: true });
			expect(rig.logged.map(({ message }) => message)).toEqual([
				"writing the audit log failed",
				"the audit log is written again",
			]);
		},
	);

	test("leaves part of a line, which is gone before the next is written", async () => {
		const log = await rig.open();
		rig.disk.bytesBeforeFault = 1_000;
		rig.disk.breakAt("write");
		const failing = Array.from({ length: 9 }, (_, i) => log.record(action(i), "synced"));
		expect(await reasonOf(Promise.all(failing))).toMatchObject({ message: "no write" });
		expect(rig.text("2030-01-01.jsonl")).toHaveLength(1_000);
		rig.disk.breakAt("truncate");
		expect(await reasonOf(log.record(action(10), "synced"))).toMatchObject({
			message: expect.stringContaining("no truncate"),
		});
		rig.disk.heal();
		await log.record(action(11), "synced");
		expect(rig.lines("2030-01-01.jsonl")).toHaveLength(1);
		expect(await log.verify()).toMatchObject({ intact: true, entries: 1 });
	});

	test("keeps queued events for later, in order, and counts the latest when they are too many", async () => {
		const log = await rig.open({ queueLength: 5, syncDelayMs: 1 });
		rig.disk.breakAt("write");
		const failed = rig.logs("writing the audit log failed");
		for (let i = 0; i < 3; i++) await log.record(action(i), "queued");
		await failed;
		for (let i = 3; i < 9; i++) await log.record(action(i), "queued");
		const recovered = rig.logs("the audit log is written again");
		rig.disk.heal();
		await recovered;
		rig.clock.advance(60_000);
		await log.record(action(9), "queued");
		const entries = await allEntries(log);
		expect(numbers(entries)).toEqual([0, 1, 2, 3, 4, undefined, 9]);
		expect(entries[5]).toMatchObject({
			event: "audit.events_suppressed",
			details: { event: "admin.action", count: 4 },
		});
		expect(await log.verify()).toMatchObject({ intact: true });
	});

	test("gives the waiting that came during a failing attempt an attempt of their own", async () => {
		const log = await rig.open({ queueLength: 2 });
		let second: Promise<void> | undefined;
		rig.disk.fault = (call) => {
			if (call !== "write") return;
			second ??= log.record(action(2), "synced");
			rig.disk.heal();
			throw new Error("no write");
		};
		void log.record(action(0), "queued");
		expect(await reasonOf(log.record(action(1), "synced"))).toMatchObject({
			message: expect.stringContaining("no write"),
		});
		await second;
		expect(numbers(await allEntries(log))).toEqual([0, 2]);
	});

	test("makes room for the latest when what could not be written comes back", async () => {
		const log = await rig.open({ queueLength: 3 });
		rig.disk.fault = (call) => {
			if (call !== "write") return;
			for (let i = 3; i < 6; i++) void log.record(action(i), "queued");
			throw new Error("no write");
		};
		for (let i = 0; i < 3; i++) void log.record(action(i), "queued");
		await rig.logs("writing the audit log failed");
		rig.disk.heal();
		rig.clock.advance(60_000);
		const entries = await allEntries(log);
		expect(numbers(entries)).toEqual([0, 1, 2]);
		await log.record(action(6), "queued");
		expect((await allEntries(log)).at(-2)).toMatchObject({ details: { count: 3 } });
	});

	test("at the turn of a day keeps the old file, and the chain goes on in the new one", async () => {
		const log = await rig.open();
		await log.record(action(1), "synced");
		rig.clock.advance(DAY_MS);
		rig.disk.breakAt("open");
		expect(await reasonOf(log.record(action(2), "synced"))).toMatchObject({
			message: expect.stringContaining("no open"),
		});
		rig.disk.heal();
		await log.record(action(3), "synced");
		expect(rig.lines("2030-01-01.jsonl")).toHaveLength(1);
		expect(numbers(rig.lines("2030-01-02.jsonl").map((line) => JSON.parse(line)))).toEqual([3]);
		expect(await log.verify()).toMatchObject({ intact: true });
	});

	test("leaves no torn line in the file of a day that is over", async () => {
		const log = await rig.open();
		rig.disk.bytesBeforeFault = 10;
		rig.disk.breakAt("write");
		expect(await reasonOf(log.record(action(1), "synced"))).toMatchObject({ message: "no write" });
		rig.disk.heal();
		rig.clock.advance(DAY_MS);
		await log.record(action(2), "synced");
		expect(rig.text("2030-01-01.jsonl")).toBe("");
		expect(await log.verify()).toMatchObject({ intact: true, entries: 1 });
	});

	test("writes what a failed sync may have lost once more", async () => {
		const log = await rig.open();
		await log.record(action(1), "synced");
		rig.disk.breakAt("datasync");
		expect(await reasonOf(log.record(action(2), "synced"))).toMatchObject({
			message: expect.stringContaining("no datasync"),
		});
		let writeCount = 0;
		rig.disk.fault = (call) => void (call === "write" && writeCount++);
		await log.record(action(3), "synced");
		const halvedWritesOf = (bytes: number) => Math.floor(Math.log2(bytes)) + 1;
		const [, second, third] = rig.lines("2030-01-01.jsonl").map((line) => line.length + 1);
		expect(writeCount).toBe(halvedWritesOf(third!) + halvedWritesOf(second! + third!));
		expect(await log.verify()).toMatchObject({ intact: true });
	});

	test("for the head alone rejects nobody: it is behind then, which is no alarm", async () => {
		const log = await rig.open();
		rig.disk.headFault = () => {
			throw new Error("no head");
		};
		await log.record(action(1), "synced");
		expect(rig.logged.map(({ message }) => message)).toEqual(["writing the head of the audit log failed"]);
		expect(await log.verify()).toMatchObject({ intact: true });
	});

	test("that can't be mended is told at the start", async () => {
		rig.disk.breakAt("open");
		expect(await reasonOf(rig.open())).toMatchObject({ message: expect.stringContaining("no open") });
	});

	test("that won't let go of old files keeps nobody from writing new lines", async () => {
		await rig.session((log) => log.record(action(1), "synced"));
		mkdirSync(join(rig.folder, "2020-01-01.jsonl"));
		const log = await rig.open();
		await log.record(action(2), "synced");
		expect(rig.logged.map(({ message }) => message)).toContain("deleting old files of the audit log failed");
		expect(rig.lines("2030-01-01.jsonl")).toHaveLength(2);
	});

	test("for good loses what nobody waited for, and says how much", async () => {
		const log = await rig.open();
		rig.disk.breakAt("write");
		for (let i = 0; i < 3; i++) await log.record(action(i), "queued");
		await log.close();
		expect(rig.logged.at(-1)).toEqual({ message: "events did not get into the audit log", facts: { count: 3 } });
	});
});
