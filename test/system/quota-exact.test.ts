import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LocalNode } from "../../scripts/local-node.ts";
import { type Answer, call, newTenant, scrollAll } from "./client.ts";
import { randomVector, seededRandom } from "./random.ts";

setDefaultTimeout(120_000);

const SEED = Number(process.env.QUOTA_SEED ?? 5);
const ROUNDS = Number(process.env.QUOTA_ROUNDS ?? 4);
const WRITERS = 8;
const DIMENSION = 4;
/** Collections and their shards. */
const COLLECTIONS = new Map([
	["one", 1],
	["split", 3],
]);

const folder = mkdtempSync(join(tmpdir(), "hive-vector-quota-"));
const running: LocalNode[] = [];
afterAll(async () => {
	await Promise.all(running.map((node) => node.kill()));
	rmSync(folder, { recursive: true, force: true });
});

async function start(dataDir: string): Promise<LocalNode> {
	const node = await LocalNode.start({ dataDir });
	running.push(node);
	return node;
}

/** What the tenant's vectors take by the rule that tenants are told: 4 bytes a number, the payload, and 64. */
async function countStored(node: LocalNode, key: string): Promise<{ vectors: number; bytes: number }> {
	let vectors = 0;
	let bytes = 0;
	for (const name of COLLECTIONS.keys()) {
		for (const { payload } of (await scrollAll(node, key, name)).values()) {
			vectors++;
			bytes += 4 * DIMENSION + 64 + (payload === undefined ? 0 : Buffer.byteLength(JSON.stringify(payload)));
		}
	}
	return { vectors, bytes };
}

async function usage(node: LocalNode, key: string): Promise<{ vectors: number; bytes: number }> {
	const { status, body } = await call(node, key, "GET", "/usage");
	expect(status, JSON.stringify(body)).toBe(200);
	return { vectors: body.vectors, bytes: body.storage.used_bytes };
}

async function makeTenant(node: LocalNode, quota: Record<string, number>): Promise<string> {
	const key = await newTenant(node, "acme", { quota });
	for (const [name, shards] of COLLECTIONS) {
		const made = await call(node, key, "POST", "/collections", { name, dimension: DIMENSION, shards });
		expect(made.status, JSON.stringify(made.body)).toBe(201);
	}
	return key;
}

test(`concurrent writes never pass a quota, and usage is what is stored, also after kill -9 (seed ${SEED})`, async () => {
	const random = seededRandom(SEED);
	const quota = { max_vectors: 400, max_storage_bytes: 60_000 };
	const dataDir = join(folder, "concurrent");
	let node = await start(dataDir);
	const key = await makeTenant(node, quota);
	const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!;
	const newId = (): number => Math.floor(random() * 900);
	const payload = () => (random() < 0.3 ? undefined : { text: "ü".repeat(Math.floor(random() * 60)) });

	const oneWrite = (at: LocalNode): Promise<Answer> => {
		const path = `/collections/${pick([...COLLECTIONS.keys()])}/vectors`;
		const vectors = Array.from({ length: 1 + Math.floor(random() * 12) }, () => ({
			id: newId(),
			vector: randomVector(random, DIMENSION),
			...(random() < 0.7 && { payload: payload() }),
		}));
		const choice = random();
		if (choice < 0.7) return call(at, key, "POST", path, { vectors });
		if (choice < 0.85) return call(at, key, "PATCH", `${path}/${newId()}`, { payload: { more: "x".repeat(40) } });
		return call(at, key, "POST", `${path}/delete`, { ids: vectors.map(({ id }) => id) });
	};

	let refused = 0;
	for (let round = 0; round < ROUNDS; round++) {
		const dying = node;
		let isDead = false;
		const writers = Array.from({ length: WRITERS }, async () => {
			for (let write = 0; write < 60 && !isDead; write++) {
				const answer = await oneWrite(dying).catch((error: unknown) => {
					if (!isDead) throw error;
				});
				if (answer === undefined) return;
				if (answer.body.code === "QUOTA_EXCEEDED") refused++;
				else if (answer.status !== 404) expect(answer.status, JSON.stringify(answer.body)).toBe(200);
			}
		});
		const watcher = (async () => {
			for (let look = 0; look < 20 && !isDead; look++) {
				const used = await usage(dying, key).catch(() => undefined);
				if (used === undefined) return;
				expect(used.vectors).toBeLessThanOrEqual(quota.max_vectors);
				expect(used.bytes).toBeLessThanOrEqual(quota.max_storage_bytes);
			}
		})();
		// In the last round nobody dies: what is left is then exactly what was counted all along.
		const isLast = round === ROUNDS - 1;
		if (!isLast) {
			await Bun.sleep(100 + random() * 300);
			isDead = true;
			await dying.kill();
		}
		await Promise.all([...writers, watcher]);
		if (!isLast) node = await start(dataDir);
		const stored = await countStored(node, key);
		expect(await usage(node, key)).toEqual(stored);
		expect(stored.vectors).toBeLessThanOrEqual(quota.max_vectors);
		expect(stored.bytes).toBeLessThanOrEqual(quota.max_storage_bytes);
	}
	expect(refused).toBeGreaterThan(0);
	await node.stop();
});

test("a quota is used to the last vector and byte; deletes give back, and replacing counts the difference", async () => {
	const node = await start(join(folder, "exact"));
	const vectorBytes = 4 * DIMENSION + 64;
	// Ten vectors, and 20 bytes more.
	const key = await makeTenant(node, { max_storage_bytes: 10 * vectorBytes + 20 });
	const path = "/collections/split/vectors";
	const vector = [1, 2, 3, 4];
	const insert = (ids: number[], payload?: object) =>
		call(node, key, "POST", path, { vectors: ids.map((id) => ({ id, vector, ...(payload && { payload }) })) });

	// Forty at once for room for ten.
	const answers = await Promise.all(Array.from({ length: 40 }, (_, id) => insert([id])));
	const taken = answers.flatMap((answer, id) => (answer.status === 200 ? [id] : []));
	expect(taken).toHaveLength(10);
	const refused = answers.find((answer) => answer.status !== 200)!;
	expect([refused.status, refused.body.code]).toEqual([429, "QUOTA_EXCEEDED"]);
	expect(refused.body.details.usage.quota_bytes).toBe(10 * vectorBytes + 20);
	expect(await usage(node, key)).toEqual({ vectors: 10, bytes: 10 * vectorBytes });

	// Replacing costs what it adds: `{"a":"xxxxxxxxxxxx"}` is 20 bytes, and one more is one too many.
	const [first = 0, second = 0] = taken;
	expect((await insert([first], { a: "x".repeat(13) })).status).toBe(429);
	expect((await insert([first], { a: "x".repeat(12) })).status).toBe(200);
	expect((await usage(node, key)).bytes).toBe(10 * vectorBytes + 20);
	expect((await insert([second], { b: 1 })).status).toBe(429);
	// Shorter by 2, and there is room for 2 bytes and not for 7.
	expect((await insert([first], { a: "x".repeat(10) })).status).toBe(200);
	expect((await insert([second], {})).status).toBe(200);
	expect((await call(node, key, "PATCH", `${path}/${second}`, { payload: { b: 1 } })).status).toBe(429);
	expect((await usage(node, key)).bytes).toBe(10 * vectorBytes + 20);

	expect((await insert([100])).status).toBe(429);
	expect((await call(node, key, "DELETE", `${path}/${second}`)).status).toBe(200);
	expect((await insert([100])).status).toBe(200);
	expect(await usage(node, key)).toEqual({ vectors: 10, bytes: 10 * vectorBytes + 18 });
	expect((await call(node, key, "DELETE", "/collections/split")).status).toBe(200);
	expect(await usage(node, key)).toEqual({ vectors: 0, bytes: 0 });
	await node.stop();
});
