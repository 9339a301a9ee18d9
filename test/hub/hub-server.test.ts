import { afterAll, afterEach, beforeEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { testFeed } from "./feed-suite.ts";
import { type HubRig, type Json, newCollection, openHub, RunningClock, temporaryFolder } from "./hub-rig.ts";
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

test.skipIf(!postgres.available)("several hubs share one PostgreSQL database", async () => {
	if (!postgres.available) return;
	const postgresUrl = await postgres.newDatabase();
	const hubs = await Promise.all([1, 2, 3].map(() => openHub({ postgresUrl }, new RunningClock())));
	const [first, second] = hubs as [HubRig, HubRig];
	const { cursor } = (await first.ask("GET", "/changes")).body;
	const waiting = second.ask("GET", `/changes?cursor=${cursor}&wait=30`);
	await first.ask("POST", "/tenants", {
		id: "acme",
		name: "Acme",
		quota: { max_storage_bytes: null, max_vectors: null, max_collections: 4 },
	});
	expect((await waiting).body.changes[0].record.id).toBe("acme");
	const answers = await Promise.all(
		Array.from({ length: 30 }, (_, index) =>
			hubs[index % 3]!.ask("POST", "/tenants/acme/collections", newCollection(`c${index % 10}`)),
		),
	);
	expect(answers.filter((answer) => answer.status === 201)).toHaveLength(4);
	const { changes } = (await second.ask("GET", `/changes?cursor=${cursor}`)).body;
	expect(changes.map((change: Json) => change.cursor - cursor)).toEqual([1, 2, 3, 4, 5]);
	await Promise.all(hubs.map((hub) => hub.server.close()));
});
