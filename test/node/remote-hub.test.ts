import { afterAll, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { clientOf, until, Workshop } from "./node-fixture.ts";

const workshop = new Workshop();
afterAll(() => workshop.clear());

const serviceKey = `svc_${"aB3d".repeat(10)}`;
const read = (path: string) => readFileSync(path, "utf8").trim();

function remote(url: string): Record<string, string> {
	return {
		HIVE_VECTOR_CLUSTER_ENABLED: "true",
		HIVE_VECTOR_HUB_MODE: "remote",
		HIVE_VECTOR_HUB_API_URL: url,
		HIVE_VECTOR_HUB_SERVICE_API_KEY: serviceKey,
		HIVE_VECTOR_HUB_TIMEOUT_SECONDS: "2",
		HIVE_VECTOR_HUB_RETRIES: "0",
	};
}

test("an admin key of a hub works on its nodes, which make none and tell the hub what was used", async () => {
	const hub = await workshop.hub(workshop.newDataDir(), { HIVE_VECTOR_HUB_SERVICE_API_KEY: serviceKey });
	const dataDir = workshop.newDataDir();
	const node = await workshop.node(dataDir, remote(hub.url));
	expect(node.adminKeyPath).toBeUndefined();
	expect(readdirSync(dataDir)).not.toContain("admin.key");
	const admin = clientOf(node.url, read(hub.adminKeyPath!));
	expect((await admin("POST", "/api/v1/tenants", { id: "acme", name: "Acme" })).status).toBe(201);
	const { body: made } = await admin("POST", "/api/v1/tenants/acme/keys", { name: "app", permissions: ["READ_WRITE"] });
	const acme = clientOf(node.url, made.api_key);
	await acme("POST", "/api/v1/collections", { name: "docs", dimension: 2 });
	await acme("POST", "/api/v1/collections/docs/vectors", { vectors: [{ id: 1, vector: [1, 2] }] });
	await acme("POST", "/api/v1/collections", { name: "more", dimension: 2 });
	const tenantFolder = join(dataDir, "tenants", "acme");
	expect(readdirSync(tenantFolder)).toHaveLength(2);

	// Decided elsewhere: the feed brings it here.
	const service = clientOf(hub.url, serviceKey);
	expect((await service("DELETE", "/api/v1/tenants/acme/collections/more")).status).toBe(200);
	await until(() => readdirSync(tenantFolder).length === 1);
	expect((await acme("GET", "/api/v1/collections/docs")).body.vectors).toBe(1);
	await node.stop();
	const usage = await service("GET", "/api/v1/usage?tenant_id=acme");
	expect(usage.body.usage[0]).toMatchObject({ requests: 4, vectors_written: 1, vectors: 1 });

	// And what was decided while it was away.
	expect((await service("DELETE", "/api/v1/tenants/acme")).status).toBe(200);
	const again = await workshop.node(dataDir, remote(hub.url));
	await until(() => !existsSync(tenantFolder));
	await again.stop();
	await hub.stop();
});

test("a node whose hub is away starts, is not ready, lets nobody in, and is ready once the hub is there", async () => {
	const hubDir = workshop.newDataDir();
	const env = { HIVE_VECTOR_HUB_SERVICE_API_KEY: serviceKey };
	const hub = await workshop.hub(hubDir, env);
	const { port } = new URL(hub.url);
	const adminKey = read(hub.adminKeyPath!);
	await hub.stop();

	const node = await workshop.node(workshop.newDataDir(), remote(hub.url));
	const ready = await clientOf(node.url)("GET", "/ready");
	expect(ready.status).toBe(503);
	expect(ready.body.details).toMatchObject({ state: "starting", checks: { hub: "disconnected" } });
	expect((await clientOf(node.url)("GET", "/health")).status).toBe(200);
	const admin = clientOf(node.url, adminKey);
	expect((await admin("GET", "/api/v1/tenants")).body.code).toBe("HUB_UNAVAILABLE");

	const back = await workshop.hub(hubDir, { ...env, HIVE_VECTOR_SERVER_PORT: port });
	await until(async () => (await clientOf(node.url)("GET", "/ready")).status === 200);
	expect((await admin("GET", "/api/v1/tenants")).status).toBe(200);

	// Known keys go on working without it, and the node stays ready.
	await back.stop();
	expect((await admin("GET", "/api/v1/cluster/nodes")).status).toBe(200);
	expect((await clientOf(node.url)("GET", "/ready")).status).toBe(200);
	expect((await admin("GET", "/api/v1/cluster/health")).body).toMatchObject({
		status: "degraded",
		hivehub_connection: "disconnected",
	});
	await node.stop();
});
