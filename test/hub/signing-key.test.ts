import { describe, expect, test } from "bun:test";
import { createPublicKey, generateKeyPairSync, sign, verify } from "node:crypto";
import { parseSigningKey } from "../../src/hub/signing-key.ts";

const { publicKey, privateKey } = generateKeyPairSync("ed25519");
const PEM = publicKey.export({ format: "pem", type: "spki" }) as string;
const SPKI_PREFIX = Buffer.from("302a300506032b6570032100", "hex");

describe("a public key for signatures", () => {
	test.each<[string, string]>([
		["PEM", PEM],
		["PEM with other line ends and space around", `\r\n${PEM.replaceAll("\n", "\r\n")}  `],
		["base64 of its bytes", Buffer.from(publicKey.export({ format: "jwk" }).x!, "base64url").toString("base64")],
	])("may be %s", (_, text) => {
		const parsed = parseSigningKey(text)!;
		expect(verify(null, Buffer.from("x"), parsed, sign(null, Buffer.from("x"), privateKey))).toBe(true);
	});

	const otherKinds = [generateKeyPairSync("ec", { namedCurve: "P-256" }), generateKeyPairSync("x25519")].map(
		(pair) => pair.publicKey.export({ format: "pem", type: "spki" }) as string,
	);
	test.each<[string, string]>([
		["nothing", ""],
		["a private key", privateKey.export({ format: "pem", type: "pkcs8" }) as string],
		["a public key with a private one behind it", `${PEM}${privateKey.export({ format: "pem", type: "pkcs8" })}`],
		["a key of P-256", otherKinds[0]!],
		["a key of X25519", otherKinds[1]!],
		["PEM of something else", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"],
		["too few bytes", Buffer.alloc(31, 1).toString("base64")],
		["too many bytes", Buffer.alloc(33, 1).toString("base64")],
		["hexadecimal", "ab".repeat(32)],
	])("is not %s", (_, text) => {
		expect(parseSigningKey(text)).toBeUndefined();
	});

	test.each([
		"00".repeat(32),
		`01${"00".repeat(31)}`,
		`${"00".repeat(31)}80`,
		`ec${"ff".repeat(30)}7f`,
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	])("is not one that anyone can sign for: %s", (hex) => {
		const bytes = Buffer.from(hex, "hex");
		// The identity as the signature's point, 0 as its scalar: good for one message in eight at least.
		const forged = Buffer.concat([Buffer.from([1]), Buffer.alloc(63)]);
		const key = createPublicKey({ key: Buffer.concat([SPKI_PREFIX, bytes]), format: "der", type: "spki" });
		const messages = Array.from({ length: 200 }, (_, index) => Buffer.from(`message ${index}`));
		expect(messages.some((message) => verify(null, message, key, forged))).toBe(true);
		expect(parseSigningKey(bytes.toString("base64"))).toBeUndefined();
	});
});
