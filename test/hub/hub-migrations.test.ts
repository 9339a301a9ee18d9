import { expect, test } from "bun:test";
import { join } from "node:path";
import { SQL } from "bun";
import { hashKey } from "../../src/base/ids.ts";
import { keyAnswer } from "../../src/hub/response-schemas.ts";
import { HUB_MIGRATIONS } from "../../src/hub/server/hub-migrations.ts";
import { openHub, temporaryFolder } from "./hub-rig.ts";

const API_KEY = `hh_live_${"k".repeat(32)}`;

test("a database of the first version keeps its keys, which demand no signature, and its members", async () => {
	const folder = temporaryFolder();
	const sqlitePath = join(folder.path, "hub.db");
	const old = new SQL({ adapter: "sqlite", filename: sqlitePath });
	for (const statement of HUB_MIGRATIONS[0]!) await old.unsafe(statement);
	await old`UPDATE hub_state SET value = 1 WHERE name = 'schema_version'`;
	await old`
		INSERT INTO tenants (id, name, active, metadata, created_at_ms, revision) VALUES ('acme', 'Acme', 1, '{}', 0, 1)`;
	await old`
		INSERT INTO api_keys (
			id, key_hash, tenant_id, name, permissions, environment, created_at_ms, rotation_status, signing_required, revision
		) VALUES ('key_a', ${hashKey(API_KEY)}, 'acme', 'app', '["READ_ONLY"]', 'live', 0, 'active', 0, 2)`;
	await old`
		UPDATE topology SET version = 3, members = ${JSON.stringify([{ node_id: "n1", state: "active", addresses: ["a"] }])}`;
	await old.close();
	const hub = await openHub({ sqlitePath });
	try {
		const { body } = await hub.ask("POST", "/keys/validate", { key_hash: hashKey(API_KEY) });
		expect(body.key).toMatchObject({ api_key_id: "key_a", signing_required: false, signing_public_key: null });
		expect((await hub.ask("GET", "/topology")).body).toEqual({
			version: 3,
			members: [{ node_id: "n1", peer_id: "", state: "active", addresses: ["a"], serves_hub: false }],
			replica_counts: [],
			retired: [],
		});
	} finally {
		await hub.server.close();
		folder.remove();
	}
});

test("a key's record from a hub of before is taken without a public key", () => {
	const record = {
		api_key_id: "key_a",
		tenant_id: "acme",
		name: "app",
		permissions: ["READ_ONLY"],
		created_at: "2030-01-01T00:00:00.000Z",
		expires_at: null,
		last_used_at: null,
		rotation_status: "active",
		rate_limit_override: null,
		allowed_ips: null,
		signing_required: true,
		revision: 1,
	};
	expect(keyAnswer.parse(record).signing_public_key).toBeNull();
});
