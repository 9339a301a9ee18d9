import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TenantId } from "../../src/base/ids.ts";
import { type UsageBatch, UsageOutbox } from "../../src/node/usage-outbox.ts";
import { writeSealedLine } from "../../src/storage/durable-file.ts";

const root = mkdtempSync(join(tmpdir(), "hive-outbox-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const path = join(root, "usage.outbox");

let damageCount = 0;
const open = (): UsageOutbox => {
	damageCount = 0;
	return new UsageOutbox(path, () => damageCount++);
};
const batch: UsageBatch = {
	report: { node_id: "node_a", sequence: 42, entries: [], keys: [] },
	totals: [{ tenantId: "acme" as TenantId, createdAtMs: -1, requests: 1, searches: 2, vectorsWritten: 3 }],
};

test("a report stays until it has arrived, and its number and time beyond that", () => {
	const outbox = open();
	outbox.clear();
	expect([outbox.batch, outbox.sequence, outbox.untilMs]).toEqual([undefined, undefined, undefined]);
	outbox.put(batch, 1_000);
	const next = open();
	expect([next.batch, next.sequence, next.untilMs]).toEqual([batch, 42, 1_000]);
	next.clear();
	const last = open();
	expect([last.batch, last.sequence, last.untilMs]).toEqual([undefined, 42, 1_000]);
	expect((statSync(path).mode & 0o777).toString(8)).toBe("600");
	expect(damageCount).toBe(0);
});

test("what was damaged is said to be, and not sent", () => {
	open().put(batch, 1_000);
	const sound = readFileSync(path, "utf8");
	for (const text of ["", sound.slice(0, 40), sound.replace("42", "43")]) {
		writeFileSync(path, text);
		expect(open().batch).toBeUndefined();
		expect(damageCount).toBe(1);
	}
	for (const line of ["{", "{}", '{"sequence":0,"untilMs":1,"batch":null}']) {
		writeSealedLine(path, line);
		expect(open().sequence).toBeUndefined();
		expect(damageCount).toBe(1);
	}
});
