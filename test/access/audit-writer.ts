import { AuditLog } from "../../src/access/audit/audit-log.ts";
import { systemClock } from "../../src/base/clock.ts";
import { action } from "./audit-rig.ts";

/** Writes to the audit log in the folder it is given until it is killed, and prints the number of each acknowledged action. */
const log = await AuditLog.open({ folder: process.argv[2]!, clock: systemClock, retentionDays: 1, log: () => {} });
for (let number = 0; ; number += 2) {
	void log.record(action(number), "queued");
	await log.record(action(number + 1), "synced");
	process.stdout.write(`${number + 1}\n`);
}
