import { describe, expect, test } from "bun:test";
import { Authenticator, type Credentials, type Identity } from "../../src/access/authenticator.ts";
import { DEFAULT_TENANT, SYSTEM_TENANT } from "../../src/base/ids.ts";
import type { KeyRecord } from "../../src/hub/models.ts";
import { errorOf, FakeClock, MemoryDirectory, START_MS, tenantRecord } from "./access-fixture.ts";

const bearer = (key: string): Credentials => ({ authorization: `Bearer ${key}` });
const isoAt = (ms: number): string => new Date(ms).toISOString();
const UNKNOWN_KEY = `hh_live_${"u".repeat(32)}`;

function rig(options: ConstructorParameters<typeof Authenticator>[2] = {}) {
	const clock = new FakeClock();
	const directory = new MemoryDirectory();
	const authenticator = new Authenticator(directory, clock, options);
	const identify = async (credentials: Credentials, actingTenant?: string): Promise<Identity> =>
		authenticator.actIn(await authenticator.identify(credentials), actingTenant);
	return {
		clock,
		directory,
		authenticator,
		identify,
		refusalOf: (credentials: Credentials, actingTenant?: string) => errorOf(() => identify(credentials, actingTenant)),
	};
}

describe("credentials", () => {
	test("a key proves its tenant by either header, or by both when they agree", async () => {
		const { directory, identify } = rig();
		const key = directory.addKey("acme", { permissions: ["READ_ONLY", "MCP"] });
		for (const credentials of [
			bearer(key),
			{ authorization: `bearer   ${key} ` },
			{ apiKey: key },
			{ authorization: `BEARER ${key}`, apiKey: key },
		]) {
			const identity = await identify(credentials);
			expect(identity.homeTenantId).toBe(directory.tenants.get("acme")!.id);
			expect(identity.tenant).toBe(directory.tenants.get("acme")!);
			expect(identity.homeTenant).toBe(identity.tenant);
			expect([...identity.permissions].sort()).toEqual(["MCP", "READ_ONLY"]);
			expect(identity.key?.tenant_id).toBe(identity.homeTenantId);
			expect(identity).not.toHaveProperty("keyDeprecatedUntil");
		}
	});

	test("whoever brings none is told what is needed", async () => {
		const { refusalOf, directory } = rig();
		expect((await refusalOf({})).code).toBe("AUTH_MISSING");
		// Not even a tenant's name is looked at.
		expect((await refusalOf({}, "default")).code).toBe("AUTH_MISSING");
		expect(directory.asked).toEqual([]);
	});

	test.each<[string, Credentials]>([
		["another scheme", { authorization: `Basic ${UNKNOWN_KEY}` }],
		["a scheme alone", { authorization: "Bearer" }],
		["an empty header", { authorization: "" }],
		["two keys in one header", bearer(`${UNKNOWN_KEY} ${UNKNOWN_KEY}`)],
		["a key without its scheme", { authorization: UNKNOWN_KEY }],
		["an empty key", { apiKey: "" }],
		["a short key", bearer("hh_live_abc")],
		["a long key", bearer(`${UNKNOWN_KEY}x`)],
		["a very long key", bearer(`hh_live_${"x".repeat(1_000_000)}`)],
		["another environment", bearer(`hh_prod_${"u".repeat(32)}`)],
		["signs in a key", bearer(`hh_live_${"u".repeat(31)}-`)],
		["look-alikes in a key", bearer(`hh_live_${"u".repeat(31)}а`)],
		["a line break after a key", { apiKey: `${UNKNOWN_KEY}\n` }],
		["a service key", bearer(`svc_${"a".repeat(40)}`)],
		["two different keys", { ...bearer(UNKNOWN_KEY), apiKey: `hh_live_${"v".repeat(32)}` }],
	])("%s is ill-formed, and the hub is not asked", async (_, credentials) => {
		const { refusalOf, directory } = rig({ anonymousTenant: DEFAULT_TENANT });
		const { code, message, details } = await refusalOf(credentials);
		expect(code).toBe("AUTH_INVALID_FORMAT");
		expect(JSON.stringify([message, details])).not.toContain("uuuu");
		expect(directory.asked).toEqual([]);
	});

	test("a known key is admitted without waiting for anything", async () => {
		const { authenticator, directory } = rig();
		const key = directory.addKey("acme");
		const asked = authenticator.identify(bearer(key));
		expect(asked).toBeInstanceOf(Promise);
		await asked;
		const identity = authenticator.identify(bearer(key));
		expect(identity).not.toBeInstanceOf(Promise);
		expect(directory.asked).toHaveLength(1);
	});
});

describe("a key that may not be used", () => {
	test("is the same unknown or revoked, and names nothing", async () => {
		const { directory, refusalOf } = rig();
		const revoked = directory.addKey("acme", { rotation_status: "revoked", expires_at: isoAt(START_MS - 1) });
		const [first, second] = [await refusalOf(bearer(UNKNOWN_KEY)), await refusalOf(bearer(revoked))];
		expect(first.code).toBe("AUTH_INVALID");
		expect(second.toWire()).toEqual(first.toWire());
		expect(first.details).toBeUndefined();
		// Also of a tenant that is suspended.
		directory.tenants.set("acme", tenantRecord("acme", { active: false }));
		expect((await refusalOf(bearer(revoked))).toWire()).toEqual(first.toWire());
	});

	test("expires at its time, by the wall clock, cached or not", async () => {
		const { clock, directory, refusalOf, identify } = rig();
		const key = directory.addKey("acme", { expires_at: isoAt(START_MS + 1_000) });
		await identify(bearer(key));
		clock.advance(999);
		await identify(bearer(key));
		clock.advance(1);
		expect((await refusalOf(bearer(key))).code).toBe("AUTH_KEY_EXPIRED");
		directory.isCaching = false;
		expect((await refusalOf(bearer(key))).code).toBe("AUTH_KEY_EXPIRED");
	});

	test("is expired when nobody can tell until when it lasts", async () => {
		const { directory, refusalOf } = rig();
		const key = directory.addKey("acme", { expires_at: "some day" });
		expect((await refusalOf(bearer(key))).code).toBe("AUTH_KEY_EXPIRED");
	});

	test("is refused while its tenant is suspended, and works on afterwards", async () => {
		const { directory, refusalOf, identify } = rig();
		const key = directory.addKey("acme");
		directory.tenants.set("acme", tenantRecord("acme", { active: false }));
		expect((await refusalOf(bearer(key))).code).toBe("TENANT_SUSPENDED");
		directory.tenants.set("acme", tenantRecord("acme", { active: true }));
		expect((await identify(bearer(key))).homeTenantId).toBe(directory.tenants.get("acme")!.id);
	});

	test.each<[string, Partial<KeyRecord>, string]>([
		["signed requests", { signing_required: true }, "AUTH_SIGNATURE_INVALID"],
		["certain addresses", { allowed_ips: ["192.0.2.7"] }, "AUTH_IP_DENIED"],
	])("is refused when it demands %s, which can't be verified yet", async (_, demand, code) => {
		const { directory, refusalOf } = rig();
		expect((await refusalOf(bearer(directory.addKey("acme", demand)))).code).toBe(code as never);
	});

	test("an empty list of addresses demands none", async () => {
		const { directory, identify } = rig();
		expect((await identify(bearer(directory.addKey("acme", { allowed_ips: [] })))).key).toBeDefined();
	});

	test("is not let through unchecked when the hub is away", async () => {
		const { directory, refusalOf } = rig();
		directory.isAway = true;
		expect((await refusalOf(bearer(directory.addKey("acme")))).code).toBe("HUB_UNAVAILABLE");
	});
});

test("a replaced key works until its grace ends, and says when that is", async () => {
	const { clock, directory, identify, refusalOf } = rig();
	const until = isoAt(START_MS + 60_000);
	const key = directory.addKey("acme", { rotation_status: "deprecated", expires_at: until });
	expect((await identify(bearer(key))).keyDeprecatedUntil).toBe(until);
	clock.advance(60_000);
	expect((await refusalOf(bearer(key))).code).toBe("AUTH_KEY_EXPIRED");
	const endless = directory.addKey("acme", { rotation_status: "deprecated" });
	expect(await identify(bearer(endless))).not.toHaveProperty("keyDeprecatedUntil");
});

test("only keys of the operators' tenant hold ADMIN, whatever a record says", async () => {
	const { directory, identify } = rig();
	const forged = directory.addKey("acme", { permissions: ["ADMIN", "READ_ONLY"] });
	for (let time = 0; time < 2; time++) {
		expect([...(await identify(bearer(forged))).permissions]).toEqual(["READ_ONLY"]);
	}
	const admin = directory.addKey(SYSTEM_TENANT, { permissions: ["ADMIN"] });
	expect([...(await identify(bearer(admin))).permissions]).toEqual(["ADMIN"]);
});

describe("X-Tenant-ID", () => {
	test("lets an admin act in a tenant, charged to the admin's own", async () => {
		const { directory, identify } = rig();
		const admin = directory.addKey(SYSTEM_TENANT, { permissions: ["ADMIN"] });
		directory.addKey("acme");
		const identity = await identify(bearer(admin), "acme");
		expect(identity.tenant).toBe(directory.tenants.get("acme")!);
		expect(identity.homeTenant).toBe(directory.tenants.get(SYSTEM_TENANT)!);
		expect(identity.homeTenantId).toBe(SYSTEM_TENANT);
	});

	test("lets an admin act in a suspended tenant, which must be seen to", async () => {
		const { directory, identify } = rig();
		const admin = directory.addKey(SYSTEM_TENANT, { permissions: ["ADMIN"] });
		directory.tenants.set("acme", tenantRecord("acme", { active: false }));
		expect((await identify(bearer(admin), "acme")).tenant.active).toBe(false);
	});

	test("naming one's own tenant changes nothing", async () => {
		const { directory, identify } = rig();
		const key = directory.addKey("acme", { permissions: ["READ_ONLY"] });
		expect(await identify(bearer(key), "acme")).toEqual(await identify(bearer(key)));
	});

	test("another tenant looks to a tenant's key like a name never used, and is not looked up", async () => {
		const { directory, refusalOf, identify } = rig();
		directory.addKey("beta");
		for (const permissions of [["READ_WRITE"], ["READ_ONLY"], ["MCP"], ["ADMIN", "READ_WRITE"]] as const) {
			const key = directory.addKey("acme", { permissions: [...permissions] });
			await identify(bearer(key));
			directory.asked.length = 0;
			const foreign = await refusalOf(bearer(key), "beta");
			expect(foreign.code).toBe("TENANT_NOT_FOUND");
			expect((await refusalOf(bearer(key), "never-used")).toWire()).toEqual(foreign.toWire());
			expect(directory.asked).toEqual([]);
		}
	});

	test("a key of the operators without ADMIN acts nowhere else", async () => {
		const { directory, refusalOf } = rig();
		directory.addKey("acme");
		const key = directory.addKey(SYSTEM_TENANT, { permissions: ["READ_WRITE"] });
		expect((await refusalOf(bearer(key), "acme")).code).toBe("TENANT_NOT_FOUND");
	});

	test("an admin is told of a tenant that is not there", async () => {
		const { directory, refusalOf } = rig();
		const admin = directory.addKey(SYSTEM_TENANT, { permissions: ["ADMIN"] });
		expect((await refusalOf(bearer(admin), "nobody")).code).toBe("TENANT_NOT_FOUND");
	});

	test.each(["", "a", "Acme", "acme:docs", "../acme", "аcme", "acme ", "acme\n", `a${"b".repeat(63)}`])(
		"%j is no tenant id, and the field is named",
		async (name) => {
			const { directory, refusalOf } = rig();
			const admin = directory.addKey(SYSTEM_TENANT, { permissions: ["ADMIN"] });
			const error = await refusalOf(bearer(admin), name);
			expect(error.code).toBe("VALIDATION_FAILED");
			expect(error.details).toEqual({ field: "X-Tenant-ID" });
		},
	);

	test("a refused key is refused before the name is looked at", async () => {
		const { refusalOf } = rig();
		expect((await refusalOf(bearer(UNKNOWN_KEY), "../acme")).code).toBe("AUTH_INVALID");
	});
});

describe("a node that asks for no key", () => {
	const anonymous = () => {
		const made = rig({ anonymousTenant: DEFAULT_TENANT });
		made.directory.tenants.set(DEFAULT_TENANT, tenantRecord(DEFAULT_TENANT));
		return made;
	};

	test("takes whoever comes for the default tenant's owner", async () => {
		const { identify, directory } = anonymous();
		const identity = await identify({});
		expect(identity).not.toHaveProperty("key");
		expect(identity.tenant).toBe(directory.tenants.get(DEFAULT_TENANT)!);
		expect([...identity.permissions].sort()).toEqual(["ADMIN", "READ_WRITE"]);
		expect((await identify({}, "default")).tenant.id).toBe(DEFAULT_TENANT);
	});

	test("asks web pages of other origins for a key after all", async () => {
		const { refusalOf, identify, directory } = anonymous();
		expect((await refusalOf({ isForeignPage: true })).code).toBe("AUTH_MISSING");
		expect((await identify({ ...bearer(directory.addKey("acme")), isForeignPage: true })).tenant.id).toBe(
			directory.tenants.get("acme")!.id,
		);
	});

	test("lets nobody without a key act elsewhere", async () => {
		const { refusalOf, directory } = anonymous();
		directory.addKey("acme");
		expect((await refusalOf({}, "acme")).code).toBe("TENANT_NOT_FOUND");
		expect((await refusalOf({}, "../acme")).code).toBe("VALIDATION_FAILED");
	});

	test("still refuses a wrong key", async () => {
		const { refusalOf } = anonymous();
		expect((await refusalOf(bearer(UNKNOWN_KEY))).code).toBe("AUTH_INVALID");
	});

	test("admits nobody while its tenant is not there", async () => {
		const { refusalOf } = rig({ anonymousTenant: DEFAULT_TENANT });
		expect((await refusalOf({})).code).toBe("TENANT_NOT_FOUND");
	});
});

describe("asking whose key it is", () => {
	test("answers as a request with the key would be", async () => {
		const { directory, authenticator } = rig();
		const key = directory.addKey("acme", { permissions: ["READ_ONLY"] });
		for (let time = 0; time < 2; time++) {
			const identity = await authenticator.identifyKey(key);
			expect([identity.homeTenantId as string, [...identity.permissions]]).toEqual(["acme", ["READ_ONLY"]]);
		}
		expect(directory.asked).toHaveLength(1);
		expect((await errorOf(() => authenticator.identifyKey("nonsense"))).code).toBe("AUTH_INVALID_FORMAT");
		expect((await errorOf(() => authenticator.identifyKey(UNKNOWN_KEY))).code).toBe("AUTH_INVALID");
	});
});
