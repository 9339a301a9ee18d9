import { describe, expect, test } from "bun:test";
import type { SignatureVerifier } from "../../src/access/signature-verifier.ts";
import { SYSTEM_TENANT } from "../../src/base/ids.ts";
import type { Visit } from "../../src/operations/pipeline-types.ts";
import { Rig } from "./pipeline-rig.ts";

const call = (operation: string, input: unknown = {}) => ({
	operation,
	signal: new AbortController().signal,
	readInput: async () => input,
});

async function visitOf(rig: Rig, ...sent: Parameters<Rig["admit"]>): Promise<Visit> {
	const admission = await rig.admit(...sent);
	if (!admission.ok) throw admission.error;
	return admission.visit;
}

describe("a visit", () => {
	test("costs one call when it is admitted, which its first operation has paid", async () => {
		const rig = new Rig();
		const visit = await visitOf(rig, rig.directory.addKey("acme"), { protocol: "graphql" });
		expect(visit.facts).toMatchObject({ tenantId: "acme", rateLimit: { remaining: 2 } });
		for (const remaining of [2, 1, 0]) {
			const answer = await visit.execute(call("things.make", { count: 1 }));
			expect(answer).toMatchObject({ ok: true, output: { count: 1 }, facts: { rateLimit: { remaining } } });
			expect(visit.facts).toEqual(answer.facts);
		}
		const refused = await visit.execute(call("things.make"));
		expect(refused).toMatchObject({ ok: false, error: { code: "RATE_LIMITED" }, facts: { retryAfterSeconds: 20 } });
	});

	test("pays as well for what is no operation, and for operations that are not there", async () => {
		const rig = new Rig();
		const visit = await visitOf(rig, rig.directory.addKey("acme"));
		expect(await visit.charge("graphql.introspect")).toMatchObject({
			ok: true,
			facts: { rateLimit: { remaining: 2 } },
		});
		expect(await visit.charge("graphql.introspect")).toMatchObject({
			ok: true,
			facts: { rateLimit: { remaining: 1 } },
		});
		expect(await visit.execute(call("things.none"))).toMatchObject({ error: { code: "NOT_FOUND" } });
		expect(await visit.charge("graphql.introspect")).toMatchObject({ error: { code: "RATE_LIMITED" } });
		expect(rig.observedOf("request").map(([tenant, label, status]) => [tenant, label, status])).toEqual([
			["acme", "graphql.introspect", 200],
			["acme", "graphql.introspect", 200],
			["acme", "unknown", 404],
			["acme", "graphql.introspect", 429],
		]);
	});

	test("counts, measures and audits each of its operations as a request of its own", async () => {
		const rig = new Rig();
		const visit = await visitOf(rig, rig.directory.addKey(SYSTEM_TENANT, { permissions: ["ADMIN"] }), {
			protocol: "graphql",
		});
		await visit.execute(call("things.manage", { tenant_id: "acme", key_id: "key_1" }));
		await visit.execute(call("things.look", { count: "many" }));
		expect(rig.observedOf("request").map(([, label, status]) => [label, status])).toEqual([
			["things.manage", 200],
			["things.look", 400],
		]);
		expect(rig.audited).toMatchObject([
			{ event: "admin.action", operation: "things.manage", outcome: "ok", tenant_id: "acme" },
			{ event: "admin.action", operation: "things.look", outcome: "refused", code: "VALIDATION_FAILED" },
		]);
	});

	test("is refused for the reasons that a request is, and counted once", async () => {
		const rig = new Rig();
		const refusals = [
			[undefined, {}, "AUTH_MISSING"],
			["nonsense", {}, "AUTH_INVALID_FORMAT"],
			[rig.directory.addKey("acme"), { actingTenant: "beta" }, "TENANT_NOT_FOUND"],
			[rig.directory.addKey("gamma", { permissions: ["MCP"] }), { protocol: "graphql" }, "FORBIDDEN"],
		] as const;
		for (const [key, more, code] of refusals) {
			expect(await rig.admit(key, more)).toMatchObject({ ok: false, error: { code } });
		}
		expect(rig.observedOf("request").map(([tenant, label, status]) => [tenant, label, status])).toEqual([
			[undefined, "rest", 401],
			[undefined, "rest", 401],
			["acme", "rest", 404],
			["gamma", "graphql", 403],
		]);
		expect(rig.audited.map(({ event }) => event)).toEqual([
			"auth.failed",
			"auth.failed",
			"tenant.cross_access",
			"access.forbidden",
		]);
	});

	test("tells which operations its caller may call: over MCP none of an admin's", async () => {
		const rig = new Rig();
		const admin = rig.directory.addKey(SYSTEM_TENANT, { permissions: ["ADMIN"] });
		const overGraphql = await visitOf(rig, admin, { protocol: "graphql" });
		expect(["things.make", "things.manage", "things.none"].map((name) => overGraphql.mayCall(name))).toEqual([
			true,
			true,
			false,
		]);
		const overMcp = await visitOf(rig, admin, { protocol: "mcp" });
		expect(overMcp.mayCall("things.manage")).toBe(false);
		const reader = await visitOf(rig, rig.directory.addKey("acme", { permissions: ["READ_ONLY"] }));
		expect(reader.mayCall("things.make")).toBe(false);
	});

	test("works on a message when it is the tenant's turn, and makes room however that ends", async () => {
		const rig = new Rig();
		const visit = await visitOf(rig, rig.directory.addKey("acme"));
		const large = 32 * 1024 * 1024;
		const order: string[] = [];
		const held = Promise.withResolvers<void>();
		const works = [1, 2, 3].map((index) =>
			visit.inTurn(large, async () => {
				order.push(`in ${index}`);
				await held.promise;
				if (index === 1) throw new Error("spoiled");
				return index;
			}),
		);
		const outcomes = Promise.allSettled(works);
		await Promise.resolve();
		expect(order).toEqual(["in 1", "in 2"]);
		held.resolve();
		expect(await outcomes).toMatchObject([{ status: "rejected" }, { value: 2 }, { value: 3 }]);
	});

	test("ends for a key that was revoked meanwhile, and goes on with what a key may do now", async () => {
		const rig = new Rig();
		const key = rig.directory.addKey("acme");
		const visit = await visitOf(rig, key, {}, "connection");
		expect(await visit.renew()).toBeUndefined();
		rig.directory.changeKey(key, { permissions: ["READ_ONLY"] });
		expect(await visit.renew()).toBeUndefined();
		expect(await visit.execute(call("things.make"))).toMatchObject({ error: { code: "FORBIDDEN" } });
		rig.directory.changeKey(key, { rotation_status: "revoked" });
		expect(await visit.renew()).toMatchObject({ code: "AUTH_INVALID" });
		rig.directory.forgetCached();
		rig.directory.isAway = true;
		expect(await visit.renew()).toMatchObject({ code: "HUB_UNAVAILABLE" });
	});

	test("of a connection is none for keys that must sign, of a message it is theirs once the body is as signed", async () => {
		const bodies: string[] = [];
		const rig = new Rig({
			verify: () => (body: Uint8Array) => void bodies.push(new TextDecoder().decode(body)),
		} as Partial<SignatureVerifier> as SignatureVerifier);
		const key = rig.directory.addKey("acme", { signing_required: true });
		expect(await rig.admit(key, {}, "connection")).toMatchObject({ error: { code: "AUTH_SIGNATURE_INVALID" } });
		const visit = await visitOf(rig, key);
		visit.checkBody(new TextEncoder().encode("{}"));
		expect(bodies).toEqual(["{}"]);
		// A key that must sign from now on has to leave a connection.
		const other = rig.directory.addKey("beta");
		const staying = await visitOf(rig, other, {}, "connection");
		rig.directory.changeKey(other, { signing_required: true });
		expect(await staying.renew()).toMatchObject({ code: "AUTH_SIGNATURE_INVALID" });
	});
});
