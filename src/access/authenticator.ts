import type { Clock } from "../base/clock.ts";
import { type ErrorCode, HiveError } from "../base/errors.ts";
import { API_KEY_PATTERN, hashKey, SYSTEM_TENANT, TENANT_ID_PATTERN, type TenantId } from "../base/ids.ts";
import { NetworkList } from "../base/network.ts";
import type { Permission } from "../base/schemas.ts";
import type { HubDirectory } from "../hub/hub-client-types.ts";
import type { KeyLookup, KeyRecord, TenantRecord } from "../hub/models.ts";
import type { BruteForceGuard } from "./brute-force-guard.ts";
import type { BodyCheck, RequestMessage } from "./message-signature.ts";
import type { SignatureVerifier } from "./signature-verifier.ts";

/** `Authorization` and `x-api-key` as they came. */
export interface Credentials {
	readonly authorization?: string;
	readonly apiKey?: string;
	/** A web page of another origin may be asking: no one to whom a node opens without a key. */
	readonly isForeignPage?: boolean;
}

/** Where a request came from, and what of it can be signed. */
export interface RequestOrigin {
	/** The client's address, a trusted proxy's word for it included. */
	readonly remoteAddress: string;
	readonly message: RequestMessage;
}

/** Who asks, once that is proven. */
export interface Identity {
	/** Absent in single-tenant mode without a key. */
	readonly key?: KeyRecord;
	readonly homeTenantId: TenantId;
	/** The record of the home tenant: whose rate limits count. */
	readonly homeTenant: TenantRecord;
	/** The tenant acted in: the home tenant, or the one an admin named. */
	readonly tenant: TenantRecord;
	readonly permissions: ReadonlySet<Permission>;
	/** ISO time; present while a replaced key is in its grace period. */
	readonly keyDeprecatedUntil?: string;
	/** Present where the request had to be signed: its body is believed only after this. */
	readonly checkBody?: BodyCheck;
}

export interface AuthenticatorOptions {
	/** The tenant of whoever comes without a key (single-tenant mode); absent: nobody may. */
	readonly anonymousTenant?: TenantId;
	readonly guard: BruteForceGuard;
	readonly signatures: SignatureVerifier;
	/** Told when an address is shut out. Must not throw. */
	readonly onBlocked?: (remoteAddress: string) => void;
}

/** Failures to prove who one is, as opposed to proving it and being refused all the same. */
const COUNTED_FAILURES: ReadonlySet<ErrorCode> = new Set([
	"AUTH_INVALID_FORMAT",
	"AUTH_INVALID",
	"AUTH_KEY_EXPIRED",
	"AUTH_SIGNATURE_INVALID",
]);

/** Of whom it is remembered that their key was good. */
const PROVEN_COUNT_MAX = 100_000;
const BEARER_PATTERN = /^bearer +([^\s]+) *$/i;
const ANONYMOUS_PERMISSIONS: ReadonlySet<Permission> = new Set(["ADMIN", "READ_WRITE"]);

/**
 * Tells from credentials who asks. Whatever is wrong with them, the answer says no more than the code: an unknown and a
 * revoked key look the same, and so do another tenant's name and one never used. Keys are compared only as SHA-256 hashes,
 * by look-ups: how far a guess's hash agrees with a stored one tells nothing about the key, so their timing may be seen.
 *
 * An address that failed too often is refused before the hub is asked, but for keys that are cached or were good the last
 * time: whoever shares an address with an attacker works on, also when the time of a cached record is over.
 */
export class Authenticator {
	readonly #directory: HubDirectory;
	readonly #clock: Clock;
	readonly #anonymousTenantId: TenantId | undefined;
	readonly #guard: BruteForceGuard;
	readonly #signatures: SignatureVerifier;
	readonly #onBlocked: (remoteAddress: string) => void;
	readonly #permissionsByKey = new WeakMap<KeyRecord, ReadonlySet<Permission>>();
	readonly #allowedByKey = new WeakMap<KeyRecord, NetworkList>();
	/** Hashes of keys that were good when the hub was last asked about them, the longest ago first. */
	readonly #proven = new Set<string>();

	constructor(directory: HubDirectory, clock: Clock, options: AuthenticatorOptions) {
		this.#directory = directory;
		this.#clock = clock;
		this.#anonymousTenantId = options.anonymousTenant;
		this.#guard = options.guard;
		this.#signatures = options.signatures;
		this.#onBlocked = options.onBlocked ?? (() => {});
	}

	/**
	 * Who asks, in the own tenant. Synchronous while the key is cached, but for signed requests in a cluster: a promise costs
	 * more than all of this.
	 *
	 * @throws AUTH_MISSING, AUTH_INVALID_FORMAT (the hub was not asked), AUTH_INVALID, AUTH_KEY_EXPIRED, AUTH_IP_DENIED,
	 *         AUTH_SIGNATURE_INVALID, TENANT_SUSPENDED, HUB_UNAVAILABLE, OVERLOADED (too many signed requests),
	 *         NO_QUORUM (nobody can tell whether a signature was used before); AUTH_RATE_LIMIT instead of any of them to an address that is shut out
	 */
	identify(credentials: Credentials, origin: RequestOrigin): Identity | Promise<Identity> {
		const { remoteAddress } = origin;
		let presented: PresentedKey | undefined;
		let cached: KeyLookup | undefined;
		try {
			presented = presentedKey(credentials);
			if (presented === undefined) return this.#anonymous(credentials.isForeignPage === true);
			cached = this.#directory.cachedKey(presented.hash);
			if (cached !== undefined) {
				const admitted = this.#admitFrom(origin, cached, presented.apiKey);
				if (!(admitted instanceof Promise)) return admitted;
				return admitted.catch((error: unknown) => {
					throw this.#refusalFor(error, remoteAddress);
				});
			}
		} catch (error) {
			throw this.#refusalFor(error, remoteAddress);
		}
		return this.#identifyAtHub(presented, origin);
	}

	async #identifyAtHub({ apiKey, hash }: PresentedKey, origin: RequestOrigin): Promise<Identity> {
		const { remoteAddress } = origin;
		const blocked = this.#proven.has(hash) ? undefined : this.#guard.refusal(remoteAddress);
		if (blocked !== undefined) throw blocked;
		try {
			const lookup = await this.#directory.lookupKey(hash);
			this.#proven.delete(hash);
			const identity = await this.#admitFrom(origin, lookup, apiKey);
			if (this.#proven.size >= PROVEN_COUNT_MAX) this.#proven.delete(this.#proven.values().next().value!);
			this.#proven.add(hash);
			return identity;
		} catch (error) {
			throw this.#refusalFor(error, remoteAddress);
		}
	}

	/**
	 * Who asks, once more, of a connection whose first request was identified: what has changed since counts, and nothing is signed.
	 * Synchronous while the key is cached.
	 *
	 * @throws as `identify`, but for signatures; failures are not counted
	 */
	identifyAgain(credentials: Credentials, remoteAddress: string): Identity | Promise<Identity> {
		const presented = presentedKey(credentials);
		if (presented === undefined) return this.#anonymous(credentials.isForeignPage === true);
		const admit = (lookup: KeyLookup | undefined): Identity => {
			const { key, tenant } = this.#requireLive(lookup);
			this.#requireAllowed(key, remoteAddress);
			if (key.signing_required) throw unsignable();
			return this.#identityOf(key, requireActive(tenant));
		};
		const cached = this.#directory.cachedKey(presented.hash);
		return cached === undefined ? this.#directory.lookupKey(presented.hash).then(admit) : admit(cached);
	}

	/**
	 * The same caller in the tenant that `X-Tenant-ID` names. Apart from `identify`, so that it is known who asked for a tenant
	 * that is none for them. Synchronous but for admins in another tenant.
	 *
	 * @throws TENANT_NOT_FOUND, VALIDATION_FAILED (ill-formed), HUB_UNAVAILABLE
	 */
	actIn(identity: Identity, actingTenant: string | undefined): Identity | Promise<Identity> {
		if (actingTenant === undefined) return identity;
		if (!TENANT_ID_PATTERN.test(actingTenant)) {
			throw new HiveError("VALIDATION_FAILED", "X-Tenant-ID is not a tenant id", { field: "X-Tenant-ID" });
		}
		if (actingTenant === identity.homeTenantId) return identity;
		if (identity.key === undefined || !identity.permissions.has("ADMIN")) throw tenantNotFound();
		return this.#directory.tenant(actingTenant as TenantId).then((tenant) => {
			if (tenant === undefined) throw tenantNotFound();
			return { ...identity, tenant };
		});
	}

	/**
	 * Whose key this is, if it may be used now; from where, and whether signed, is left open.
	 *
	 * @throws AUTH_INVALID_FORMAT, AUTH_INVALID, AUTH_KEY_EXPIRED, TENANT_SUSPENDED, HUB_UNAVAILABLE
	 */
	async identifyKey(apiKey: string): Promise<Identity> {
		const keyHash = hashOf(apiKey);
		const { key, tenant } = this.#requireLive(
			this.#directory.cachedKey(keyHash) ?? (await this.#directory.lookupKey(keyHash)),
		);
		return this.#identityOf(key, requireActive(tenant));
	}

	#admitFrom(origin: RequestOrigin, lookup: KeyLookup | undefined, apiKey: string): Identity | Promise<Identity> {
		const { key, tenant } = this.#requireLive(lookup);
		this.#requireAllowed(key, origin.remoteAddress);
		if (!key.signing_required) return this.#admitted(origin, key, tenant);
		const checkBody = this.#signatures.verify(origin.message, key, apiKey);
		return checkBody instanceof Promise
			? checkBody.then((check) => ({ ...this.#admitted(origin, key, tenant), checkBody: check }))
			: { ...this.#admitted(origin, key, tenant), checkBody };
	}

	#admitted(origin: RequestOrigin, key: KeyRecord, tenant: TenantRecord): Identity {
		const identity = this.#identityOf(key, requireActive(tenant));
		this.#guard.succeeded(origin.remoteAddress);
		return identity;
	}

	/** @throws AUTH_INVALID, AUTH_KEY_EXPIRED */
	#requireLive(lookup: KeyLookup | undefined): KeyLookup {
		if (lookup === undefined || lookup.key.rotation_status === "revoked") {
			throw new HiveError("AUTH_INVALID", "the API key is not valid");
		}
		const { expires_at } = lookup.key;
		// Also where the hub's text is no time.
		if (expires_at !== null && !(Date.parse(expires_at) > this.#clock.nowMs())) {
			throw new HiveError("AUTH_KEY_EXPIRED", "the API key has expired");
		}
		return lookup;
	}

	/** @throws AUTH_IP_DENIED */
	#requireAllowed(key: KeyRecord, remoteAddress: string): void {
		if (key.allowed_ips === null || key.allowed_ips.length === 0) return;
		let allowed = this.#allowedByKey.get(key);
		if (allowed === undefined) {
			allowed = new NetworkList(key.allowed_ips);
			this.#allowedByKey.set(key, allowed);
		}
		if (allowed.includes(remoteAddress)) return;
		throw new HiveError("AUTH_IP_DENIED", "the API key may not be used from this address");
	}

	#identityOf(key: KeyRecord, tenant: TenantRecord): Identity {
		const identity = {
			key,
			homeTenantId: tenant.id,
			homeTenant: tenant,
			tenant,
			permissions: this.#permissionsOf(key),
		};
		return key.rotation_status === "deprecated" && key.expires_at !== null
			? { ...identity, keyDeprecatedUntil: key.expires_at }
			: identity;
	}

	/** What to answer with. An address that is shut out learns nothing more, also by requests that were under way. */
	#refusalFor(error: unknown, remoteAddress: string): unknown {
		if (!(error instanceof HiveError) || error.code === "AUTH_MISSING") return error;
		const blocked = this.#guard.refusal(remoteAddress);
		if (blocked !== undefined) return blocked;
		if (COUNTED_FAILURES.has(error.code) && this.#guard.failed(remoteAddress)) this.#onBlocked(remoteAddress);
		return error;
	}

	#permissionsOf(key: KeyRecord): ReadonlySet<Permission> {
		const known = this.#permissionsByKey.get(key);
		if (known !== undefined) return known;
		const permissions = new Set(key.permissions);
		// Only operators may hold ADMIN, whatever a record says.
		if (key.tenant_id !== SYSTEM_TENANT) permissions.delete("ADMIN");
		this.#permissionsByKey.set(key, permissions);
		return permissions;
	}

	async #anonymous(isForeignPage: boolean): Promise<Identity> {
		const tenantId = this.#anonymousTenantId;
		if (tenantId === undefined) {
			throw new HiveError("AUTH_MISSING", "an API key is needed: Authorization: Bearer <key>, or x-api-key: <key>");
		}
		if (isForeignPage) {
			throw new HiveError(
				"AUTH_MISSING",
				"an API key is needed here: the request names another host than this one, or comes from a web page of another origin",
			);
		}
		const tenant = await this.#directory.tenant(tenantId);
		if (tenant === undefined) throw tenantNotFound();
		return { homeTenantId: tenantId, homeTenant: tenant, tenant, permissions: ANONYMOUS_PERMISSIONS };
	}
}

/** @throws TENANT_SUSPENDED */
function requireActive(tenant: TenantRecord): TenantRecord {
	if (!tenant.active) throw new HiveError("TENANT_SUSPENDED", "the tenant is suspended");
	return tenant;
}

/** For keys that must sign, where requests follow that can't be signed. */
export const unsignable = (): HiveError =>
	new HiveError(
		"AUTH_SIGNATURE_INVALID",
		"the API key must sign each request, which messages of a connection can't be",
	);

const tenantNotFound = (): HiveError => new HiveError("TENANT_NOT_FOUND", "no such tenant");

function hashOf(apiKey: string): string {
	if (!API_KEY_PATTERN.test(apiKey)) {
		throw new HiveError("AUTH_INVALID_FORMAT", "the API key is not of the form hh_live_… or hh_test_…");
	}
	return hashKey(apiKey);
}

interface PresentedKey {
	readonly apiKey: string;
	readonly hash: string;
}

/** @throws AUTH_INVALID_FORMAT */
function presentedKey({ authorization, apiKey }: Credentials): PresentedKey | undefined {
	if (authorization === undefined) return apiKey === undefined ? undefined : { apiKey, hash: hashOf(apiKey) };
	const bearer = BEARER_PATTERN.exec(authorization)?.[1];
	if (bearer === undefined) {
		throw new HiveError("AUTH_INVALID_FORMAT", "Authorization is not of the form Bearer <key>");
	}
	if (apiKey !== undefined && apiKey !== bearer) {
		throw new HiveError("AUTH_INVALID_FORMAT", "Authorization and x-api-key hold different keys");
	}
	return { apiKey: bearer, hash: hashOf(bearer) };
}
