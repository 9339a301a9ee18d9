import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ERROR_TABLE, type ErrorCode } from "../../src/base/errors.ts";
import { BINARY, builtBinary, User, userEnvironment } from "./binary.ts";
import { ScriptedNode } from "./scripted-node.ts";

describe("how a command ends", () => {
	const user = new User();
	const node = new ScriptedNode();
	const env = { HIVE_VECTOR_URL: node.url, HIVE_VECTOR_API_KEY: "env-key" };
	beforeAll(async () => void (await builtBinary()), 120_000);
	afterAll(async () => {
		user.leave();
		await node.stop();
	});

	const CODES: readonly ErrorCode[] = [
		"VALIDATION_FAILED",
		"AUTH_INVALID",
		"FORBIDDEN",
		"TENANT_NOT_FOUND",
		"TENANT_EXISTS",
		"RATE_LIMITED",
		"INTERNAL",
		"HUB_UNAVAILABLE",
	];
	test.each(CODES)("a node's %s gives the exit code of the table, and the node's words", async (code) => {
		node.answer = () =>
			Response.json({ error: "the node's words", code, request_id: "req_x" }, { status: ERROR_TABLE[code].http });
		const outcome = await user.run(["tenant", "show", "acme", "--json"], { env });
		expect(outcome.code).toBe(ERROR_TABLE[code].exit);
		expect(outcome.stderr).toContain(`the node's words (${code})`);
		expect(JSON.parse(outcome.stdout)).toEqual({
			error: "the node's words",
			code,
			request_id: "req_x",
			exit_code: outcome.code,
		});
	});

	test("an answer larger than a pipe holds arrives whole", async () => {
		const results = Array.from({ length: 1_000 }, (_, id) => ({ id, score: 1, payload: { text: "x".repeat(256) } }));
		node.answer = () => Response.json({ results, took_ms: 1 });
		writeFileSync(join(user.folder, "query.json"), "[1, 2]");
		const outcome = await user.run(["search", "docs", "--vector-file", "query.json", "--json"], { env });
		expect(outcome.code).toBe(0);
		expect(outcome.stdout.length).toBeGreaterThan(256 * 1024);
		expect(JSON.parse(outcome.stdout).results).toHaveLength(1_000);
	});

	test("a node that isn't there is exit code 5", async () => {
		const outcome = await user.run(["usage", "--json"], { env: { HIVE_VECTOR_URL: "http://127.0.0.1:1" } });
		expect(outcome.code).toBe(5);
		expect(JSON.parse(outcome.stdout)).toMatchObject({ code: "UNREACHABLE", exit_code: 5 });
		expect((await user.run(["usage"], { env: { HIVE_VECTOR_URL: "http://127.0.0.1:1" } })).stderr).toContain(
			"hive-vector serve",
		);
	});

	test("a node that hangs is exit code 5 after --timeout", async () => {
		node.answer = () => new Promise<Response>(() => {});
		expect((await user.run(["usage", "--timeout", "100ms"], { env })).code).toBe(5);
	});

	test("keys come from the flag's file, stdin, the environment or the local node's admin.key", async () => {
		node.answer = () => Response.json({ collections: [] });
		const sent = () => node.requests.at(-1)?.headers.get("authorization");
		writeFileSync(join(user.folder, "key.txt"), "file-key\n");
		await user.run(["collection", "list", "--api-key", "@key.txt"], { env });
		expect(sent()).toBe("Bearer file-key");
		await user.run(["collection", "list", "--api-key", "-"], { env, stdin: "stdin-key\n" });
		expect(sent()).toBe("Bearer stdin-key");
		await user.run(["collection", "list"], { env });
		expect(sent()).toBe("Bearer env-key");
		const literal = await user.run(["collection", "list", "--api-key", "literal-key"], { env });
		expect(sent()).toBe("Bearer literal-key");
		expect(literal.stderr).toContain("seen by everyone who may run ps");

		const keyless = { HIVE_VECTOR_URL: node.url };
		await user.run(["collection", "list"], { env: keyless });
		expect(sent()).toBeNull();
		mkdirSync(join(user.folder, "data"));
		writeFileSync(join(user.folder, "data/admin.key"), "admin-key\n");
		await user.run(["collection", "list"], { env: keyless });
		expect(sent()).toBe("Bearer admin-key");
		mkdirSync(join(user.folder, "elsewhere"));
		writeFileSync(join(user.folder, "elsewhere/admin.key"), "other-key\n");
		writeFileSync(join(user.folder, "hive-vector.yml"), "data_dir: elsewhere\n");
		await user.run(["collection", "list", "--tenant", "acme"], { env: keyless });
		expect(sent()).toBe("Bearer other-key");
		expect(node.requests.at(-1)?.headers.get("x-tenant-id")).toBe("acme");
	});

	test("key validate takes the key from stdin before the environment, and says what is wrong with it", async () => {
		const asked: unknown[] = [];
		node.answer = async (request) => {
			asked.push(await request.json());
			return Response.json({ valid: false, error: "AUTH_KEY_EXPIRED" });
		};
		const outcome = await user.run(["key", "validate", "--json"], { env, stdin: "stdin-key\n" });
		expect(outcome.code).toBe(3);
		expect(JSON.parse(outcome.stdout)).toEqual({ valid: false, error: "AUTH_KEY_EXPIRED" });
		expect(outcome.stderr).toContain("has expired");
		expect((await user.run(["key", "validate"], { env })).code).toBe(3);
		expect(asked).toEqual([{ api_key: "stdin-key" }, { api_key: "env-key" }]);
		expect((await user.run(["key", "validate"], { env: { HIVE_VECTOR_URL: node.url } })).code).toBe(2);
		expect(node.requests.at(-1)?.headers.get("authorization")).toBeNull();
	});

	test("on a terminal key validate asks without showing what is typed", async () => {
		node.answer = async (request) => {
			const { api_key } = (await request.json()) as { api_key: string };
			return Response.json({ valid: true, tenant_id: api_key, permissions: ["READ_ONLY"], expires_at: null });
		};
		const { code, screen } = await user.runOnTerminal(["key", "validate"], {
			env: { HIVE_VECTOR_URL: node.url },
			answers: [["API key: ", "typx\u007fed\r"]],
		});
		expect(code).toBe(0);
		const [beforeAnswer, answer] = screen.split("valid", 2);
		expect(beforeAnswer).not.toContain("typ");
		expect(answer).toContain("typed");
	});

	test("what destroys asks on a terminal, and needs --yes where there is none", async () => {
		node.answer = () => Response.json({ deleted: true });
		const before = node.requests.length;
		const refused = await user.run(["tenant", "delete", "acme"], { env, stdin: "acme\n" });
		expect(refused.code).toBe(2);
		expect(refused.stderr).toContain("--yes");
		const wrong = await user.runOnTerminal(["tenant", "delete", "acme"], { env, answers: [["Type acme", "acne\r"]] });
		expect(wrong).toMatchObject({ code: 1, screen: expect.stringContaining("nothing was changed") });
		const no = await user.runOnTerminal(["key", "revoke", "acme", "key_1"], { env, answers: [["[y/N]", "\r"]] });
		expect(no.code).toBe(1);
		expect(node.requests.length).toBe(before);

		const typed = await user.runOnTerminal(["collection", "delete", "docs"], {
			env,
			answers: [["Type docs", "docs\r"]],
		});
		expect(typed).toMatchObject({ code: 0, screen: expect.stringContaining("docs is deleted") });
		expect(
			(await user.runOnTerminal(["key", "revoke", "acme", "key_1"], { env, answers: [["[y/N]", "y\r"]] })).code,
		).toBe(0);
		expect((await user.run(["tenant", "delete", "acme", "--yes"], { env })).code).toBe(0);
		expect(node.requests.slice(before).map(({ method, path }) => `${method} ${path}`)).toEqual([
			"DELETE /api/v1/collections/docs",
			"DELETE /api/v1/tenants/acme/keys/key_1",
			"DELETE /api/v1/tenants/acme",
		]);
	});

	const INFO = { name: "docs", vectors: 10 };
	const lines = (text: string) => new Response(text, { headers: { "content-type": "application/x-ndjson" } });

	test("an import that the node stops says how far it came", async () => {
		node.answer = async (request) => {
			await request.text();
			return lines(
				'{"imported":3,"failed":0,"line":3}\n{"error":"storage is used up","code":"QUOTA_EXCEEDED","imported":3,"failed":0}\n',
			);
		};
		const outcome = await user.run(["import", "docs", "-", "--json"], { env, stdin: "{}\n" });
		expect(outcome.code).toBe(1);
		expect(JSON.parse(outcome.stdout)).toMatchObject({ code: "QUOTA_EXCEEDED", details: { imported: 3 } });
		expect(outcome.stderr).toContain("3 vectors were imported");
	});

	test("an import or export whose answer breaks off has failed, and leaves no file", async () => {
		node.answer = async (request) => {
			await request.text();
			return lines('{"imported":3,"failed":0,"line":3}\n');
		};
		expect((await user.run(["import", "docs", "-"], { env, stdin: "{}\n" })).code).toBe(1);
		node.answer = (request) => (request.url.endsWith("/export") ? lines('{"id":1}\n{"id":') : Response.json(INFO));
		const outcome = await user.run(["export", "docs", "-o", "broken.ndjson"], { env });
		expect(outcome.code).toBe(1);
		expect(outcome.stderr).toContain("broke off");
		expect(readdirSync(user.folder).filter((name) => name.startsWith("broken"))).toEqual([]);
	});

	test("a file that is there is replaced only with --force", async () => {
		node.answer = (request) => (request.url.endsWith("/export") ? lines('{"id":1}\n') : Response.json(INFO));
		writeFileSync(join(user.folder, "kept.ndjson"), "old");
		expect((await user.run(["export", "docs", "-o", "kept.ndjson"], { env })).code).toBe(2);
		expect(await Bun.file(join(user.folder, "kept.ndjson")).text()).toBe("old");
		const forced = await user.run(["export", "docs", "-o", "kept.ndjson", "--force", "--json"], { env });
		expect(JSON.parse(forced.stdout)).toEqual({ collection: "docs", exported: 1, bytes: 9, output: "kept.ndjson" });
		expect(await Bun.file(join(user.folder, "kept.ndjson")).text()).toBe('{"id":1}\n');
		expect((await user.run(["export", "docs", "-o", "nowhere/x.ndjson"], { env })).code).toBe(2);
	});

	test("Ctrl-C is exit code 130 and leaves no half file", async () => {
		const started = Promise.withResolvers<void>();
		node.answer = (request) => {
			if (!request.url.endsWith("/export")) return Response.json(INFO);
			started.resolve();
			return new Response(
				new ReadableStream({
					start: (controller) => controller.enqueue(new TextEncoder().encode('{"id":1}\n')),
				}),
			);
		};
		const child = Bun.spawn([BINARY, "export", "docs", "-o", "stopped.ndjson"], {
			cwd: user.folder,
			env: userEnvironment(user.folder, env),
			stdout: "ignore",
			stderr: "ignore",
		});
		await started.promise;
		child.kill("SIGINT");
		expect(await child.exited).toBe(130);
		expect(readdirSync(user.folder).filter((name) => name.startsWith("stopped"))).toEqual([]);
		expect(existsSync(join(user.folder, "stopped.ndjson"))).toBe(false);
	});

	test("a reader that leaves early ends the command quietly", async () => {
		const long = `{"id":1,"payload":{"text":"${"x".repeat(500)}"}}\n`.repeat(20_000);
		node.answer = (request) => (request.url.endsWith("/export") ? lines(long) : Response.json(INFO));
		const shell = Bun.spawn(["bash", "-c", `"$0" export docs | head -1; echo "\${PIPESTATUS[0]}"`, BINARY], {
			cwd: user.folder,
			env: userEnvironment(user.folder, env),
			stdout: "pipe",
			stderr: "pipe",
		});
		const [stdout, stderr] = await Promise.all([new Response(shell.stdout).text(), new Response(shell.stderr).text()]);
		expect(stderr).toBe("");
		expect(stdout.split("\n").slice(1)).toEqual(["0", ""]);
		expect(stdout).toStartWith('{"id":1');
	});

	test("a long table into a closed pipe is quiet too", async () => {
		const tenant = { id: "acme", name: "x".repeat(150), active: true, quota: {}, api_keys_count: 0, created_at: "" };
		node.answer = () => Response.json({ tenants: Array(5_000).fill(tenant), next_cursor: null });
		const shell = Bun.spawn(["bash", "-c", `"$0" tenant list | head -1`, BINARY], {
			cwd: user.folder,
			env: userEnvironment(user.folder, env),
			stdout: "pipe",
			stderr: "pipe",
		});
		expect(await new Response(shell.stderr).text()).toBe("");
		expect(await new Response(shell.stdout).text()).toStartWith("ID");
	});

	test("escape sequences from the node do not reach the screen", async () => {
		node.answer = () =>
			Response.json({ results: [{ id: "\u001b[2J", score: 1, payload: { a: "\u001b]0;x\u0007" } }], took_ms: 1 });
		const { code, screen } = await user.runOnTerminal(["search", "docs", "--id", "1"], {
			env: { ...env, NO_COLOR: "1" },
		});
		expect(code).toBe(0);
		expect(screen).not.toContain("\u001b[2J");
		expect(screen).toContain("1 hit in 1.0 ms");
	});
});
