import { afterAll, describe, expect, test } from "bun:test";
import {
	Authenticator,
	type AuthenticatorOptions,
	type Credentials,
	type Identity,
	type RequestOrigin,
} from "../../src/access/authenticator.ts";
import { BruteForceGuard } from "../../src/access/brute-force-guard.ts";
import type { RequestMessage } from "../../src/access/message-signature.ts";
import type { SignatureVerifier } from "../../src/access/signature-verifier.ts";
import { HiveError } from "../../src/base/errors.ts";
import { DEFAULT_TENANT, SYSTEM_TENANT } from "../../src/base/ids.ts";
import { errorOf, FakeClock, MemoryDirectory, START_MS, tenantRecord } from "./access-fixture.ts";
import { hmacKey, JournalFolder, signedMessage } from "./signing-fixture.ts";

const bearer = (key: string): Credentials => ({ authorization: `Bearer ${key}` });
const isoAt = (ms: number): string => new Date(ms).toISOString();
const UNKNOWN_KEY = `hh_live_${"u".repeat(32)}`;

const journals = new JournalFolder();
afterAll(() => journals.clear());

const UNSIGNED: RequestMessage = { method: "GET", url: "http://node.example/api/v1/usage", headers: new Headers() };
const from = (remoteAddress: string, message = UNSIGNED): RequestOrigin => ({ remoteAddress, message });

function rig(options: Partial<Pick<AuthenticatorOptions, "anonymousTenant" | "signatures">> = {}) {
	const clock = new FakeClock();
	const directory = new MemoryDirectory();
	const blocked: string[] = [];
	const authenticator = new Authenticator(directory, clock, {
		guard: new BruteForceGuard(clock, { failures: 3, windowSeconds: 60, blockSeconds: 300 }),
		signatures: journals.verifier(clock),
		...options,
		onBlocked: (address) => void blocked.push(address),
	});
	let callCount = 0;
	// Each call from elsewhere: failures by address have tests of their own.
	const elsewhere = (): RequestOrigin => from(`10.0.${callCount >> 8}.${callCount++ & 255}`);
	const identify = async (
		credentials: Credentials,
		actingTenant?: string,
		origin: RequestOrigin = elsewhere(),
	): Promise<Identity> => authenticator.actIn(await authenticator.identify(credentials, origin), actingTenant);
	return {
		clock,
		directory,
		authenticator,
		blocked,
		identify,
		refusalOf: (credentials: Credentials, actingTenant?: string, origin?: RequestOrigin) =>
			errorOf(() => identify(credentials, actingTenant, origin)),
		codeFrom: async (address: string, credentials: Credentials) =>
			(await errorOf(() => identify(credentials, undefined, from(address)))).code,
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
		const asked = authenticator.identify(bearer(key), from("192.0.2.7"));
		expect(asked).toBeInstanceOf(Promise);
		await asked;
		const identity = authenticator.identify(bearer(key), from("192.0.2.7"));
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

	test("an empty list of addresses demands none", async () => {
		const { directory, identify } = rig();
		expect((await identify(bearer(directory.addKey("acme", { allowed_ips: [] })))).key).toBeDefined();
	});

	test("is refused from addresses that are not its own, and works from those that are", async () => {
		const { directory, identify, refusalOf } = rig();
		const key = directory.addKey("acme", { allowed_ips: ["192.0.2.0/24", "2001:db8::/32", "garbage"] });
		for (let time = 0; time < 2; time++) {
			for (const address of ["192.0.2.7", "2001:db8::7", "::ffff:192.0.2.8"]) {
				expect((await identify(bearer(key), undefined, from(address))).homeTenantId as string).toBe("acme");
			}
			for (const address of ["192.0.3.7", "2001:db9::7", "::ffff:192.0.3.8", "garbage", ""]) {
				const error = await refusalOf(bearer(key), undefined, from(address));
				expect([error.code, error.details]).toEqual(["AUTH_IP_DENIED", undefined]);
			}
		}
		const nowhere = directory.addKey("acme", { allowed_ips: ["garbage"] });
		expect((await refusalOf(bearer(nowhere), undefined, from("192.0.2.7"))).code).toBe("AUTH_IP_DENIED");
	});

	test("is refused without the signature that it demands, and admitted with it, its body yet to be checked", async () => {
		const { directory, authenticator, identify, refusalOf } = rig();
		const key = directory.addKey("acme", { signing_required: true });
		expect((await refusalOf(bearer(key))).code).toBe("AUTH_SIGNATURE_INVALID");
		const body = "{}";
		const sign = () => signedMessage(hmacKey(key), START_MS / 1000, { body });
		const message = await sign();
		const { checkBody } = await identify(bearer(key), "acme", from("192.0.2.7", message));
		checkBody!(Buffer.from(body));
		expect((await errorOf(() => checkBody!(Buffer.from("[]")))).code).toBe("AUTH_SIGNATURE_INVALID");
		expect((await refusalOf(bearer(key), undefined, from("192.0.2.7", message))).message).toContain("used before");
		// Of a known key at once.
		expect(authenticator.identify(bearer(key), from("192.0.2.7", await sign()))).not.toBeInstanceOf(Promise);
	});

	test("is not verified where it signs of its own accord", async () => {
		const { directory, identify } = rig();
		const key = directory.addKey("acme");
		const message = await signedMessage(hmacKey("another"), START_MS / 1000);
		expect(await identify(bearer(key), undefined, from("192.0.2.7", message))).not.toHaveProperty("checkBody");
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

	test("waits for other nodes where they have to be asked whether a signature was used", async () => {
		let isUsed = false;
		const checkBody = (): void => {};
		const signatures = {
			verify: async () => {
				if (isUsed) throw new HiveError("AUTH_SIGNATURE_INVALID", "used before");
				return checkBody;
			},
		} as unknown as SignatureVerifier;
		const { directory, identify, codeFrom, blocked } = rig({ signatures });
		const key = directory.addKey("acme", { signing_required: true });
		// Once asked of the hub, then cached.
		for (let time = 0; time < 2; time++) expect((await identify(bearer(key))).checkBody).toBe(checkBody);
		isUsed = true;
		for (let time = 0; time < 3; time++)
			expect(await codeFrom("192.0.2.9", bearer(key))).toBe("AUTH_SIGNATURE_INVALID");
		expect(blocked).toEqual(["192.0.2.9"]);
	});

	test("leaves open from where and how", async () => {
		const { directory, authenticator } = rig();
		const key = directory.addKey("acme", { signing_required: true, allowed_ips: ["192.0.2.7"] });
		expect((await authenticator.identifyKey(key)).homeTenantId as string).toBe("acme");
	});

	test("tells of a suspended tenant, and of an end", async () => {
		const { directory, authenticator } = rig();
		const [key, expired] = [directory.addKey("acme"), directory.addKey("acme", { expires_at: isoAt(START_MS) })];
		directory.tenants.set("acme", tenantRecord("acme", { active: false }));
		expect((await errorOf(() => authenticator.identifyKey(key))).code).toBe("TENANT_SUSPENDED");
		expect((await errorOf(() => authenticator.identifyKey(expired))).code).toBe("AUTH_KEY_EXPIRED");
	});
});

describe("an address that fails too often", () => {
	const OTHER_KEY = `hh_live_${"o".repeat(32)}`;
	const HERE = "192.0.2.7";

	test("is shut out before the hub is asked, and its first refusal is told of", async () => {
		const { directory, codeFrom, blocked, clock, refusalOf } = rig();
		for (const key of ["1", "2", "3"]) {
			expect(blocked).toEqual([]);
			expect(await codeFrom(HERE, bearer(`hh_live_${key.repeat(32)}`))).toBe("AUTH_INVALID");
		}
		expect(blocked).toEqual([HERE]);
		directory.asked.length = 0;
		const error = await refusalOf(bearer(OTHER_KEY), undefined, from(HERE));
		expect([error.code, error.details]).toEqual(["AUTH_RATE_LIMIT", { retry_after_seconds: 300 }]);
		// Neither does a key that is there and unknown here tell anything, nor one that has no form.
		expect(await codeFrom(HERE, bearer(directory.addKey("acme")))).toBe("AUTH_RATE_LIMIT");
		expect(await codeFrom(HERE, bearer("nonsense"))).toBe("AUTH_RATE_LIMIT");
		expect(directory.asked).toEqual([]);
		expect(blocked).toEqual([HERE]);
		expect(await codeFrom("192.0.2.8", bearer(OTHER_KEY))).toBe("AUTH_INVALID");
		clock.advance(300_000);
		expect(await codeFrom(HERE, bearer(OTHER_KEY))).toBe("AUTH_INVALID");
	});

	test("fails by what is ill-formed, unknown, expired or wrongly signed, and by nothing else", async () => {
		const counted: [Credentials, string][] = [];
		const { directory, identify, codeFrom, clock } = rig();
		const signing = directory.addKey("acme", { signing_required: true });
		const expired = directory.addKey("acme", { expires_at: isoAt(START_MS) });
		counted.push([bearer("nonsense"), "AUTH_INVALID_FORMAT"], [bearer(UNKNOWN_KEY), "AUTH_INVALID"]);
		counted.push([bearer(expired), "AUTH_KEY_EXPIRED"], [bearer(signing), "AUTH_SIGNATURE_INVALID"]);
		for (const [credentials, code] of counted) {
			for (let time = 0; time < 3; time++) expect(await codeFrom(HERE, credentials)).toBe(code as never);
			expect(await codeFrom(HERE, credentials)).toBe("AUTH_RATE_LIMIT");
			clock.advance(300_000);
		}
		const bound = directory.addKey("acme", { allowed_ips: ["198.51.100.1"] });
		const suspended = directory.addKey("beta");
		directory.tenants.set("beta", tenantRecord("beta", { active: false }));
		for (let time = 0; time < 5; time++) {
			expect(await codeFrom(HERE, {})).toBe("AUTH_MISSING");
			expect(await codeFrom(HERE, bearer(bound))).toBe("AUTH_IP_DENIED");
			expect(await codeFrom(HERE, bearer(suspended))).toBe("TENANT_SUSPENDED");
			directory.isAway = true;
			expect(await codeFrom(HERE, bearer(UNKNOWN_KEY))).toBe("HUB_UNAVAILABLE");
			directory.isAway = false;
		}
		const good = directory.addKey("acme");
		expect((await identify(bearer(good), undefined, from(HERE))).homeTenantId as string).toBe("acme");
	});

	test("is forgiven by a success", async () => {
		const { directory, identify, codeFrom } = rig();
		const key = directory.addKey("acme");
		for (let round = 0; round < 4; round++) {
			for (let time = 0; time < 2; time++) expect(await codeFrom(HERE, bearer(UNKNOWN_KEY))).toBe("AUTH_INVALID");
			await identify(bearer(key), undefined, from(HERE));
		}
	});

	test("can't lock out who shares it and is known, not even when the cache has to ask again", async () => {
		const { directory, identify, codeFrom, blocked } = rig();
		const known = directory.addKey("acme");
		const gone = directory.addKey("acme", { expires_at: isoAt(START_MS + 1_000) });
		for (const key of [known, gone]) await identify(bearer(key), undefined, from(HERE));
		for (let time = 0; time < 4; time++) await codeFrom(HERE, bearer(UNKNOWN_KEY));
		expect(blocked).toEqual([HERE]);
		await identify(bearer(known), undefined, from(HERE));
		directory.forgetCached();
		await identify(bearer(known), undefined, from(HERE));
		directory.forgetCached();
		await identify(bearer(known), undefined, from(HERE));
		// A success lifts no block.
		expect(await codeFrom(HERE, bearer(UNKNOWN_KEY))).toBe("AUTH_RATE_LIMIT");
	});

	test("learns nothing more of keys that were good and are not", async () => {
		const { clock, directory, identify, codeFrom } = rig();
		const key = directory.addKey("acme", { expires_at: isoAt(START_MS + 1_000) });
		await identify(bearer(key), undefined, from(HERE));
		for (let time = 0; time < 3; time++) await codeFrom(HERE, bearer(UNKNOWN_KEY));
		clock.advance(1_000);
		expect(await codeFrom(HERE, bearer(key))).toBe("AUTH_RATE_LIMIT");
		directory.forgetCached();
		expect(await codeFrom(HERE, bearer(key))).toBe("AUTH_RATE_LIMIT");
		directory.asked.length = 0;
		directory.forgetCached();
		expect(await codeFrom(HERE, bearer(key))).toBe("AUTH_RATE_LIMIT");
		expect(directory.asked).toEqual([]);
	});

	test("learns no more by asking many at once", async () => {
		const { codeFrom, blocked } = rig();
		const codes = await Promise.all(
			Array.from({ length: 50 }, (_, index) => codeFrom(HERE, bearer(`hh_live_${String(index).padStart(32, "0")}`))),
		);
		expect(codes.filter((code) => code === "AUTH_INVALID")).toHaveLength(3);
		expect(codes.filter((code) => code === "AUTH_RATE_LIMIT")).toHaveLength(47);
		expect(blocked).toEqual([HERE]);
	});

	test("is still served without a key where none is asked for", async () => {
		const { identify, codeFrom, directory } = rig({ anonymousTenant: DEFAULT_TENANT });
		directory.tenants.set(DEFAULT_TENANT, tenantRecord(DEFAULT_TENANT));
		for (let time = 0; time < 4; time++) await codeFrom(HERE, bearer(UNKNOWN_KEY));
		expect((await identify({}, undefined, from(HERE))).tenant.id).toBe(DEFAULT_TENANT);
	});
});
