import { HiveError } from "../base/errors.ts";
import type { TenantId } from "../base/ids.ts";
import type { HubClient } from "./hub-client-types.ts";
import type { CollectionRecord, TenantRecord } from "./models.ts";

/** All tenants of the hub, `limit` at a time. @throws HUB_UNAVAILABLE */
export async function* tenantPages(
	hub: Pick<HubClient, "listTenants">,
	limit: number,
): AsyncGenerator<readonly TenantRecord[]> {
	for (let after: string | null | undefined; after !== null; ) {
		const page = await hub.listTenants({ limit, ...(after !== undefined && { after }) });
		yield page.tenants;
		after = page.next;
	}
}

/** The tenant's collections; none when it is gone, perhaps since it was listed. @throws HUB_UNAVAILABLE */
export async function collectionsIfThere(
	hub: Pick<HubClient, "listCollections">,
	tenantId: TenantId,
): Promise<readonly CollectionRecord[]> {
	return (await unlessTenantGone(hub.listCollections(tenantId))) ?? [];
}

/** @returns undefined when the tenant is gone. @throws what else went wrong */
export async function unlessTenantGone<Answer>(asked: Promise<Answer>): Promise<Answer | undefined> {
	try {
		return await asked;
	} catch (error) {
		if (error instanceof HiveError && error.code === "TENANT_NOT_FOUND") return undefined;
		throw error;
	}
}
