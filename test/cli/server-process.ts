import { readFileSync } from "node:fs";
import { join } from "node:path";
import { BINARY, type User, userEnvironment } from "./binary.ts";

export interface ServerOptions {
	readonly env?: Readonly<Record<string, string>>;
	/** What runs instead of the binary itself, with its arguments behind. */
	readonly command?: readonly string[];
	/** Default: the user's. */
	readonly dataDir?: string;
}

/** `serve` or `hub` as a process of its own, on a free port. */
export class ServerProcess {
	private constructor(
		private readonly child: Bun.Subprocess<"ignore", "pipe", "pipe">,
		readonly url: string,
		readonly dataDir: string,
		private readonly out: Promise<string>,
		private readonly log: Promise<string>,
	) {}

	/** @throws when it ends before it takes requests */
	static async start(user: User, args: readonly string[], options: ServerOptions = {}): Promise<ServerProcess> {
		const dataDir = options.dataDir ?? join(user.folder, "data");
		const child = Bun.spawn([...(options.command ?? [BINARY]), ...args, "--data-dir", dataDir, "--port", "0"], {
			cwd: user.folder,
			env: userEnvironment(user.folder, options.env),
			stdin: "ignore",
			stdout: "pipe",
			stderr: "pipe",
		});
		const out = new Response(child.stdout).text();
		const [watched, kept] = child.stderr.tee();
		const log = new Response(kept).text();
		const url = await firstUrl(watched);
		if (url === undefined) throw new Error(`${args[0]} ended with ${await child.exited}:\n${await log}`);
		return new ServerProcess(child, url, dataDir, out, log);
	}

	secret(name: "admin.key" | "service.key"): string {
		return readFileSync(join(this.dataDir, name), "utf8").trim();
	}

	/** As an operator would. @returns how it ended and all it wrote */
	async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<{ code: number; stdout: string; stderr: string }> {
		this.child.kill(signal);
		const [code, stdout, stderr] = await Promise.all([this.child.exited, this.out, this.log]);
		return { code, stdout, stderr };
	}
}

/** The address in the log line that says so; what comes later is read on, or the pipe would fill. */
async function firstUrl(stream: ReadableStream<Uint8Array>): Promise<string | undefined> {
	return await new Promise((resolve) => {
		void (async () => {
			const decoder = new TextDecoder();
			let text = "";
			for await (const chunk of stream) {
				text += decoder.decode(chunk, { stream: true });
				const url = /"url":"(http:[^"]+)"/.exec(text)?.[1];
				if (url !== undefined) resolve(url);
			}
			resolve(undefined);
		})();
	});
}
