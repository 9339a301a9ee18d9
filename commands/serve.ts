import { Flags } from "@oclif/core";
import { BaseCommand } from "./shared/base-command.ts";
import { configFlag } from "./shared/settings-flags.ts";

export class Serve extends BaseCommand {
	static override summary = "Run a node.";
	static override flags = { ...configFlag, port: Flags.string({}) };

	override async run(): Promise<void> {
		await this.parse(Serve);
	}
}
