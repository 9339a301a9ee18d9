import { afterAll, describe, expect, test } from "bun:test";
import { createHmac, createPublicKey, generateKeyPairSync, verify } from "node:crypto";
import fc from "fast-check";
import type { BodyCheck, RequestMessage } from "../../src/access/message-signature.ts";
import { NonceStore } from "../../src/access/nonce-store.ts";
import { readSignature, signatureBase } from "../../src/access/presented-signature.ts";
import { SignatureVerifier } from "../../src/access/signature-verifier.ts";
import type { KeyRecord } from "../../src/hub/models.ts";
import { errorOf, FakeClock, keyRecord, START_MS } from "./access-fixture.ts";
import {
	aloneWith,
	digestOf,
	ed25519Key,
	hmacKey,
	JournalFolder,
	type SigningOptions,
	signedMessage,
} from "./signing-fixture.ts";

const API_KEY = `hh_live_${"a".repeat(32)}`;
const NOW = START_MS / 1000;
const folder = new JournalFolder();
afterAll(() => folder.clear());

function rig(changes: Partial<KeyRecord> = {}) {
	const clock = new FakeClock();
	const key = keyRecord("acme", { signing_required: true, ...changes });
	const nonces = new NonceStore(folder.open(clock), clock.nowMs(), { nonceCountMax: 20, noncesPerKeyMax: 10 });
	const verifier = new SignatureVerifier(clock, aloneWith(nonces, clock));
	const check = (message: RequestMessage) => verifier.verify(message, key, API_KEY) as BodyCheck;
	return {
		clock,
		key,
		nonces,
		check,
		accept: async (options?: SigningOptions, created = NOW) =>
			check(await signedMessage(hmacKey(API_KEY), created, options)),
		/** The refusal, which must leave no nonce behind. */
		refusal: async (options?: SigningOptions, created = NOW) => {
			const message = await signedMessage(hmacKey(API_KEY), created, options);
			const before = nonces.nonceCount;
			const error = await errorOf(() => check(message));
			expect([error.code, nonces.nonceCount]).toEqual(["AUTH_SIGNATURE_INVALID", before]);
			expect(JSON.stringify(error.toWire())).not.toContain(API_KEY);
			return error;
		},
	};
}

describe("the canonical form is that of RFC 9421", () => {
	const request = (signatureInput: string, signature: string): RequestMessage => ({
		method: "POST",
		url: "https://example.com/foo?param=Value&Pet=dog",
		headers: new Headers({
			Host: "example.com",
			Date: "Tue, 20 Apr 2021 02:07:55 GMT",
			"Content-Type": "application/json",
			"Content-Digest":
				"sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:",
			"Content-Length": "18",
			"Signature-Input": signatureInput,
			Signature: signature,
		}),
	});

	test("hmac-sha256, appendix B.2.5", () => {
		const message = request(
			'sig-b25=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"',
			"sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:",
		);
		const signature = readSignature(message.headers);
		const base = signatureBase(signature, message);
		expect(base.toString()).toBe(
			[
				'"date": Tue, 20 Apr 2021 02:07:55 GMT',
				'"@authority": example.com',
				'"content-type": application/json',
				'"@signature-params": ("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"',
			].join("\n"),
		);
		const secret = Buffer.from(
			"uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==",
			"base64",
		);
		expect(createHmac("sha256", secret).update(base).digest()).toEqual(Buffer.from(signature.bytes));
	});

	test("ed25519, appendix B.2.6", () => {
		const covered = '("date" "@method" "@path" "@authority" "content-type" "content-length")';
		const message = request(
			`sig-b26=${covered};created=1618884473;keyid="test-key-ed25519"`,
			"sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:",
		);
		const signature = readSignature(message.headers);
		const base = signatureBase(signature, message);
		expect(base.toString()).toBe(
			[
				'"date": Tue, 20 Apr 2021 02:07:55 GMT',
				'"@method": POST',
				'"@path": /foo',
				'"@authority": example.com',
				'"content-type": application/json',
				'"content-length": 18',
				`"@signature-params": ${covered};created=1618884473;keyid="test-key-ed25519"`,
			].join("\n"),
		);
		const publicKey = createPublicKey(
			"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=\n-----END PUBLIC KEY-----\n",
		);
		expect(verify(null, base, publicKey, signature.bytes)).toBe(true);
	});
});

describe("a signed request is taken", () => {
	test("with hmac-sha256, keyed with the API key", async () => {
		const { accept, nonces } = rig();
		const body = '{"name":"docs"}';
		const checkBody = await accept({ body });
		checkBody(Buffer.from(body));
		expect(nonces.nonceCount).toBe(1);
	});

	test("with ed25519, when the key names a public key, in either form, and then with nothing else", async () => {
		const { publicKey, privateKey } = generateKeyPairSync("ed25519");
		const pem = publicKey.export({ format: "pem", type: "spki" }) as string;
		const raw = Buffer.from(publicKey.export({ format: "jwk" }).x!, "base64url").toString("base64");
		for (const signing_public_key of [pem, raw]) {
			const { check, refusal } = rig({ signing_public_key });
			check(await signedMessage(ed25519Key(privateKey), NOW));
			// The parsed key is kept.
			check(await signedMessage(ed25519Key(privateKey), NOW, { parameters: { alg: "ed25519" } }));
			const other = generateKeyPairSync("ed25519").privateKey;
			const forged = await signedMessage(ed25519Key(other), NOW);
			expect((await errorOf(() => check(forged))).code).toBe("AUTH_SIGNATURE_INVALID");
			await refusal();
		}
		const broken = rig({ signing_public_key: "no key" });
		const message = await signedMessage(ed25519Key(privateKey), NOW);
		expect((await errorOf(() => broken.check(message))).code).toBe("AUTH_SIGNATURE_INVALID");
	});

	test.each<[string, SigningOptions]>([
		["whatever it is labelled", { label: "proxy-42" }],
		["with the parts of the address instead of the whole", { fields: ["@method", "@authority", "@path", "@query"] }],
		["without @query where there is no query", { url: "http://h/api", fields: ["@path", "@method", "@authority"] }],
		["with more covered than has to be", { fields: ["@method", "@target-uri", "x-a"], headers: { "x-a": "1" } }],
		["with a fitting keyid and alg, and a tag", { parameters: { alg: "hmac-sha256", tag: "app", keyid: "KEY" } }],
		["while it has not expired", { parameters: { expires: NOW } }],
		[
			"with a digest of no body",
			{ fields: ["@method", "@target-uri", "content-digest"], headers: { "content-digest": digestOf("") } },
		],
	])("%s", async (_, options) => {
		const { accept, key } = rig();
		const { keyid, ...others } = options.parameters ?? {};
		const parameters = keyid === undefined ? others : { ...others, keyid: key.api_key_id };
		(await accept({ ...options, parameters }))(new Uint8Array());
	});

	test("for 300 seconds, by clients whose clock is at most 60 seconds ahead", async () => {
		const { accept, refusal, clock } = rig();
		await accept({}, NOW + 60);
		expect((await refusal({}, NOW + 61)).message).toContain("ahead");
		clock.advance(300_000);
		await accept({}, NOW);
		clock.advance(1);
		expect((await refusal({}, NOW)).message).toContain("too old");
	});
});

describe("a signed request is refused", () => {
	const without = (...names: string[]) => ({
		parameters: Object.fromEntries(names.map((name) => [name, null])),
	});

	test.each<[string, SigningOptions, string]>([
		["without created", without("created"), "created"],
		["without a nonce", without("nonce"), "nonce"],
		["with an endless nonce", { parameters: { nonce: "n".repeat(129) } }, "nonce"],
		["that has expired", { parameters: { expires: NOW - 1 } }, "too old"],
		["with another key's id", { parameters: { keyid: "key_0000000000000000" } }, "keyid"],
		["that names another algorithm", { parameters: { alg: "ed25519" } }, "hmac-sha256"],
		["that does not cover the method", { fields: ["@target-uri"] }, "@method"],
		["that does not cover the host", { fields: ["@method", "@path", "@query"] }, "@authority"],
		["that does not cover the path", { fields: ["@method", "@authority", "@query"] }, "@path"],
		["that does not cover the query", { fields: ["@method", "@authority", "@path"] }, "@query"],
		["that does not cover the body", { body: "{}", fields: ["@method", "@target-uri"] }, "content-digest"],
		["that does not cover the tenant an admin names", { headers: { "x-tenant-id": "acme" } }, "x-tenant-id"],
		["that does not cover a body of unknown length", { headers: { "transfer-encoding": "chunked" } }, "content-digest"],
		["with a useless digest", { body: "{}", headers: { "content-digest": "md5=:AAAA:" } }, "sha-256"],
		[
			"that covers too much",
			{
				fields: Array.from({ length: 33 }, (_, i) => `x-${i}`),
				headers: Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`x-${i}`, "1"])),
			},
			"at most 32",
		],
		[
			"that covers a component with parameters",
			{ fields: ["@method", '"x-a";sf'], headers: { "x-a": "1" } },
			"parameters",
		],
		["that covers a component twice", { fields: ["@method", "@method"] }, "twice"],
	])("%s", async (_, options, told) => {
		expect((await rig().refusal(options)).message).toContain(told);
	});

	test("created before the node started", async () => {
		const { refusal, accept } = rig();
		expect((await refusal({}, NOW - 1)).message).toContain("started");
		await accept({}, NOW);
	});

	test("a second time, however it is dressed up", async () => {
		const { check, nonces } = rig();
		const message = await signedMessage(hmacKey(API_KEY), NOW);
		check(message);
		expect((await errorOf(() => check(message))).message).toContain("used before");
		const headers = new Headers(message.headers);
		headers.set("signature-input", headers.get("signature-input")!.replace("sig=", "again="));
		headers.set("signature", headers.get("signature")!.replace("sig=", "again="));
		expect((await errorOf(() => check({ ...message, headers }))).message).toContain("used before");
		expect(nonces.nonceCount).toBe(1);
	});

	test("when anything that it covers was changed", async () => {
		const { check, nonces } = rig();
		const headers = { "x-tenant-id": "acme" };
		const fields = ["@method", "@target-uri", "x-tenant-id", "content-digest"];
		const message = await signedMessage(hmacKey(API_KEY), NOW, { body: "{}", headers, fields });
		const changed = (name: string, value: string) => {
			const others = new Headers(message.headers);
			others.set(name, value);
			return { ...message, headers: others };
		};
		const input = message.headers.get("signature-input")!;
		for (const forged of [
			{ ...message, method: "PUT" },
			{ ...message, url: `${message.url}&y=2` },
			{ ...message, url: message.url.replace("node.", "other.") },
			changed("x-tenant-id", "beta"),
			changed("content-digest", digestOf("[]")),
			changed("signature-input", input.replace(/nonce="[^"]*"/, 'nonce="another"')),
			changed("signature-input", input.replace(`created=${NOW}`, `created=${NOW + 1}`)),
			changed("signature-input", `${input};tag="x"`),
			changed("signature", "sig=:AAAA:"),
		]) {
			expect((await errorOf(() => check(forged))).code).toBe("AUTH_SIGNATURE_INVALID");
		}
		expect(nonces.nonceCount).toBe(0);
		check(message);
		const removed = new Headers(message.headers);
		removed.delete("x-tenant-id");
		expect((await errorOf(() => check({ ...message, headers: removed }))).message).toContain("x-tenant-id");
	});

	test.each<[string, string | null, string | null]>([
		["without Signature-Input", null, "sig=:AAAA:"],
		["without Signature", 'sig=("@method")', null],
		["with headers that are no dictionaries", "(((", "sig=:AAAA:"],
		["with an endless header", `sig=("@method");tag="${"x".repeat(5_000)}"`, "sig=:AAAA:"],
		["with an empty header", "", "sig=:AAAA:"],
		["with two signatures", 'a=("@method"), b=("@method")', "a=:AAAA:, b=:AAAA:"],
		["with labels that differ", 'a=("@method")', "b=:AAAA:"],
		["with a list that is none", 'sig="@method"', "sig=:AAAA:"],
		["with a signature that is text", 'sig=("@method")', 'sig="AAAA"'],
		["with a signature that is a flag", 'sig=("@method")', "sig"],
		["with a signature that is a list", 'sig=("@method")', "sig=(:AAAA:)"],
		["with a component that is a token", "sig=(method)", "sig=:AAAA:"],
		["with a component that is unknown", 'sig=("@status")', "sig=:AAAA:"],
		["with a component in upper case", 'sig=("Date")', "sig=:AAAA:"],
		["with created as text", `sig=("@method");created="${NOW}";nonce="n"`, "sig=:AAAA:"],
		["with created in fractions", `sig=("@method");created=${NOW}.5;nonce="n"`, "sig=:AAAA:"],
		["with created as a date", `sig=("@method");created=@${NOW};nonce="n"`, "sig=:AAAA:"],
		["with a nonce that is a number", `sig=("@method");created=${NOW};nonce=7`, "sig=:AAAA:"],
		["with a nonce that is empty", `sig=("@method");created=${NOW};nonce=""`, "sig=:AAAA:"],
		[
			"for an address that is none",
			`sig=("@method" "@path" "@authority" "@query");created=${NOW};nonce="n"`,
			"sig=:AAAA:",
		],
	])("%s", async (_, input, signature) => {
		const { check, nonces } = rig();
		const headers = new Headers();
		if (input !== null) headers.set("signature-input", input);
		if (signature !== null) headers.set("signature", signature);
		const error = await errorOf(() => check({ method: "GET", url: "no address", headers }));
		expect(error.code).toBe("AUTH_SIGNATURE_INVALID");
		expect(error.details?.field).toMatch(/^Signature(-Input)?$/);
		expect(nonces.nonceCount).toBe(0);
	});

	test("with its code, whatever stands in the headers", () => {
		const { check } = rig();
		fc.assert(
			fc.property(
				fc.string({ unit: "binary-ascii", maxLength: 200 }),
				fc.string({ unit: "binary-ascii", maxLength: 200 }),
				fc.webUrl({ withQueryParameters: true }),
				(input, signature, url) => {
					const headers = new Headers();
					for (const [name, value] of [
						["signature-input", `sig=("@method"${input}`],
						["signature", signature],
					] as const) {
						headers.set(name, value.replaceAll(/[^\x20-\x7e]/g, ""));
					}
					try {
						check({ method: "GET", url, headers });
					} catch (error) {
						return (error as { code?: string }).code === "AUTH_SIGNATURE_INVALID";
					}
					return false;
				},
			),
			{ numRuns: 500 },
		);
	});

	test("rather than forget a nonce when the key's share of the store is full", async () => {
		const { accept, clock } = rig();
		for (let count = 0; count < 10; count++) await accept();
		const error = await errorOf(() => accept());
		expect(error.code).toBe("OVERLOADED");
		expect(error.details).toEqual({ retry_after_seconds: 301 });
		clock.advance(301_000);
		await accept({}, NOW + 301);
	});
});

describe("the body", () => {
	test("must be the one that was signed", async () => {
		const { accept } = rig();
		const checkBody = await accept({ body: '{"a":1}' });
		checkBody(Buffer.from('{"a":1}'));
		for (const other of ['{"a":2}', "", '{"a":1} ']) {
			const error = await errorOf(() => checkBody(Buffer.from(other)));
			expect([error.code, error.details]).toEqual(["AUTH_SIGNATURE_INVALID", { field: "Content-Digest" }]);
		}
	});

	test("must be none where none was announced", async () => {
		const { accept } = rig();
		for (const headers of [{}, { "content-length": "0" }]) {
			const checkBody = await accept({ headers });
			checkBody(new Uint8Array());
			expect((await errorOf(() => checkBody(Buffer.from("x")))).code).toBe("AUTH_SIGNATURE_INVALID");
		}
	});
});
