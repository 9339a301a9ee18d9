import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { BINARY, LocalNode } from "../../scripts/local-node.ts";
import { type Answer, call, newKey, newTenant } from "./client.ts";

/** Keys, tenants and the process itself, from their first day to their last. */

let node: LocalNode;
let admin: string;

beforeAll(async () => {
	node = await LocalNode.start();
	admin = node.adminKey();
});
afterAll(async () => {
	await node.stop();
	node.removeData();
});

const list = (key: string, headers?: Record<string, string>): Promise<Answer> =>
	call(node, key, "GET", "/collections", undefined, headers);
const codeOf = ({ status, body }: Answer): [number, string | undefined] => [status, body.code];
const onlyKeyOf = async (tenant: string): Promise<string> =>
	(await call(node, admin, "GET", `/tenants/${tenant}/keys`)).body.keys[0].api_key_id;

test("a rotated key works on through its grace period, says so, and ends with it", async () => {
	const old = await newTenant(node, "rotating");
	const path = `/tenants/rotating/keys/${await onlyKeyOf("rotating")}`;
	const rotated = await call(node, admin, "POST", `${path}/rotate`, { grace_seconds: 1 });
	expect(rotated.status).toBe(200);
	const during = await list(old);
	expect(during.status).toBe(200);
	expect(during.headers.get("x-api-key-deprecated")).toBe("true");
	const endsAt = Date.parse(during.headers.get("x-api-key-expires") ?? "");
	const fresh = await list(rotated.body.api_key);
	expect([fresh.status, fresh.headers.get("x-api-key-deprecated")]).toEqual([200, null]);
	expect(codeOf(await call(node, admin, "POST", `${path}/rotate`, {}))).toEqual([409, "CONFLICT"]);
	let answer = during;
	while (answer.status === 200) {
		await Bun.sleep(50);
		answer = await list(old);
	}
	expect(Date.now()).toBeGreaterThanOrEqual(endsAt);
	expect(codeOf(answer)).toEqual([401, "AUTH_KEY_EXPIRED"]);
	expect((await list(rotated.body.api_key)).status).toBe(200);
});

test("a revoked key is refused by the very next request, and other keys are not", async () => {
	const revoked = await newTenant(node, "revoking");
	const kept = await newKey(node, "revoking", ["READ_ONLY"]);
	expect((await list(revoked)).status).toBe(200);
	const keys = (await call(node, admin, "GET", "/tenants/revoking/keys")).body.keys;
	const target = keys.find((each: { permissions: string[] }) => each.permissions[0] === "READ_WRITE").api_key_id;
	expect((await call(node, admin, "DELETE", `/tenants/rotating/keys/${target}`)).body.code).toBe("KEY_NOT_FOUND");
	expect((await call(node, admin, "DELETE", `/tenants/revoking/keys/${target}`)).status).toBe(200);
	expect(codeOf(await list(revoked))).toEqual([401, "AUTH_INVALID"]);
	expect((await list(kept)).status).toBe(200);
	const validated = await call(node, undefined, "POST", "/cluster/keys/validate", { api_key: revoked });
	expect(validated.body).toEqual({ valid: false, error: "AUTH_INVALID" });
});

test("a suspended tenant is refused until it is resumed, and an admin can still look after it", async () => {
	const key = await newTenant(node, "resting");
	await call(node, key, "POST", "/collections", { name: "docs", dimension: 2 });
	expect((await call(node, admin, "PATCH", "/tenants/resting", { active: false })).status).toBe(200);
	expect(codeOf(await list(key))).toEqual([403, "TENANT_SUSPENDED"]);
	expect((await list(admin, { "x-tenant-id": "resting" })).body.collections).toHaveLength(1);
	expect((await call(node, admin, "PATCH", "/tenants/resting", { active: true })).status).toBe(200);
	expect((await list(key)).body.collections).toHaveLength(1);
});

test("a quota refusal names what is there, changes nothing, says when to come back, and ends when it is raised", async () => {
	const key = await newTenant(node, "bounded", { quota: { max_vectors: 2, max_collections: 1 } });
	await call(node, key, "POST", "/collections", { name: "docs", dimension: 2 });
	const second = await call(node, key, "POST", "/collections", { name: "more", dimension: 2 });
	expect(codeOf(second)).toEqual([429, "QUOTA_EXCEEDED"]);
	expect(Number(second.headers.get("retry-after"))).toBeGreaterThan(0);
	const three = { vectors: [1, 2, 3].map((id) => ({ id, vector: [id, 1] })) };
	const refused = await call(node, key, "POST", "/collections/docs/vectors", three);
	expect(codeOf(refused)).toEqual([429, "QUOTA_EXCEEDED"]);
	expect(refused.body.details.usage).toEqual({ current: 0, limit: 2, requested: 3, available: 2 });
	expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
	expect((await call(node, key, "GET", "/usage")).body.vectors).toBe(0);
	await call(node, admin, "PATCH", "/tenants/bounded", { quota: { max_vectors: 3 } });
	expect((await call(node, key, "POST", "/collections/docs/vectors", three)).status).toBe(200);
	// Replacing needs no room.
	expect((await call(node, key, "POST", "/collections/docs/vectors", three)).status).toBe(200);
});

test("every answer to a known key shows its limits; who names a foreign tenant pays as well", async () => {
	const key = await newTenant(node, "counted", { requestsPerMinute: 5 });
	const answers = [
		await list(key),
		await call(node, key, "GET", "/collections/none"),
		await call(node, key, "GET", "/tenants"),
		await list(key, { "x-tenant-id": "rotating" }),
		await list(key, { "x-tenant-id": "never-used" }),
	];
	expect(answers.map(({ status }) => status)).toEqual([200, 404, 403, 404, 404]);
	for (const { headers } of answers) {
		expect(headers.get("x-tenant-id")).toBe("counted");
		expect(headers.get("x-ratelimit-limit")).toBe("5");
		for (const name of ["x-request-id", "x-ratelimit-reset", "x-storage-used", "x-storage-quota"]) {
			expect(headers.get(name), name).not.toBeNull();
		}
	}
	// What is refused costs as much as what is done.
	expect(answers.map(({ headers }) => headers.get("x-ratelimit-remaining"))).toEqual(["4", "3", "2", "1", "0"]);
	const refused = await list(key, { "x-tenant-id": "never-used" });
	expect(codeOf(refused)).toEqual([429, "RATE_LIMITED"]);
	expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
});

test("deleting a tenant under load removes keys and files, and what follows finds nothing", async () => {
	const key = await newTenant(node, "leaving");
	await call(node, key, "POST", "/collections", { name: "docs", dimension: 2, shards: 3 });
	const write = (id: number) =>
		call(node, key, "POST", "/collections/docs/vectors", { vectors: [{ id, vector: [1, id] }] });
	await write(0);
	const writes = Array.from({ length: 40 }, (_, index) => write(index + 1));
	const makes = Array.from({ length: 5 }, (_, index) =>
		call(node, key, "POST", "/collections", { name: `late-${index}`, dimension: 2 }),
	);
	const deleted = call(node, admin, "DELETE", "/tenants/leaving");
	for (const { status } of await Promise.all([...writes, ...makes])) expect([200, 201, 401, 404]).toContain(status);
	expect((await deleted).body).toEqual({ deleted: true });
	expect(codeOf(await list(key))).toEqual([401, "AUTH_INVALID"]);
	expect(codeOf(await call(node, admin, "GET", "/tenants/leaving"))).toEqual([404, "TENANT_NOT_FOUND"]);
	expect(codeOf(await call(node, admin, "DELETE", "/tenants/leaving"))).toEqual([404, "TENANT_NOT_FOUND"]);
	expect(existsSync(join(node.dataDir, "tenants", "leaving"))).toBe(false);
	expect(readdirSync(join(node.dataDir, "trash"))).toEqual([]);
});

test("of many that create one name at once exactly one succeeds, and deletions in between harm no one", async () => {
	const key = await newTenant(node, "racing");
	const make = () => call(node, key, "POST", "/collections", { name: "one", dimension: 2, shards: 2 });
	const made = await Promise.all(Array.from({ length: 50 }, make));
	expect(made.filter(({ status }) => status === 201)).toHaveLength(1);
	expect(made.filter(({ body }) => body.code === "COLLECTION_EXISTS")).toHaveLength(49);
	const mixed = await Promise.all(
		Array.from({ length: 90 }, (_, index) => {
			if (index % 6 === 0) return call(node, key, "DELETE", "/collections/one");
			if (index % 6 === 1) return make();
			if (index % 6 < 4) return call(node, key, "POST", "/collections/one/search", { vector: [1, 2] });
			return call(node, key, "POST", "/collections/one/vectors", { vectors: [{ id: "same", vector: [1, index] }] });
		}),
	);
	for (const { status, body } of mixed) expect([200, 201, 404, 409], JSON.stringify(body)).toContain(status);
	const listed = (await list(key)).body.collections as { vectors: number }[];
	const usage = (await call(node, key, "GET", "/usage")).body;
	expect(usage.vectors).toBe(listed.reduce((sum, each) => sum + each.vectors, 0));
	expect(usage.collections).toBe(listed.length);
});

test("what the node keeps is its owner's alone to read", async () => {
	const key = await newTenant(node, "private");
	await call(node, key, "POST", "/collections", { name: "docs", dimension: 2 });
	// Whoever can't pass these can't reach what lies beneath.
	const open = readdirSync(node.dataDir).filter((name) => (statSync(join(node.dataDir, name)).mode & 0o077) !== 0);
	expect(open).toEqual([]);
});

test("a second node on the same folder is refused and does not disturb the first", async () => {
	const second = Bun.spawn([BINARY, "serve", "--cluster", "--data-dir", node.dataDir, "--port", "0"], {
		stdout: "ignore",
		stderr: "pipe",
	});
	expect(await second.exited).toBe(1);
	expect(await new Response(second.stderr).text()).toContain("in use");
	expect((await call(node, undefined, "GET", "/api/v1/../../ready")).status).toBe(200);
});

test("SIGTERM while inserting loses no acknowledged write, and ends with exit code 0", async () => {
	const dataDir = node.dataDir;
	const key = await newTenant(node, "draining");
	await call(node, key, "POST", "/collections", { name: "docs", dimension: 4, shards: 2 });
	const acknowledged: number[] = [];
	let nextId = 0;
	let isOver = false;
	const insert = async (): Promise<void> => {
		while (!isOver) {
			const id = nextId++;
			const vectors = [{ id, vector: [1, 2, 3, id] }];
			// A refused connection is what a client sees of a node that is gone.
			const answer = await call(node, key, "POST", "/collections/docs/vectors", { vectors }).catch(() => undefined);
			if (answer?.status === 200) acknowledged.push(id);
			else isOver = true;
		}
	};
	const clients = Array.from({ length: 16 }, insert);
	while (acknowledged.length < 300) await Bun.sleep(1);
	await node.stop();
	expect(node.process.exitCode).toBe(0);
	await Promise.all(clients);
	node = await LocalNode.start({ dataDir });
	const found = await call(node, key, "POST", "/collections/docs/vectors/get", { ids: acknowledged });
	expect(found.body.vectors).toHaveLength(acknowledged.length);
	const { count } = (await call(node, key, "POST", "/collections/docs/vectors/count", {})).body;
	expect((await call(node, key, "GET", "/usage")).body.vectors).toBeGreaterThanOrEqual(count);
	expect(node.adminKey()).toBe(admin);
});
