import type { Clock } from "../../base/clock.ts";
import { DEFAULT_TENANT, type RandomBytes, SYSTEM_TENANT } from "../../base/ids.ts";
import type { HubDatabase } from "./hub-database.ts";
import { KeyStore } from "./key-store.ts";
import { TenantStore } from "./tenant-store.ts";

/** Makes the tenants that hive-vector itself needs: `system`, and `default` where a node serves a single tenant. Idempotent. */
export async function bootstrapHub(
	database: HubDatabase,
	clock: Clock,
	options: { readonly defaultTenant: boolean },
): Promise<void> {
	const tenants = new TenantStore(database, clock);
	await tenants.ensureReserved(SYSTEM_TENANT, "System");
	if (options.defaultTenant) await tenants.ensureReserved(DEFAULT_TENANT, "Default");
}

/**
 * Mints an ADMIN key of tenant `system` unless a usable one exists. Needs `bootstrapHub` first.
 *
 * @param keep stores the key's text where the operator finds it. It runs before the key is committed: after a crash in
 *             between, the next start mints another and overwrites what `keep` wrote.
 * @returns    the key's text, the only time; undefined when there is one already.
 */
export async function mintAdminKeyIfAbsent(
	database: HubDatabase,
	clock: Clock,
	random: RandomBytes,
	keep?: (apiKey: string) => Promise<void>,
): Promise<string | undefined> {
	return await new KeyStore(database, clock, random).mintAdminKeyIfAbsent(keep);
}
