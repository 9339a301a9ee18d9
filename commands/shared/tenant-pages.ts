import type { NodeClient } from "./node-client.ts";
import type { TenantAnswer } from "./tenant-view.ts";

/** All tenants, page by page, in the order of their ids. */
export async function listTenants(node: NodeClient): Promise<readonly TenantAnswer[]> {
	const tenants: TenantAnswer[] = [];
	let cursor: string | undefined;
	do {
		const page: { tenants: readonly TenantAnswer[]; next_cursor: string | null } = await node.call("GET", "/tenants", {
			query: { limit: 1000, cursor },
		});
		tenants.push(...page.tenants);
		cursor = page.next_cursor ?? undefined;
	} while (cursor !== undefined);
	return tenants;
}
