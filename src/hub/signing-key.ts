import { createPublicKey, type KeyObject } from "node:crypto";

/** What stands before the 32 bytes in a SubjectPublicKeyInfo of Ed25519 (RFC 8410). */
const SPKI_PREFIX = Buffer.from("302a300506032b6570032100", "hex");
const BASE64_OF_32_BYTES = /^[A-Za-z0-9+/]{43}=$/;
const PEM = /^-----BEGIN PUBLIC KEY-----\r?\n[A-Za-z0-9+/=\r\n]{1,200}-----END PUBLIC KEY-----$/;

/**
 * Points of small order, without the sign bit: for such a "key" signatures can be made by anyone.
 * Source: libsodium, ge25519_has_small_order.
 */
const SMALL_ORDER: ReadonlySet<string> = new Set([
	"00".repeat(32),
	`01${"00".repeat(31)}`,
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	`ec${"ff".repeat(30)}7f`,
	`ed${"ff".repeat(30)}7f`,
	`ee${"ff".repeat(30)}7f`,
]);

/**
 * An Ed25519 public key.
 *
 * @param text PEM (`-----BEGIN PUBLIC KEY-----`) or base64 of the 32 bytes; white space around it is ignored
 * @returns undefined for anything else: other kinds of keys, private keys, keys that anyone could sign for
 */
export function parseSigningKey(text: string): KeyObject | undefined {
	const trimmed = text.trim();
	if (!BASE64_OF_32_BYTES.test(trimmed) && !PEM.test(trimmed)) return undefined;
	let key: KeyObject;
	try {
		key = BASE64_OF_32_BYTES.test(trimmed)
			? createPublicKey({
					key: Buffer.concat([SPKI_PREFIX, Buffer.from(trimmed, "base64")]),
					format: "der",
					type: "spki",
				})
			: createPublicKey(trimmed);
	} catch {
		return undefined;
	}
	if (key.asymmetricKeyType !== "ed25519") return undefined;
	const point = Buffer.from(key.export({ format: "der", type: "spki" }).subarray(SPKI_PREFIX.length));
	point[31]! &= 0x7f;
	return SMALL_ORDER.has(point.toString("hex")) ? undefined : key;
}
