import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { verifyAuditFolder } from "../../src/access/audit/audit-verifier.ts";
import { AuditRig, action, DAY_MS, reasonOf } from "./audit-rig.ts";

const DAYS = ["2030-01-01.jsonl", "2030-01-02.jsonl", "2030-01-03.jsonl"] as const;
const LINES_A_DAY = 5;
const LINE_COUNT = DAYS.length * LINES_A_DAY;

let rig: AuditRig;
beforeEach(async () => {
	rig = new AuditRig();
	await rig.session(async (log) => {
		for (const _ of DAYS) {
			await Promise.all(Array.from({ length: LINES_A_DAY }, (_, i) => log.record(action(i), "synced")));
			rig.clock.advance(DAY_MS);
		}
	});
});
afterEach(() => rig.leave());

const verify = () => verifyAuditFolder(rig.folder);
const places = async () => (await verify()).problems.map(({ file, line }) => `${file}:${line}`);
/** All lines, with the file each stands in. */
const allLines = () => DAYS.flatMap((file) => rig.lines(file).map((line) => ({ file, line })));
const rewrite = (lines: readonly { file: string; line: string }[]) => {
	for (const day of DAYS) {
		rig.writeLines(
			day,
			lines.filter(({ file }) => file === day).map(({ line }) => line),
		);
	}
};

describe("verify", () => {
	test("finds nothing in a log as it was written", async () => {
		expect(await verify()).toEqual({
			intact: true,
			entries: LINE_COUNT,
			files: 3,
			first_seq: 1,
			last_seq: LINE_COUNT,
			problems: [],
		});
	});

	test("finds any one character changed", async () => {
		for (const file of DAYS) {
			const text = rig.text(file);
			for (let at = 0; at < text.length; at += 7) {
				const other = text[at] === "0" ? "1" : "0";
				rig.write(file, text.slice(0, at) + other + text.slice(at + 1));
				expect({ at, intact: (await verify()).intact }).toEqual({ at, intact: false });
			}
			rig.write(file, text);
		}
		expect((await verify()).intact).toBe(true);
	});

	test("finds any one line removed, but for the first of all", async () => {
		const lines = allLines();
		for (let at = 1; at < lines.length; at++) {
			rewrite(lines.toSpliced(at, 1));
			expect({ at, intact: (await verify()).intact }).toEqual({ at, intact: false });
		}
		// What retention would also do can't be told from it.
		rewrite(lines.slice(1));
		expect(await verify()).toMatchObject({ intact: true, first_seq: 2 });
	});

	test("finds any two neighbours swapped, and any line twice", async () => {
		const lines = allLines();
		for (let at = 0; at + 1 < lines.length; at++) {
			const [one, two] = [lines[at]!, lines[at + 1]!];
			rewrite(lines.with(at, { ...one, line: two.line }).with(at + 1, { ...two, line: one.line }));
			expect({ at, intact: (await verify()).intact }).toEqual({ at, intact: false });
			rewrite(lines.toSpliced(at, 0, one));
			expect({ at, intact: (await verify()).intact }).toEqual({ at, intact: false });
		}
	});

	test("finds a line changed with its hash made anew", async () => {
		const lines = rig.lines(DAYS[1]);
		const { hash: _, ...body } = JSON.parse(lines[2]!);
		body.operation = "keys.revoke";
		const sorted = Object.fromEntries(Object.entries(body).sort(([a], [b]) => (a < b ? -1 : 1)));
		const hash = new Bun.CryptoHasher("sha256").update(JSON.stringify(sorted)).digest("hex");
		const forged = { ...sorted, hash };
		const line = JSON.stringify(Object.fromEntries(Object.entries(forged).sort(([a], [b]) => (a < b ? -1 : 1))));
		rig.writeLines(DAYS[1], lines.with(2, line));
		expect((await verify()).problems).toEqual([
			{ file: DAYS[1], line: 4, problem: "entry 9 does not hold the hash of the entry before it" },
		]);
		rig.writeLines(DAYS[1], lines);
		const last = rig.lines(DAYS[2]);
		rig.writeLines(DAYS[2], last.with(4, line.replace('"seq":8', '"seq":15')));
		expect((await verify()).problems.map(({ problem }) => problem)).toContain(
			"entry 15 is not the one that the head names",
		);
	});

	test("finds a line that says the same in another form", async () => {
		const [first, ...rest] = rig.lines(DAYS[0]);
		rig.writeLines(DAYS[0], [first!.replace(",", ", "), ...rest]);
		expect(await places()).toEqual([`${DAYS[0]}:1`]);
	});

	test("finds a file removed, but for the oldest, and one renamed", async () => {
		const texts = DAYS.map((file) => rig.text(file));
		rmSync(join(rig.folder, DAYS[1]));
		expect(await places()).toEqual([`${DAYS[2]}:1`]);
		rig.write(DAYS[1], texts[1]!);
		rmSync(join(rig.folder, DAYS[2]));
		expect((await verify()).problems).toEqual([
			{ file: "head", line: 0, problem: "entry 15 was written, but the files end with entry 10" },
		]);
		rig.write(DAYS[2], texts[2]!);
		rmSync(join(rig.folder, DAYS[0]));
		expect(await verify()).toMatchObject({ intact: true, files: 2, first_seq: 6 });
		renameSync(join(rig.folder, DAYS[1]), join(rig.folder, "2030-01-04.jsonl"));
		expect((await verify()).intact).toBe(false);
	});

	test("finds the end cut off, anywhere", async () => {
		const text = rig.text(DAYS[2]);
		for (const length of [0, 1, text.length - 300, text.length - 1]) {
			rig.write(DAYS[2], text.slice(0, length));
			expect({ length, intact: (await verify()).intact }).toEqual({ length, intact: false });
		}
	});

	test("finds a head that is missing or damaged", async () => {
		const head = rig.text("head");
		rig.write("head", head.replaceAll('"seq":', '"seq":9'));
		expect(await places()).toEqual(["head:0"]);
		rmSync(join(rig.folder, "head"));
		expect(await places()).toEqual(["head:0"]);
	});

	test("finds a line longer than any that is written, and goes on behind it", async () => {
		const lines = rig.lines(DAYS[0]);
		rig.writeLines(DAYS[0], [...lines.slice(0, 2), "x".repeat(700_000), ...lines.slice(2)]);
		expect(await verify()).toMatchObject({
			entries: LINE_COUNT,
			problems: [{ file: DAYS[0], line: 3, problem: "this is not an entry" }],
		});
		rig.write(DAYS[0], `${rig.text(DAYS[0])}${"x".repeat(700_000)}`);
		expect(await places()).toEqual([`${DAYS[0]}:3`, `${DAYS[0]}:7`]);
	});

	test("finds what is JSON but no entry", async () => {
		const nested = `${'{"a":'.repeat(40_000)}1${"}".repeat(40_000)}`;
		const entry = JSON.parse(rig.lines(DAYS[0])[0]!);
		const odd = [
			"null",
			"7",
			"{}",
			nested,
			JSON.stringify({ ...entry, seq: 0 }),
			JSON.stringify({ ...entry, prev: "x" }),
		];
		rig.writeLines(DAYS[0], odd);
		expect(await places()).toEqual(odd.map((_, at) => `${DAYS[0]}:${at + 1}`));
	});

	test("finds an entry nested deeper than can be followed", async () => {
		const [first, ...rest] = rig.lines(DAYS[0]);
		const nested = `${"[".repeat(60_000)}${"]".repeat(60_000)}`;
		rig.writeLines(DAYS[0], [first!.replace('"details":{"number":0}', `"details":${nested}`), ...rest]);
		expect(await places()).toEqual([`${DAYS[0]}:1`]);
	});

	test("names a hundred problems at most", async () => {
		rig.writeLines(DAYS[0], Array<string>(500).fill("{}"));
		expect((await verify()).problems).toHaveLength(100);
	});

	test("takes a line under way at the very end for what it is", async () => {
		rig.write(DAYS[2], `${rig.text(DAYS[2])}{"details`);
		expect((await verify()).intact).toBe(true);
		rig.write(DAYS[1], `${rig.text(DAYS[1])}{"details`);
		expect(await places()).toEqual([`${DAYS[1]}:6`]);
	});

	test("of a running log comes to the same, however many ask", async () => {
		const log = await rig.open();
		let isDone = false;
		const writing = (async () => {
			for (let i = 0; !isDone; i++) await log.record(action(i), i % 3 === 0 ? "synced" : "queued");
		})();
		for (let round = 0; round < 5; round++) {
			const [one, two] = [log.verify(), log.verify()];
			expect(two).toBe(one);
			expect((await one).problems).toEqual([]);
			expect((await verify()).problems).toEqual([]);
		}
		isDone = true;
		await writing;
	});

	test("finds a file that goes away under its eyes", async () => {
		const running = verify();
		rmSync(join(rig.folder, DAYS[1]));
		expect((await running).problems[0]).toEqual({ file: DAYS[1], line: 0, problem: "the file went away" });
	});

	test("of a folder that isn't there fails", async () => {
		expect(await reasonOf(verifyAuditFolder(join(rig.home, "none")))).toMatchObject({
			message: expect.stringContaining("ENOENT"),
		});
	});
});
