import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { auditRow, parseMoment, problemLines } from "../../commands/shared/audit-view.ts";
import { AuditRig, action, failure } from "../access/audit-rig.ts";
import { builtBinary, User } from "./binary.ts";
import { ScriptedNode } from "./scripted-node.ts";

const SHORT = { time: "2030-01-01", event: "auth.failed", outcome: "ok" };
const NOW_MS = Date.parse("2030-01-02T00:00:00Z");

describe("a moment on the command line", () => {
	test.each([
		["24h", "2030-01-01T00:00:00.000Z"],
		["90m", "2030-01-01T22:30:00.000Z"],
		["100y", "1970-01-01T00:00:00.000Z"],
		["2029-05-01T10:00:00+02:00", "2029-05-01T10:00:00+02:00"],
		["2029-05-01", "2029-05-01"],
	])("%s is understood", (text, moment) => expect(parseMoment(text, NOW_MS)).toBe(moment));

	test.each(["yesterday", "24", "-1h", "2029-02-30", "5 parsecs", "5parsecs", ""])("%p is refused", (text) =>
		expect(() => parseMoment(text, NOW_MS)).toThrow(`"${text}"`),
	);
});

test("an entry is a row, whatever of it is known", () => {
	const chained = { seq: 7, time: "2030-01-01T00:00:00.000Z", prev: "", hash: "" };
	expect(auditRow({ ...action(1, { code: "CONFLICT" }), ...chained })).toEqual([
		"7",
		"2030-01-01T00:00:00.000Z",
		"admin.action",
		"ok",
		"acme",
		"system/key_aaaaaaaaaaaaaaaa",
		"keys.create",
		"192.0.2.1",
		"CONFLICT number=1",
	]);
	expect(auditRow({ event: "audit.recovered", outcome: "ok", ...chained }).slice(4)).toEqual(["-", "-", "-", "-", ""]);
});

test("a problem is a line that names file and line", () => {
	const problem = "it was changed";
	expect(
		problemLines([
			{ file: "2030-01-01.jsonl", line: 3, problem },
			{ file: "head", line: 0, problem },
		]),
	).toBe("2030-01-01.jsonl:3: it was changed\nhead: it was changed\n");
});

describe("the audit commands", () => {
	const user = new User();
	const node = new ScriptedNode();
	const rig = new AuditRig();
	const queries: URLSearchParams[] = [];
	const env = { HIVE_VECTOR_URL: node.url, HIVE_VECTOR_API_KEY: "env-key", HIVE_VECTOR_DATA_DIR: rig.home };

	beforeAll(async () => {
		await rig.session(async (log) => {
			for (let i = 1; i <= 5; i++) await log.record(i === 3 ? failure("192.0.2.9") : action(i), "synced");
		});
		await builtBinary();
	}, 120_000);
	afterAll(async () => {
		user.leave();
		await node.stop();
		await rig.leave();
	});

	/** A node with 2,500 entries. */
	const answerList = (request: Request): Response => {
		const { searchParams } = new URL(request.url);
		queries.push(searchParams);
		const before = Number(searchParams.get("cursor") ?? 2_501);
		const limit = Number(searchParams.get("limit"));
		const entries = Array.from({ length: Math.min(limit, before - 1) }, (_, i) => ({ seq: before - 1 - i, ...SHORT }));
		const last = entries.at(-1)?.seq ?? 1;
		return Response.json({ entries, next_cursor: last === 1 ? null : String(last) });
	};

	test("list asks page by page for as much as is wanted, and acts in no tenant", async () => {
		node.answer = answerList;
		const filter = ["--tenant", "acme", "--event", "auth", "--since", "24h", "--until", "2030-01-01"];
		const { code, stdout } = await user.run(["audit", "list", "--limit", "1200", ...filter, "--json"], { env });
		expect(code).toBe(0);
		const answer = JSON.parse(stdout);
		expect(answer.entries).toHaveLength(1_200);
		expect(answer.next_cursor).toBe("1301");
		expect(queries.map((query) => [query.get("limit"), query.get("cursor")])).toEqual([
			["1000", null],
			["200", "1501"],
		]);
		expect(Object.fromEntries(queries[1]!)).toMatchObject({ tenant_id: "acme", event: "auth", until: "2030-01-01" });
		expect(Date.parse(queries[0]!.get("since")!)).toBeLessThan(Date.now() - 86_000_000);
		expect(node.requests.at(-1)?.path).toBe("/api/v1/audit");
		expect(node.requests.at(-1)?.headers.get("x-tenant-id")).toBeNull();
		expect(node.requests.at(-1)?.headers.get("authorization")).toBe("Bearer env-key");
	});

	test("list is a table for people, with a word on what is left", async () => {
		node.answer = answerList;
		const first = await user.run(["audit", "list", "--limit", "2"], { env });
		expect(first.stdout.split("\n")[0]).toMatch(/^ *SEQ +TIME +EVENT +OUTCOME +TENANT +BY +OPERATION +FROM +MORE$/);
		expect(first.stdout.split("\n")[1]).toMatch(/^2500 +2030-01-01 +auth.failed +/);
		expect(first.stderr).toBe("there are older ones: --cursor 2499, or a higher --limit\n");
		const last = await user.run(["audit", "list", "--cursor", "2"], { env });
		expect(last.stdout.split("\n")).toHaveLength(3);
		expect(last.stderr).toBe("");
	});

	test("verify asks the node, also where the environment names a data folder", async () => {
		const found = { intact: true, entries: 12_345, files: 3, first_seq: 1, last_seq: 12_345, problems: [] };
		node.answer = () => Response.json(found);
		const outcome = await user.run(["audit", "verify"], { env });
		expect(outcome).toMatchObject({ code: 0, stderr: "" });
		expect(outcome.stdout).toMatch(/^intact +yes\nentries +12,345, 1 to 12345\nfiles +3\n$/);
		expect(node.requests.at(-1)?.path).toBe("/api/v1/audit/verification");
		node.answer = () =>
			Response.json({ ...found, intact: false, problems: [{ file: "head", line: 0, problem: "gone" }] });
		const broken = await user.run(["audit", "verify", "--json"], { env });
		expect(broken.code).toBe(1);
		expect(JSON.parse(broken.stdout)).toMatchObject({ intact: false });
	});

	test("verify reads the files of a data folder and changes nothing", async () => {
		const asked = node.requests.length;
		const args = ["audit", "verify", "--data-dir", rig.home];
		expect(JSON.parse((await user.run([...args, "--json"])).stdout)).toEqual({
			intact: true,
			entries: 5,
			files: 1,
			first_seq: 1,
			last_seq: 5,
			problems: [],
		});
		const lines = rig.lines("2030-01-01.jsonl");
		rig.writeLines("2030-01-01.jsonl", lines.toSpliced(2, 1));
		const before = rig.files().map((file) => rig.text(file));
		const broken = await user.run(args);
		expect(broken.code).toBe(1);
		expect(broken.stdout).toContain("2030-01-01.jsonl:3: entry 4 follows entry 2\n");
		expect(rig.files().map((file) => rig.text(file))).toEqual(before);
		expect(node.requests).toHaveLength(asked);
	});

	test("verify of a folder without a log says so", async () => {
		mkdirSync(`${user.folder}/data`);
		const outcome = await user.run(["audit", "verify", "--data-dir", "data", "--json"]);
		expect(outcome.code).toBe(4);
		expect(JSON.parse(outcome.stdout)).toMatchObject({ code: "NOT_FOUND", error: "there is no audit log in data" });
	});
});
