import { createHash } from "node:crypto";
import { parseDictionary } from "structured-headers";
import { HiveError } from "../base/errors.ts";
import type { BodyCheck } from "./message-signature.ts";

const HEADER_LENGTH_MAX = 1_024;
/** The algorithms of RFC 9530 that are safe, by their names there and in the crypto library. */
const ALGORITHMS: ReadonlyMap<string, string> = new Map([
	["sha-256", "sha256"],
	["sha-512", "sha512"],
]);

const refusal = (message: string, cause?: unknown): HiveError =>
	new HiveError("AUTH_SIGNATURE_INVALID", message, { field: "Content-Digest" }, { cause });

/**
 * Reads a `Content-Digest` header (RFC 9530). One of sha-256 and sha-512 must be there, and all of them that are must match;
 * other algorithms are passed over.
 *
 * @throws AUTH_SIGNATURE_INVALID, as does the check that is returned
 */
export function contentDigestCheck(header: string): BodyCheck {
	const expected = readDigests(header);
	if (expected.size === 0) throw refusal("Content-Digest holds neither sha-256 nor sha-512");
	return (body) => {
		for (const [algorithm, digest] of expected) {
			if (!createHash(algorithm).update(body).digest().equals(digest)) {
				throw refusal("the body is not the one that Content-Digest was made of");
			}
		}
	};
}

/** By the crypto library's names. */
function readDigests(header: string): ReadonlyMap<string, Buffer> {
	if (header.length > HEADER_LENGTH_MAX) {
		throw refusal(`Content-Digest is longer than ${HEADER_LENGTH_MAX} characters`);
	}
	const digests = new Map<string, Buffer>();
	try {
		for (const [name, [value]] of parseDictionary(header)) {
			const algorithm = ALGORITHMS.get(name);
			if (algorithm === undefined) continue;
			if (!(value instanceof ArrayBuffer)) throw new TypeError(`${name} is no byte sequence`);
			digests.set(algorithm, Buffer.from(value));
		}
	} catch (cause) {
		throw refusal("Content-Digest is not of the form sha-256=:<base64>:", cause);
	}
	return digests;
}
