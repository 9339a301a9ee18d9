import type { Clock } from "../base/clock.ts";
import { HiveError } from "../base/errors.ts";
import { API_KEY_PATTERN, hashKey, SYSTEM_TENANT, TENANT_ID_PATTERN, type TenantId } from "../base/ids.ts";
import type { Permission } from "../base/schemas.ts";
import type { HubDirectory } from "../hub/hub-client-types.ts";
import type { KeyLookup, KeyRecord, TenantRecord } from "../hub/models.ts";

/** `Authorization` and `x-api-key` as they came. */
export interface Credentials {
	readonly authorization?: string;
	readonly apiKey?: string;
	/** A web page of another origin may be asking: no one to whom a node opens without a key. */
	readonly isForeignPage?: boolean;
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
}

const BEARER_PATTERN = /^bearer +([^\s]+) *$/i;
const ANONYMOUS_PERMISSIONS: ReadonlySet<Permission> = new Set(["ADMIN", "READ_WRITE"]);

/**
 * Tells from credentials who asks. Whatever is wrong with them, the answer says no more than the code: an unknown and a
 * revoked key look the same, and so do another tenant's name and one never used.
 */
export class Authenticator {
	readonly #directory: HubDirectory;
	readonly #clock: Clock;
	readonly #anonymousTenantId: TenantId | undefined;
	readonly #permissionsByKey = new WeakMap<KeyRecord, ReadonlySet<Permission>>();

	/** @param options.anonymousTenant the tenant of whoever comes without a key (single-tenant mode); absent: nobody may. */
	constructor(directory: HubDirectory, clock: Clock, options: { readonly anonymousTenant?: TenantId } = {}) {
		this.#directory = directory;
		this.#clock = clock;
		this.#anonymousTenantId = options.anonymousTenant;
	}

	/**
	 * Who asks, in the own tenant. Synchronous while the key is cached: a promise costs more than all of this.
	 *
	 * @throws AUTH_MISSING, AUTH_INVALID_FORMAT (the hub was not asked), AUTH_INVALID, AUTH_KEY_EXPIRED, TENANT_SUSPENDED,
	 *         HUB_UNAVAILABLE
	 */
	identify(credentials: Credentials): Identity | Promise<Identity> {
		const apiKey = presentedKey(credentials);
		if (apiKey === undefined) return this.#anonymous(credentials.isForeignPage === true);
		const keyHash = hashOf(apiKey);
		const cached = this.#directory.cachedKey(keyHash);
		if (cached === undefined) return this.#directory.lookupKey(keyHash).then((lookup) => this.#admit(lookup));
		return this.#admit(cached);
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

	/** Whose key this is, if it may be used now. Throws as `identify` does. */
	async identifyKey(apiKey: string): Promise<Identity> {
		const keyHash = hashOf(apiKey);
		return this.#admit(this.#directory.cachedKey(keyHash) ?? (await this.#directory.lookupKey(keyHash)));
	}

	#admit(lookup: KeyLookup | undefined): Identity {
		if (lookup === undefined || lookup.key.rotation_status === "revoked") {
			throw new HiveError("AUTH_INVALID", "the API key is not valid");
		}
		const { key, tenant } = lookup;
		// Also where the hub's text is no time.
		if (key.expires_at !== null && !(Date.parse(key.expires_at) > this.#clock.nowMs())) {
			throw new HiveError("AUTH_KEY_EXPIRED", "the API key has expired");
		}
		requireNoFurtherProof(key);
		if (!tenant.active) throw new HiveError("TENANT_SUSPENDED", "the tenant is suspended");
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

/** What a key's record demands and this version can't check is taken for not met. */
function requireNoFurtherProof(key: KeyRecord): void {
	if (key.signing_required) {
		throw new HiveError("AUTH_SIGNATURE_INVALID", "the key demands signed requests, which this version cannot verify");
	}
	if (key.allowed_ips !== null && key.allowed_ips.length > 0) {
		throw new HiveError("AUTH_IP_DENIED", "the key is bound to addresses, which this version cannot verify");
	}
}

const tenantNotFound = (): HiveError => new HiveError("TENANT_NOT_FOUND", "no such tenant");

function hashOf(apiKey: string): string {
	if (!API_KEY_PATTERN.test(apiKey)) {
		throw new HiveError("AUTH_INVALID_FORMAT", "the API key is not of the form hh_live_… or hh_test_…");
	}
	return hashKey(apiKey);
}

function presentedKey({ authorization, apiKey }: Credentials): string | undefined {
	if (authorization === undefined) return apiKey;
	const bearer = BEARER_PATTERN.exec(authorization)?.[1];
	if (bearer === undefined) {
		throw new HiveError("AUTH_INVALID_FORMAT", "Authorization is not of the form Bearer <key>");
	}
	if (apiKey !== undefined && apiKey !== bearer) {
		throw new HiveError("AUTH_INVALID_FORMAT", "Authorization and x-api-key hold different keys");
	}
	return bearer;
}
