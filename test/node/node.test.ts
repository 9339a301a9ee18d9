import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { clientOf, refusal, until, Workshop } from "./node-fixture.ts";

const workshop = new Workshop();
afterAll(() => workshop.clear());

const CLUSTER = { HIVE_VECTOR_CLUSTER_ENABLED: "true" };
const read = (path: string) => readFileSync(path, "utf8").trim();
const DOCS = { name: "docs", dimension: 3 };
const VECTORS = [
	{ id: "east", vector: [1, 0, 0], payload: { kind: "axis" } },
	{ id: 2, vector: [0, 1, 0] },
];
const SEARCH = { vector: [1, 0.1, 0], limit: 2 };

describe("a single-tenant node", () => {
	test("needs no key, and has everything after a restart", async () => {
		const dataDir = workshop.newDataDir();
		const first = await workshop.node(dataDir);
		let ask = clientOf(first.url);
		expect(first.adminKeyPath).toBeUndefined();
		expect((await ask("GET", "/ready")).body).toMatchObject({ ready: true, checks: { hub: "connected" } });
		expect((await ask("POST", "/api/v1/collections", DOCS)).status).toBe(201);
		expect((await ask("POST", "/api/v1/collections/docs/vectors", { vectors: VECTORS })).status).toBe(200);
		const found = (await ask("POST", "/api/v1/collections/docs/search", SEARCH)).body.results;
		expect(found.map((hit: { id: unknown }) => hit.id)).toEqual(["east", 2]);
		const nodes = (await ask("GET", "/api/v1/cluster/nodes")).body.nodes;
		expect(nodes).toMatchObject([
			{ node_id: first.nodeId, state: "active", url: first.url, ring_share: 1, self: true, version: "1.2.3" },
		]);
		await first.stop();
		await first.stop();
		expect(ask("GET", "/health")).rejects.toThrow();

		const second = await workshop.node(dataDir);
		ask = clientOf(second.url);
		expect(second.nodeId).toBe(first.nodeId);
		expect((await ask("POST", "/api/v1/collections/docs/search", SEARCH)).body.results).toEqual(found);
		await second.stop();
		expect(readdirSync(dataDir)).not.toContain("admin.key");
	});

	test("is limited by the rates that were set, and by no other", async () => {
		const free = await workshop.node(workshop.newDataDir());
		expect((await clientOf(free.url)("GET", "/api/v1/collections")).headers.get("x-ratelimit-limit")).toBeNull();
		await free.stop();

		const limited = await workshop.node(workshop.newDataDir(), { HIVE_VECTOR_RATE_LIMITS_REQUESTS_PER_MINUTE: "2" });
		const ask = clientOf(limited.url);
		const answers = [];
		for (let count = 0; count < 3; count++) answers.push(await ask("GET", "/api/v1/collections"));
		expect(answers.map((answer) => answer.status)).toEqual([200, 200, 429]);
		expect(answers[0]!.headers.get("x-ratelimit-limit")).toBe("2");
		expect((await ask("GET", "/health")).status).toBe(200);
		await limited.stop();
	});

	test("asks for keys when it is told to", async () => {
		const node = await workshop.node(workshop.newDataDir(), { HIVE_VECTOR_AUTH_REQUIRED: "true" });
		expect((await clientOf(node.url)("GET", "/api/v1/collections")).body.code).toBe("AUTH_MISSING");
		const admin = clientOf(node.url, read(node.adminKeyPath!), { "x-tenant-id": "default" });
		expect((await admin("POST", "/api/v1/collections", DOCS)).body.full_name).toBe("default:docs");
		await node.stop();
	});
});

describe("a node of several tenants", () => {
	test("makes its secrets on the first start, and on no other", async () => {
		const dataDir = workshop.newDataDir();
		const first = await workshop.node(dataDir, CLUSTER);
		expect(first.adminKeyPath).toBe(join(dataDir, "admin.key"));
		const secrets = ["admin.key", "cluster.secret"].map((name) => {
			expect(statSync(join(dataDir, name)).mode & 0o777).toBe(0o600);
			return read(join(dataDir, name));
		});
		expect(secrets[0]).toMatch(/^hh_live_[A-Za-z0-9]{32}$/);
		expect(secrets[1]).toMatch(/^[0-9a-f]{64}$/);
		await first.stop();
		const second = await workshop.node(dataDir, CLUSTER);
		expect(second.adminKeyPath).toBeUndefined();
		expect(["admin.key", "cluster.secret"].map((name) => read(join(dataDir, name)))).toEqual(secrets);
		await second.stop();
		for (const secret of secrets) expect(workshop.logLines.join("")).not.toContain(secret);
	});

	test("serves each its own, over a restart, and forgets a deleted one", async () => {
		const dataDir = workshop.newDataDir();
		const first = await workshop.node(dataDir, CLUSTER);
		const adminKey = read(first.adminKeyPath!);
		let admin = clientOf(first.url, adminKey);
		expect((await clientOf(first.url)("GET", "/api/v1/collections")).body.code).toBe("AUTH_MISSING");
		const keys: Record<string, string> = {};
		for (const id of ["acme", "beta"]) {
			expect((await admin("POST", "/api/v1/tenants", { id, name: id })).status).toBe(201);
			const made = await admin("POST", `/api/v1/tenants/${id}/keys`, { name: "app", permissions: ["READ_WRITE"] });
			keys[id] = made.body.api_key;
		}
		let acme = clientOf(first.url, keys.acme);
		expect((await acme("POST", "/api/v1/collections", DOCS)).status).toBe(201);
		expect((await acme("POST", "/api/v1/collections/docs/vectors", { vectors: VECTORS })).status).toBe(200);
		expect((await clientOf(first.url, keys.beta)("GET", "/api/v1/collections/docs")).body.code).toBe(
			"COLLECTION_NOT_FOUND",
		);
		const health = await admin("GET", "/api/v1/cluster/health");
		expect(health.body).toMatchObject({ status: "healthy", cluster_mode: true, tenant_count: 3, version: "1.2.3" });
		await first.stop();

		const second = await workshop.node(dataDir, CLUSTER);
		admin = clientOf(second.url, adminKey);
		acme = clientOf(second.url, keys.acme);
		// What tenants have stored is known before anybody used them.
		const metrics = (await admin("GET", "/metrics")).body;
		expect(metrics).toContain('hive_vector_tenant_vectors{tenant_id="acme"} 2\n');
		const found = await acme("POST", "/api/v1/collections/docs/search", SEARCH);
		expect(found.body.results.map((hit: { id: unknown }) => hit.id)).toEqual(["east", 2]);

		expect(existsSync(join(dataDir, "tenants", "acme"))).toBe(true);
		expect((await admin("DELETE", "/api/v1/tenants/acme")).status).toBe(200);
		expect(existsSync(join(dataDir, "tenants", "acme"))).toBe(false);
		expect((await acme("GET", "/api/v1/collections")).status).toBe(401);
		await until(async () => !(await admin("GET", "/metrics")).body.includes('tenant_id="acme"'));
		await second.stop();
	});

	test("shows its metrics to an admin, to the token, and to no tenant", async () => {
		const token = "a-token-for-scrapers";
		const node = await workshop.node(workshop.newDataDir(), { ...CLUSTER, HIVE_VECTOR_METRICS_TOKEN: token });
		const statuses = [undefined, "hh_live_".padEnd(40, "x"), token, read(node.adminKeyPath!)].map(
			async (key) => (await clientOf(node.url, key)("GET", "/metrics")).status,
		);
		expect(await Promise.all(statuses)).toEqual([401, 401, 200, 200]);
		await node.stop();
	});
});

test("a node speaks TLS with the certificate it was given", async () => {
	const pem = (name: string) => join(import.meta.dir, "tls", `localhost.${name}.pem`);
	const node = await workshop.node(workshop.newDataDir(), {
		HIVE_VECTOR_SERVER_TLS_CERT: pem("cert"),
		HIVE_VECTOR_SERVER_TLS_KEY: pem("key"),
	});
	expect(node.url).toStartWith("https://127.0.0.1:");
	const answer = await fetch(`${node.url}/health`, { tls: { ca: readFileSync(pem("cert"), "utf8") } });
	expect(answer.status).toBe(200);
	expect(answer.headers.get("strict-transport-security")).not.toBeNull();
	await node.stop();
});

test("a second node on the same folder or port is refused, and leaves the first alone", async () => {
	const dataDir = workshop.newDataDir();
	const first = await workshop.node(dataDir);
	const sameFolder = await refusal(workshop.node(dataDir));
	expect(sameFolder.code).toBe("CONFLICT");
	expect(sameFolder.message).toContain(`in use by process ${process.pid};`);

	const { port } = new URL(first.url);
	const otherDir = workshop.newDataDir();
	const samePort = await refusal(workshop.node(otherDir, { HIVE_VECTOR_SERVER_PORT: port }));
	expect(samePort.message).toBe(`cannot listen: port ${port} of 127.0.0.1 is in use`);
	expect((await clientOf(first.url)("GET", "/ready")).status).toBe(200);
	await first.stop();
	await (await workshop.node(otherDir, { HIVE_VECTOR_SERVER_PORT: port })).stop();
});

test("a stop under load loses nothing that was acknowledged", async () => {
	const dataDir = workshop.newDataDir();
	const first = await workshop.node(dataDir);
	const ask = clientOf(first.url);
	await ask("POST", "/api/v1/collections", { ...DOCS, shards: 3 });
	const acknowledged: number[] = [];
	const enough = Promise.withResolvers<void>();
	let nextId = 0;
	const writer = async (): Promise<void> => {
		for (;;) {
			const ids = [nextId++, nextId++];
			const vectors = ids.map((id) => ({ id, vector: [1, id, 0] }));
			const answer = await ask("POST", "/api/v1/collections/docs/vectors", { vectors }).catch(() => undefined);
			if (answer?.status !== 200) return;
			acknowledged.push(...ids);
			if (acknowledged.length >= 200) enough.resolve();
		}
	};
	const writers = Array.from({ length: 8 }, writer);
	await enough.promise;
	await first.stop();
	await Promise.all(writers);

	const second = await workshop.node(dataDir);
	const got = await clientOf(second.url)("POST", "/api/v1/collections/docs/vectors/get", { ids: acknowledged });
	expect(got.body.vectors.map((vector: { id: number }) => vector.id)).toEqual(acknowledged);
	await second.stop();
});
