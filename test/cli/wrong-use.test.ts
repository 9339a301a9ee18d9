import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { COMMANDS } from "../../commands/command-table.ts";
import packageJson from "../../package.json" with { type: "json" };
import { BINARY, builtBinary, User, userEnvironment } from "./binary.ts";
import { ScriptedNode } from "./scripted-node.ts";

const NOWHERE = { HIVE_VECTOR_URL: "http://127.0.0.1:1" };

describe("what people get wrong, and what they are told", () => {
	const user = new User();
	const node = new ScriptedNode();
	beforeAll(async () => void (await builtBinary()), 120_000);
	afterAll(async () => {
		user.leave();
		await node.stop();
	});

	test.each([
		[["--bogus"], "--bogus"],
		[["--json"], "--json"],
		[["tenant", "--bogus"], "tenant --bogus"],
		[["help", "bogus"], 'no command "bogus"'],
		[["bogus", "--help"], 'no command "bogus"'],
		[["serve", "extra"], "serve extra"],
		[["tenant", "update", "acme", "--max-vectors", "lots"], '--max-vectors: "lots" is not a whole number\n'],
		[["tenant", "update", "acme", "--default-rate-limits", "--requests-per-hour", "5"], "--requests-per-hour=5 cannot"],
		[["key", "create", "acme", "--expires", "90"], '"90" is neither a duration'],
		[["key", "validate", "--api-key", "@nowhere"], "nowhere can't be read"],
		[["import", "docs", "-", "--metric", "dot"], "add --create"],
	])("%j ends with 2, on one line that names the fault", async (args, named) => {
		const { code, stdout, stderr } = await user.run(args, { env: NOWHERE, stdin: "" });
		expect(code).toBe(2);
		expect(stderr).toStartWith("error: ");
		expect(stderr).toContain(named);
		expect(stderr).not.toMatch(/\t|See more help|The following error/);
		expect(stderr.trimEnd().split("\n").length).toBeLessThanOrEqual(2);
		if (!args.includes("--json")) expect(stdout).toBe("");
	});

	test.each(Object.keys(COMMANDS))("an example of %s runs that command, and its description is whole", async (id) => {
		const words = id.replace(":", " ");
		const { stdout } = await user.run([...words.split(" "), "--help"]);
		expect(stdout.split("EXAMPLES\n")[1]).toContain(`hive-vector ${words}`);
		// The help shows the last line of a description alone.
		expect(COMMANDS[id]!.description ?? "").not.toContain("\n");
	});

	test("the help names the binary's own version, not that of a runtime it is not", async () => {
		const { stdout } = await user.run(["--help"]);
		expect(stdout).toContain(
			`hive-vector ${packageJson.version} ${process.platform}-${process.arch} bun-${Bun.version}`,
		);
		expect(stdout).not.toContain("node-v");
	});

	test("the command tells a node its name and version, nothing of the machine", async () => {
		node.answer = () => Response.json({ collections: [] });
		await user.run(["collection", "list"], { env: { HIVE_VECTOR_URL: node.url } });
		expect(node.requests.at(-1)?.headers.get("user-agent")).toBe(`hive-vector/${packageJson.version}`);
	});

	test("a key that may not do it is told what it may", async () => {
		node.answer = () =>
			Response.json(
				{ error: "no", code: "FORBIDDEN", details: { required: ["ADMIN"], granted: ["READ_ONLY", "MCP"] } },
				{ status: 403 },
			);
		const { code, stderr } = await user.run(["tenant", "list"], { env: { HIVE_VECTOR_URL: node.url } });
		expect(code).toBe(3);
		expect(stderr).toContain("the key has READ_ONLY and MCP");
	});

	test("Ctrl-C where a command asks is 130, Ctrl-D is a no; nothing is deleted", async () => {
		const before = node.requests.length;
		const env = { HIVE_VECTOR_URL: node.url };
		const ask = async (typed: string) =>
			await user.runOnTerminal(["collection", "delete", "docs"], { env, answers: [["Type docs", typed]] });
		expect(await ask("\u0003")).toMatchObject({ code: 130, screen: expect.stringContaining("nothing was changed") });
		expect(await ask("\u0004")).toMatchObject({ code: 1, screen: expect.stringContaining("nothing was changed") });
		const secret = await user.runOnTerminal(["key", "validate"], { env, answers: [["API key: ", "\u0003"]] });
		expect(secret.code).toBe(130);
		expect(node.requests.length).toBe(before);
	});

	test.skipIf(process.platform !== "linux").each([[["config", "show"]], [["config", "show", "--json"]]])(
		"a full disk behind stdout makes %j fail",
		async (args) => {
			const child = Bun.spawn(["sh", "-c", `"$0" "$@" > /dev/full`, BINARY, ...args], {
				cwd: user.folder,
				env: userEnvironment(user.folder),
				stdout: "ignore",
				stderr: "pipe",
			});
			expect(await new Response(child.stderr).text()).toMatch(/^error: ENOSPC[^\n]*\n$/);
			expect(await child.exited).toBe(1);
		},
	);

	test("config check names line and key, and never repeats a secret", async () => {
		writeFileSync(join(user.folder, "bad.yml"), "hub:\n  service_api_key: svc_oops\n  api_rul: x\n");
		const { code, stdout, stderr } = await user.run(["config", "check", "--config", "bad.yml", "--json"]);
		expect(code).toBe(2);
		expect(stderr).toContain("bad.yml:2: hub.service_api_key");
		expect(stderr).toContain("bad.yml:3: unknown setting hub.api_rul");
		expect(stdout + stderr).not.toContain("svc_oops");
		expect(JSON.parse(stdout).details.problems).toHaveLength(2);
	});

	describe("doctor", () => {
		const healthyAnswer = (path: string, tenant: string | null): unknown => {
			if (path === "/health") return { status: "ok", version: "9.9.9" };
			if (path === "/ready") return { ready: true, checks: { hub: "connected", open_shards: 1 } };
			if (path.endsWith("/usage")) return { tenant_id: "system" };
			if (path.endsWith("/tenants")) {
				return { tenants: ["system", "acme", "idle"].map((id) => ({ id, active: id !== "idle" })), next_cursor: null };
			}
			const state = { full_name: `${tenant}:docs`, index_state: tenant === "acme" ? "damaged" : "exact" };
			return { collections: [tenant === "acme" ? { ...state, damage: "table 7 is not readable" } : state] };
		};

		test("finds a damaged collection of any tenant, and another version", async () => {
			node.answer = (request) =>
				Response.json(healthyAnswer(new URL(request.url).pathname, request.headers.get("x-tenant-id")));
			const { code, stdout } = await user.run(["doctor"], { env: { HIVE_VECTOR_URL: node.url } });
			expect(code).toBe(1);
			expect(stdout).toMatch(/^fail {2}collections +1 of 2 damaged: acme:docs \(table 7 is not readable\)$/m);
			expect(stdout).toMatch(/^warn {2}versions +the node is 9\.9\.9/m);
			expect(stdout).toMatch(/^ok {4}hub +connected$/m);
		});

		test("a node that is up and not ready, without its hub, is told apart from one that is away", async () => {
			node.answer = (request) =>
				new URL(request.url).pathname === "/ready"
					? Response.json(
							{ error: "starting", code: "OVERLOADED", details: { checks: { hub: "unreachable" } } },
							{ status: 503 },
						)
					: Response.json(healthyAnswer(new URL(request.url).pathname, "acme"));
			const { code, stdout } = await user.run(["doctor"], { env: { HIVE_VECTOR_URL: node.url } });
			expect(code).toBe(1);
			expect(stdout).toMatch(/^ok {4}node /m);
			expect(stdout).toMatch(/^fail {2}ready /m);
			expect(stdout).toMatch(/^warn {2}hub +unreachable$/m);
		});
	});
});
