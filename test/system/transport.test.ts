import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../../scripts/free-port.ts";
import { BINARY, LocalNode } from "../../scripts/local-node.ts";
import { certificateNameAt, makeCertificate, TlsClient } from "../rest/tls-fixture.ts";

/** What stands between the network and the operations: TLS, other people's web pages, clients that waste time. */

const APP = "https://app.example.com";
const OLD = makeCertificate("old");
const NEW = makeCertificate("new");
const folder = mkdtempSync(join(tmpdir(), "hive-transport-"));
const certPath = join(folder, "cert.pem");
const keyPath = join(folder, "key.pem");
const writePair = (pem: { readonly cert: string; readonly key: string }) => {
	writeFileSync(certPath, pem.cert);
	writeFileSync(keyPath, pem.key);
};

let node: LocalNode;
beforeAll(async () => {
	node = await LocalNode.start({ cluster: false, env: { HIVE_VECTOR_SERVER_CORS_ALLOWED_ORIGINS: APP } });
});
afterAll(async () => {
	for (const child of servers) child.kill("SIGKILL");
	await Promise.all(servers.map((child) => child.exited));
	await node.stop();
	node.removeData();
	rmSync(folder, { recursive: true });
});

/** Also those of a test that failed before it stopped them. */
const servers: Bun.Subprocess[] = [];

/** A server of the binary that speaks TLS. */
class SecureServer {
	private constructor(
		readonly port: number,
		readonly process: Bun.Subprocess,
	) {}

	static async start(command: "serve" | "hub", path: string): Promise<SecureServer> {
		writePair(OLD);
		const port = freePort();
		const dataDir = mkdtempSync(join(folder, `${command}-`));
		const child = Bun.spawn([BINARY, command, "--data-dir", dataDir, "--port", String(port)], {
			stdin: "ignore",
			stdout: "ignore",
			stderr: "ignore",
			env: {
				...process.env,
				HIVE_VECTOR_SERVER_TLS_CERT: certPath,
				HIVE_VECTOR_SERVER_TLS_KEY: keyPath,
			},
		});
		servers.push(child);
		const server = new SecureServer(port, child);
		while (!(await server.isAnswering(path))) {
			if (child.exitCode !== null) throw new Error(`${command} ended with exit code ${child.exitCode}`);
			await Bun.sleep(20);
		}
		return server;
	}

	async isAnswering(path: string): Promise<boolean> {
		return this.get(path).then(
			(answer) => answer.ok,
			() => false,
		);
	}

	get(path: string): Promise<Response> {
		const tls = { rejectUnauthorized: false };
		return fetch(`https://127.0.0.1:${this.port}${path}`, { tls, keepalive: false } as RequestInit);
	}

	async certificateBecomes(name: string): Promise<void> {
		// Both are shown for a moment, in turn by chance; after that only the new one is.
		for (let inARow = 0; inARow < 40; ) {
			inARow = (await certificateNameAt(this.port)) === name ? inARow + 1 : 0;
			if (inARow === 0) await Bun.sleep(20);
		}
	}

	async stop(): Promise<void> {
		this.process.kill("SIGTERM");
		await this.process.exited;
	}
}

describe("TLS", () => {
	test.each([
		["serve", "/ready"],
		["hub", "/api/v1/health"],
	] as const)(
		"%s takes a renewed certificate at SIGHUP, and leaves no request unanswered meanwhile",
		async (command, path) => {
			const server = await SecureServer.start(command, path);
			expect(await certificateNameAt(server.port)).toBe("old");
			const held = await TlsClient.open(server.port);
			held.send(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nX-A: `);
			const statuses: number[] = [];
			let isOver = false;
			// A connection that is being opened at the very moment may be reset, unread: clients open another, and so does this one.
			const ask = async (): Promise<number> => (await server.get(path)).status;
			const asking = (async () => {
				while (!isOver) statuses.push(await ask().catch(ask));
			})();
			writePair(NEW);
			server.process.kill("SIGHUP");
			while ((await certificateNameAt(server.port)) !== "new");
			held.send("b\r\n\r\n");
			expect(await held.until((text) => text.endsWith("}"))).toStartWith("HTTP/1.1 200");
			await server.certificateBecomes("new");
			isOver = true;
			await asking;
			expect(new Set(statuses)).toEqual(new Set([200]));
			// Half of a renewal changes nothing.
			writeFileSync(keyPath, OLD.key);
			server.process.kill("SIGHUP");
			expect((await server.get(path)).status).toBe(200);
			expect(await certificateNameAt(server.port)).toBe("new");
			await server.stop();
			expect(server.process.exitCode).toBe(0);
		},
		30_000,
	);

	test("a node notices by itself that its certificate was renewed, and shares its port with no other", async () => {
		const server = await SecureServer.start("serve", "/ready");
		writePair(NEW);
		await server.certificateBecomes("new");
		const second = Bun.spawn(
			[BINARY, "serve", "--data-dir", mkdtempSync(join(folder, "second-")), "--port", String(server.port)],
			{
				stdout: "ignore",
				stderr: "pipe",
				env: { ...process.env, HIVE_VECTOR_SERVER_TLS_CERT: certPath, HIVE_VECTOR_SERVER_TLS_KEY: keyPath },
			},
		);
		expect(await second.exited).toBe(1);
		expect(await new Response(second.stderr).text()).toContain(`port ${server.port} of 127.0.0.1 is in use`);
		const answer = await server.get("/nothing");
		expect(answer.headers.get("strict-transport-security")).toBe("max-age=31536000");
		await server.stop();
	}, 40_000);
});

describe("web pages of other origins", () => {
	const ask = (origin: string, init: RequestInit = {}) =>
		fetch(`${node.url}/api/v1/collections`, { ...init, headers: { origin, ...(init.headers as object) } });

	test("an invited one may ask a node that needs no key, and read the answer", async () => {
		const preflight = await ask(APP, { method: "OPTIONS", headers: { "access-control-request-method": "POST" } });
		expect([preflight.status, preflight.headers.get("access-control-allow-methods")]).toEqual([204, "GET, HEAD, POST"]);
		const answer = await ask(APP);
		expect([answer.status, answer.headers.get("access-control-allow-origin")]).toEqual([200, APP]);
	});

	test("any other may not", async () => {
		const preflight = await ask("https://evil.example", {
			method: "OPTIONS",
			headers: { "access-control-request-method": "POST" },
		});
		expect([preflight.status, preflight.headers.get("access-control-allow-origin")]).toEqual([405, null]);
		const answer = await ask("https://evil.example");
		expect([answer.ok, answer.headers.get("access-control-allow-origin"), answer.headers.get("vary")]).toEqual([
			false,
			null,
			"Origin",
		]);
	});
});

test("clients that send a request byte by byte are hung up on, and hold up nobody meanwhile", async () => {
	const port = Number(new URL(node.url).port);
	let openCount = 0;
	const closings = Array.from({ length: 300 }, (_, index) => {
		const socket = connect(port, "127.0.0.1", () => socket.write(index % 3 === 0 ? "GET /re" : ""));
		openCount++;
		const timer = index % 2 === 0 ? setInterval(() => socket.write("a"), 1_000) : undefined;
		socket.on("error", () => {});
		return new Promise<void>((resolve) => {
			socket.on("close", () => {
				clearInterval(timer);
				openCount--;
				resolve();
			});
		});
	});
	while (openCount > 0) {
		expect((await fetch(`${node.url}/ready`)).status).toBe(200);
		await Bun.sleep(200);
	}
	await Promise.all(closings);
}, 60_000);
