import { afterAll, afterEach, beforeEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { testFeed } from "./feed-suite.ts";
import { temporaryFolder } from "./hub-rig.ts";
import { OpenSuite } from "./open-suite.ts";
import { type PostgresRig, startPostgres } from "./postgres-rig.ts";
import { testRecords } from "./records-suite.ts";

const postgres: PostgresRig = await startPostgres();
afterAll(async () => {
	if (postgres.available) await postgres.stop();
});
if (!postgres.available) test.skip(`the hub on PostgreSQL: ${postgres.reason}`, () => {});

for (const backend of postgres.available ? (["sqlite", "postgres"] as const) : (["sqlite"] as const)) {
	describe(`the hub on ${backend}`, () => {
		const on = new OpenSuite();
		let folder: ReturnType<typeof temporaryFolder>;

		beforeEach(async () => {
			folder = temporaryFolder();
			await on.open(
				backend === "postgres" && postgres.available
					? { postgresUrl: await postgres.newDatabase() }
					: { sqlitePath: join(folder.path, "hub.db") },
			);
		});

		afterEach(async () => {
			await on.hub.server.close();
			expect(on.hub.defects).toEqual([]);
			folder.remove();
		});

		testRecords(on);
		testFeed(on);
	});
}
