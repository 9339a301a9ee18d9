import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { builtBinary, User } from "./binary.ts";
import { ServerProcess } from "./server-process.ts";

describe("a hub and its nodes as processes of their own", () => {
	const user = new User();
	const running: ServerProcess[] = [];
	beforeAll(async () => void (await builtBinary()), 120_000);
	afterAll(async () => {
		await Promise.all(running.map(async (server) => await server.stop("SIGKILL")));
		user.leave();
	});

	const start = async (args: readonly string[], name: string): Promise<ServerProcess> => {
		const server = await ServerProcess.start(user, args, join(user.folder, name));
		running.push(server);
		return server;
	};

	test("keys, tenants and collection names are the hub's, and a revocation reaches every node", async () => {
		const hub = await start(["hub"], "hub");
		const serviceKey = hub.secret("service.key");
		expect(serviceKey).toMatch(/^svc_[A-Za-z0-9]{40}$/);
		writeFileSync(
			join(user.folder, "node.yml"),
			`cluster: { enabled: true, listen: /ip4/127.0.0.1/tcp/0 }\nhub: { mode: remote, api_url: "${hub.url}", service_api_key: ${serviceKey}, usage_report_interval: 1 }\n`,
		);
		const [one, two] = await Promise.all([
			start(["serve", "--config", "node.yml"], "one"),
			start(["serve", "--config", "node.yml"], "two"),
		]);
		// Operators are the hub's: a node of a remote hub makes no key of its own.
		expect(existsSync(join(one.dataDir, "admin.key"))).toBe(false);

		const admin = (at: ServerProcess) => ({ HIVE_VECTOR_URL: at.url, HIVE_VECTOR_DATA_DIR: hub.dataDir });
		const json = async (args: readonly string[], env: Record<string, string>) => {
			const { code, stdout, stderr } = await user.run([...args, "--json"], { env });
			expect({ args, code, stderr }).toEqual({ args, code: 0, stderr: "" });
			return JSON.parse(stdout);
		};
		await json(["tenant", "create", "acme"], admin(one));
		expect((await json(["tenant", "show", "acme"], admin(two))).id).toBe("acme");
		const minted = await json(["key", "create", "acme"], admin(two));
		const acme = (at: ServerProcess) => ({ HIVE_VECTOR_URL: at.url, HIVE_VECTOR_API_KEY: minted.api_key as string });

		await json(["collection", "create", "docs", "-d", "2"], acme(one));
		expect((await user.run(["collection", "create", "docs", "-d", "2"], { env: acme(two) })).code).toBe(1);
		const imported = await user.run(["import", "docs", "-", "--json"], {
			env: acme(one),
			stdin: '{"id":1,"vector":[1,0]}\n{"id":2,"vector":[0,1]}\n',
		});
		expect(JSON.parse(imported.stdout)).toMatchObject({ imported: 2, failed: 0 });
		expect((await json(["search", "docs", "--vector", "[1,0]", "-n", "1"], acme(one))).results[0].id).toBe(1);
		expect((await json(["doctor"], admin(one))).healthy).toBe(true);

		// Both have the key cached by now.
		await json(["collection", "list"], acme(two));
		await json(["key", "revoke", "acme", minted.api_key_id, "--yes"], admin(one));
		expect((await user.run(["collection", "list"], { env: acme(one) })).code).toBe(3);
		// The other node hears of it over the hub's change feed.
		let code = 0;
		for (let asked = 0; asked < 200 && code === 0; asked++) {
			code = (await user.run(["collection", "list"], { env: acme(two) })).code;
		}
		expect(code).toBe(3);

		const logs = await Promise.all([one.stop(), two.stop(), hub.stop()]);
		running.length = 0;
		expect(logs.map(({ code: ended }) => ended)).toEqual([0, 0, 0]);
		const written = logs.map(({ output }) => output).join("");
		for (const secret of [serviceKey, hub.secret("admin.key"), minted.api_key]) expect(written).not.toContain(secret);
	});

	test("a node with a wrong service key lets nobody in, and says why in its log", async () => {
		const hub = await start(["hub"], "strict-hub");
		writeFileSync(
			join(user.folder, "wrong.yml"),
			`cluster: { enabled: true }\nhub: { mode: remote, api_url: "${hub.url}", service_api_key: svc_${"x".repeat(40)}, retries: 0 }\n`,
		);
		const node = await start(["serve", "--config", "wrong.yml"], "wrong").catch((error: unknown) => error);
		if (node instanceof ServerProcess) {
			const env = { HIVE_VECTOR_URL: node.url, HIVE_VECTOR_DATA_DIR: hub.dataDir };
			const outcome = await user.run(["tenant", "list"], { env });
			expect([3, 5]).toContain(outcome.code);
			running.splice(running.indexOf(node), 1);
			expect((await node.stop()).output).toMatch(/service key|hub/);
		} else {
			expect(String(node)).toMatch(/service key|hub/);
		}
		running.splice(running.indexOf(hub), 1);
		expect((await hub.stop()).code).toBe(0);
	});
});
