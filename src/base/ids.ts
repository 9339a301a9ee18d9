/** Names and identities (CONTRACT section 1), branded: a wrong id does not compile. */
declare const brand: unique symbol;
type Brand<T, B extends string> = T & { readonly [brand]: B };

export type TenantId = Brand<string, "TenantId">;
export type CollectionName = Brand<string, "CollectionName">;
/** Random, never reused; names the collection's folder on disk. 20 of `[a-z0-9]`. */
export type CollectionId = Brand<string, "CollectionId">;
export type ApiKeyId = Brand<string, "ApiKeyId">;
export type NodeId = Brand<string, "NodeId">;
/** What a user calls a vector. `1` and `"1"` are different. */
export type VectorId = string | number;

export const TENANT_ID_PATTERN = /^[a-z][a-z0-9_-]{1,62}$/;
export const COLLECTION_NAME_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
export const API_KEY_PATTERN = /^hh_(live|test)_[A-Za-z0-9]{32}$/;
export const API_KEY_ID_PATTERN = /^key_[a-z0-9]{16}$/;
export const SERVICE_KEY_PATTERN = /^svc_[A-Za-z0-9]{40}$/;
/** Printable ASCII: what we keep of an incoming `X-Request-ID`. */
export const REQUEST_ID_PATTERN = /^[\x20-\x7e]{1,128}$/;

export const SYSTEM_TENANT = "system" as TenantId;
export const DEFAULT_TENANT = "default" as TenantId;

/** Fills a buffer with bytes from a CSPRNG. */
export type RandomBytes = (byteCount: number) => Uint8Array;

export const systemRandom: RandomBytes = (byteCount) => crypto.getRandomValues(new Uint8Array(byteCount));

const LOWER = "abcdefghijklmnopqrstuvwxyz0123456789";
const MIXED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/** `length` characters drawn uniformly from `alphabet`; bytes that would favour some characters are thrown away. */
function randomText(random: RandomBytes, alphabet: string, length: number): string {
	const limit = 256 - (256 % alphabet.length);
	let text = "";
	while (text.length < length) {
		for (const byte of random(length - text.length)) {
			if (byte < limit) text += alphabet[byte % alphabet.length];
		}
	}
	return text;
}

export const newCollectionId = (random: RandomBytes): CollectionId => randomText(random, LOWER, 20) as CollectionId;
export const newApiKeyId = (random: RandomBytes): ApiKeyId => `key_${randomText(random, LOWER, 16)}` as ApiKeyId;
export const newRequestId = (random: RandomBytes): string => `req_${randomText(random, LOWER, 20)}`;
export const newNodeId = (random: RandomBytes): NodeId => `node_${randomText(random, LOWER, 16)}` as NodeId;
export const newServiceKey = (random: RandomBytes): string => `svc_${randomText(random, MIXED, 40)}`;
export const newVectorId = (random: RandomBytes): string => randomText(random, LOWER, 20);

/** A fresh API key. Shown once; everything else sees only its SHA-256. */
export const newApiKey = (random: RandomBytes, environment: "live" | "test"): string =>
	`hh_${environment}_${randomText(random, MIXED, 32)}`;

/** SHA-256 of a key, lower-case hex: the only form in which a key is stored, cached or sent on. */
export function hashKey(key: string): string {
	return new Bun.CryptoHasher("sha256").update(key).digest("hex");
}

export const fullName = (tenantId: TenantId, name: CollectionName): string => `${tenantId}:${name}`;
