import { Command } from "@oclif/core";
import { EXIT, usageFailure } from "./failure.ts";
import { type Column, renderRecord, renderTable } from "./table.ts";
import { type Terminal, terminalOf } from "./terminal.ts";

/** What every command has: `--json`, tables for people, and failures that reach `runCli` as they were thrown. */
export abstract class BaseCommand extends Command {
	static override enableJsonFlag = true;

	private stdinOwner: string | undefined;
	private readonly cleanups = new Set<() => void>();

	protected get terminal(): Terminal {
		return terminalOf(process.stdout, process.env);
	}

	/** For people only; nothing under `--json`, where `run`'s result is the output. */
	protected print(text: string): void {
		if (!this.jsonEnabled()) process.stdout.write(text);
	}

	protected printTable(columns: readonly Column[], rows: readonly (readonly string[])[]): void {
		this.print(renderTable(columns, rows, this.terminal));
	}

	protected printRecord(fields: readonly (readonly [name: string, value: string])[]): void {
		this.print(renderRecord(fields, this.terminal));
	}

	/** stdin to its end, for the flag or argument that asked for it with `-`. @throws CommandFailure when another has it */
	protected async readStdin(asker: string): Promise<string> {
		this.claimStdin(asker);
		return await Bun.stdin.text();
	}

	protected claimStdin(asker: string): void {
		if (this.stdinOwner !== undefined) throw usageFailure(`${this.stdinOwner} and ${asker} can't both read stdin`);
		this.stdinOwner = asker;
	}

	/** One line on stderr, under `--json` too: stdout stays clean. */
	protected note(message: string): void {
		process.stderr.write(`${message}\n`);
	}

	// One line, as `jq` and log collectors like it; a vector pretty-printed would fill a screen per number.
	override logJson(json: unknown): void {
		process.stdout.write(`${JSON.stringify(json)}\n`);
	}

	protected override async init(): Promise<void> {
		await super.init();
		this.listenForInterrupt();
	}

	/** Ctrl-C ends the command as a shell expects it, once what it left lying about is cleared away. */
	protected listenForInterrupt(): void {
		process.once("SIGINT", () => {
			for (const clear of this.cleanups) clear();
			process.exit(EXIT.interrupted);
		});
	}

	/** `clear` runs on Ctrl-C while `work` is under way. It must be synchronous: the process ends right after. */
	protected async clearingUp<T>(clear: () => void, work: () => Promise<T>): Promise<T> {
		this.cleanups.add(clear);
		try {
			return await work();
		} finally {
			this.cleanups.delete(clear);
		}
	}

	protected override async catch(error: Error): Promise<never> {
		throw error;
	}
}
