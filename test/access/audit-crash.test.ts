import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { cpSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { AuditRig, action, allEntries, DAY_MS } from "./audit-rig.ts";

const FIRST = "2030-01-01.jsonl";
const SECOND = "2030-01-02.jsonl";

let rig: AuditRig;
beforeEach(async () => {
	rig = new AuditRig();
	await rig.session(async (log) => {
		for (let i = 1; i <= 4; i++) await log.record(action(i), "synced");
	});
});
afterEach(() => rig.leave());

const recoveries = async (log: Awaited<ReturnType<AuditRig["open"]>>) =>
	(await allEntries(log, { event: "audit.recovered" })).map(({ details }) => details);

describe("at its start an audit log", () => {
	test("cuts a torn line off, keeps it aside, notes it and goes on with the chain", async () => {
		const before = rig.text(FIRST);
		rig.write(FIRST, `${before}{"details":{"num`);
		const log = await rig.open();
		await log.record(action(5), "synced");
		expect(await recoveries(log)).toEqual([{ torn_bytes: 16, kept_as: `${FIRST}.torn-5` }]);
		expect(rig.text(`${FIRST}.torn-5`)).toBe('{"details":{"num');
		expect(statSync(join(rig.folder, `${FIRST}.torn-5`)).mode & 0o777).toBe(0o600);
		expect(rig.text(FIRST).startsWith(before)).toBe(true);
		expect(await log.verify()).toEqual({
			intact: true,
			entries: 6,
			files: 1,
			first_seq: 1,
			last_seq: 6,
			problems: [],
		});
	});

	test("cuts a torn end of more than a chunk, and a file that is nothing else", async () => {
		rig.write(SECOND, "x".repeat(200_000));
		rig.clock.advance(DAY_MS);
		const log = await rig.open();
		expect(await recoveries(log)).toEqual([{ torn_bytes: 200_000, kept_as: `${SECOND}.torn-5` }]);
		expect(rig.text(`${SECOND}.torn-5`)).toBe("x".repeat(200_000));
		expect(rig.lines(SECOND)).toHaveLength(1);
		expect((await log.verify()).intact).toBe(true);
	});

	test("takes entries beyond its head as they are: a crash came between the two", async () => {
		cpSync(join(rig.folder, "head"), join(rig.home, "head"));
		await rig.session((log) => log.record(action(5), "synced"));
		cpSync(join(rig.home, "head"), join(rig.folder, "head"));
		const log = await rig.open();
		await log.record(action(6), "synced");
		expect(await log.verify()).toMatchObject({ intact: true, entries: 6 });
	});

	test("goes on behind entries that are missing at the end, which stay missed", async () => {
		rig.writeLines(FIRST, rig.lines(FIRST).slice(0, 2));
		const log = await rig.open();
		await log.record(action(5), "synced");
		expect(await recoveries(log)).toEqual([{ missing_entries: 2 }]);
		expect((await allEntries(log)).map(({ seq }) => seq)).toEqual([1, 2, 5, 6]);
		const missed = [{ file: FIRST, line: 3, problem: "entry 5 follows entry 2" }];
		expect((await log.verify()).problems).toEqual(missed);
		await log.close();
		expect((await (await rig.open()).verify()).problems).toEqual(missed);
	});

	test("goes on where the head says when every file is gone", async () => {
		rmSync(join(rig.folder, FIRST));
		const log = await rig.open();
		expect((await allEntries(log)).map(({ seq, details }) => [seq, details])).toEqual([[5, { missing_entries: 4 }]]);
	});

	test("takes a changed last entry for what the head says it was", async () => {
		rig.writeLines(
			FIRST,
			rig.lines(FIRST).map((line) => line.replace("req_4", "req_X")),
		);
		const log = await rig.open();
		await log.record(action(5), "synced");
		expect((await log.verify()).problems).toEqual([
			{ file: FIRST, line: 4, problem: "entry 4 was changed: its hash is another" },
		]);
	});

	test.each(["missing", "damaged"])("notes that its head is %s", async (state) => {
		if (state === "missing") rmSync(join(rig.folder, "head"));
		else rig.write("head", "{}".padEnd(320));
		const log = await rig.open();
		expect(await recoveries(log)).toEqual([{ head: state }]);
		expect(await log.verify()).toMatchObject({ intact: true, last_seq: 5 });
	});

	test("reads its head from the other half when one is torn", async () => {
		const head = rig.text("head");
		const [older, newer] = [head.slice(0, 160), head.slice(160)].sort((a, b) => Number(seqIn(a)) - Number(seqIn(b)));
		expect([seqIn(older!), seqIn(newer!)]).toEqual(["3", "4"]);
		rig.write("head", head.replace(newer!, `${newer!.slice(0, 80)}${" ".repeat(80)}`));
		const log = await rig.open();
		expect(await recoveries(log)).toEqual([]);
		expect(await log.verify()).toMatchObject({ intact: true, entries: 4 });
	});

	test("cuts what stands in a later day's file before its time", async () => {
		const log = await rig.open();
		rig.write(SECOND, "not ours");
		rig.clock.advance(DAY_MS);
		await log.record(action(5), "synced");
		expect(rig.text(`${SECOND}.torn-5`)).toBe("not ours");
		expect(rig.logged.at(-1)).toEqual({
			message: "a file of the audit log was there before its day",
			facts: { bytes: 8, keptAs: `${SECOND}.torn-5` },
		});
		expect(await log.verify()).toMatchObject({ intact: true, entries: 5 });
	});

	test("finds the last entry behind lines that are none", async () => {
		rmSync(join(rig.folder, "head"));
		rig.write(SECOND, `${"\0".repeat(300_000)}\nnonsense\n\n`);
		const log = await rig.open();
		expect((await allEntries(log)).map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5]);
		expect((await log.verify()).problems.map(({ file, line }) => [file, line])).toEqual([
			[SECOND, 1],
			[SECOND, 2],
			[SECOND, 3],
		]);
	});
});

const seqIn = (slot: string): string | undefined => /"seq":(\d+)/.exec(slot)?.[1];

test("what was acknowledged is there after kill -9, and at most queued entries are missing", async () => {
	const folder = join(rig.home, "killed");
	const child = Bun.spawn([process.execPath, join(import.meta.dir, "audit-writer.ts"), folder], {
		stdout: "pipe",
		stderr: "inherit",
	});
	let acknowledged = "";
	for await (const chunk of child.stdout) {
		acknowledged += Buffer.from(chunk).toString();
		if (acknowledged.split("\n").length > 40) break;
	}
	child.kill("SIGKILL");
	await child.exited;
	const last = Number(acknowledged.split("\n").slice(0, -1).at(-1));

	rmSync(rig.folder, { recursive: true });
	cpSync(folder, rig.folder, { recursive: true });
	rig.clock.wallMs = Date.now();
	const log = await rig.open();
	await log.record(action(0), "synced");
	expect(await log.verify()).toMatchObject({ intact: true, problems: [] });
	const numbers = (await allEntries(log, { event: "admin.action" })).map(({ details }) => Number(details?.number));
	expect(numbers.slice(0, last + 1)).toEqual(Array.from({ length: last + 1 }, (_, i) => i));
});
