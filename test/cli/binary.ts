import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

export const ROOT = resolve(import.meta.dir, "../..");
export const BINARY = join(ROOT, "dist", "hive-vector");

/** Builds the binary when a source is newer than it. @returns its path */
export async function builtBinary(): Promise<string> {
	const builtMs = modifiedMs(BINARY);
	if (builtMs !== undefined && newestSourceMs() <= builtMs) return BINARY;
	const build = Bun.spawn([join(ROOT, "scripts/build")], { stdout: "pipe", stderr: "pipe" });
	const [stderr, code] = await Promise.all([new Response(build.stderr).text(), build.exited]);
	if (code !== 0) throw new Error(`scripts/build ended with ${code}:\n${stderr}`);
	return BINARY;
}

function newestSourceMs(): number {
	const files = ["bin", "commands", "src"].flatMap((folder) =>
		readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
			.filter((entry) => entry.isFile())
			.map((entry) => join(entry.parentPath, entry.name)),
	);
	const others = ["package.json", "package-lock.json", "scripts/build", "scripts/build.ts"].map((name) =>
		join(ROOT, name),
	);
	return Math.max(...[...files, ...others].map((file) => modifiedMs(file) ?? 0));
}

const modifiedMs = (file: string): number | undefined => statSync(file, { throwIfNoEntry: false })?.mtimeMs;

export interface Outcome {
	readonly code: number;
	readonly stdout: string;
	readonly stderr: string;
}

export interface RunOptions {
	readonly stdin?: string | Uint8Array | undefined;
	readonly env?: Readonly<Record<string, string>>;
	readonly cwd?: string;
}

/** What a user's shell would give the binary, and nothing of the test's own. */
export function userEnvironment(home: string, more: Readonly<Record<string, string>> = {}): Record<string, string> {
	return { PATH: process.env.PATH ?? "/usr/bin:/bin", HOME: home, TMPDIR: tmpdir(), LANG: "C.UTF-8", ...more };
}

/** A user with an empty home in an empty folder. */
export class User {
	readonly folder = mkdtempSync(join(tmpdir(), "hive-cli-"));

	/** Runs the binary to its end. */
	async run(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
		const child = Bun.spawn([BINARY, ...args], {
			cwd: options.cwd ?? this.folder,
			env: userEnvironment(this.folder, options.env),
			stdin: options.stdin === undefined ? "ignore" : new Blob([options.stdin]),
			stdout: "pipe",
			stderr: "pipe",
		});
		const [stdout, stderr, code] = await Promise.all([
			new Response(child.stdout).text(),
			new Response(child.stderr).text(),
			child.exited,
		]);
		return { code, stdout, stderr };
	}

	/**
	 * Runs the binary on a terminal, as a person sees it.
	 *
	 * @param answers typed when the text before them has appeared, in this order
	 */
	async runOnTerminal(
		args: readonly string[],
		options: {
			readonly answers?: readonly (readonly [shown: string, typed: string])[];
			readonly env?: Readonly<Record<string, string>>;
		} = {},
	): Promise<{ readonly code: number; readonly screen: string }> {
		let screen = "";
		let seen = 0;
		const waiting = [...(options.answers ?? [])];
		const child = Bun.spawn([BINARY, ...args], {
			cwd: this.folder,
			env: userEnvironment(this.folder, { TERM: "xterm-256color", ...options.env }),
			terminal: {
				cols: 120,
				rows: 40,
				data(terminal, bytes) {
					screen += Buffer.from(bytes).toString("utf8");
					const [next] = waiting;
					const place = next === undefined ? -1 : screen.indexOf(next[0], seen);
					if (next === undefined || place === -1) return;
					seen = place + next[0].length;
					waiting.shift();
					terminal.write(next[1]);
				},
			},
		});
		const code = await child.exited;
		child.terminal?.close();
		return { code, screen };
	}

	leave(): void {
		rmSync(this.folder, { recursive: true, force: true });
	}
}
