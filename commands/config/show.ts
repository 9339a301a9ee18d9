import { Flags } from "@oclif/core";
import { BaseCommand } from "../shared/base-command.ts";
import { configFlag } from "../shared/settings-flags.ts";

export class ConfigShow extends BaseCommand {
	static override summary = "Print the settings a node would start with, secrets masked.";
	static override description = "Defaults, then the file, then HIVE_VECTOR_<SECTION>_<KEY>; later wins.";
	static override examples = [
		"<%= config.bin %> config show",
		"<%= config.bin %> config show --origins",
		"HIVE_VECTOR_SERVER_PORT=9000 <%= config.bin %> config show --json | jq .server.port",
	];
	static override flags = {
		...configFlag,
		origins: Flags.boolean({ description: "each setting with where it comes from" }),
	};

	override async run(): Promise<unknown> {
		const { flags } = await this.parse(ConfigShow);
		const { loadSettings } = await import("../../src/node/settings.ts");
		const settings = loadSettings({
			folder: process.cwd(),
			configPath: flags.config,
			env: process.env,
			isTerminal: this.terminal.isTty,
		});
		if (flags.origins) {
			const origins = settings.listOrigins();
			this.printTable(
				[{ title: "SETTING" }, { title: "VALUE" }, { title: "FROM" }],
				origins.map(({ path, value, origin }) => [path, value === undefined ? "-" : plain(value), origin]),
			);
			return { settings: origins };
		}
		const masked = settings.toMasked();
		if (!this.jsonEnabled()) this.print((await import("yaml")).stringify(masked));
		return masked;
	}
}

const plain = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));
