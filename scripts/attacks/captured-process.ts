import { openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { BINARY } from "../local-node.ts";

export interface CapturedOptions {
	/** Where the two files with its output go; never the data folder. */
	readonly folder: string;
	readonly name: string;
	readonly env?: Readonly<Record<string, string>>;
	readonly stdin?: string;
}

/** The compiled binary, with all that it writes kept. */
export class CapturedProcess {
	readonly #child: Bun.Subprocess;
	readonly #outputPaths: readonly string[];

	constructor(args: readonly string[], options: CapturedOptions) {
		this.#outputPaths = ["out", "err"].map((stream) => join(options.folder, `${options.name}.${stream}`));
		const [stdout, stderr] = this.#outputPaths.map((path) => openSync(path, "a"));
		this.#child = Bun.spawn([BINARY, ...args], {
			stdin: options.stdin === undefined ? "ignore" : Buffer.from(options.stdin),
			stdout: stdout!,
			stderr: stderr!,
			cwd: options.folder,
			env: { PATH: process.env.PATH, HOME: options.folder, ...options.env },
		});
	}

	/** What `ps` shows of it while it runs, to whoever is on the machine; empty where the system does not tell. */
	commandLine(): string {
		try {
			return readFileSync(`/proc/${this.#child.pid}/cmdline`, "utf8");
		} catch {
			return "";
		}
	}

	/** Everything written so far, standard output first. */
	output(): string {
		return this.#outputPaths.map((path) => readFileSync(path, "utf8")).join("\n");
	}

	/** Waits for an answer of 200 at this address. @throws when the process ends first, or after 30 s */
	async answersAt(url: string): Promise<void> {
		const startedAt = performance.now();
		while (performance.now() - startedAt < 30_000) {
			const { exitCode } = this.#child;
			if (exitCode !== null) throw new Error(`ended with exit code ${exitCode}: ${this.output().slice(-2_000)}`);
			const isThere = await fetch(url).then(
				(answer) => answer.ok,
				() => false,
			);
			if (isThere) return;
			await Bun.sleep(10);
		}
		throw new Error(`nothing at ${url} within 30 s`);
	}

	/** @returns the exit code */
	ended(): Promise<number> {
		return this.#child.exited;
	}

	async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
		this.#child.kill(signal);
		await this.#child.exited;
	}
}
