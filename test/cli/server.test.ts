import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BINARY, builtBinary, User, userEnvironment } from "./binary.ts";

describe("serve, hub and the settings", () => {
	const user = new User();
	beforeAll(async () => void (await builtBinary()), 120_000);
	afterAll(() => user.leave());

	/** Starts a server, waits until `shown` matches its output, stops it with `signal`. */
	async function runServer(
		args: readonly string[],
		signal: "SIGTERM" | "SIGINT",
		visit: (url: string) => Promise<void>,
	) {
		const child = Bun.spawn([BINARY, ...args, "--port", "0"], {
			cwd: user.folder,
			env: userEnvironment(user.folder),
			stdin: "ignore",
			stdout: "pipe",
			stderr: "pipe",
		});
		const output = { stdout: "", stderr: "" };
		const listening = Promise.withResolvers<string>();
		const read = async (name: keyof typeof output) => {
			const decoder = new TextDecoder();
			for await (const chunk of child[name]) {
				output[name] += decoder.decode(chunk, { stream: true });
				const [url] = /http:\/\/127\.0\.0\.1:\d+/.exec(output.stdout + output.stderr) ?? [];
				if (url !== undefined) listening.resolve(url);
			}
			listening.reject(new Error(output.stderr));
		};
		const reading = Promise.all([read("stdout"), read("stderr")]);
		await visit(await listening.promise);
		child.kill(signal);
		const code = await child.exited;
		await reading;
		return { code, ...output };
	}

	test("a first start in cluster mode prints where the operator's key is, never the key", async () => {
		const first = await runServer(["serve", "--cluster", "--data-dir", "one"], "SIGTERM", async (url) => {
			expect((await fetch(`${url}/ready`)).status).toBe(200);
		});
		const keyPath = join(user.folder, "one/admin.key");
		const key = readFileSync(keyPath, "utf8").trim();
		expect(first.code).toBe(0);
		expect(first.stdout).toContain(keyPath);
		expect(first.stdout + first.stderr).not.toContain(key);
		expect(statSync(keyPath).mode & 0o777).toBe(0o600);
		const again = await runServer(["serve", "--cluster", "--data-dir", "one"], "SIGINT", async () => {});
		expect(again.code).toBe(0);
		expect(readFileSync(keyPath, "utf8").trim()).toBe(key);
	});

	test("on a terminal serve shows where it is and what to do next", async () => {
		let screen = "";
		let isStopping = false;
		const child = Bun.spawn([BINARY, "serve", "--cluster", "--data-dir", "two", "--port", "0"], {
			cwd: user.folder,
			env: userEnvironment(user.folder, { TERM: "xterm-256color" }),
			terminal: {
				cols: 120,
				rows: 40,
				data(terminal, bytes) {
					screen += Buffer.from(bytes).toString();
					// Ctrl-C, as a person ends it.
					if (isStopping || !screen.includes("hive-vector key create")) return;
					isStopping = true;
					terminal.write("\u0003");
				},
			},
		});
		expect(await child.exited).toBe(0);
		child.terminal?.close();
		expect(screen).toContain("/docs");
		// Not the default address and folder: the next commands have to be told.
		expect(screen).toMatch(/export HIVE_VECTOR_URL=http:\/\/127\.0\.0\.1:\d+ HIVE_VECTOR_DATA_DIR=\S+\/two\s/);
		expect(screen).toContain(join(user.folder, "two"));
		expect(screen).toContain("admin.key");
		expect(screen).not.toContain(readFileSync(join(user.folder, "two/admin.key"), "utf8").trim());
	});

	test("a hub of its own writes its service key and the operator's", async () => {
		const { code, stdout, stderr } = await runServer(["hub", "--data-dir", "hub"], "SIGTERM", async (url) => {
			expect((await fetch(`${url}/api/v1/health`)).status).toBeLessThan(500);
		});
		expect(code).toBe(0);
		for (const name of ["service.key", "admin.key"]) {
			const path = join(user.folder, "hub", name);
			expect(stdout).toContain(path);
			expect(stdout + stderr).not.toContain(readFileSync(path, "utf8").trim());
			expect(statSync(path).mode & 0o777).toBe(0o600);
		}
	});

	test("a node that asks for no key refuses to be reached from elsewhere", async () => {
		const { code, stderr } = await user.run(["serve", "--host", "0.0.0.0", "--port", "0", "--data-dir", "open"]);
		expect(code).toBe(2);
		expect(stderr).toContain("--insecure-open");
		expect(existsSync(join(user.folder, "open"))).toBe(false);
	});

	test("wrong settings stop the start with line and what was expected; config check says the same", async () => {
		writeFileSync(join(user.folder, "bad.yml"), "server:\n  port: http\nlgo:\n  level: info\n");
		for (const args of [["serve"], ["hub"], ["config", "check"], ["config", "show"]]) {
			const { code, stderr } = await user.run([...args, "--config", "bad.yml"]);
			expect({ args, code }).toEqual({ args, code: 2 });
			expect(stderr).toContain("bad.yml:2: server.port: expected an integer");
			expect(stderr).toContain("bad.yml:3: unknown setting lgo");
		}
	});

	test("config show prints what a node would run with, secrets masked", async () => {
		const token = "metrics-token-0123456789";
		writeFileSync(join(user.folder, "good.yml"), `server:\n  port: 9000\nmetrics:\n  token: ${token}\n`);
		const env = { HIVE_VECTOR_LOG_LEVEL: "warn" };
		const shown = await user.run(["config", "show", "-c", "good.yml"], { env });
		expect(shown.stdout).toContain("port: 9000");
		expect(shown.stdout).not.toContain(token);
		const json = JSON.parse((await user.run(["config", "show", "-c", "good.yml", "--json"], { env })).stdout);
		expect(json).toMatchObject({ server: { port: 9000 }, log: { level: "warn" } });
		const origins = await user.run(["config", "show", "-c", "good.yml", "--origins"], { env });
		expect(origins.stdout).toMatch(/^server\.port +9000 +good\.yml:2$/m);
		expect(origins.stdout).toMatch(/^log\.level +warn +HIVE_VECTOR_LOG_LEVEL$/m);
		expect(origins.stdout).not.toContain(token);
		const checked = await user.run(["config", "check", "-c", "good.yml", "--json"], { env });
		expect(JSON.parse(checked.stdout)).toMatchObject({
			valid: true,
			set: expect.arrayContaining([{ setting: "server.port", from: "good.yml:2" }]),
		});
		expect((await user.run(["config", "check", "-c", "good.yml"])).stdout).toContain("the settings are right: 2 set");
	});
});
