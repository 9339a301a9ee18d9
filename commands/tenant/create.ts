import { Args, Flags } from "@oclif/core";
import { parseJsonObject, readText } from "../shared/json-input.ts";
import { NodeCommand } from "../shared/node-command.ts";
import { quotaFlags, quotaFrom, rateLimitFlags, rateLimitsFrom } from "../shared/quota-flags.ts";
import { type TenantAnswer, tenantFields } from "../shared/tenant-view.ts";

export class TenantCreate extends NodeCommand {
	static override summary = "Create a tenant.";
	static override description =
		"What is not limited here is unlimited; rate limits that are not given follow the node's settings.";
	static override examples = [
		'<%= config.bin %> tenant create acme --name "Acme" --max-vectors 100000',
		"<%= config.bin %> tenant create acme --max-storage 10GB --max-collections 20 --requests-per-minute 600",
	];
	static override args = { tenant: Args.string({ required: true, description: "id: a-z, 0-9, _ and -" }) };
	static override flags = {
		name: Flags.string({ description: "name for people; the id if not given", helpValue: "<name>" }),
		metadata: Flags.string({ description: "a JSON object kept with the tenant", helpValue: "<json>|@<file>" }),
		...quotaFlags,
		...rateLimitFlags,
	};

	override async run(): Promise<TenantAnswer> {
		const { args, flags } = await this.parse(TenantCreate);
		const quota = quotaFrom(flags);
		const rateLimits = rateLimitsFrom(flags);
		const body = {
			id: args.tenant,
			name: flags.name ?? args.tenant,
			...(quota === undefined ? {} : { quota }),
			...(rateLimits === undefined ? {} : { rate_limits: rateLimits }),
			...(flags.metadata === undefined
				? {}
				: {
						metadata: parseJsonObject(
							"--metadata",
							await readText("--metadata", flags.metadata, (asker) => this.readStdin(asker)),
						),
					}),
		};
		const node = await this.connect(flags);
		const tenant = await node.call<TenantAnswer>("POST", "/tenants", { body });
		this.printRecord(tenantFields(tenant));
		this.print(`\nA key for it: ${this.config.bin} key create ${tenant.id} --permission READ_WRITE\n`);
		return tenant;
	}
}
