import { Args } from "@oclif/core";
import { BaseCommand } from "./shared/base-command.ts";
import { bashCompletion, type CommandShape, fishCompletion, zshCompletion } from "./shared/completion-script.ts";

const SCRIPTS = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion } as const;

export class Completion extends BaseCommand {
	static override summary = "Print a script that completes commands and flags in bash, zsh or fish.";
	static override examples = [
		"source <(<%= config.bin %> completion bash)",
		"<%= config.bin %> completion zsh > ~/.zfunc/_<%= config.bin %>",
		"<%= config.bin %> completion fish > ~/.config/fish/completions/<%= config.bin %>.fish",
	];
	static override args = {
		shell: Args.string({ required: true, options: Object.keys(SCRIPTS), description: "the shell" }),
	};

	override async run(): Promise<{ shell: string; script: string }> {
		const { args } = await this.parse(Completion);
		const shapes = this.config.commands.map(
			(command): CommandShape => ({
				words: command.id.split(":"),
				summary: command.summary ?? "",
				flags: Object.values(command.flags).map((flag) => ({
					name: flag.name,
					char: flag.char,
					summary: flag.description ?? "",
					takesValue: flag.type === "option",
					values: flag.type === "option" ? (flag.options ?? []) : [],
				})),
				values: Object.values(command.args)[0]?.options ?? [],
			}),
		);
		const script = SCRIPTS[args.shell as keyof typeof SCRIPTS](this.config.bin, shapes);
		this.print(script);
		return { shell: args.shell, script };
	}
}
