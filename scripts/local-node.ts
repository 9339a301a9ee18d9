import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "./free-port.ts";

export const BINARY = join(import.meta.dir, "..", "dist", "hive-vector");

export interface LocalNodeOptions {
	/** Default: a fresh folder. */
	readonly dataDir?: string;
	readonly cluster?: boolean;
	readonly flags?: readonly string[];
	readonly env?: Readonly<Record<string, string>>;
	/** Where the node's own output goes. Default: nowhere. */
	readonly output?: "inherit" | "ignore";
}

/** The compiled binary as a node of its own process, for the demo and the benchmarks. */
export class LocalNode {
	private constructor(
		readonly url: string,
		readonly dataDir: string,
		/** Milliseconds from the process's start to the first 200 of `GET /ready`. */
		readonly startMs: number,
		readonly process: Bun.Subprocess,
	) {}

	/** @throws when the node ends or is not ready within 30 s */
	static async start(options: LocalNodeOptions = {}): Promise<LocalNode> {
		const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), "hive-vector-"));
		const port = freePort();
		const url = `http://127.0.0.1:${port}`;
		const flags = ["serve", "--data-dir", dataDir, "--port", String(port), ...(options.flags ?? [])];
		if (options.cluster ?? true) {
			flags.push("--cluster");
			// Many of them may run on one machine.
			if (!flags.includes("--listen")) flags.push("--listen", "/ip4/127.0.0.1/tcp/0");
		}
		const startedAt = performance.now();
		const child = Bun.spawn([BINARY, ...flags], {
			stdin: "ignore",
			stdout: options.output ?? "ignore",
			stderr: "inherit",
			env: { HIVE_VECTOR_LOG_LEVEL: "warn", ...process.env, ...options.env },
		});
		while (performance.now() - startedAt < 30_000) {
			if (child.exitCode !== null) throw new Error(`the node ended with exit code ${child.exitCode}`);
			const ready = await fetch(`${url}/ready`).then(
				(answer) => answer.ok,
				() => false,
			);
			if (ready) {
				const startMs = performance.now() - startedAt;
				return new LocalNode(url, dataDir, startMs, child);
			}
			await Bun.sleep(5);
		}
		child.kill("SIGKILL");
		throw new Error("the node was not ready within 30 s");
	}

	/** The operators' key that the node wrote on its first start. */
	adminKey(): string {
		return readFileSync(join(this.dataDir, "admin.key"), "utf8").trim();
	}

	/** Resident memory in bytes; 0 where the system does not tell. */
	residentBytes(): number {
		try {
			const status = readFileSync(`/proc/${this.process.pid}/status`, "utf8");
			return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024;
		} catch {
			return 0;
		}
	}

	/** Processor time of all its threads so far, in milliseconds; 0 where the system does not tell. */
	processorMs(): number {
		try {
			const fields = readFileSync(`/proc/${this.process.pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
			// utime and stime, in ticks of 10 ms.
			return (Number(fields[11]) + Number(fields[12])) * 10;
		} catch {
			return 0;
		}
	}

	/** One REST call. Throws on any status but 2xx. */
	async call(key: string, method: string, path: string, body?: unknown): Promise<unknown> {
		const answer = await fetch(`${this.url}/api/v1${path}`, {
			method,
			headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
			...(body === undefined ? {} : { body: JSON.stringify(body) }),
		});
		const text = await answer.text();
		if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
		return JSON.parse(text);
	}

	/** Ends the process as an operator would; a second call does nothing. */
	async stop(): Promise<void> {
		this.process.kill("SIGTERM");
		await this.process.exited;
	}

	/** Ends the process as a power cut would, but for what the kernel still holds. */
	async kill(): Promise<void> {
		this.process.kill("SIGKILL");
		await this.process.exited;
	}

	removeData(): void {
		rmSync(this.dataDir, { recursive: true, force: true });
	}
}
