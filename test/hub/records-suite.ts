import { expect, test } from "bun:test";
import { API_KEY_PATTERN, hashKey } from "../../src/base/ids.ts";
import { type Json, newCollection } from "./hub-rig.ts";
import { newKey, type OpenSuite } from "./open-suite.ts";

/** Of Ed25519, from RFC 9421, appendix B.1.4. */
const SIGNING_KEY = "JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=";

/** Tenants, keys and collections, on whatever database `on` stands for. */
export function testRecords(on: OpenSuite): void {
	test("a new tenant is unlimited unless told otherwise, and read back as it was made", async () => {
		const plain = await on.makeTenant();
		expect(plain).toMatchObject({
			id: "acme",
			active: true,
			quota: { max_storage_bytes: null, max_vectors: null, max_collections: null },
			rate_limits: null,
			metadata: {},
			api_keys_count: 0,
			created_at: "2030-01-01T00:00:00.000Z",
		});
		expect((await on.hub.ask("GET", "/tenants/acme")).body).toEqual(plain);
		const given = {
			quota: { max_storage_bytes: 5_000_000_000_000, max_vectors: 7, max_collections: 0 },
			rate_limits: { requests_per_minute: 1, requests_per_hour: 2, mcp_requests_per_minute: 3 },
			metadata: { plan: "größer", nested: { a: [1, null] } },
		};
		expect(await on.makeTenant("globex", given)).toMatchObject(given);
		expect((await on.hub.ask("GET", "/tenants/globex")).body).toMatchObject(given);
	});

	test("tenants are listed in pages that meet and never overlap", async () => {
		for (const id of ["t-a", "t-b", "t-c"]) await on.makeTenant(id);
		const first = (await on.hub.ask("GET", "/tenants?limit=2")).body;
		const second = (await on.hub.ask("GET", `/tenants?limit=2&after=${first.next}`)).body;
		expect([...first.tenants, ...second.tenants].map((tenant: Json) => tenant.id)).toEqual([
			"system",
			"t-a",
			"t-b",
			"t-c",
		]);
		expect(second.next).toBeNull();
	});

	test("a tenant id is given once, and the reserved ones not at all", async () => {
		await on.makeTenant();
		await on.expectRefusal(on.hub.ask("POST", "/tenants", { id: "acme", name: "x" }), "TENANT_EXISTS", "id");
		await on.expectRefusal(on.hub.ask("POST", "/tenants", { id: "system", name: "x" }), "TENANT_EXISTS", "id");
		await on.expectRefusal(on.hub.ask("POST", "/tenants", { id: "default", name: "x" }), "TENANT_EXISTS", "id");
		await on.expectRefusal(on.hub.ask("DELETE", "/tenants/system"), "CONFLICT");
		await on.expectRefusal(on.hub.ask("DELETE", "/tenants/default"), "CONFLICT");
		await on.expectRefusal(on.hub.ask("PATCH", "/tenants/system", { active: false }), "CONFLICT", "active");
	});

	test("a patch changes what it names and nothing else", async () => {
		const before = await on.makeTenant("acme", { quota: { max_storage_bytes: 1, max_vectors: 2, max_collections: 3 } });
		const after = (await on.hub.ask("PATCH", "/tenants/acme", { active: false, quota: { max_vectors: null } })).body;
		expect(after).toEqual({
			...before,
			active: false,
			quota: { max_storage_bytes: 1, max_vectors: null, max_collections: 3 },
			revision: after.revision,
		});
		expect(after.revision).toBeGreaterThan(before.revision);
		expect((await on.hub.ask("PATCH", "/tenants/acme", {})).body).toEqual(after);
		const limits = { requests_per_minute: 1, requests_per_hour: 2, mcp_requests_per_minute: 3 };
		const limited = (await on.hub.ask("PATCH", "/tenants/acme", { rate_limits: limits, metadata: { a: 1 } })).body;
		expect(limited).toMatchObject({ rate_limits: limits, metadata: { a: 1 } });
		const reset = (await on.hub.ask("PATCH", "/tenants/acme", { rate_limits: null, name: "New" })).body;
		expect(reset).toMatchObject({ rate_limits: null, metadata: { a: 1 }, name: "New", active: false });
	});

	test("a quota is replaced as a whole", async () => {
		await on.makeTenant();
		const quota = { max_storage_bytes: 10, max_vectors: null, max_collections: 2 };
		expect((await on.hub.ask("PUT", "/tenants/acme/quota", quota)).body).toEqual(quota);
		expect((await on.hub.ask("GET", "/tenants/acme/quota")).body).toEqual(quota);
		await on.expectRefusal(
			on.hub.ask("PUT", "/tenants/acme/quota", { max_vectors: 1 }),
			"VALIDATION_FAILED",
			"max_storage_bytes",
		);
	});

	test("what isn't there is not found, whatever its name looks like", async () => {
		await on.makeTenant();
		for (const id of ["nobody", "..%2F", "%E0%A4%A", "A", "a%00b"]) {
			await on.expectRefusal(on.hub.ask("GET", `/tenants/${id}`), "TENANT_NOT_FOUND");
			await on.expectRefusal(on.hub.ask("PATCH", `/tenants/${id}`, { name: "x" }), "TENANT_NOT_FOUND");
			await on.expectRefusal(on.hub.ask("DELETE", `/tenants/${id}`), "TENANT_NOT_FOUND");
			await on.expectRefusal(on.hub.ask("GET", `/tenants/${id}/quota`), "TENANT_NOT_FOUND");
			await on.expectRefusal(on.hub.ask("GET", `/tenants/${id}/keys`), "TENANT_NOT_FOUND");
			await on.expectRefusal(on.hub.ask("POST", `/tenants/${id}/keys`, newKey), "TENANT_NOT_FOUND");
			await on.expectRefusal(on.hub.ask("GET", `/tenants/${id}/collections`), "TENANT_NOT_FOUND");
			await on.expectRefusal(on.hub.ask("POST", `/tenants/${id}/collections`, newCollection("c")), "TENANT_NOT_FOUND");
			await on.expectRefusal(on.hub.ask("POST", `/keys/${id}/revoke`), "KEY_NOT_FOUND");
			await on.expectRefusal(on.hub.ask("DELETE", `/tenants/acme/collections/${id}%20`), "COLLECTION_NOT_FOUND");
		}
		await on.expectRefusal(
			on.hub.ask("PATCH", "/tenants/acme/collections/none", { replicas: 2 }),
			"COLLECTION_NOT_FOUND",
		);
		await on.expectRefusal(on.hub.ask("DELETE", "/tenants/acme/collections/none"), "COLLECTION_NOT_FOUND");
		await on.expectRefusal(on.hub.ask("POST", "/keys/key_0123456789abcdef/rotate"), "KEY_NOT_FOUND");
		await on.expectRefusal(on.validate("hh_live_unknown"), "KEY_NOT_FOUND");
	});

	test("a refused request names the field at fault and changes nothing", async () => {
		await on.makeTenant();
		const head = (await on.hub.ask("GET", "/changes")).body.cursor;
		const refused: [string, string, unknown, string][] = [
			["POST", "/tenants", { id: "Acme", name: "x" }, "id"],
			["POST", "/tenants", { id: "b2", name: "" }, "name"],
			["POST", "/tenants", { id: "b2", name: "a\u0000b" }, "name"],
			["POST", "/tenants", { id: "b2", name: "x", plan: 1 }, "plan"],
			["POST", "/tenants", { id: "b2", name: "x", metadata: { a: "x".repeat(17_000) } }, "metadata"],
			["POST", "/tenants", { id: "b2", name: "x", quota: { max_vectors: -1 } }, "quota.max_storage_bytes"],
			["PATCH", "/tenants/acme", { quota: { max_vectors: 1.5 } }, "quota.max_vectors"],
			["PATCH", "/tenants/acme", { id: "other" }, "id"],
			["POST", "/tenants", "{", "body"],
			["POST", "/tenants", "[]", "body"],
			["POST", "/tenants/acme/keys", { ...newKey, permissions: [] }, "permissions"],
			["POST", "/tenants/acme/keys", { ...newKey, permissions: ["ADMIN"] }, "permissions"],
			["POST", "/tenants/acme/keys", { ...newKey, permissions: ["ROOT"] }, "permissions.0"],
			["POST", "/tenants/acme/keys", { ...newKey, expires_at: "soon" }, "expires_at"],
			["POST", "/tenants/acme/keys", { ...newKey, allowed_ips: [] }, "allowed_ips"],
			["POST", "/tenants/acme/keys", { ...newKey, allowed_ips: ["10.0.0.0/8", "10.0.0.0/33"] }, "allowed_ips.1"],
			["POST", "/tenants/acme/keys", { ...newKey, signing_public_key: SIGNING_KEY }, "signing_public_key"],
			[
				"POST",
				"/tenants/acme/keys",
				{ ...newKey, signing_required: true, signing_public_key: "AAAA" },
				"signing_public_key",
			],
			["POST", "/tenants/acme/keys", { ...newKey, expires_at: "2029-12-31T23:59:59Z" }, "expires_at"],
			["POST", "/tenants/acme/collections", { ...newCollection("c"), name: "../c" }, "name"],
			["POST", "/tenants/acme/collections", { ...newCollection("c"), dimension: 0 }, "dimension"],
			["POST", "/tenants/acme/collections", { ...newCollection("c"), id: "mine" }, "id"],
			["PATCH", "/tenants/acme/collections/c", { dimension: 4 }, "dimension"],
			["POST", "/keys/validate", { key_hash: "hh_live_secret" }, "key_hash"],
			["POST", "/keys/key_0123456789abcdef/rotate", { grace_seconds: -1 }, "grace_seconds"],
			["POST", "/usage", { node_id: "n", sequence: 0, entries: [] }, "sequence"],
			["POST", "/logs", { entries: [1] }, "entries.0"],
			[
				"PUT",
				"/topology",
				{ version: 1, members: [{ node_id: "a", state: "gone", addresses: [] }] },
				"members.0.state",
			],
			["GET", "/changes?cursor=-1", undefined, "cursor"],
			["GET", "/changes?cursor=1&wait=61", undefined, "wait"],
			["GET", "/changes?cursor=1&cursor=2", undefined, "cursor"],
			["GET", "/tenants?limit=0", undefined, "limit"],
			["GET", "/tenants?page=2", undefined, "page"],
		];
		for (const [method, path, body, field] of refused) {
			const answered = await on.expectRefusal(on.hub.ask(method, path, body), "VALIDATION_FAILED", field);
			expect(answered.error).toContain(field);
		}
		const member = { node_id: "a", state: "active", addresses: [] };
		await on.expectRefusal(
			on.hub.ask("PUT", "/topology", { version: 1, members: [member, member] }),
			"VALIDATION_FAILED",
			"members",
		);
		const twin = { ...member, peer_id: "p" };
		await on.expectRefusal(
			on.hub.ask("PUT", "/topology", { version: 1, members: [twin, { ...twin, node_id: "b" }] }),
			"VALIDATION_FAILED",
			"members",
		);
		await on.expectRefusal(
			on.hub.ask("PUT", "/topology", { version: 1, members: [], retired: [{ node_id: "a" }] }),
			"VALIDATION_FAILED",
			"retired.0.peer_id",
		);
		expect((await on.hub.ask("GET", "/changes")).body.cursor).toBe(head);
	});

	test("a key is shown once, and found by its hash with its tenant", async () => {
		await on.makeTenant();
		const { api_key, record } = await on.makeKey("acme", {
			permissions: ["READ_WRITE", "MCP", "MCP"],
			environment: "test",
			expires_at: "2030-06-01T12:00:00+02:00",
			rate_limit_override: { requests_per_minute: 5 },
		});
		expect(api_key).toMatch(API_KEY_PATTERN);
		expect(api_key).toStartWith("hh_test_");
		expect(record).toMatchObject({
			tenant_id: "acme",
			permissions: ["MCP", "READ_WRITE"],
			expires_at: "2030-06-01T10:00:00.000Z",
			rotation_status: "active",
			last_used_at: null,
			rate_limit_override: { requests_per_minute: 5 },
			allowed_ips: null,
			signing_required: false,
			signing_public_key: null,
		});
		const { body } = await on.validate(api_key);
		expect(body).toEqual({ key: record, tenant: (await on.hub.ask("GET", "/tenants/acme")).body });
		expect(body.tenant.api_keys_count).toBe(1);
		expect((await on.hub.ask("GET", "/tenants/acme/keys")).body).toEqual({ keys: [record] });
	});

	test("what a key demands of requests goes over to its successor", async () => {
		await on.makeTenant();
		const demands = {
			allowed_ips: ["192.0.2.7", "2001:db8::/32"],
			signing_required: true,
			signing_public_key: SIGNING_KEY,
		};
		const { api_key, record } = await on.makeKey("acme", demands);
		expect(record).toMatchObject(demands);
		expect((await on.validate(api_key)).body.key).toEqual(record);
		const { body } = await on.hub.ask("POST", `/keys/${record.api_key_id}/rotate`);
		expect(body.record).toMatchObject(demands);
		expect((await on.validate(body.api_key)).body.key).toEqual(body.record);
		expect((await on.validate(api_key)).body.key).toMatchObject({ ...demands, rotation_status: "deprecated" });
		const { changes } = (await on.hub.ask("GET", "/changes?cursor=1")).body;
		expect(changes.find((change: Json) => change.record?.api_key_id === record.api_key_id).record).toMatchObject(
			demands,
		);
	});

	test("ADMIN is for keys of the tenant system", async () => {
		expect((await on.makeKey("system", { permissions: ["ADMIN"] })).record.permissions).toEqual(["ADMIN"]);
	});

	test("a rotated key works on for its grace period and no longer than it would have", async () => {
		await on.makeTenant();
		const grace = async (expiresAt: string | null, graceSeconds: number | undefined) => {
			const old = await on.makeKey("acme", { expires_at: expiresAt, rate_limit_override: { requests_per_hour: 9 } });
			on.hub.clock.advanceSeconds(60);
			const body = graceSeconds === undefined ? undefined : { grace_seconds: graceSeconds };
			const rotated = await on.hub.ask("POST", `/keys/${old.record.api_key_id}/rotate`, body);
			expect(rotated.status).toBe(201);
			const { api_key, record } = rotated.body;
			expect(record.api_key_id).not.toBe(old.record.api_key_id);
			expect(record).toMatchObject({
				name: "ci",
				permissions: ["READ_WRITE"],
				expires_at: expiresAt,
				rotation_status: "active",
				rate_limit_override: { requests_per_hour: 9 },
			});
			expect((await on.validate(api_key)).body.key).toEqual(record);
			return { old: (await on.validate(old.api_key)).body.key, now: new Date(on.hub.clock.nowMs()) };
		};
		const after = (now: Date, seconds: number) => new Date(now.getTime() + seconds * 1_000).toISOString();
		const plain = await grace(null, 3_600);
		expect(plain.old).toMatchObject({ rotation_status: "deprecated", expires_at: after(plain.now, 3_600) });
		const week = await grace(null, undefined);
		expect(week.old).toMatchObject({ rotation_status: "deprecated", expires_at: after(week.now, 604_800) });
		const sooner = await grace("2030-01-01T01:00:00.000Z", 86_400);
		expect(sooner.old).toMatchObject({ rotation_status: "deprecated", expires_at: "2030-01-01T01:00:00.000Z" });
		const atOnce = await grace(null, 0);
		expect(atOnce.old.rotation_status).toBe("revoked");
		for (const dead of [plain.old, atOnce.old]) {
			await on.expectRefusal(on.hub.ask("POST", `/keys/${dead.api_key_id}/rotate`), "CONFLICT");
		}
		const short = await on.makeKey("acme", { expires_at: after(new Date(on.hub.clock.nowMs()), 10) });
		on.hub.clock.advanceSeconds(11);
		await on.expectRefusal(on.hub.ask("POST", `/keys/${short.record.api_key_id}/rotate`), "CONFLICT");
	});

	test("a revoked key stays known as revoked, and revoking it again is no error", async () => {
		await on.makeTenant();
		const { api_key, record } = await on.makeKey();
		const revoked = (await on.hub.ask("POST", `/keys/${record.api_key_id}/revoke`)).body;
		expect(revoked).toEqual({ ...record, rotation_status: "revoked", revision: revoked.revision });
		expect(revoked.revision).toBeGreaterThan(record.revision);
		expect((await on.validate(api_key)).body.key).toEqual(revoked);
		expect((await on.hub.ask("POST", `/keys/${record.api_key_id}/revoke`)).body).toEqual(revoked);
	});

	test("a tenant counts the keys that work", async () => {
		await on.makeTenant();
		const { record } = await on.makeKey();
		await on.makeKey("acme", { expires_at: "2030-01-01T00:01:00Z" });
		await on.makeKey();
		const count = async () => (await on.hub.ask("GET", "/tenants/acme")).body.api_keys_count;
		expect(await count()).toBe(3);
		await on.hub.ask("POST", `/keys/${record.api_key_id}/revoke`);
		expect(await count()).toBe(2);
		on.hub.clock.advanceSeconds(61);
		expect(await count()).toBe(1);
		const listed = (await on.hub.ask("GET", "/tenants")).body.tenants;
		expect(listed.find((tenant: Json) => tenant.id === "acme").api_keys_count).toBe(1);
	});

	test("a collection name is a tenant's own, and its id is never used again", async () => {
		await on.makeTenant();
		await on.makeTenant("globex");
		const first = await on.hub.ask("POST", "/tenants/acme/collections", newCollection("docs"));
		expect(first.status).toBe(201);
		expect(first.body).toMatchObject({ ...newCollection("docs"), tenant_id: "acme" });
		expect(first.body.id).toMatch(/^[a-z0-9]{20}$/);
		await on.expectRefusal(
			on.hub.ask("POST", "/tenants/acme/collections", newCollection("docs")),
			"COLLECTION_EXISTS",
			"name",
		);
		expect((await on.hub.ask("POST", "/tenants/globex/collections", newCollection("docs"))).status).toBe(201);
		expect((await on.hub.ask("GET", "/tenants/acme/collections")).body).toEqual({ collections: [first.body] });
		expect((await on.hub.ask("DELETE", "/tenants/acme/collections/docs")).body).toEqual(first.body);
		const again = (await on.hub.ask("POST", "/tenants/acme/collections", newCollection("docs"))).body;
		expect(again.id).not.toBe(first.body.id);
	});

	test("of a collection ef_search, replicas and payload indexes can be changed", async () => {
		await on.makeTenant();
		const before = (await on.hub.ask("POST", "/tenants/acme/collections", newCollection("docs"))).body;
		const patch = { ef_search: 200, replicas: 3, payload_indexes: { "a.b": "keyword" } };
		const after = (await on.hub.ask("PATCH", "/tenants/acme/collections/docs", patch)).body;
		expect(after).toEqual({
			...before,
			replicas: 3,
			hnsw: { ...before.hnsw, ef_search: 200 },
			payload_indexes: { "a.b": "keyword" },
			revision: after.revision,
		});
		expect(after.revision).toBeGreaterThan(before.revision);
		expect((await on.hub.ask("GET", "/tenants/acme/collections")).body.collections).toEqual([after]);
		expect((await on.hub.ask("PATCH", "/tenants/acme/collections/docs", {})).body).toEqual(after);
	});

	test("a collection keeps how it treats text, and one without stays without", async () => {
		await on.makeTenant();
		const text = { provider: "openai", model: "m-1", fields: ["title"], language: "german" };
		const made = await on.hub.ask("POST", "/tenants/acme/collections", { ...newCollection("docs"), text });
		expect([made.status, made.body.text]).toEqual([201, text]);
		await on.hub.ask("POST", "/tenants/acme/collections", newCollection("plain"));
		await on.hub.ask("PATCH", "/tenants/acme/collections/docs", { ef_search: 200 });
		const { collections } = (await on.hub.ask("GET", "/tenants/acme/collections")).body;
		expect(collections.map((record: Json) => record.text)).toEqual([text, undefined]);
		const { changes } = (await on.hub.ask("GET", "/changes?cursor=0")).body;
		const ofDocs = changes.filter((change: Json) => change.kind === "collection" && change.name === "docs");
		expect(ofDocs.map((change: Json) => change.record.text)).toEqual([text, text]);
	});

	test("of fifty creations of one name at once exactly one wins", async () => {
		await on.makeTenant();
		const answers = await Promise.all(
			Array.from({ length: 50 }, () => on.hub.ask("POST", "/tenants/acme/collections", newCollection("docs"))),
		);
		expect(answers.filter((answer) => answer.status === 201)).toHaveLength(1);
		expect(answers.filter((answer) => answer.body.code === "COLLECTION_EXISTS")).toHaveLength(49);
		expect((await on.hub.ask("GET", "/tenants/acme/collections")).body.collections).toHaveLength(1);
	});

	test("max_collections holds however many are created at once", async () => {
		await on.makeTenant("acme", { quota: { max_storage_bytes: null, max_vectors: null, max_collections: 5 } });
		const answers = await Promise.all(
			Array.from({ length: 30 }, (_, index) =>
				on.hub.ask("POST", "/tenants/acme/collections", newCollection(`c${index}`)),
			),
		);
		expect(answers.filter((answer) => answer.status === 201)).toHaveLength(5);
		const refused = answers.find((answer) => answer.status !== 201)!;
		expect(refused.status).toBe(429);
		expect(refused.body).toMatchObject({
			code: "QUOTA_EXCEEDED",
			details: { quota: "max_collections", usage: { current: 5, limit: 5, requested: 1 } },
		});
		expect((await on.hub.ask("GET", "/tenants/acme/collections")).body.collections).toHaveLength(5);
	});

	test("a deleted tenant takes its keys and collections with it, and the feed tells of each", async () => {
		await on.makeTenant();
		const { api_key } = await on.makeKey();
		const collection = (await on.hub.ask("POST", "/tenants/acme/collections", newCollection("docs"))).body;
		const { cursor } = (await on.hub.ask("GET", "/changes")).body;
		expect((await on.hub.ask("DELETE", "/tenants/acme")).status).toBe(200);
		await on.expectRefusal(on.hub.ask("GET", "/tenants/acme"), "TENANT_NOT_FOUND");
		await on.expectRefusal(on.validate(api_key), "KEY_NOT_FOUND");
		expect((await on.hub.ask("GET", `/changes?cursor=${cursor}`)).body).toEqual({
			changes: [
				{ cursor: cursor + 1, kind: "key", key_hash: hashKey(api_key), tenant_id: "acme", record: null },
				{
					cursor: cursor + 2,
					kind: "collection",
					tenant_id: "acme",
					collection_id: collection.id,
					name: "docs",
					record: null,
				},
				{ cursor: cursor + 3, kind: "tenant", tenant_id: "acme", record: null },
			],
			cursor: cursor + 3,
			reset: false,
		});
		await on.makeTenant();
		expect((await on.hub.ask("GET", "/tenants/acme/collections")).body.collections).toEqual([]);
		expect((await on.hub.ask("GET", "/usage?tenant_id=acme")).body.usage[0].requests).toBe(0);
	});

	test("a suspended tenant keeps its keys and collections", async () => {
		await on.makeTenant();
		const { api_key } = await on.makeKey();
		await on.hub.ask("POST", "/tenants/acme/collections", newCollection("docs"));
		await on.hub.ask("PATCH", "/tenants/acme", { active: false });
		expect((await on.validate(api_key)).body.tenant.active).toBe(false);
		expect((await on.hub.ask("GET", "/tenants/acme/collections")).body.collections).toHaveLength(1);
	});
}
