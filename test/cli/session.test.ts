import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { LocalNode } from "../../scripts/local-node.ts";
import { builtBinary, User } from "./binary.ts";

const DIMENSION = 4;
const VECTOR_COUNT = 2_500;

/** The vectors lie on a circle, so that the nearest to one are its neighbours by number. */
const vector = (number: number): number[] => {
	const angle = (number / VECTOR_COUNT) * Math.PI;
	return [Math.cos(angle), Math.sin(angle), 0, 0];
};

describe("a session with a node in cluster mode", () => {
	const user = new User();
	let node: LocalNode;
	let admin: Record<string, string> = {};
	let acme: Record<string, string> = {};

	beforeAll(async () => {
		await builtBinary();
		node = await LocalNode.start();
		admin = { HIVE_VECTOR_URL: node.url, HIVE_VECTOR_DATA_DIR: node.dataDir };
	}, 120_000);
	afterAll(async () => {
		await node.stop();
		node.removeData();
		user.leave();
	});

	const json = async (args: readonly string[], env: Record<string, string>, stdin?: string) => {
		const outcome = await user.run([...args, "--json"], { env, stdin });
		expect({ args, code: outcome.code, stderr: outcome.stderr }).toEqual({ args, code: 0, stderr: "" });
		expect(outcome.stdout.split("\n")).toHaveLength(2);
		return JSON.parse(outcome.stdout);
	};

	test("an operator makes a tenant with quotas and rate limits, and changes them", async () => {
		const flags = [
			"--max-vectors",
			"100000",
			"--max-storage",
			"10GB",
			"--max-collections",
			"20",
			"--requests-per-minute",
			"5000",
		];
		const made = await json(
			["tenant", "create", "acme", "--name", "Acme", ...flags, "--metadata", '{"plan":"gold"}'],
			admin,
		);
		expect(made).toMatchObject({
			id: "acme",
			name: "Acme",
			active: true,
			quota: { max_storage_bytes: 1e10, max_vectors: 100_000, max_collections: 20 },
			rate_limits: { requests_per_minute: 5_000 },
			metadata: { plan: "gold" },
		});
		expect((await user.run(["tenant", "create", "acme"], { env: admin })).code).toBe(1);
		expect((await user.run(["tenant", "create", "No"], { env: admin })).code).toBe(2);

		const shown = await user.run(["tenant", "show", "acme"], { env: admin });
		expect(shown.stdout).toMatch(/^max storage +10\.0 GB$/m);
		expect(shown.stdout).toMatch(/^requests a minute +5,000$/m);
		expect((await json(["tenant", "list"], admin)).tenants.map(({ id }: { id: string }) => id)).toEqual([
			"acme",
			"system",
		]);

		expect(
			await json(["quota", "set", "acme", "--max-vectors", "500k", "--max-collections", "unlimited"], admin),
		).toEqual({
			tenant_id: "acme",
			max_storage_bytes: 1e10,
			max_vectors: 500_000,
			max_collections: null,
		});
		expect((await user.run(["quota", "show", "acme"], { env: admin })).stdout).toMatch(/^max collections +unlimited$/m);
		const renamed = await json(["tenant", "update", "acme", "--name", "Acme AG", "--default-rate-limits"], admin);
		expect(renamed).toMatchObject({ name: "Acme AG", rate_limits: null, metadata: { plan: "gold" } });
	});

	test("a key is shown once, lets its tenant in, and is rotated and revoked", async () => {
		const minted = await json(
			["key", "create", "acme", "--permission", "READ_WRITE", "--expires", "90d", "--name", "app"],
			admin,
		);
		expect(minted).toMatchObject({ tenant_id: "acme", name: "app", permissions: ["READ_WRITE"] });
		expect(Date.parse(minted.expires_at) - Date.now()).toBeWithin(89 * 86_400_000, 90 * 86_400_000 + 1);
		acme = { HIVE_VECTOR_URL: node.url, HIVE_VECTOR_API_KEY: minted.api_key };

		const read = await user.run(["key", "create", "acme", "-p", "READ_ONLY", "-p", "MCP", "--test"], { env: admin });
		const [, reader = ""] = /(hh_test_\w{32})/.exec(read.stdout) ?? [];
		expect(read.stdout).toContain("shown this once");
		expect((await user.run(["key", "list", "acme"], { env: admin })).stdout).not.toContain(reader);
		expect(await json(["key", "validate"], { HIVE_VECTOR_URL: node.url }, reader)).toMatchObject({
			valid: true,
			tenant_id: "acme",
			permissions: expect.arrayContaining(["READ_ONLY", "MCP"]),
		});

		const { keys } = await json(["key", "list", "acme"], admin);
		const oldId = keys.find((key: { name: string }) => key.name !== "app").api_key_id;
		const rotated = await json(["key", "rotate", "acme", oldId, "--grace", "7d"], admin);
		expect((await user.run(["key", "validate"], { env: admin, stdin: reader })).code).toBe(0);
		expect((await json(["key", "revoke", "acme", oldId, "--yes"], admin)).rotation_status).toBe("revoked");
		expect((await user.run(["key", "validate"], { env: admin, stdin: reader })).code).toBe(3);
		expect((await user.run(["key", "validate"], { env: admin, stdin: rotated.api_key })).code).toBe(0);
		expect((await user.run(["key", "revoke", "acme", "key_0000000000000000", "--yes"], { env: admin })).code).toBe(4);
	});

	test("vectors are imported, bad lines named, and exported as they came in", async () => {
		const lines = Array.from({ length: VECTOR_COUNT }, (_, id) =>
			JSON.stringify({ id, vector: vector(id), payload: { even: id % 2 === 0 } }),
		);
		writeFileSync(join(user.folder, "docs.ndjson"), `${lines.join("\n")}\n`);
		const create = ["--create", "--dimension", String(DIMENSION)];
		expect(await json(["import", "docs", "docs.ndjson", ...create], acme)).toMatchObject({
			imported: VECTOR_COUNT,
			failed: 0,
			errors: [],
		});

		const mixed = await user.run(["import", "docs", "-", "--json", ...create], {
			env: acme,
			stdin: `{"id":"a","vector":[1,2]}\n{nonsense\n${lines[0]}\n`,
		});
		expect(mixed.code).toBe(1);
		expect(JSON.parse(mixed.stdout)).toMatchObject({
			imported: 1,
			failed: 2,
			errors: [
				{ line: 1, code: "DIMENSION_MISMATCH" },
				{ line: 2, code: "VALIDATION_FAILED" },
			],
		});
		expect(mixed.stderr).toContain("line 2: ");

		expect(await json(["export", "docs", "-o", "out.ndjson"], acme)).toMatchObject({ exported: VECTOR_COUNT });
		const out = (await Bun.file(join(user.folder, "out.ndjson")).text()).trimEnd().split("\n");
		expect(out.map((line) => JSON.parse(line).id)).toEqual(lines.map((line) => JSON.parse(line).id));
		expect(JSON.parse(out[7]!).vector.map(Math.fround)).toEqual(vector(7).map(Math.fround));
		expect((await user.run(["export", "docs"], { env: acme })).stdout).toBe(`${out.join("\n")}\n`);
		expect((await json(["collection", "show", "docs"], acme)).vectors).toBe(VECTOR_COUNT);
		expect((await user.run(["collection", "list"], { env: acme })).stdout).toMatch(/^docs +4 +cosine +2,500 /m);
	});

	test("on a terminal an import shows a bar", async () => {
		const { code, screen } = await user.runOnTerminal(["import", "docs", "docs.ndjson"], { env: acme });
		expect(code).toBe(0);
		expect(screen).toMatch(/[█░▒]+ .*\d+%/);
		expect(screen).toContain("2,500 vectors imported into docs");
		const plain = await user.runOnTerminal(["import", "docs", "docs.ndjson"], { env: { ...acme, NO_COLOR: "1" } });
		expect(plain.screen).not.toContain("%");
		expect(plain.screen).not.toContain("\u001b");
	});

	test("a search finds the neighbours, from a file, stdin, the line or a stored vector, filtered", async () => {
		writeFileSync(join(user.folder, "q.json"), JSON.stringify({ vector: vector(1_000) }));
		const ids = async (args: readonly string[], stdin?: string) =>
			(await json(["search", "docs", ...args], acme, stdin)).results.map((hit: { id: number }) => hit.id);
		const near = (found: number[]) => found.toSorted((a, b) => a - b);
		expect(near(await ids(["--vector-file", "q.json", "--limit", "5"]))).toEqual([998, 999, 1_000, 1_001, 1_002]);
		expect(near(await ids(["--vector-file", "-", "-n", "3"], JSON.stringify(vector(1_000))))).toEqual([
			999, 1_000, 1_001,
		]);
		expect(near(await ids(["--id", "1000", "-n", "2"]))).toEqual([999, 1_001]);
		const even = '{"must":[{"key":"even","match":{"value":true}}]}';
		writeFileSync(join(user.folder, "filter.json"), even);
		for (const filter of [even, "@filter.json"]) {
			expect(near(await ids(["--vector", JSON.stringify(vector(1_000)), "-n", "3", "--filter", filter]))).toEqual([
				998, 1_000, 1_002,
			]);
		}
		expect(
			await ids([
				"--id",
				"1000",
				"-n",
				"1",
				"--offset",
				"1",
				"--score-threshold",
				"0.9",
				"--exact",
				"--ef-search",
				"9",
			]),
		).toHaveLength(1);
		const explained = await json(
			["search", "docs", "--id", "1000", "-n", "1", "--explain", "--with-vector", "--no-with-payload"],
			acme,
		);
		expect(explained.plan.kind).toBe("exact");
		expect(explained.results[0].vector).toHaveLength(DIMENSION);
		expect(explained.results[0].payload).toBeUndefined();

		const table = await user.run(["search", "docs", "--id", "1000", "-n", "1", "--explain"], { env: acme });
		expect(table.stdout).toMatch(/^1 +(999|1001) +0\.99999\d +.*false/m);
		expect(table.stdout).toContain("plan: ");
		expect((await user.run(["search", "docs", "--id", '"1000"'], { env: acme })).code).toBe(4);
		expect((await user.run(["search", "docs", "--vector", "[1,2]"], { env: acme })).code).toBe(2);
		expect((await user.run(["search", "none", "--id", "1"], { env: acme })).code).toBe(4);
	});

	test("documents are found by their words, and by words and vector together", async () => {
		const lines = ["The keys were rotated", "A key signs requests", "Backups of last night"].map((text, id) =>
			JSON.stringify({ id, vector: [Math.cos(id), Math.sin(id)], payload: { title: text, note: "key" } }),
		);
		const flags = ["--dimension", "2", "--text-field", "title", "--text-language", "english"];
		const made = await json(["collection", "create", "texts", ...flags], acme);
		expect(made.text).toEqual({ provider: "none", fields: ["title"], language: "english" });
		const shown = await user.run(["collection", "show", "texts"], { env: acme });
		expect(shown.stdout).toMatch(/^text +words of title \(english\)$/m);
		await json(["import", "texts", "-"], acme, lines.join("\n"));
		const search = async (...args: readonly string[]) => await json(["search", "texts", ...args, "--explain"], acme);
		const ids = (answer: Awaited<ReturnType<typeof json>>) => answer.results.map(({ id }: { id: number }) => id);
		expect(ids(await search("--text", "rotating keys"))).toEqual([0, 1]);
		const hybrid = await search("--vector", "[-0.4, 0.9]", "--hybrid-text", "rotating key", "--alpha", "0.9");
		expect([ids(hybrid)[0], hybrid.plan.kind]).toEqual([2, "hybrid"]);
		expect(ids(await search("--id", "2", "--hybrid-text", "rotating key"))).toEqual([0, 1]);
		expect(ids(await search("--hybrid-text", "night", "--alpha", "0"))).toEqual([2]);
		for (const wrong of [["--text", "a", "--id", "1"], ["--id", "1", "--alpha", "0.5"], []]) {
			expect((await user.run(["search", "texts", ...wrong], { env: acme })).code).toBe(2);
		}
		await json(["collection", "delete", "texts", "--yes"], acme);
	});

	test("usage is one's own, and any tenant's for an operator", async () => {
		expect(await json(["usage"], acme)).toMatchObject({ tenant_id: "acme", vectors: VECTOR_COUNT, collections: 1 });
		expect((await user.run(["usage", "acme"], { env: admin })).stdout).toMatch(/^vectors +2,500$/m);
		expect((await user.run(["usage", "system"], { env: acme })).code).toBe(4);
		expect((await json(["usage", "--tenant", "acme"], admin)).tenant_id).toBe("acme");
	});

	test("a tenant's key may not do an operator's work, and a suspended tenant nothing", async () => {
		expect((await user.run(["tenant", "list"], { env: acme })).code).toBe(3);
		expect((await user.run(["tenant", "suspend", "acme"], { env: admin })).stdout).toContain("acme is suspended");
		expect((await user.run(["collection", "list"], { env: acme })).code).toBe(3);
		expect((await user.run(["tenant", "resume", "acme"], { env: admin })).stdout).toContain("acme is active");
		expect((await user.run(["collection", "list"], { env: acme })).code).toBe(0);
	});

	test("doctor finds a healthy node healthy, and names what isn't", async () => {
		const healthy = await json(["doctor"], admin);
		expect(healthy.healthy).toBe(true);
		const checks = healthy.findings.map(({ check }: { check: string }) => check);
		expect(checks).toEqual(
			expect.arrayContaining([
				"binary",
				"settings",
				"data folder",
				"free disk",
				"admin key file",
				"node",
				"clocks",
				"ready",
				"hub",
				"key",
			]),
		);

		const keyFile = join(node.dataDir, "admin.key");
		chmodSync(keyFile, 0o644);
		const loose = await user.run(["doctor"], { env: admin });
		chmodSync(keyFile, 0o600);
		expect(loose.code).toBe(0);
		expect(loose.stdout).toMatch(/^warn +admin key file.*\n +others can read it: chmod 600/m);

		const stranger = { ...acme, HIVE_VECTOR_API_KEY: `hh_live_${"x".repeat(32)}`, HIVE_VECTOR_SERVER_PORT: "http" };
		const ill = await user.run(["doctor"], { env: stranger });
		expect(ill.code).toBe(1);
		expect(ill.stdout).toMatch(/^fail +settings .*HIVE_VECTOR_SERVER_PORT/ms);
		expect(ill.stdout).toMatch(/^fail +key /m);
		const alone = await user.run(["doctor", "--json"], { env: { HIVE_VECTOR_URL: "http://127.0.0.1:1" } });
		expect(alone.code).toBe(1);
		expect(JSON.parse(alone.stdout)).toMatchObject({ healthy: false });
		expect((await user.run(["doctor", "--api-key", "@nowhere"], { env: admin })).code).toBe(1);
	});

	test("collections and tenants are deleted with what they hold", async () => {
		expect(
			await json(["collection", "create", "tmp", "-d", "3", "--m", "8", "--quantization", "f32"], acme),
		).toMatchObject({
			dimension: 3,
			quantization: "f32",
			hnsw: { m: 8 },
		});
		await json(["collection", "delete", "tmp", "--yes"], acme);
		expect((await user.run(["collection", "show", "tmp"], { env: acme })).code).toBe(4);
		await json(["tenant", "delete", "acme", "--yes"], admin);
		expect((await user.run(["tenant", "show", "acme"], { env: admin })).code).toBe(4);
		expect((await user.run(["collection", "list"], { env: acme })).code).toBe(3);
	});

	test("the native addons lie in the data folder, readable by the owner alone", () => {
		expect(statSync(join(node.dataDir, "native")).mode & 0o777).toBe(0o700);
	});
});
