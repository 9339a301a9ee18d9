import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { COMMANDS, TOPICS } from "../../commands/command-table.ts";
import packageJson from "../../package.json" with { type: "json" };
import { builtBinary, User } from "./binary.ts";

const NOWHERE = { HIVE_VECTOR_URL: "http://127.0.0.1:1" };
const commandLines = Object.keys(COMMANDS).map((id) => id.split(":"));

describe("the binary without a node", () => {
	let user: User;
	beforeAll(async () => {
		await builtBinary();
		user = new User();
	});
	afterAll(() => user.leave());

	test.each(commandLines)("%s %s has a help text with usage and an example", async (...words) => {
		const { code, stdout, stderr } = await user.run([...words.filter((word) => typeof word === "string"), "--help"]);
		const line = words.filter((word) => typeof word === "string").join(" ");
		expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
		expect(stdout).toContain(`$ hive-vector ${line}`);
		const examples = stdout.split("EXAMPLES\n")[1] ?? "";
		expect(examples).toContain(`hive-vector ${line}`);
		expect(stdout).not.toContain("<%");
	});

	test("the help lists every topic and command, and names the version of the binary itself", async () => {
		const { code, stdout } = await user.run(["--help"]);
		expect(code).toBe(0);
		for (const name of [...Object.keys(TOPICS), ...commandLines.filter(({ length }) => length === 1).flat()]) {
			expect(stdout).toMatch(new RegExp(`^  ${name}  `, "m"));
		}
		expect(stdout).toContain(`hive-vector ${packageJson.version} `);
		expect(stdout).toContain(`bun-${Bun.version}`);
		expect(stdout).not.toContain("node-v");
		expect((await user.run([])).stdout).toBe(stdout);
		expect((await user.run(["--version"])).stdout).toBe(
			`hive-vector ${packageJson.version} ${process.platform}-${process.arch} bun-${Bun.version}\n`,
		);
		expect((await user.run(["help", "tenant", "create"])).stdout).toBe(
			(await user.run(["tenant", "create", "-h"])).stdout,
		);
	});

	test.each([
		[["bogus"], 'no command "bogus"'],
		[["tenant", "crate"], 'no command "tenant crate"'],
		[["tenant", "--bogus"], "tenant"],
		[["--bogus"], "--bogus"],
		[["help", "bogus"], "bogus"],
		[["serve", "extra"], "serve extra"],
		[["search", "docs", "--bogus"], "--bogus"],
		[["tenant", "create"], "tenant"],
		[["collection", "create", "docs"], "dimension"],
		[["collection", "create", "docs", "-d", "three"], "three"],
		[["collection", "create", "docs", "-d", "3", "--metric", "hamming"], "cosine, dot, euclidean"],
		[["collection", "show", ".."], ".."],
		[["tenant", "update", "acme", "--max-vectors", "lots"], '--max-vectors: "lots" is not a whole number'],
		[["quota", "set", "acme", "--max-storage", "big"], "--max-storage"],
		[["quota", "set", "acme"], "no quota"],
		[["key", "create", "acme", "--expires", "90"], "--expires"],
		[["key", "create", "acme", "--expires", "2001-01-01"], "passed"],
		[["key", "validate", "--api-key", "@nowhere"], "nowhere"],
		[["usage", "--timeout", "5"], "--timeout"],
		[["usage", "--url", "127.0.0.1:1"], "address"],
		[["usage", "--api-key", "@nowhere"], "nowhere"],
		[["search", "docs"], "--vector-file"],
		[["search", "docs", "--vector", "[1,"], "--vector"],
		[["search", "docs", "--vector", "[1]", "--filter", "[1]"], "--filter"],
		[["search", "docs", "--vector", "[1]", "--score-threshold", "x"], "--score-threshold"],
		[["import", "docs", "nowhere.ndjson"], "nowhere.ndjson"],
		[["import", "docs", "."], "folder"],
		[["import", "docs", "-", "--metric", "dot"], "--create"],
		[["completion", "powershell"], "bash, zsh, fish"],
	])("wrong usage: %j ends with 2, names the fault and says it in JSON too", async (args, named) => {
		const { code, stdout, stderr } = await user.run(args, { env: NOWHERE });
		expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
		expect(stderr).toStartWith("error: ");
		expect(stderr).toContain(named);
		expect(stderr).not.toMatch(/\n\s+at |\u001b|\t/);

		const asJson = await user.run([...args, "--json"], { env: NOWHERE });
		expect(asJson.code).toBe(2);
		expect(JSON.parse(asJson.stdout)).toMatchObject({ error: expect.any(String), exit_code: 2 });
	});

	test.each([[["tenant", "delete", "acme"]], [["collection", "delete", "docs"]], [["key", "revoke", "acme", "key_0"]]])(
		"%j asks for --yes where nobody can be asked, before it looks for a node",
		async (args) => {
			const { code, stderr } = await user.run(args, { env: NOWHERE });
			expect(code).toBe(2);
			expect(stderr).toContain("--yes");
			expect((await user.run([...args, "--yes"], { env: NOWHERE })).code).toBe(5);
		},
	);

	test("a node that can't be reached ends a command with 5, with advice", async () => {
		const { code, stdout, stderr } = await user.run(["collection", "list", "--json"], { env: NOWHERE });
		expect(code).toBe(5);
		expect(JSON.parse(stdout)).toMatchObject({ code: "UNREACHABLE", exit_code: 5 });
		expect(stderr).toContain("hive-vector serve");
	});

	test("doctor without a node fails and says what to do", async () => {
		const { code, stdout } = await user.run(["doctor"], { env: NOWHERE });
		expect(code).toBe(1);
		expect(stdout).toMatch(/^fail {2}node /m);
		expect(stdout).toContain("hive-vector serve");
		const asJson = await user.run(["doctor", "--json"], { env: NOWHERE });
		const { healthy, findings } = JSON.parse(asJson.stdout);
		expect({ code: asJson.code, healthy }).toEqual({ code: 1, healthy: false });
		expect(findings.map(({ check }: { check: string }) => check)).toEqual(
			expect.arrayContaining(["binary", "settings", "data folder", "free disk", "open files", "node"]),
		);
	});

	test("config check names the line and the key of every problem", async () => {
		const file = join(user.folder, "bad.yml");
		writeFileSync(file, "server:\n  port: many\n  prot: 1\nhub:\n  service_api_key: svc_oops\n");
		for (const command of [["config", "check"], ["config", "show"], ["serve"], ["hub"]]) {
			const { code, stdout, stderr } = await user.run([...command, "--config", "bad.yml"]);
			expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
			expect(stderr).toContain("bad.yml:2: server.port");
			expect(stderr).toContain("bad.yml:3: unknown setting server.prot");
			expect(stderr).toContain("bad.yml:5: hub.service_api_key");
			expect(stderr).not.toContain("svc_oops");
		}
		expect((await user.run(["config", "check"], { env: { HIVE_VECTOR_SERVER_PROT: "1" } })).code).toBe(2);
		expect((await user.run(["config", "check", "-c", "nowhere.yml"])).stderr).toContain("nowhere.yml");
	});

	test("config show masks secrets and says where a setting comes from", async () => {
		const secret = `svc_${"a".repeat(40)}`;
		writeFileSync(join(user.folder, "good.yml"), `server:\n  port: 9000\nhub:\n  service_api_key: ${secret}\n`);
		const run = async (...args: string[]) =>
			await user.run(["config", ...args, "-c", "good.yml"], { env: { HIVE_VECTOR_LOG_LEVEL: "debug" } });
		for (const args of [
			["show"],
			["show", "--json"],
			["show", "--origins"],
			["show", "--origins", "--json"],
			["check"],
		]) {
			const { code, stdout, stderr } = await run(...args);
			expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
			expect(stdout).not.toContain(secret);
		}
		expect(JSON.parse((await run("show", "--json")).stdout)).toMatchObject({
			server: { port: 9000 },
			log: { level: "debug" },
		});
		const origins = (await run("show", "--origins")).stdout;
		expect(origins).toMatch(/server\.port +9000 +good\.yml:2/);
		expect(origins).toMatch(/log\.level +debug +HIVE_VECTOR_LOG_LEVEL/);
	});

	test.each(["bash", "zsh", "fish"])("the completion for %s is one the shell takes", async (shell) => {
		const { code, stdout } = await user.run(["completion", shell]);
		expect(code).toBe(0);
		const words = shell === "fish" ? "-a create" : "'tenant') words='create ";
		expect(stdout).toContain(words);
		expect(JSON.parse((await user.run(["completion", shell, "--json"])).stdout)).toEqual({ shell, script: stdout });
		if (Bun.which(shell) === null) return;
		const parsed = Bun.spawnSync([shell, shell === "fish" ? "--no-execute" : "-n"], { stdin: Buffer.from(stdout) });
		expect({ code: parsed.exitCode, stderr: parsed.stderr.toString() }).toEqual({ code: 0, stderr: "" });
	});

	test.skipIf(Bun.which("bash") === null)("bash completes commands, flags and their values", async () => {
		const { stdout } = await user.run(["completion", "bash"]);
		const complete = (...words: string[]): string[] => {
			const line = `COMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${words.length - 1}; _hive_vector_complete; echo "\${COMPREPLY[*]}"`;
			return Bun.spawnSync(["bash", "-c", `${stdout}\n${line}`])
				.stdout.toString()
				.trim()
				.split(" ");
		};
		expect(complete("hive-vector", "te")).toEqual(["tenant"]);
		expect(complete("hive-vector", "key", "")).toEqual(["create", "list", "revoke", "rotate", "validate"]);
		expect(complete("hive-vector", "collection", "create", "--met")).toEqual(["--metric"]);
		expect(complete("hive-vector", "collection", "create", "--metric", "")).toEqual(["cosine", "dot", "euclidean"]);
	});

	test.skipIf(process.platform !== "linux")("a full disk behind stdout is a failure", async () => {
		const child = Bun.spawn(["sh", "-c", `"$0" config show > /dev/full`, await builtBinary()], {
			cwd: user.folder,
			stdout: "pipe",
			stderr: "pipe",
		});
		expect(await child.exited).toBe(1);
		expect(await new Response(child.stderr).text()).toMatch(/^error: ENOSPC[^\n]*\n$/);
	});
});
