import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { listAuditFolder } from "../../src/access/audit/audit-list.ts";
import type { AuditEvent, AuditQuery } from "../../src/access/audit/audit-types.ts";
import { START_MS } from "./access-fixture.ts";
import { AuditRig, action, DAY_MS, failure, reasonOf } from "./audit-rig.ts";

const DAY_COUNT = 4;
const ENTRIES_A_DAY = 600;
const HOUR_MS = 3_600_000;

const rig = new AuditRig();
/** What was recorded, in order: the model. */
const recorded: { readonly event: AuditEvent; readonly timeMs: number; readonly seq: number }[] = [];

beforeAll(async () => {
	const log = await rig.open({ linesPerSource: 10_000, linesPerWindow: 10_000 });
	for (let number = 0; number < DAY_COUNT * ENTRIES_A_DAY; number++) {
		if (number > 0 && number % ENTRIES_A_DAY === 0) rig.clock.wallMs += DAY_MS - HOUR_MS;
		if (number % (ENTRIES_A_DAY / 4) === 0) rig.clock.wallMs += HOUR_MS / 4;
		const event =
			number % 5 === 0
				? failure("192.0.2.7", { details: { number } })
				: action(number, { tenant_id: `t${number % 3}`, ...(number % 50 === 1 && { actor_tenant_id: "t9" }) });
		recorded.push({ event, timeMs: rig.clock.wallMs, seq: number + 1 });
		void log.record(event, "queued");
	}
	await log.close();
});
afterAll(() => rig.leave());

const list = (query: Partial<AuditQuery>, scanBytesMax = 1e9) =>
	listAuditFolder(rig.folder, { limit: 1_000, ...query }, scanBytesMax);

/** Page by page. */
async function seqs(query: Partial<AuditQuery>, scanBytesMax?: number): Promise<number[]> {
	const found: number[] = [];
	let before: number | undefined;
	do {
		const page = await list({ ...query, ...(before !== undefined && { before }) }, scanBytesMax);
		found.push(...page.entries.map(({ seq }) => seq));
		if (page.next !== null) expect(page.next).toBeLessThan(before ?? Number.POSITIVE_INFINITY);
		before = page.next ?? undefined;
	} while (before !== undefined);
	return found;
}

const expectedSeqs = (fits: (entry: (typeof recorded)[number]) => boolean) =>
	recorded
		.filter(fits)
		.map(({ seq }) => seq)
		.reverse();

describe("a list of the audit log", () => {
	test("has every entry, newest first, whatever the pages' length", async () => {
		const all = expectedSeqs(() => true);
		expect(rig.files()).toHaveLength(DAY_COUNT + 1);
		for (const limit of [1_000, 613, 600, 97]) expect(await seqs({ limit })).toEqual(all);
		expect((await list({ limit: 2 })).entries[0]).toMatchObject({
			seq: all[0]!,
			...recorded.at(-1)!.event,
			time: new Date(recorded.at(-1)!.timeMs).toISOString(),
		});
	});

	test("goes on from any entry", async () => {
		for (let before = 1; before <= recorded.length + 1; before += 37) {
			const page = await list({ before, limit: 2 });
			expect(page.entries.map(({ seq }) => seq)).toEqual([before - 1, before - 2].filter((seq) => seq > 0));
			expect(page.next).toBe(before > 3 ? before - 2 : null);
		}
	});

	test.each([
		["since a moment", { since: START_MS + DAY_MS + 2 * HOUR_MS }],
		["until a moment", { until: START_MS + 2 * DAY_MS }],
		["between two", { since: START_MS + HOUR_MS / 2, until: START_MS + DAY_MS + HOUR_MS / 2 }],
		["of no time", { since: START_MS + 5, until: START_MS + 5 }],
		["before all", { until: START_MS - DAY_MS }],
		["after all", { since: START_MS + 99 * DAY_MS }],
	])("%s has just what happened then", async (_, { since, until }: { since?: number; until?: number }) => {
		const query = {
			...(since !== undefined && { since: new Date(since).toISOString() }),
			...(until !== undefined && { until: new Date(until).toISOString() }),
		};
		expect(await seqs({ ...query, limit: 100 })).toEqual(
			expectedSeqs(({ timeMs }) => timeMs >= (since ?? 0) && timeMs < (until ?? Number.POSITIVE_INFINITY)),
		);
	});

	test("takes a moment between two milliseconds for the later", async () => {
		const { timeMs } = recorded[700]!;
		const between = new Date(timeMs).toISOString().replace("Z", "001Z");
		expect(await seqs({ since: between })).toEqual(expectedSeqs((entry) => entry.timeMs > timeMs));
		expect(await seqs({ until: between })).toEqual(expectedSeqs((entry) => entry.timeMs <= timeMs));
	});

	test("of a tenant has what happened to it and what its keys did", async () => {
		expect(await seqs({ tenantId: "t1" })).toEqual(expectedSeqs(({ event }) => event.tenant_id === "t1"));
		expect(await seqs({ tenantId: "t9" })).toEqual(expectedSeqs(({ event }) => event.actor_tenant_id === "t9"));
		expect(await seqs({ tenantId: "nobody" })).toEqual([]);
	});

	test("of events takes names, the part before the dot, and several", async () => {
		const failures = expectedSeqs(({ event }) => event.event === "auth.failed");
		expect(await seqs({ event: "auth.failed" })).toEqual(failures);
		expect(await seqs({ event: "auth" })).toEqual(failures);
		expect(await seqs({ event: "auth.fail" })).toEqual([]);
		expect(await seqs({ event: "hub.webhook, auth,admin.action" })).toEqual(expectedSeqs(() => true));
	});

	test("reads a bounded part of the files for a page, and says where to go on", async () => {
		expect(await seqs({ tenantId: "nobody" }, 10_000)).toEqual([]);
		const page = await list({ tenantId: "nobody" }, 10_000);
		expect(page.entries).toEqual([]);
		expect(page.next).toBeGreaterThan(recorded.length - 100);
		expect(await seqs({ tenantId: "t1" }, 10_000)).toEqual(expectedSeqs(({ event }) => event.tenant_id === "t1"));
	});

	test.each(["since", "until"])("refuses a %s that is no time, and names it", async (field) => {
		for (const text of ["yesterday", "", "2030-02-30T00:00:00Z"]) {
			expect(await reasonOf(list({ [field]: text }))).toMatchObject({
				code: "VALIDATION_FAILED",
				details: { field },
			});
		}
	});

	test("goes without a file that retention takes away under its eyes", async () => {
		const file = "2030-01-01.jsonl";
		const text = rig.text(file);
		const running = list({ limit: 1_000, before: ENTRIES_A_DAY + 3 });
		rmSync(join(rig.folder, file));
		expect((await running).entries.map(({ seq }) => seq)).toEqual([ENTRIES_A_DAY + 2, ENTRIES_A_DAY + 1]);
		rig.write(file, text);
	});

	test("passes over lines that are no entries, however long", async () => {
		const file = "2030-01-02.jsonl";
		const text = rig.text(file);
		const lines = rig.lines(file);
		const damaged = [...lines.slice(0, 300), "nonsense", "x".repeat(700_000), ...lines.slice(300)];
		rig.write(file, `${damaged.map((line) => `${line}\n`).join("")}{"torn`);
		expect(await seqs({ limit: 211 })).toEqual(expectedSeqs(() => true));
		rig.write(file, "");
		const rest = expectedSeqs(({ seq }) => seq <= ENTRIES_A_DAY || seq > 2 * ENTRIES_A_DAY);
		expect(await seqs({ limit: 211 })).toEqual(rest);
		rig.write(file, "one line without an end");
		expect(await seqs({ limit: 211 })).toEqual(rest);
		rig.write(file, text);
	});
});
