import { readFileSync } from "node:fs";
import { join } from "node:path";
import { BINARY, type LocalNode } from "../../scripts/local-node.ts";

/** The compiled binary as one process on one port, which it keeps over restarts. */
export class ServerProcess {
	#process: Bun.Subprocess | undefined;

	constructor(
		private readonly command: "hub" | "serve",
		readonly dataDir: string,
		readonly port: number,
		private readonly env: Readonly<Record<string, string>>,
	) {}

	get url(): string {
		return `http://127.0.0.1:${this.port}`;
	}

	/** What `call` and its like need of a node. */
	get asNode(): LocalNode {
		return { url: this.url } as LocalNode;
	}

	secret(name: string): string {
		return readFileSync(join(this.dataDir, name), "utf8").trim();
	}

	/** Settles when it takes requests. @throws when it ended or did not within 30 s */
	async start(): Promise<void> {
		const child = Bun.spawn([BINARY, this.command, "--data-dir", this.dataDir, "--port", String(this.port)], {
			stdin: "ignore",
			stdout: "ignore",
			stderr: "ignore",
			env: { ...process.env, HIVE_VECTOR_LOG_LEVEL: "fatal", ...this.env },
		});
		this.#process = child;
		const path = this.command === "hub" ? "/api/v1/health" : "/ready";
		const deadline = performance.now() + 30_000;
		while (performance.now() < deadline) {
			if (child.exitCode !== null) throw new Error(`${this.command} ended with exit code ${child.exitCode}`);
			const isReady = await fetch(`${this.url}${path}`).then(
				(answer) => answer.ok,
				() => false,
			);
			if (isReady) return;
			await Bun.sleep(5);
		}
		await this.kill();
		throw new Error(`${this.command} was not ready within 30 s`);
	}

	/** Ends it as a power cut would, but for what the kernel still holds. */
	async kill(): Promise<void> {
		this.#process?.kill("SIGKILL");
		await this.#process?.exited;
	}
}
