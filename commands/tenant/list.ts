import { NodeCommand } from "../shared/node-command.ts";
import { listTenants } from "../shared/tenant-pages.ts";
import type { TenantAnswer } from "../shared/tenant-view.ts";
import { formatBytes, formatCount, formatQuota } from "../shared/units.ts";

export class TenantList extends NodeCommand {
	static override summary = "List the tenants.";
	static override examples = [
		"<%= config.bin %> tenant list",
		"<%= config.bin %> tenant list --json | jq -r '.tenants[].id'",
	];

	override async run(): Promise<{ tenants: readonly TenantAnswer[] }> {
		const { flags } = await this.parse(TenantList);
		const tenants = await listTenants(await this.connect(flags));
		this.printTable(
			[
				{ title: "ID" },
				{ title: "NAME" },
				{ title: "STATE" },
				{ title: "KEYS", align: "right" },
				{ title: "MAX STORAGE", align: "right" },
				{ title: "MAX VECTORS", align: "right" },
				{ title: "CREATED" },
			],
			tenants.map((tenant) => [
				tenant.id,
				tenant.name,
				tenant.active ? "active" : "suspended",
				formatCount(tenant.api_keys_count),
				formatQuota(tenant.quota.max_storage_bytes, formatBytes),
				formatQuota(tenant.quota.max_vectors, formatCount),
				tenant.created_at,
			]),
		);
		return { tenants };
	}
}
