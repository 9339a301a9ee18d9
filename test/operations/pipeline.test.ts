import { describe, expect, test } from "bun:test";
import { HiveError } from "../../src/base/errors.ts";
import { SYSTEM_TENANT, type TenantId } from "../../src/base/ids.ts";
import type { PipelineAnswer } from "../../src/operations/pipeline-types.ts";
import { START_MS, tenantRecord } from "../access/access-fixture.ts";
import { Rig } from "./pipeline-rig.ts";

describe("a refused request", () => {
	test.each<[string, string, (rig: Rig) => Promise<PipelineAnswer>]>([
		["an operation that is not there", "NOT_FOUND", (rig) => rig.send("things.none", undefined)],
		["no key", "AUTH_MISSING", (rig) => rig.send("things.make", undefined)],
		["an ill-formed key", "AUTH_INVALID_FORMAT", (rig) => rig.send("things.make", "nonsense")],
		["an unknown key", "AUTH_INVALID", (rig) => rig.send("things.make", `hh_live_${"x".repeat(32)}`)],
		[
			"a foreign tenant",
			"TENANT_NOT_FOUND",
			(rig) => rig.send("things.make", rig.directory.addKey("acme"), { actingTenant: "beta" }),
		],
		[
			"a missing permission",
			"FORBIDDEN",
			(rig) => rig.send("things.make", rig.directory.addKey("acme", { permissions: ["READ_ONLY"] })),
		],
		[
			"an admin operation over MCP",
			"NOT_FOUND",
			(rig) =>
				rig.send("things.manage", rig.directory.addKey(SYSTEM_TENANT, { permissions: ["ADMIN"] }), {
					protocol: "mcp",
				}),
		],
		[
			"a rate limit",
			"RATE_LIMITED",
			async (rig) => {
				const key = rig.directory.addKey("acme", { rate_limit_override: { requests_per_minute: 1 } });
				await rig.send("things.make", key);
				rig.readCount = 0;
				return rig.send("things.make", key);
			},
		],
		[
			"a limit by address",
			"RATE_LIMITED",
			async (rig) => {
				for (let count = 0; count < 2; count++) await rig.send("things.open", undefined);
				rig.readCount = 0;
				return rig.send("things.open", undefined);
			},
		],
	])("for %s never had its body read", async (_, code, send) => {
		const rig = new Rig();
		const answer = await send(rig);
		expect(answer.ok ? "ok" : answer.error.code).toBe(code);
		expect(rig.readCount).toBe(0);
	});

	test("for lack of permission takes a token like any other", async () => {
		const rig = new Rig();
		const reader = rig.directory.addKey("acme", { permissions: ["READ_ONLY"] });
		for (const remaining of [2, 1, 0]) {
			const answer = await rig.send("things.make", reader);
			expect(answer).toMatchObject({ error: { code: "FORBIDDEN" }, facts: { rateLimit: { limit: 3, remaining } } });
		}
		expect((await rig.refusal("things.make", reader)).code).toBe("RATE_LIMITED");
	});

	test("is charged and refused alike where another node keeps the rate limits", async () => {
		const rig = new Rig();
		rig.isLimiterElsewhere = true;
		const writer = rig.directory.addKey("acme");
		for (const remaining of [2, 1]) {
			expect(await rig.send("things.make", writer)).toMatchObject({ ok: true, facts: { rateLimit: { remaining } } });
		}
		// Whoever names a tenant that is none for them pays as well.
		const stranger = await rig.send("things.make", writer, { actingTenant: "other" });
		expect(stranger).toMatchObject({ error: { code: "TENANT_NOT_FOUND" }, facts: { rateLimit: { remaining: 0 } } });
		const refused = await rig.send("things.make", writer);
		expect(refused).toMatchObject({ error: { code: "RATE_LIMITED" }, facts: { retryAfterSeconds: 20 } });
		expect(rig.readCount).toBe(2);
	});

	test("is refused for its key before anything else", async () => {
		const rig = new Rig();
		const writer = rig.directory.addKey("acme");
		for (let count = 0; count < 3; count++) await rig.send("things.make", writer);
		expect((await rig.refusal("things.make", writer)).code).toBe("RATE_LIMITED");
		expect((await rig.refusal("things.make", "nonsense")).code).toBe("AUTH_INVALID_FORMAT");
	});
});

describe("facts", () => {
	test("of a success: whose, how much is left, what is stored", async () => {
		const rig = new Rig();
		rig.directory.tenants.set(
			"acme",
			tenantRecord("acme", { quota: { max_storage_bytes: 500, max_vectors: null, max_collections: null } }),
		);
		const answer = await rig.send("things.make", rig.directory.addKey("acme"));
		expect(answer).toEqual({
			ok: true,
			output: {},
			facts: {
				requestId: "req_1",
				tenantId: "acme" as TenantId,
				rateLimit: { limit: 3, remaining: 2, resetUnixSeconds: START_MS / 1000 + 20 },
				storage: { usedBytes: 70, quotaBytes: 500 },
			},
		});
	});

	test("of a failure are the same", async () => {
		const rig = new Rig();
		rig.run = async () => {
			throw new HiveError("COLLECTION_NOT_FOUND", "no such collection");
		};
		const { facts } = await rig.send("things.make", rig.directory.addKey("acme"));
		expect(facts).toMatchObject({
			tenantId: "acme" as TenantId,
			rateLimit: { remaining: 2 },
			storage: { usedBytes: 70, quotaBytes: null },
		});
	});

	test("of a refusal for its rate say when to come again", async () => {
		const rig = new Rig();
		const key = rig.directory.addKey("acme");
		for (let count = 0; count < 3; count++) await rig.send("things.make", key);
		const { facts } = await rig.send("things.make", key);
		expect(facts).toMatchObject({ retryAfterSeconds: 20, rateLimit: { limit: 3, remaining: 0 } });
		expect(rig.observedOf("rate limit")).toEqual([["acme"]]);
	});

	test("of a replaced key say until when it works", async () => {
		const rig = new Rig();
		const until = new Date(START_MS + 1_000).toISOString();
		const key = rig.directory.addKey("acme", { rotation_status: "deprecated", expires_at: until });
		for (const operation of ["things.make", "things.manage"]) {
			expect((await rig.send(operation, key)).facts.keyDeprecatedUntil).toBe(until);
		}
	});

	test("name nobody where nobody was found out", async () => {
		const rig = new Rig();
		const key = rig.directory.addKey("acme", { expires_at: new Date(START_MS).toISOString() });
		expect((await rig.send("things.make", key)).facts).toEqual({ requestId: "req_1" });
		expect((await rig.send("things.unlimited", key)).facts).toEqual({ requestId: "req_1" });
	});

	test("a request that was turned away does not have the disk asked again", async () => {
		const rig = new Rig();
		const reader = rig.directory.addKey("acme", { permissions: ["READ_ONLY"] });
		for (let count = 0; count < 5; count++) {
			expect((await rig.send("things.make", reader)).facts.storage).toEqual({ usedBytes: 70, quotaBytes: null });
		}
		expect(rig.usageAskedCount).toBe(1);
		rig.clock.advance(60_000);
		rig.usage = async () => ({ storageBytes: 90, vectorCount: 1, collectionCount: 1 });
		await rig.send("things.make", rig.directory.addKey("acme"));
		expect((await rig.send("things.make", reader)).facts.storage?.usedBytes).toBe(90);
		expect(rig.usageAskedCount).toBe(2);
	});

	test("do without what is stored when that can't be told, and the answer stands", async () => {
		const rig = new Rig();
		const key = rig.directory.addKey("acme");
		const broken = () => Promise.reject(new HiveError("OVERLOADED", "later"));
		rig.usage = broken;
		const answer = await rig.send("things.make", key);
		expect(answer.ok).toBe(true);
		expect(answer.facts.storage).toBeUndefined();
	});
});

describe("an admin in a tenant", () => {
	test("pays from the operators' limits, and the tenant's work is counted as the tenant's", async () => {
		const rig = new Rig();
		const admin = rig.directory.addKey(SYSTEM_TENANT, { permissions: ["ADMIN"] });
		const acme = rig.directory.addKey("acme");
		for (let count = 0; count < 3; count++) {
			const answer = await rig.send("things.make", admin, { actingTenant: "acme" });
			expect(answer.ok).toBe(true);
			expect(String(answer.facts.tenantId)).toBe("acme");
		}
		expect((await rig.refusal("things.make", admin)).code).toBe("RATE_LIMITED");
		expect(rig.observedOf("rate limit")).toEqual([[SYSTEM_TENANT]]);
		expect((await rig.send("things.make", acme)).ok).toBe(true);
		expect([...rig.meter.unreported()].map(({ totals }) => [String(totals.tenantId), totals.requests])).toEqual([
			["acme", 4],
		]);
	});

	test("has the tenant's handle, and is known by its own key", async () => {
		const rig = new Rig();
		const admin = rig.directory.addKey(SYSTEM_TENANT, { permissions: ["ADMIN"] });
		rig.run = async (context) => {
			const { tenant, caller, requestId } = context;
			expect(context.tenant).toBe(tenant);
			return [tenant.id, caller.homeTenantId, caller.tenant.id, caller.key?.tenant_id, requestId];
		};
		const answer = await rig.send("things.make", admin, { actingTenant: "acme" });
		expect(answer).toMatchObject({ ok: false, error: { code: "TENANT_NOT_FOUND" } });
		rig.directory.tenants.set("acme", tenantRecord("acme"));
		expect(await rig.send("things.make", admin, { actingTenant: "acme" })).toMatchObject({
			output: ["acme", "system", "acme", "system", "req_1"],
		});
	});
});

describe("an operation that fails", () => {
	test("with a code answers in its own words, and is not logged", async () => {
		const rig = new Rig();
		const thrown = new HiveError("CONFLICT", "it is so", { why: 1 });
		rig.run = () => Promise.reject(thrown);
		expect(await rig.refusal("things.make", rig.directory.addKey("acme"))).toBe(thrown);
		expect(rig.logged).toEqual([]);
	});

	test("for a reason that is a defect tells nothing of it, and the log everything", async () => {
		const rig = new Rig();
		const thrown = new TypeError("cannot read /srv/secret/path");
		for (const run of [
			() => Promise.reject(thrown),
			() => {
				throw thrown;
			},
		]) {
			rig.run = run;
			const error = await rig.refusal("things.make", rig.directory.addKey("acme"));
			expect(error.toWire()).toEqual({
				code: "INTERNAL",
				message: "internal error; the log tells more under this request id",
			});
		}
		expect(rig.logged[0]).toEqual({
			request_id: "req_1",
			operation: "things.make",
			tenant_id: "acme",
			err: thrown,
		});
	});

	test("with INTERNAL of a floor's own keeps the floor's words, and is logged", async () => {
		const rig = new Rig();
		const thrown = new HiveError("INTERNAL", "the disk is full");
		rig.run = () => Promise.reject(thrown);
		expect((await rig.refusal("things.make", rig.directory.addKey("acme"))).message).toBe("the disk is full");
		expect(rig.logged).toMatchObject([{ err: thrown }]);
	});

	test.each([
		["as told", { retry_after_seconds: 7 }, 7],
		["in a second", undefined, 1],
		["in a second when told nonsense", { retry_after_seconds: "soon" }, 1],
	])("because it can't be done now says to come again, %s", async (_, details, seconds) => {
		const rig = new Rig();
		rig.run = () => Promise.reject(new HiveError("OVERLOADED", "later", details));
		expect((await rig.send("things.make", rig.directory.addKey("acme"))).facts.retryAfterSeconds).toBe(seconds);
	});

	test.each([
		["max_storage_bytes", "storage"],
		["max_vectors", "vectors"],
		["max_collections", "collections"],
		["other", "other"],
		[undefined, "unknown"],
	])("for the quota %p is counted under %s", async (quota, name) => {
		const rig = new Rig();
		rig.run = () => Promise.reject(new HiveError("QUOTA_EXCEEDED", "full", quota === undefined ? {} : { quota }));
		await rig.send("things.make", rig.directory.addKey("acme"));
		expect(rig.observedOf("quota")).toEqual([["acme", name]]);
	});

	test("to read its input answers with the reader's code, after its token was taken", async () => {
		const rig = new Rig();
		const readInput = () => Promise.reject(new HiveError("PAYLOAD_TOO_LARGE", "too large"));
		const answer = await rig.send("things.make", rig.directory.addKey("acme"), { readInput });
		expect(answer).toMatchObject({ error: { code: "PAYLOAD_TOO_LARGE" }, facts: { rateLimit: { remaining: 2 } } });
	});

	test("because its input is wrong names the field, and does not run", async () => {
		const rig = new Rig();
		let ran = false;
		rig.run = async () => {
			ran = true;
		};
		const send = (input: unknown) =>
			rig.refusal("things.make", rig.directory.addKey(`t${Math.random()}`), { readInput: async () => input });
		expect((await send({ count: "many" })).details).toMatchObject({ field: "count" });
		expect((await send({ cuont: 1 })).details).toMatchObject({ field: "cuont" });
		for (const input of [undefined, null, 7, "text", []]) {
			const error = await send(input);
			expect(error.code).toBe("VALIDATION_FAILED");
			expect(error.details).toMatchObject({ field: "body" });
		}
		expect(ran).toBe(false);
	});
});

describe("a stream", () => {
	async function lines(answer: PipelineAnswer): Promise<{ read: unknown[]; error: unknown }> {
		if (!answer.ok) throw answer.error;
		const read: unknown[] = [];
		try {
			for await (const line of answer.output as AsyncIterable<unknown>) read.push(line);
		} catch (error) {
			return { read, error };
		}
		return { read, error: undefined };
	}

	test("passes line by line", async () => {
		const rig = new Rig();
		rig.run = async () =>
			(async function* () {
				yield 1;
				yield 2;
			})();
		const answer = await rig.send("things.stream", rig.directory.addKey("acme"));
		expect(await lines(answer)).toEqual({ read: [1, 2], error: undefined });
	});

	test("that fails on the way says no more than any answer, and is logged and counted like one", async () => {
		const rig = new Rig();
		for (const [thrown, code] of [
			[new Error("cannot read /srv/secret/path"), "INTERNAL"],
			[new HiveError("QUOTA_EXCEEDED", "full", { quota: "max_vectors" }), "QUOTA_EXCEEDED"],
		] as const) {
			rig.run = async () =>
				(async function* () {
					yield 1;
					throw thrown;
				})();
			const { read, error } = await lines(await rig.send("things.stream", rig.directory.addKey("acme")));
			expect(read).toEqual([1]);
			expect((error as HiveError).code).toBe(code);
			expect((error as HiveError).message).not.toContain("secret");
		}
		expect(rig.logged).toHaveLength(1);
		expect(rig.observedOf("quota")).toEqual([["acme", "vectors"]]);
	});

	test("that is given up is closed", async () => {
		const rig = new Rig();
		let isClosed = false;
		rig.run = async () =>
			(async function* () {
				try {
					for (;;) yield 1;
				} finally {
					isClosed = true;
				}
			})();
		const answer = await rig.send("things.stream", rig.directory.addKey("acme"));
		if (!answer.ok) throw answer.error;
		for await (const _ of answer.output as AsyncIterable<unknown>) break;
		expect(isClosed).toBe(true);
	});
});

describe("what is open", () => {
	test("asks for no key, whatever comes with it", async () => {
		const rig = new Rig();
		for (let count = 0; count < 20; count++) {
			const answer = await rig.send("things.unlimited", count % 2 === 0 ? undefined : "nonsense");
			expect(answer.ok).toBe(true);
		}
		expect(rig.directory.asked).toEqual([]);
	});

	test("has no tenant and no caller to work for", async () => {
		for (const touch of ["tenant", "caller"] as const) {
			const rig = new Rig();
			rig.run = async (context) => context[touch];
			expect((await rig.refusal("things.unlimited", undefined)).code).toBe("INTERNAL");
		}
	});

	test("is limited by address, and says when to come again", async () => {
		const rig = new Rig();
		const send = (remoteAddress: string) => rig.send("things.open", undefined, { remoteAddress });
		for (let count = 0; count < 2; count++) expect((await send("192.0.2.7")).ok).toBe(true);
		expect(await send("192.0.2.7")).toMatchObject({
			error: { code: "RATE_LIMITED" },
			facts: { retryAfterSeconds: 30 },
		});
		expect((await send("192.0.2.8")).ok).toBe(true);
	});

	test("to another credential takes that, or a key", async () => {
		const rig = new Rig();
		expect((await rig.send("things.doored", "metrics")).ok).toBe(true);
		const admin = rig.directory.addKey(SYSTEM_TENANT, { permissions: ["ADMIN"] });
		expect((await rig.send("things.doored", admin)).ok).toBe(true);
		expect((await rig.refusal("things.doored", "other")).code).toBe("AUTH_INVALID_FORMAT");
		expect((await rig.refusal("things.doored", rig.directory.addKey("acme"))).code).toBe("FORBIDDEN");
	});
});

describe("the observer", () => {
	test("is told of every request once, with its status", async () => {
		const rig = new Rig();
		const acme = rig.directory.addKey("acme");
		await rig.send("things.make", acme);
		await rig.send("things.manage", acme);
		await rig.send("things.make", "nonsense");
		await rig.send("things.none", acme);
		await rig.send("things.unlimited", undefined);
		expect(rig.observedOf("request")).toEqual([
			["acme", "things.make", 201, 0],
			["acme", "things.manage", 403, 0],
			[undefined, "things.make", 401, 0],
			// A name from outside never becomes a label.
			[undefined, "unknown", 404, 0],
			[undefined, "things.unlimited", 201, 0],
		]);
	});

	test("is told how long a request took, and finding out who asks", async () => {
		const rig = new Rig();
		rig.run = async () => rig.clock.advance(250);
		await rig.send("things.make", rig.directory.addKey("acme"));
		expect(rig.observedOf("request")).toEqual([["acme", "things.make", 201, 0.25]]);
		expect(rig.observedOf("authentication")).toEqual([[0]]);
	});

	test("is told why someone was not let in, and not of what they were forbidden inside", async () => {
		const rig = new Rig();
		const suspended = rig.directory.addKey("frozen");
		rig.directory.tenants.set("frozen", tenantRecord("frozen", { active: false }));
		await rig.send("things.make", undefined);
		await rig.send("things.make", "nonsense");
		await rig.send("things.make", suspended);
		await rig.send("things.make", rig.directory.addKey("acme", { allowed_ips: ["192.0.2.8"] }));
		await rig.send("things.manage", rig.directory.addKey("acme"));
		rig.directory.isAway = true;
		const away = await rig.send("things.make", rig.directory.addKey("beta"));
		expect(away.facts.retryAfterSeconds).toBe(1);
		expect(rig.observedOf("auth failure").flat()).toEqual([
			"AUTH_MISSING",
			"AUTH_INVALID_FORMAT",
			"TENANT_SUSPENDED",
			"AUTH_IP_DENIED",
			"HUB_UNAVAILABLE",
		]);
	});
});

test("calls over MCP spend tokens of their own", async () => {
	const rig = new Rig();
	const key = rig.directory.addKey("acme", { permissions: ["READ_WRITE", "MCP"] });
	expect((await rig.send("things.make", key, { protocol: "mcp" })).ok).toBe(true);
	expect((await rig.refusal("things.make", key, { protocol: "mcp" })).code).toBe("RATE_LIMITED");
	expect((await rig.send("things.make", key, { protocol: "graphql" })).facts.rateLimit).toMatchObject({ remaining: 2 });
});

describe("the audit log", () => {
	const SYSTEM = { permissions: ["ADMIN" as const] };

	test("has every failure to prove who one is, and nothing of what was presented", async () => {
		const rig = new Rig();
		await rig.send("things.make", undefined);
		await rig.send("things.make", "hh_live_nonsense");
		await rig.send("things.make", rig.directory.addKey("acme", { allowed_ips: ["198.51.100.0/24"] }));
		expect(rig.audited.map(({ event, code, until }) => [event, code, until])).toEqual([
			["auth.failed", "AUTH_MISSING", "queued"],
			["auth.failed", "AUTH_INVALID_FORMAT", "queued"],
			["auth.failed", "AUTH_IP_DENIED", "queued"],
		]);
		expect(rig.audited[1]).toMatchObject({
			remote_address: "192.0.2.7",
			request_id: "req_1",
			operation: "things.make",
		});
		expect(JSON.stringify(rig.audited)).not.toContain("hh_live_");
	});

	test("has an address that is shut out once, not each of its requests", async () => {
		const rig = new Rig();
		for (let count = 0; count < 9; count++) await rig.send("things.make", "nonsense");
		expect(rig.audited.map(({ event }) => event)).toEqual([
			"auth.failed",
			"auth.failed",
			"auth.blocked",
			"auth.failed",
		]);
	});

	test("has what an admin changed, on disk before the answer, with what it was about", async () => {
		const rig = new Rig();
		const admin = rig.directory.addKey(SYSTEM_TENANT, SYSTEM);
		const readInput = async () => ({ tenant_id: "acme", key_id: "key_1" });
		rig.run = async () => ({ api_key: "hh_live_secret", api_key_id: "key_2" });
		expect((await rig.send("things.manage", admin, { readInput })).ok).toBe(true);
		expect(rig.audited).toMatchObject([
			{
				event: "admin.action",
				outcome: "ok",
				tenant_id: "acme",
				actor_tenant_id: "system",
				details: { key_id: "key_1", created_api_key_id: "key_2" },
				until: "synced",
			},
		]);
		expect(JSON.stringify(rig.audited)).not.toContain("hh_live_secret");
	});

	test("has what an admin only looked at, without waiting for the disk", async () => {
		const rig = new Rig();
		await rig.send("things.look", rig.directory.addKey(SYSTEM_TENANT, SYSTEM));
		expect(rig.audited).toMatchObject([{ event: "admin.action", operation: "things.look", until: "queued" }]);
	});

	test("has an admin's failures too", async () => {
		const rig = new Rig();
		rig.run = () => Promise.reject(new HiveError("KEY_NOT_FOUND", "none"));
		await rig.send("things.manage", rig.directory.addKey(SYSTEM_TENANT, SYSTEM));
		rig.run = () => Promise.reject(new Error("broken"));
		await rig.send("things.manage", rig.directory.addKey(SYSTEM_TENANT, SYSTEM));
		expect(rig.audited).toMatchObject([
			{ event: "admin.action", outcome: "refused", code: "KEY_NOT_FOUND", until: "synced" },
			{ event: "admin.action", outcome: "failed", code: "INTERNAL", until: "synced" },
		]);
	});

	test("has each call of an admin inside a tenant", async () => {
		const rig = new Rig();
		rig.directory.tenants.set("acme", tenantRecord("acme"));
		const admin = rig.directory.addKey(SYSTEM_TENANT, SYSTEM);
		await rig.send("things.make", admin, { actingTenant: "acme" });
		expect(rig.audited).toMatchObject([
			{ event: "tenant.impersonated", tenant_id: "acme", actor_tenant_id: "system", until: "synced" },
		]);
	});

	test("has who named a tenant that is none for them, and who lacked a permission", async () => {
		const rig = new Rig();
		const key = rig.directory.addKey("acme");
		await rig.send("things.make", key, { actingTenant: "beta" });
		rig.run = () => Promise.reject(new HiveError("TENANT_NOT_FOUND", "no such tenant"));
		await rig.send("things.make", key);
		await rig.send("things.manage", key);
		expect(rig.audited.map(({ event, tenant_id }) => [event, tenant_id])).toEqual([
			["tenant.cross_access", "acme"],
			["tenant.cross_access", "acme"],
			["access.forbidden", "acme"],
		]);
	});

	test("has a limit that was met", async () => {
		const rig = new Rig();
		const key = rig.directory.addKey("acme");
		for (let count = 0; count < 4; count++) await rig.send("things.make", key);
		expect(rig.audited).toMatchObject([{ event: "rate_limit.exceeded", outcome: "refused", tenant_id: "acme" }]);
	});

	test("has a quota that was met", async () => {
		const rig = new Rig();
		rig.run = () => Promise.reject(new HiveError("QUOTA_EXCEEDED", "full", { quota: "max_vectors" }));
		await rig.send("things.make", rig.directory.addKey("acme"));
		expect(rig.audited).toMatchObject([{ event: "quota.exceeded", details: { quota: "max_vectors" } }]);
	});

	test("has what a public operation says is worth it, and nothing else that is public", async () => {
		const rig = new Rig();
		await rig.send("things.told", undefined);
		await rig.send("things.unlimited", undefined);
		expect(rig.audited).toMatchObject([{ event: "hub.webhook", outcome: "ok" }]);
	});

	test("has nothing of a tenant's ordinary work", async () => {
		const rig = new Rig();
		const key = rig.directory.addKey("acme");
		await rig.send("things.make", key);
		rig.run = () => Promise.reject(new HiveError("COLLECTION_NOT_FOUND", "none"));
		await rig.send("things.make", key);
		expect(rig.audited).toEqual([]);
	});

	test("that can't be written lets no admin believe that it was", async () => {
		const rig = new Rig();
		rig.isAuditBroken = true;
		const admin = rig.directory.addKey(SYSTEM_TENANT, SYSTEM);
		const error = await rig.refusal("things.manage", admin);
		expect([error.code, error.message]).toEqual([
			"INTERNAL",
			"what was asked is done, but could not be written to the audit log",
		]);
		expect(rig.logged).toHaveLength(1);
		rig.run = () => Promise.reject(new HiveError("KEY_NOT_FOUND", "none"));
		expect((await rig.refusal("things.manage", admin)).message).toContain("could not be written");
	});
});

describe("whose turn it is", () => {
	test("a stream holds its place until its last line, and a given-up one gives it back", async () => {
		const rig = new Rig();
		rig.run = async () =>
			(async function* () {
				yield 1;
			})();
		const key = rig.directory.addKey("acme");
		const first = await rig.send("things.stream", key);
		expect((await rig.refusal("things.stream", key)).code).toBe("OVERLOADED");
		if (!first.ok) throw first.error;
		for await (const _ of first.output as AsyncIterable<unknown>);
		rig.clock.advance(60_000);
		const second = await rig.send("things.stream", key);
		if (!second.ok) throw second.error;
		await (second.output as AsyncIterable<unknown>)[Symbol.asyncIterator]().return?.();
		expect((await rig.send("things.stream", key)).ok).toBe(true);
	});
});
