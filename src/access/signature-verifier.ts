import { createHmac, type KeyObject, timingSafeEqual, verify } from "node:crypto";
import type { Parameters } from "structured-headers";
import type { Clock } from "../base/clock.ts";
import type { KeyRecord } from "../hub/models.ts";
import { parseSigningKey } from "../hub/signing-key.ts";
import { contentDigestCheck } from "./content-digest.ts";
import type { BodyCheck, RequestMessage } from "./message-signature.ts";
import type { NonceClaims } from "./nonce-board.ts";
import { readSignature, signatureBase, signatureRefusal } from "./presented-signature.ts";

const AGE_SECONDS_MAX = 300;
const AHEAD_SECONDS_MAX = 60;
const NONCE_LENGTH_MAX = 128;
const HMAC_BYTES = 32;
const ED25519_SIGNATURE_BYTES = 64;

type Algorithm = "hmac-sha256" | "ed25519";

interface SignatureTimes {
	readonly nonce: string;
	readonly validUntilMs: number;
}

/**
 * Verifies requests signed by RFC 9421, for keys whose record demands it; what else is signed is nobody's business here, and
 * passes unread. `hmac-sha256` is keyed with the API key's text; a key with `signing_public_key` takes `ed25519` alone.
 *
 * A signature counts once, in the whole cluster: its nonce is remembered for as long as its time could last, and what was
 * created before this process started is refused, so that not even a lost journal lets a request be replayed.
 */
export class SignatureVerifier {
	readonly #clock: Clock;
	readonly #nonces: NonceClaims;
	readonly #startedSecond: number;
	readonly #publicKeys = new WeakMap<KeyRecord, KeyObject>();

	constructor(clock: Clock, nonces: NonceClaims) {
		this.#clock = clock;
		this.#nonces = nonces;
		this.#startedSecond = Math.floor(clock.nowMs() / 1000);
	}

	/**
	 * The nonce is claimed last: whoever can't sign can use up none. Synchronous on a node alone.
	 *
	 * @param apiKey the text whose SHA-256 found `key`
	 * @returns what the body must pass before it is believed; a body that no digest covers must be empty
	 * @throws AUTH_SIGNATURE_INVALID, OVERLOADED (no room for another nonce), NO_QUORUM (nobody can tell whether it was used)
	 */
	verify(message: RequestMessage, key: KeyRecord, apiKey: string): BodyCheck | Promise<BodyCheck> {
		const signature = readSignature(message.headers);
		const algorithm: Algorithm = key.signing_public_key === null ? "hmac-sha256" : "ed25519";
		const nowMs = this.#clock.nowMs();
		const { nonce, validUntilMs } = this.#requireParameters(signature.parameters, key, algorithm, nowMs);
		requireCoverage(signature.components, message);
		const base = signatureBase(signature, message);
		if (!this.#fits(signature.bytes, base, key, apiKey)) {
			throw signatureRefusal("Signature", `the ${algorithm} signature does not fit the request`);
		}
		const checkBody = bodyCheck(signature.components, message.headers);
		const claimed = this.#nonces.claim(key.tenant_id, { apiKeyId: key.api_key_id, nonce, validUntilMs });
		return claimed instanceof Promise ? claimed.then(() => checkBody) : checkBody;
	}

	#requireParameters(parameters: Parameters, key: KeyRecord, algorithm: Algorithm, nowMs: number): SignatureTimes {
		const created = integerParameter(parameters, "created");
		if (created === undefined) throw signatureRefusal("Signature-Input", "the signature needs the parameter created");
		const expires = integerParameter(parameters, "expires");
		const nonce = textParameter(parameters, "nonce");
		if (nonce === undefined || nonce === "" || nonce.length > NONCE_LENGTH_MAX) {
			const wanted = `of 1 to ${NONCE_LENGTH_MAX} characters`;
			throw signatureRefusal("Signature-Input", `the signature needs the parameter nonce, ${wanted}`);
		}
		const givenAlgorithm = textParameter(parameters, "alg");
		if (givenAlgorithm !== undefined && givenAlgorithm !== algorithm) {
			throw signatureRefusal("Signature-Input", `this key's requests are signed with ${algorithm}`);
		}
		const keyId = textParameter(parameters, "keyid");
		if (keyId !== undefined && keyId !== key.api_key_id) {
			throw signatureRefusal("Signature-Input", "keyid is not the id of the API key that was sent");
		}
		if (created * 1000 > nowMs + AHEAD_SECONDS_MAX * 1000) {
			throw signatureRefusal("Signature-Input", `created is more than ${AHEAD_SECONDS_MAX} seconds ahead`);
		}
		if (created < this.#startedSecond) {
			throw signatureRefusal("Signature-Input", "created is before this node started: sign the request anew");
		}
		const validUntilMs = Math.min(created + AGE_SECONDS_MAX, expires ?? Number.POSITIVE_INFINITY) * 1000;
		if (nowMs > validUntilMs)
			throw signatureRefusal("Signature-Input", "the signature is too old: sign the request anew");
		return { nonce, validUntilMs };
	}

	#fits(signature: Uint8Array, base: Buffer, key: KeyRecord, apiKey: string): boolean {
		if (key.signing_public_key === null) {
			const expected = createHmac("sha256", Buffer.from(apiKey, "utf8")).update(base).digest();
			return signature.length === HMAC_BYTES && timingSafeEqual(signature, expected);
		}
		const publicKey = this.#publicKeyOf(key, key.signing_public_key);
		return signature.length === ED25519_SIGNATURE_BYTES && verify(null, base, publicKey, signature);
	}

	#publicKeyOf(key: KeyRecord, text: string): KeyObject {
		const known = this.#publicKeys.get(key);
		if (known !== undefined) return known;
		const parsed = parseSigningKey(text);
		if (parsed === undefined) throw signatureRefusal("Signature", "the public key on record is no Ed25519 key");
		this.#publicKeys.set(key, parsed);
		return parsed;
	}
}

function integerParameter(parameters: Parameters, name: "created" | "expires"): number | undefined {
	const value = parameters.get(name);
	if (value === undefined || (typeof value === "number" && Number.isSafeInteger(value))) return value;
	throw signatureRefusal("Signature-Input", `${name} is not a time in whole seconds since 1970`);
}

function textParameter(parameters: Parameters, name: "nonce" | "alg" | "keyid"): string | undefined {
	const value = parameters.get(name);
	if (value === undefined || typeof value === "string") return value;
	throw signatureRefusal("Signature-Input", `${name} is not a string in quotes`);
}

/** What a signature must cover, or it would say too little of the request. */
function requireCoverage(components: readonly string[], { url, headers }: RequestMessage): void {
	const wanted = ["@method"];
	if (!components.includes("@target-uri")) {
		wanted.push("@authority", "@path");
		if (URL.parse(url)?.search !== "") wanted.push("@query");
	}
	if (announcesBody(headers)) wanted.push("content-digest");
	// Whoever could change it would choose the tenant in which an admin acts.
	if (headers.has("x-tenant-id")) wanted.push("x-tenant-id");
	const missing = wanted.find((component) => !components.includes(component));
	if (missing !== undefined) throw signatureRefusal("Signature-Input", `the signature does not cover "${missing}"`);
}

function announcesBody(headers: Headers): boolean {
	const length = headers.get("content-length");
	return headers.has("transfer-encoding") || (length !== null && !/^0+$/.test(length));
}

function bodyCheck(components: readonly string[], headers: Headers): BodyCheck {
	if (components.includes("content-digest")) return contentDigestCheck(headers.get("content-digest")!);
	return (body) => {
		if (body.length > 0)
			throw signatureRefusal("Signature", "the request has a body that its signature does not cover");
	};
}
