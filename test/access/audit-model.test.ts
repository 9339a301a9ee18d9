import { expect, test } from "bun:test";
import { cpSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { AuditLog } from "../../src/access/audit/audit-log.ts";
import { verifyAuditFolder } from "../../src/access/audit/audit-verifier.ts";
import { AuditRig, action, allEntries, DAY_MS } from "./audit-rig.ts";

const step = fc.oneof(
	{
		weight: 6,
		arbitrary: fc.record({
			kind: fc.constant("record" as const),
			count: fc.integer({ min: 1, max: 40 }),
			syncedOf: fc.integer({ min: 1, max: 9 }),
		}),
	},
	{
		weight: 2,
		arbitrary: fc.record({
			kind: fc.constant("break" as const),
			at: fc.constantFrom("write", "datasync", "truncate", "open"),
			bytes: fc.nat(2_000),
		}),
	},
	{ weight: 2, arbitrary: fc.record({ kind: fc.constant("heal" as const) }) },
	{
		weight: 2,
		arbitrary: fc.record({ kind: fc.constant("wait" as const), ms: fc.integer({ min: -DAY_MS, max: 2 * DAY_MS }) }),
	},
	{ weight: 1, arbitrary: fc.record({ kind: fc.constant("reopen" as const) }) },
	{ weight: 2, arbitrary: fc.record({ kind: fc.constant("crash" as const) }) },
);

test("whatever the disk and the clock do, the chain is intact, and what was acknowledged is in it, once and in order", async () => {
	await fc.assert(
		fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
			const rig = new AuditRig();
			let log = await rig.open();
			const acknowledged: number[] = [];
			let number = 0;

			const check = async (read: AuditLog) => {
				expect((await read.verify()).problems).toEqual([]);
				const held = (await allEntries(read, { event: "admin.action" })).map(({ details }) => Number(details?.number));
				expect(new Set(held).size).toBe(held.length);
				expect(held.filter((each) => acknowledged.includes(each))).toEqual(acknowledged);
			};

			try {
				for (const [at, next] of steps.entries()) {
					if (next.kind === "record") {
						const waiting: Promise<unknown>[] = [];
						for (let i = 0; i < next.count; i++, number++) {
							const mine = number;
							const isSynced = i % next.syncedOf === 0;
							const record = log.record(action(mine), isSynced ? "synced" : "queued");
							if (isSynced)
								waiting.push(
									record.then(
										() => acknowledged.push(mine),
										() => {},
									),
								);
						}
						await Promise.all(waiting);
					} else if (next.kind === "break") {
						rig.disk.bytesBeforeFault = next.bytes;
						rig.disk.breakAt(next.at);
					} else if (next.kind === "heal") rig.disk.heal();
					else if (next.kind === "wait") rig.clock.wallMs += next.ms;
					else if (next.kind === "reopen") {
						await log.close();
						rig.disk.heal();
						log = await rig.open();
					} else {
						const copy = join(rig.home, `crash-${at}`);
						cpSync(rig.folder, copy, { recursive: true });
						const left = await AuditLog.open({ folder: copy, clock: rig.clock, retentionDays: 9_999, log: () => {} });
						await check(left).finally(() => left.close());
						expect((await verifyAuditFolder(copy)).intact).toBe(true);
					}
				}
				rig.disk.heal();
				await check(log);
			} finally {
				await rig.leave();
			}
		}),
		{ numRuns: 40 },
	);
});
