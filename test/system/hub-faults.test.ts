import { afterAll, afterEach, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../../scripts/free-port.ts";
import { LocalNode } from "../../scripts/local-node.ts";
import { MISDEEDS, MisbehavingHub } from "../hub/misbehaving-hub.ts";
import { type Answer, call } from "./client.ts";
import { ServerProcess } from "./server-process.ts";

setDefaultTimeout(60_000);

const folder = mkdtempSync(join(tmpdir(), "hive-vector-hub-"));
const unknownKey = (index: number) => `hh_live_${String(index).padStart(32, "x")}`;

/** Asks a hub as another node would. */
async function askHub(
	hub: ServerProcess,
	method: string,
	path: string,
	body?: unknown,
): Promise<{ status: number; text: string }> {
	const answer = await fetch(`${hub.url}/api/v1${path}`, {
		method,
		headers: { authorization: `Bearer ${hub.secret("service.key")}`, "content-type": "application/json" },
		...(body !== undefined && { body: JSON.stringify(body) }),
	});
	return { status: answer.status, text: await answer.text() };
}

describe("a node and a hub that are processes of their own, and what lies between them", () => {
	const hub = new ServerProcess("hub", join(folder, "hub"), freePort(), {});
	const way = new MisbehavingHub(async (request) => {
		const { pathname, search } = new URL(request.url);
		try {
			const answer = await fetch(`${hub.url}${pathname}${search}`, {
				method: request.method,
				headers: { authorization: request.headers.get("authorization") ?? "", "content-type": "application/json" },
				signal: request.signal,
				...(request.method !== "GET" && { body: await request.text() }),
			});
			return new Response(await answer.text(), { status: answer.status });
		} catch {
			return new Response("nobody answers", { status: 502 });
		}
	});
	let node: LocalNode;
	let unknownCount = 0;
	let collectionCount = 0;

	beforeAll(async () => {
		await hub.start();
		node = await LocalNode.start({
			dataDir: join(folder, "node"),
			env: {
				HIVE_VECTOR_HUB_MODE: "remote",
				HIVE_VECTOR_HUB_API_URL: way.url,
				HIVE_VECTOR_HUB_SERVICE_API_KEY: hub.secret("service.key"),
				HIVE_VECTOR_HUB_TIMEOUT_SECONDS: "1",
				HIVE_VECTOR_HUB_RETRIES: "1",
				// Keys that nobody knows are asked for by the dozen here.
				HIVE_VECTOR_AUTH_BRUTE_FORCE_FAILURES: "100000",
				HIVE_VECTOR_LOG_LEVEL: "fatal",
			},
		});
		const made = await call(node, hub.secret("admin.key"), "POST", "/tenants", { id: "acme", name: "Acme" });
		expect(made.status).toBe(201);
	});
	afterAll(async () => {
		await node?.stop();
		await way.leave();
		await hub.kill();
		rmSync(folder, { recursive: true, force: true });
	});
	afterEach(() => {
		way.misdeed = () => undefined;
	});

	const newKey = async (): Promise<{ key: string; id: string; hash: string }> => {
		const { text } = await askHub(hub, "POST", "/tenants/acme/keys", {
			name: "app",
			permissions: ["READ_WRITE"],
			environment: "live",
			expires_at: null,
		});
		const { api_key, record } = JSON.parse(text);
		return { key: api_key, id: record.api_key_id, hash: new Bun.CryptoHasher("sha256").update(api_key).digest("hex") };
	};
	const list = (key: string): Promise<Answer> => call(node, key, "GET", "/collections");
	const createCollection = (key: string): Promise<Answer> =>
		call(node, key, "POST", "/collections", { name: `c${collectionCount++}`, dimension: 2 });
	/** CONTRACT section 6, while the hub is of no use. */
	const expectCachedOnly = async (known: string) => {
		const [cached, fresh, made, stranger] = await Promise.all([
			list(known),
			newKeyUnknownHere,
			createCollection(known),
			list(unknownKey(unknownCount++)),
		]);
		expect(cached, JSON.stringify(cached.body)).toMatchObject({ status: 200 });
		expect((await list(fresh.key)).status).toBe(503);
		for (const refused of [made, stranger]) {
			expect({ status: refused.status, code: refused.body.code }).toEqual({ status: 503, code: "HUB_UNAVAILABLE" });
		}
	};
	/** Made while the hub could be asked, and never used here. */
	let newKeyUnknownHere: ReturnType<typeof newKey>;
	const expectHubUsed = async (known: string) => {
		const { key } = await newKeyUnknownHere;
		// A moment may pass until somebody tries.
		await until(async () => (await list(key)).status === 200);
		await until(async () => (await createCollection(known)).status === 201);
		expect((await list(unknownKey(unknownCount++))).status).toBe(401);
	};
	/** A key that the node answers without the hub: what it asked for while it heard of changes it does not keep. */
	const knownKey = async (): ReturnType<typeof newKey> => {
		const minted = await newKey();
		await until(async () => {
			const askedCount = way.asked.length;
			expect((await list(minted.key)).status).toBe(200);
			return way.asked.length === askedCount;
		});
		return minted;
	};

	test("a key revoked at the hub is refused within a second of it", async () => {
		const { key, id } = await newKey();
		expect((await list(key)).status).toBe(200);
		expect((await askHub(hub, "POST", `/keys/${id}/revoke`)).status).toBe(200);
		const startMs = performance.now();
		await until(async () => (await list(key)).status === 401);
		expect(performance.now() - startMs).toBeLessThan(1_000);
	});

	test("a suspension, a quota and a rate limit set at the hub hold without anyone asking for them", async () => {
		await askHub(hub, "POST", "/tenants", { id: "globex", name: "Globex" });
		const minted = await askHub(hub, "POST", "/tenants/globex/keys", { name: "app", permissions: ["READ_WRITE"] });
		const key: string = JSON.parse(minted.text).api_key;
		expect((await call(node, key, "POST", "/collections", { name: "docs", dimension: 2 })).status).toBe(201);
		const insert = () => call(node, key, "POST", "/collections/docs/vectors", { vectors: [{ id: 1, vector: [1, 2] }] });
		expect((await insert()).status).toBe(200);

		const quota = { max_storage_bytes: null, max_vectors: 1, max_collections: null };
		expect((await askHub(hub, "PUT", "/tenants/globex/quota", quota)).status).toBe(200);
		const another = { vectors: [{ id: 2, vector: [1, 2] }] };
		await until(async () => {
			const answer = await call(node, key, "POST", "/collections/docs/vectors", another);
			// What got in before the node heard of it makes room again.
			if (answer.status === 200) await call(node, key, "DELETE", "/collections/docs/vectors/2");
			return answer.body.code === "QUOTA_EXCEEDED";
		});
		const limits = { requests_per_minute: 7_777, requests_per_hour: 99_999, mcp_requests_per_minute: 7 };
		expect((await askHub(hub, "PATCH", "/tenants/globex", { rate_limits: limits })).status).toBe(200);
		await until(async () => (await list(key)).headers.get("x-ratelimit-limit") === "7777");
		expect((await askHub(hub, "PATCH", "/tenants/globex", { active: false })).status).toBe(200);
		await until(async () => (await list(key)).body.code === "TENANT_SUSPENDED");
		expect((await askHub(hub, "PATCH", "/tenants/globex", { active: true })).status).toBe(200);
		await until(async () => (await list(key)).status === 200);
	});

	for (const [name, misdeed] of Object.entries(MISDEEDS)) {
		test(`known keys go on and nobody else comes in while the hub ${name}, and all is well afterwards`, async () => {
			const { key: known } = await knownKey();
			newKeyUnknownHere = newKey();
			await newKeyUnknownHere;
			way.misdeed = misdeed;
			await expectCachedOnly(known);
			way.misdeed = () => undefined;
			await expectHubUsed(known);
		});
	}

	test("an answer from before a revocation does not bring the key back", async () => {
		const { key, id, hash } = await newKey();
		const before = await askHub(hub, "POST", "/keys/validate", { key_hash: hash });
		const known = await newKey();
		expect((await list(known.key)).status).toBe(200);
		await askHub(hub, "POST", `/keys/${id}/revoke`);
		// What the feed tells of in order has been heard when the last of it has.
		await askHub(hub, "POST", `/keys/${known.id}/revoke`);
		await until(async () => (await list(known.key)).status === 401);
		way.misdeed = (request) =>
			request.url.endsWith("/keys/validate") ? new Response(before.text, { status: before.status }) : undefined;
		expect((await list(key)).status).toBe(401);
	});

	test("known keys go on and nobody else comes in while the hub is dead, and it is used again once it is back", async () => {
		const { key: known } = await knownKey();
		newKeyUnknownHere = newKey();
		await newKeyUnknownHere;
		await hub.kill();
		await expectCachedOnly(known);
		await hub.start();
		await expectHubUsed(known);
	});

	test("known keys go on and nobody else comes in while nothing listens, and what happened meanwhile is heard of", async () => {
		const revoked = await knownKey();
		const { key: known } = await knownKey();
		newKeyUnknownHere = newKey();
		await newKeyUnknownHere;
		// The feed is read to its end when the next question is one it waits with.
		const { cursor } = JSON.parse((await askHub(hub, "GET", "/changes")).text);
		await until(() => way.cursors.at(-1) === cursor);
		await way.leave();
		await expectCachedOnly(known);
		await askHub(hub, "POST", `/keys/${revoked.id}/revoke`);
		expect((await list(revoked.key)).status).toBe(200);
		way.cursors.length = 0;
		way.comeBack();
		await until(async () => (await list(revoked.key)).status === 401);
		expect(way.cursors[0]).toBe(cursor);
		await expectHubUsed(known);
	});

	test("in steady state more than 99 of 100 requests touch no hub", async () => {
		const { key: known } = await knownKey();
		way.asked.length = 0;
		for (let index = 0; index < 500; index++) expect((await list(known)).status).toBe(200);
		expect(way.asked.length).toBeLessThan(5);
	});
});

/** Asks again until it is so. The test's own time limit ends it. */
async function until(isSo: () => Promise<boolean> | boolean): Promise<void> {
	while (!(await isSo())) await Bun.sleep(10);
}
