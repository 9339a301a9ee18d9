import { ServerCommand } from "./shared/server-command.ts";
import { serverFlags } from "./shared/settings-flags.ts";

export class Hub extends ServerCommand {
	static override summary = "Run a hub of its own: tenants, keys, quotas and collection names for several nodes.";
	static override description = [
		"Nodes reach it with hub.mode: remote, hub.api_url and hub.service_api_key. It accepts the service key in",
		"hub.service_api_key, or writes one to <data-dir>/service.key; the first start also writes an operator's key to",
		"<data-dir>/admin.key, which works on every node of this hub.",
	].join(" ");
	static override examples = [
		"<%= config.bin %> hub --data-dir /var/lib/hive-hub --port 7900",
		"<%= config.bin %> hub --config /etc/hive-hub.yml",
	];
	static override flags = serverFlags;

	override async run(): Promise<void> {
		const { flags } = await this.parse(Hub);
		const { settings, parts } = await this.prepare(flags, { purpose: "hub" });
		const { startHub } = await import("../src/node/hub-process.ts");
		await this.runUntilSignal(
			() => startHub(settings, parts),
			parts,
			(hub) =>
				this.printRecord([
					["url", hub.url],
					...(hub.serviceKeyPath === undefined ? [] : [["service key", hub.serviceKeyPath] as const]),
					...(hub.adminKeyPath === undefined ? [] : [["operator's key", hub.adminKeyPath] as const]),
				]),
		);
	}
}
