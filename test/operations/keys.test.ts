import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { HiveError } from "../../src/base/errors.ts";
import type { NodeServices } from "../../src/operations/node-services.ts";
import { OPERATIONS } from "../../src/operations/operation-table.ts";
import { type Input, OperationsNode, type Output, thrownBy } from "./operations-fixture.ts";

const DAY_MS = 86_400_000;
/** Of Ed25519, from RFC 9421, appendix B.1.4. */
const SIGNING_KEY = "JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=";
let node: OperationsNode;
beforeAll(async () => {
	node = await OperationsNode.start();
	for (const id of ["acme", "beta"]) await node.asAdmin("tenants.create", { id });
});
afterAll(() => node.stop());

const refusal = (operation: string, input: Input): Promise<HiveError> =>
	node.refusal(operation, input, { key: node.adminKey });
const validate = (api_key: string): Promise<Output> => node.ask("keys.validate", { api_key });
const list = async (tenant_id: string): Promise<Output[]> => (await node.asAdmin("keys.list", { tenant_id })).keys;

describe("a key", () => {
	test("is shown once, when it is made, and works at once", async () => {
		const made = await node.asAdmin("keys.create", { tenant_id: "acme", permissions: ["READ_WRITE", "MCP", "MCP"] });
		expect(made).toEqual({
			api_key: expect.stringMatching(/^hh_live_[A-Za-z0-9]{32}$/),
			api_key_id: expect.stringMatching(/^key_[a-z0-9]{16}$/),
			tenant_id: "acme",
			name: "key",
			permissions: ["MCP", "READ_WRITE"],
			created_at: expect.any(String),
			expires_at: null,
			last_used_at: null,
			rotation_status: "active",
			rate_limit_override: null,
			allowed_ips: null,
			signing_required: false,
			signing_public_key: null,
		});
		const { api_key, ...shown } = made;
		const keys = await list("acme");
		expect(keys).toContainEqual(shown);
		expect(JSON.stringify(keys)).not.toContain(api_key);
		await node.callsWith(api_key).ask("collections.list", {});
		expect(await validate(api_key)).toEqual({
			valid: true,
			tenant_id: "acme",
			permissions: ["MCP", "READ_WRITE"],
			expires_at: null,
		});
	});

	test("is made for tests, with an end and limits of its own when asked to be", async () => {
		const expires_at = new Date(node.clock.nowMs() + DAY_MS).toISOString();
		const made = await node.newKey("acme", ["READ_ONLY"], {
			name: "CI",
			environment: "test",
			expires_at,
			rate_limit_override: { requests_per_minute: 1 },
		});
		expect(made.api_key).toStartWith("hh_test_");
		expect(made).toMatchObject({ name: "CI", expires_at, rate_limit_override: { requests_per_minute: 1 } });
		const calls = node.callsWith(made.api_key);
		await calls.ask("collections.list", {});
		expect((await calls.refusal("collections.list", {})).code).toBe("RATE_LIMITED");
	});

	test("shows what it demands of requests, and is valid as a key whatever that is", async () => {
		const demands = {
			allowed_ips: ["192.0.2.7", "2001:db8::/32"],
			signing_required: true,
			signing_public_key: SIGNING_KEY,
		};
		const { api_key, ...shown } = await node.newKey("acme", ["READ_ONLY"], demands);
		expect(shown).toMatchObject(demands);
		expect(await list("acme")).toContainEqual(shown);
		expect(await validate(api_key)).toMatchObject({ valid: true, tenant_id: "acme" });
		const rotated = await node.asAdmin("keys.rotate", { tenant_id: "acme", key_id: shown.api_key_id });
		expect(rotated).toMatchObject(demands);
		const asked = (remoteAddress: string) => node.refusal("collections.list", {}, { key: api_key, remoteAddress });
		expect((await asked("192.0.2.8")).code).toBe("AUTH_IP_DENIED");
		expect((await asked("192.0.2.7")).code).toBe("AUTH_SIGNATURE_INVALID");
	});

	test("may be used from its own addresses alone", async () => {
		const { api_key: key } = await node.newKey("acme", ["READ_ONLY"], { allowed_ips: ["198.51.100.0/24"] });
		expect((await node.call("collections.list", {}, { key, remoteAddress: "198.51.100.9" })).ok).toBe(true);
		expect((await node.refusal("collections.list", {}, { key, remoteAddress: "198.51.101.9" })).code).toBe(
			"AUTH_IP_DENIED",
		);
	});

	test("lives as long as was said", async () => {
		const made = await node.newKey("acme", ["READ_ONLY"], { expires_in_seconds: 3_600 });
		expect(Date.parse(made.expires_at) - Date.parse(made.created_at)).toBeGreaterThanOrEqual(3_599_000);
		expect((await validate(made.api_key)).expires_at).toBe(made.expires_at);
		node.clock.offsetMs += 3_700_000;
		expect(await validate(made.api_key)).toEqual({ valid: false, error: "AUTH_KEY_EXPIRED" });
		expect((await node.callsWith(made.api_key).refusal("collections.list", {})).code).toBe("AUTH_KEY_EXPIRED");
	});

	test("that is revoked works no more, and revoking it again is no error", async () => {
		const { api_key, api_key_id } = await node.newKey("acme");
		const calls = node.callsWith(api_key);
		await calls.ask("collections.list", {});
		const named = { tenant_id: "acme", key_id: api_key_id };
		expect(await node.asAdmin("keys.revoke", named)).toMatchObject({ api_key_id, rotation_status: "revoked" });
		expect((await calls.refusal("collections.list", {})).code).toBe("AUTH_INVALID");
		expect(await validate(api_key)).toEqual({ valid: false, error: "AUTH_INVALID" });
		await node.asAdmin("keys.revoke", named);
		expect((await refusal("keys.rotate", named)).code).toBe("CONFLICT");
	});

	test("that is replaced works on through its grace, marked, beside its successor", async () => {
		const old = await node.newKey("acme", ["READ_ONLY"], { name: "app" });
		const named = { tenant_id: "acme", key_id: old.api_key_id };
		const fresh = await node.asAdmin("keys.rotate", { ...named, grace_seconds: 60 });
		expect(fresh).toMatchObject({ name: "app", permissions: ["READ_ONLY"], rotation_status: "active" });
		expect(fresh.api_key).not.toBe(old.api_key);
		const { facts } = await node.call("collections.list", {}, { key: old.api_key });
		expect(facts.keyDeprecatedUntil).toBe((await validate(old.api_key)).expires_at);
		expect((await node.call("collections.list", {}, { key: fresh.api_key })).facts.keyDeprecatedUntil).toBeUndefined();
		node.clock.offsetMs += 61_000;
		expect((await node.callsWith(old.api_key).refusal("collections.list", {})).code).toBe("AUTH_KEY_EXPIRED");
		await node.callsWith(fresh.api_key).ask("collections.list", {});
	});

	test("that is replaced without grace works no more; by default the grace is a week", async () => {
		const first = await node.newKey("acme");
		const second = await node.asAdmin("keys.rotate", {
			tenant_id: "acme",
			key_id: first.api_key_id,
			grace_seconds: 0,
		});
		expect(await validate(first.api_key)).toEqual({ valid: false, error: "AUTH_INVALID" });
		const beforeMs = node.clock.nowMs();
		await node.asAdmin("keys.rotate", { tenant_id: "acme", key_id: second.api_key_id });
		const graceMs = Date.parse((await validate(second.api_key)).expires_at) - beforeMs;
		expect(Math.abs(graceMs - 7 * DAY_MS)).toBeLessThan(60_000);
	});

	test("of one tenant is none of another's", async () => {
		const { api_key, api_key_id } = await node.newKey("acme");
		for (const operation of ["keys.revoke", "keys.rotate"]) {
			const real = await refusal(operation, { tenant_id: "beta", key_id: api_key_id });
			expect(real.code).toBe("KEY_NOT_FOUND");
			const unused = await refusal(operation, { tenant_id: "beta", key_id: `key_${"x".repeat(16)}` });
			expect(unused.toWire()).toEqual(real.toWire());
		}
		await node.callsWith(api_key).ask("collections.list", {});
	});

	test("of no tenant is not made", async () => {
		for (const operation of ["keys.create", "keys.list", "keys.revoke", "keys.rotate"]) {
			const error = await refusal(operation, {
				tenant_id: "nobody",
				...(operation === "keys.create" && { permissions: ["READ_ONLY"] }),
				...(/revoke|rotate/.test(operation) && { key_id: `key_${"x".repeat(16)}` }),
			});
			expect(error.code).toBe("TENANT_NOT_FOUND");
		}
	});

	test("of the operators can hold ADMIN", async () => {
		const { api_key } = await node.newKey("system", ["ADMIN"]);
		await node.ask("tenants.list", {}, { key: api_key });
	});
});

describe("what is wrong with a key is named", () => {
	const fine = { tenant_id: "acme", permissions: ["READ_ONLY"] };
	test.each<[string, string, Input, string]>([
		["no permissions", "keys.create", { tenant_id: "acme" }, "permissions"],
		["an empty set of permissions", "keys.create", { tenant_id: "acme", permissions: [] }, "permissions"],
		["an unknown permission", "keys.create", { ...fine, permissions: ["ROOT"] }, "permissions[0]"],
		["ADMIN outside system", "keys.create", { ...fine, permissions: ["READ_ONLY", "ADMIN"] }, "permissions"],
		["an empty name", "keys.create", { ...fine, name: "" }, "name"],
		["an end in the past", "keys.create", { ...fine, expires_at: "2020-01-01T00:00:00Z" }, "expires_at"],
		["an end that is no time", "keys.create", { ...fine, expires_at: "tomorrow" }, "expires_at"],
		["two ends", "keys.create", { ...fine, expires_at: "2090-01-01T00:00:00Z", expires_in_seconds: 5 }, "expires_at"],
		["no time at all", "keys.create", { ...fine, expires_in_seconds: 0 }, "expires_in_seconds"],
		["too long a time", "keys.create", { ...fine, expires_in_seconds: 1e12 }, "expires_in_seconds"],
		["another environment", "keys.create", { ...fine, environment: "prod" }, "environment"],
		[
			"a limit of 0",
			"keys.create",
			{ ...fine, rate_limit_override: { requests_per_hour: 0 } },
			"rate_limit_override.requests_per_hour",
		],
		["an address that is none", "keys.create", { ...fine, allowed_ips: ["10.0.0.0/8", "10.0.0"] }, "allowed_ips[1]"],
		["a network that is none", "keys.create", { ...fine, allowed_ips: ["10.0.0.0/33"] }, "allowed_ips[0]"],
		["no addresses at all", "keys.create", { ...fine, allowed_ips: [] }, "allowed_ips"],
		[
			"a public key nobody signs for",
			"keys.create",
			{ ...fine, signing_public_key: SIGNING_KEY },
			"signing_public_key",
		],
		[
			"a public key that is none",
			"keys.create",
			{ ...fine, signing_required: true, signing_public_key: "AAAA" },
			"signing_public_key",
		],
		["no key id", "keys.revoke", { tenant_id: "acme", key_id: "key_short" }, "key_id"],
		["a key for a key id", "keys.rotate", { tenant_id: "acme", key_id: `hh_live_${"a".repeat(32)}` }, "key_id"],
		[
			"a negative grace",
			"keys.rotate",
			{ tenant_id: "acme", key_id: `key_${"a".repeat(16)}`, grace_seconds: -1 },
			"grace_seconds",
		],
	])("%s", async (_, operation, input, field) => {
		const before = await list("acme");
		const error = await refusal(operation, input);
		expect([error.code, error.details?.field]).toEqual(["VALIDATION_FAILED", field]);
		expect(error.message).not.toContain("hh_live_a");
		expect(await list("acme")).toEqual(before);
	});
});

describe("asking whether a key is valid", () => {
	test("says no more of a wrong one than a code", async () => {
		expect(await validate("nonsense")).toEqual({ valid: false, error: "AUTH_INVALID_FORMAT" });
		expect(await validate(`hh_live_${"z".repeat(32)}`)).toEqual({ valid: false, error: "AUTH_INVALID" });
		const { api_key } = await node.newKey("beta");
		await node.asAdmin("tenants.update", { tenant_id: "beta", active: false });
		expect(await validate(api_key)).toEqual({ valid: false, error: "TENANT_SUSPENDED" });
		await node.asAdmin("tenants.update", { tenant_id: "beta", active: true });
	});

	test("takes text of sensible length", async () => {
		for (const api_key of [undefined, 7, "x".repeat(257)]) {
			expect((await node.refusal("keys.validate", { api_key })).details?.field).toBe("api_key");
		}
	});

	test("is limited by address", async () => {
		const ask = (remoteAddress: string) => node.call("keys.validate", { api_key: "x" }, { remoteAddress });
		let admittedCount = 0;
		let answer = await ask("192.0.2.7");
		for (; answer.ok; answer = await ask("192.0.2.7")) admittedCount++;
		// More than 60 only if meanwhile a token came back.
		expect(admittedCount).toBeGreaterThanOrEqual(60);
		expect(answer.error.code).toBe("RATE_LIMITED");
		expect((await ask("192.0.2.8")).ok).toBe(true);
	});

	test("tells a fault of the key from one of the asking", async () => {
		const { run } = OPERATIONS.find(({ name }) => name === "keys.validate")!;
		const answers = (error: unknown) => {
			const services = { authenticator: { identifyKey: () => Promise.reject(error) } } as unknown as NodeServices;
			return run({ services } as Parameters<typeof run>[0], { api_key: "x" });
		};
		for (const code of ["AUTH_KEY_EXPIRED", "TENANT_SUSPENDED"] as const) {
			expect(await answers(new HiveError(code, "no"))).toEqual({ valid: false, error: code });
		}
		const away = new HiveError("HUB_UNAVAILABLE", "away");
		expect(await thrownBy(() => answers(away))).toBe(away);
		const defect = new TypeError("oops");
		expect(await thrownBy(() => answers(defect))).toBe(defect);
	});
});
