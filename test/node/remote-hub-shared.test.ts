import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { startRedis } from "../hub/redis-rig.ts";
import { clientOf, until, Workshop } from "./node-fixture.ts";

const redis = await startRedis();
const workshop = new Workshop();
afterAll(async () => {
	await workshop.clear();
	if (redis.available) await redis.stop();
});

const serviceKey = `svc_${"aB3d".repeat(10)}`;

/** How often look-ups ended so, as the node's metrics have it. */
async function lookups(metrics: ReturnType<typeof clientOf>, outcome: string): Promise<number> {
	const { body } = await metrics("GET", "/metrics");
	return Number(new RegExp(`^hive_vector_hub_cache_total\\{outcome="${outcome}"\\} (\\d+)`, "m").exec(body)?.[1] ?? 0);
}

describe.skipIf(!redis.available)("nodes of a remote hub that share a Redis", () => {
	if (!redis.available) return;

	const remote = (url: string): Record<string, string> => ({
		HIVE_VECTOR_CLUSTER_ENABLED: "true",
		HIVE_VECTOR_HUB_MODE: "remote",
		HIVE_VECTOR_HUB_API_URL: url,
		HIVE_VECTOR_HUB_SERVICE_API_KEY: serviceKey,
		HIVE_VECTOR_HUB_CACHE_REDIS: redis.url,
		HIVE_VECTOR_METRICS_PUBLIC: "true",
	});

	test("what one asked the others need not, a revocation reaches all, and no key is ever there", async () => {
		const hub = await workshop.hub(workshop.newDataDir(), { HIVE_VECTOR_HUB_SERVICE_API_KEY: serviceKey });
		const adminKey = readFileSync(hub.adminKeyPath!, "utf8").trim();
		const one = await workshop.node(workshop.newDataDir(), remote(hub.url));
		const two = await workshop.node(workshop.newDataDir(), remote(`${hub.url}/api/v1/`));
		const admin = clientOf(one.url, adminKey);
		expect((await admin("POST", "/api/v1/tenants", { id: "acme", name: "Acme" })).status).toBe(201);
		const { body: made } = await admin("POST", "/api/v1/tenants/acme/keys", { name: "a", permissions: ["READ_WRITE"] });
		const at = (node: typeof one) => clientOf(node.url, made.api_key);
		// Until the feed has told both of the key's making, neither trusts the other with it.
		await until(async () => {
			expect((await at(one)("GET", "/api/v1/collections")).status).toBe(200);
			return (await redis.client.keys("*:key:*")).length >= 2;
		});
		await until(async () => {
			expect((await at(two)("GET", "/api/v1/collections")).status).toBe(200);
			return (await lookups(clientOf(two.url), "hit")) > 0;
		});
		for (const name of await redis.client.keys("*")) {
			const held = `${name} ${await redis.client.get(name)}`;
			for (const secret of [adminKey, made.api_key, serviceKey]) expect(held).not.toContain(secret);
		}
		const revoked = await admin("DELETE", `/api/v1/tenants/acme/keys/${made.api_key_id}`);
		expect(revoked.status).toBe(200);
		expect((await at(one)("GET", "/api/v1/collections")).status).toBe(401);
		await until(async () => (await at(two)("GET", "/api/v1/collections")).status === 401);
		const three = await workshop.node(workshop.newDataDir(), remote(hub.url));
		expect((await at(three)("GET", "/api/v1/collections")).status).toBe(401);

		// A node that comes later has the operators' key from the others.
		await until(async () => {
			const late = await workshop.node(workshop.newDataDir(), remote(hub.url));
			await until(async () => (await clientOf(late.url)("GET", "/ready")).status === 200);
			await clientOf(late.url, adminKey)("GET", "/api/v1/tenants");
			const sharedCount = await lookups(clientOf(late.url), "shared");
			await late.stop();
			return sharedCount > 0;
		});

		// Without it they ask the hub, and nobody notices.
		await redis.kill();
		const four = await workshop.node(workshop.newDataDir(), remote(hub.url));
		for (const node of [one, four])
			expect((await clientOf(node.url, adminKey)("GET", "/api/v1/tenants")).status).toBe(200);
		await Promise.all([one, two, three, four].map((node) => node.stop()));
		await hub.stop();
	});

	test("a hub within the process is asked directly, and the setting is taken all the same", async () => {
		const node = await workshop.node(workshop.newDataDir(), { HIVE_VECTOR_HUB_CACHE_REDIS: redis.url });
		expect((await clientOf(node.url)("GET", "/api/v1/collections")).status).toBe(200);
		expect(workshop.logLines.join("")).toContain("hub.cache.redis");
		await node.stop();
	});
});
