import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RedisClient } from "bun";
import { freePort } from "../../scripts/free-port.ts";
import { type AbsentService, absentService } from "./absent-service.ts";

export interface RedisServer {
	readonly available: true;
	/** `redis://127.0.0.1:…` */
	readonly url: string;
	/** A client that sees what lies there. */
	readonly client: RedisClient;
	/** Takes connections and answers nothing, until `wake`. */
	hang(): void;
	wake(): void;
	/** As a crash would. What it held is gone. */
	kill(): Promise<void>;
	/** Takes connections again, on the same port. */
	restart(): Promise<void>;
	stop(): Promise<void>;
}

/** A Redis or Valkey of the test's own, or why there is none. */
export type RedisRig = RedisServer | AbsentService;

/**
 * Starts Redis or Valkey, whichever is installed, on a free port of the loopback interface. It keeps nothing on disk.
 *
 * @throws instead of being unavailable where HIVE_TEST_SERVICES=required
 */
export async function startRedis(): Promise<RedisRig> {
	const program = Bun.which("redis-server") ?? Bun.which("valkey-server");
	if (program === null) return absentService("neither Redis nor Valkey is installed");
	const folder = mkdtempSync(join(tmpdir(), "hub-redis-"));
	const port = freePort();
	const url = `redis://127.0.0.1:${port}`;
	const client = new RedisClient(url);
	let server = await startServer(program, port, folder);
	const kill = async (): Promise<void> => {
		server.kill("SIGKILL");
		await server.exited;
	};
	return {
		available: true,
		url,
		client,
		hang: () => server.kill("SIGSTOP"),
		wake: () => server.kill("SIGCONT"),
		kill,
		async restart() {
			server = await startServer(program, port, folder);
		},
		async stop() {
			client.close();
			await kill();
			rmSync(folder, { recursive: true, force: true });
		},
	};
}

/** @returns once it takes connections */
async function startServer(program: string, port: number, folder: string): Promise<Bun.Subprocess> {
	const args = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder];
	const server = Bun.spawn([program, ...args], { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
	const decoder = new TextDecoder();
	let said = "";
	for await (const chunk of server.stdout) {
		said += decoder.decode(chunk, { stream: true });
		if (/ready to accept connections/i.test(said)) return server;
	}
	throw new Error(`${program} ended with ${await server.exited}:\n${said}`);
}
