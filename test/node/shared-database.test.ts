import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { hashKey, newServiceKey, systemRandom } from "../../src/base/ids.ts";
import { openDataFolder } from "../../src/node/data-folder.ts";
import { openEmbeddedHub } from "../../src/node/embedded-hub.ts";
import { startPostgres } from "../hub/postgres-rig.ts";
import { Workshop } from "./node-fixture.ts";

const postgres = await startPostgres();
const workshop = new Workshop();
afterAll(async () => {
	await workshop.clear();
	if (postgres.available) await postgres.stop();
});

const HUB_COUNT = 3;
const ROUND_COUNT = 4;

describe.skipIf(!postgres.available)("nodes that start at once on one empty PostgreSQL", () => {
	test("make its tables together and a single ADMIN key, which every one of them knows", async () => {
		if (!postgres.available) return;
		for (let round = 0; round < ROUND_COUNT; round++) {
			const database = await postgres.newDatabase();
			const parts = await workshop.parts();
			const folders = Array.from({ length: HUB_COUNT }, () => openDataFolder(workshop.newDataDir(), systemRandom));
			const serviceKey = newServiceKey(systemRandom);
			const hubs = await Promise.all(
				folders.map((folder) =>
					openEmbeddedHub({ ...parts, folder, database, serviceKey, defaultTenant: false, adminKey: true }),
				),
			);
			const paths = hubs.flatMap(({ adminKeyPath }) => adminKeyPath ?? []);
			expect(paths).toHaveLength(1);
			expect(folders.filter((folder) => folder.readSecret("adminKey") !== undefined)).toHaveLength(1);
			const key_hash = hashKey(readFileSync(paths[0]!, "utf8").trim());
			for (const { hub } of hubs) {
				const ask = async (method: string, path: string, body?: unknown) => {
					const headers = { authorization: `Bearer ${serviceKey}` };
					const init = { method, headers, ...(body !== undefined && { body: JSON.stringify(body) }) };
					return (await (await hub.handle(new Request(`http://hub/api/v1${path}`, init))).json()) as {
						key: { permissions: string[] };
						keys: unknown[];
					};
				};
				expect((await ask("POST", "/keys/validate", { key_hash })).key.permissions).toEqual(["ADMIN"]);
				expect((await ask("GET", "/tenants/system/keys")).keys).toHaveLength(1);
			}
			await Promise.all(hubs.map(({ hub }) => hub.close()));
			for (const folder of folders) folder.release();
		}
	});
});
