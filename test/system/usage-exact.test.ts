import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../../scripts/free-port.ts";
import { type Answer, call, newTenant } from "./client.ts";
import { randomVector, seededRandom } from "./random.ts";
import { ServerProcess } from "./server-process.ts";

setDefaultTimeout(120_000);

const SEED = Number(process.env.USAGE_SEED ?? 77);
const ROUNDS = Number(process.env.USAGE_ROUNDS ?? 8);
const CALLERS = 3;
const DIMENSION = 4;
const KINDS = ["requests", "searches", "vectors_written"] as const;
type Counts = Record<(typeof KINDS)[number], number>;

const folder = mkdtempSync(join(tmpdir(), "hive-vector-usage-"));
const running: ServerProcess[] = [];
afterAll(async () => {
	await Promise.all(running.map((server) => server.kill()));
	rmSync(folder, { recursive: true, force: true });
});

function add(counts: Counts, more: Counts): void {
	for (const kind of KINDS) counts[kind] += more[kind];
}

test(`the hub's totals equal what was answered, whenever node or hub is killed (seed ${SEED})`, async () => {
	const random = seededRandom(SEED);
	const hub = new ServerProcess("hub", join(folder, "hub"), freePort(), {});
	running.push(hub);
	await hub.start();
	const serviceKey = hub.secret("service.key");
	const node = new ServerProcess("serve", join(folder, "node"), freePort(), {
		HIVE_VECTOR_CLUSTER_ENABLED: "true",
		HIVE_VECTOR_HUB_MODE: "remote",
		HIVE_VECTOR_HUB_API_URL: hub.url,
		HIVE_VECTOR_HUB_SERVICE_API_KEY: serviceKey,
		HIVE_VECTOR_HUB_USAGE_REPORT_INTERVAL: "1",
		HIVE_VECTOR_HUB_TIMEOUT_SECONDS: "2",
		HIVE_VECTOR_HUB_RETRIES: "0",
	});
	running.push(node);
	await node.start();
	const admin = Object.assign(node.asNode, {
		adminKey: () => hub.secret("admin.key"),
		call: async (key: string, method: string, path: string, body: unknown) =>
			(await call(node.asNode, key, method, path, body)).body,
	});
	const key = await newTenant(admin, "acme");
	const ask = (method: string, path: string, body?: unknown): Promise<Answer> =>
		call(node.asNode, key, method, path, body);

	/** What was answered, and what was on its way when the node died. */
	const answered: Counts = { requests: 0, searches: 0, vectors_written: 0 };
	const unknown: Counts = { requests: 0, searches: 0, vectors_written: 0 };
	expect((await ask("POST", "/collections", { name: "docs", dimension: DIMENSION })).status).toBe(201);
	answered.requests++;

	const oneRequest = async (isOver: () => boolean): Promise<void> => {
		const choice = random();
		const vectors = Array.from({ length: 1 + Math.floor(random() * 3) }, () => ({
			id: Math.floor(random() * 1_000_000),
			vector: randomVector(random, DIMENSION),
		}));
		const searches = vectors.map(({ vector }) => ({ vector, limit: 2 }));
		const [path, body, counts, status]: [string, unknown, Counts, number] =
			choice < 0.4
				? ["vectors", { vectors }, { requests: 1, searches: 0, vectors_written: vectors.length }, 200]
				: choice < 0.7
					? ["search", searches[0], { requests: 1, searches: 1, vectors_written: 0 }, 200]
					: choice < 0.9
						? ["search/batch", { searches }, { requests: 1, searches: searches.length, vectors_written: 0 }, 200]
						: ["search", { vector: [1] }, { requests: 1, searches: 0, vectors_written: 0 }, 400];
		let answer: Answer;
		try {
			answer = await ask("POST", `/collections/docs/${path}`, body);
		} catch (error) {
			if (!isOver()) throw error;
			add(unknown, counts);
			return;
		}
		expect(answer.status, JSON.stringify(answer.body)).toBe(status);
		add(answered, counts);
	};

	for (let round = 0; round < ROUNDS; round++) {
		const victim = round % 2 === 0 ? node : hub;
		let isOver = false;
		const callers = Array.from({ length: CALLERS }, async () => {
			while (!isOver) await oneRequest(() => isOver);
		});
		// Any instant will do, most of all those around a report.
		await Bun.sleep(200 + random() * 1_000);
		if (victim === node) isOver = true;
		await victim.kill();
		if (victim === hub) {
			// The node goes on with what it knows.
			for (let request = 0; request < 5; request++) await oneRequest(() => false);
			isOver = true;
		}
		await Promise.all(callers);
		await victim.start();
	}

	const own = (await ask("GET", "/usage")).body.activity as Counts;
	answered.requests++;
	for (const kind of KINDS) {
		expect(own[kind], kind).toBeGreaterThanOrEqual(answered[kind]);
		expect(own[kind], kind).toBeLessThanOrEqual(answered[kind] + unknown[kind]);
	}
	const atHub = async (): Promise<Counts> => {
		const { body } = await call(hub.asNode, serviceKey, "GET", "/usage?tenant_id=acme");
		const { requests, searches, vectors_written } = body.usage[0];
		return { requests, searches, vectors_written };
	};
	let totals = await atHub();
	while (totals.requests < own.requests) {
		await Bun.sleep(50);
		totals = await atHub();
	}
	expect(totals).toEqual(own);
});

test("spent tokens stay spent when the node is killed", async () => {
	const node = new ServerProcess("serve", join(folder, "limited"), freePort(), {
		HIVE_VECTOR_CLUSTER_ENABLED: "true",
	});
	running.push(node);
	await node.start();
	const ask = (key: string, method: string, path: string, body?: unknown) => call(node.asNode, key, method, path, body);
	const adminKey = node.secret("admin.key");
	const rate_limits = { requests_per_minute: 100, requests_per_hour: 20, mcp_requests_per_minute: 5 };
	await ask(adminKey, "POST", "/tenants", { id: "acme", name: "acme", rate_limits });
	const { api_key } = (await ask(adminKey, "POST", "/tenants/acme/keys", { permissions: ["READ_ONLY"] })).body;
	const admitted = async (): Promise<number> => {
		let count = 0;
		while ((await ask(api_key, "GET", "/collections")).status === 200) count++;
		return count;
	};
	for (let request = 0; request < 12; request++) await ask(api_key, "GET", "/collections");
	await node.kill();
	await node.start();
	// A token of this hour's bucket takes three minutes to come back.
	expect(await admitted()).toBe(8);
	await node.kill();
	await node.start();
	expect(await admitted()).toBe(0);
	// Raised by ten, there are ten more.
	const raised = { ...rate_limits, requests_per_hour: 30 };
	expect((await ask(adminKey, "PATCH", "/tenants/acme", { rate_limits: raised })).status).toBe(200);
	expect(await admitted()).toBe(10);
});
