import { Flags } from "@oclif/core";
import { BaseCommand } from "./shared/base-command.ts";
import { configFlag } from "./shared/settings-flags.ts";

export class Hub extends BaseCommand {
	static override summary = "Run a hub.";
	static override flags = { ...configFlag, port: Flags.string({}) };

	override async run(): Promise<void> {
		await this.parse(Hub);
	}
}
