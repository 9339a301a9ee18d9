import { BaseCommand } from "../shared/base-command.ts";
import { configFlag } from "../shared/settings-flags.ts";

export class ConfigCheck extends BaseCommand {
	static override summary = "Check the settings without starting anything.";
	static override description =
		"Names every problem with its line, variable or flag, and what was expected. Exit code 2 when there is one.";
	static override examples = [
		"<%= config.bin %> config check",
		"<%= config.bin %> config check --config /etc/hive-vector.yml",
	];
	static override flags = { ...configFlag };

	override async run(): Promise<{ valid: true; set: readonly { setting: string; from: string }[] }> {
		const { flags } = await this.parse(ConfigCheck);
		const { loadSettings } = await import("../../src/node/settings.ts");
		const settings = loadSettings({ folder: process.cwd(), configPath: flags.config, env: process.env });
		const set = settings
			.listOrigins()
			.filter(({ origin }) => origin !== "default")
			.map(({ path, origin }) => ({ setting: path, from: origin }));
		this.print(`the settings are right: ${set.length} set, the rest at their defaults\n`);
		return { valid: true, set };
	}
}
