import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { AuditLog } from "../../src/access/audit/audit-log.ts";
import { AUDIT_OPERATIONS } from "../../src/operations/audit.ts";
import { inputError } from "../../src/operations/input-errors.ts";
import { AuditRig, action, failure } from "../access/audit-rig.ts";
import { type Input, type Output, thrownBy } from "./operations-fixture.ts";

const rig = new AuditRig();
let audit: AuditLog;

beforeAll(async () => {
	audit = await rig.open();
	for (let i = 1; i <= 30; i++) {
		rig.clock.advance(1_000);
		const event = i % 3 === 0 ? failure("192.0.2.1") : action(i, { tenant_id: i % 2 === 0 ? "acme" : "beta" });
		await audit.record(event, "queued");
	}
});
afterAll(() => rig.leave());

/** As the pipeline runs it, the answer held against its schema. */
async function ask(name: string, input: Input = {}, reader: AuditLog | undefined = audit): Promise<Output> {
	const operation = AUDIT_OPERATIONS.find((known) => known.name === name)!;
	const parsed = operation.input.safeParse(input);
	if (!parsed.success) throw inputError(parsed.error);
	const context = { services: { audit: reader } } as unknown as Parameters<typeof operation.run>[0];
	return operation.output.parse(await operation.run(context, parsed.data));
}

const seqs = async (input: Input): Promise<readonly number[]> =>
	(await ask("audit.list", input)).entries.map(({ seq }: { seq: number }) => seq);

describe("audit.list", () => {
	test("pages from the newest entry to the oldest", async () => {
		const first = await ask("audit.list", { limit: 20 });
		expect(first.entries[0]).toMatchObject({ seq: 30, event: "auth.failed", code: "AUTH_INVALID" });
		expect(first.next_cursor).toBe("11");
		const last = await ask("audit.list", { limit: 20, cursor: first.next_cursor });
		expect(last.entries).toHaveLength(10);
		expect(last.entries.at(-1)).toMatchObject({ seq: 1, details: { number: 1 } });
		expect(last.next_cursor).toBeNull();
	});

	test("filters by time, tenant and event", async () => {
		expect(await seqs({ tenant_id: "acme", event: "admin.action", limit: 3 })).toEqual([28, 26, 22]);
		expect(await seqs({ event: "auth", limit: 2 })).toEqual([30, 27]);
		expect(await seqs({ since: "2030-01-01T00:00:04Z", until: "2030-01-01T00:00:07Z" })).toEqual([6, 5, 4]);
	});

	test.each([
		["since", "an hour ago"],
		["until", "2030-13-01"],
		["tenant_id", "No Tenant"],
		["event", "auth failed"],
		["limit", 0],
		["limit", 1_001],
		["cursor", "x"],
		["cursor", "9".repeat(16)],
		["events", "auth"],
	])("refuses %s = %p, and names it", async (field, value) => {
		expect(await thrownBy(() => ask("audit.list", { [field]: value }))).toMatchObject({
			code: "VALIDATION_FAILED",
			details: { field },
		});
	});
});

describe("audit.verify", () => {
	test("tells whether the chain is intact, and where it is not", async () => {
		expect(await ask("audit.verify")).toEqual({
			intact: true,
			entries: 30,
			files: 1,
			first_seq: 1,
			last_seq: 30,
			problems: [],
		});
		const file = "2030-01-01.jsonl";
		rig.writeLines(
			file,
			rig.lines(file).map((line) => line.replace('"req_7"', '"req_8"')),
		);
		expect(await ask("audit.verify")).toMatchObject({
			intact: false,
			problems: [{ file, line: 7, problem: "entry 7 was changed: its hash is another" }],
		});
	});
});

test.each(["audit.list", "audit.verify"])("%s finds nothing where the audit log is off", async (name) => {
	const operation = AUDIT_OPERATIONS.find((known) => known.name === name)!;
	const context = { services: { audit: undefined } } as unknown as Parameters<typeof operation.run>[0];
	expect(await thrownBy(() => operation.run(context, { limit: 1 }))).toMatchObject({
		code: "NOT_FOUND",
		message: "the audit log is off: audit.enabled is false",
	});
});
