import { readFileSync } from "node:fs";
import { join } from "node:path";
import { BINARY, type User, userEnvironment } from "./binary.ts";

/** `serve` or `hub` as a process of its own, on a free port. */
export class ServerProcess {
	private constructor(
		private readonly child: Bun.Subprocess<"ignore", "pipe", "pipe">,
		private readonly output: ServerOutput,
		readonly url: string,
		readonly dataDir: string,
	) {}

	/** @throws when it ends before it takes requests */
	static async start(
		user: User,
		args: readonly string[],
		dataDir: string,
		env: Readonly<Record<string, string>> = {},
	): Promise<ServerProcess> {
		const child = Bun.spawn([BINARY, ...args, "--data-dir", dataDir, "--port", "0"], {
			cwd: user.folder,
			env: userEnvironment(user.folder, env),
			stdin: "ignore",
			stdout: "pipe",
			stderr: "pipe",
		});
		const output = new ServerOutput([child.stdout, child.stderr]);
		const url = await output.url;
		if (url === undefined) throw new Error(`${args[0]} ended with ${await child.exited}:\n${await output.whole}`);
		return new ServerProcess(child, output, url, dataDir);
	}

	secret(name: "admin.key" | "service.key"): string {
		return readFileSync(join(this.dataDir, name), "utf8").trim();
	}

	/** As an operator would. @returns how it ended and all it wrote */
	async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<{ readonly code: number; readonly output: string }> {
		this.child.kill(signal);
		return { code: await this.child.exited, output: await this.output.whole };
	}
}

/** Reads on to the end, or a pipe would fill and the server stand still. */
class ServerOutput {
	/** Where it listens; undefined when it ended without saying so. */
	readonly url: Promise<string | undefined>;
	readonly whole: Promise<string>;
	private text = "";

	constructor(streams: readonly ReadableStream<Uint8Array>[]) {
		const { promise, resolve } = Promise.withResolvers<string | undefined>();
		this.url = promise;
		this.whole = Promise.all(streams.map(async (stream) => await this.read(stream, resolve))).then(() => {
			resolve(undefined);
			return this.text;
		});
	}

	private async read(stream: ReadableStream<Uint8Array>, found: (url: string) => void): Promise<void> {
		const decoder = new TextDecoder();
		for await (const chunk of stream) {
			this.text += decoder.decode(chunk, { stream: true });
			// The node says it in its log, the hub on stdout.
			const url = /(?:"url":"|^url +)(http:\/\/127\.0\.0\.1:\d+)/m.exec(this.text)?.[1];
			if (url !== undefined) found(url);
		}
	}
}
