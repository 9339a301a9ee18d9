import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LocalNode } from "../../scripts/local-node.ts";
import { call, newTenant, scrollAll } from "./client.ts";
import { cosine, randomVector, seededRandom } from "./random.ts";

setDefaultTimeout(120_000);

const SEED = Number(process.env.CRASH_SEED ?? 20_261);
const ROUNDS = Number(process.env.CRASH_ROUNDS ?? 12);
const WRITERS = 6;
const IDS_PER_WRITER = 150;
const DIMENSION = 8;
const COLLECTIONS = [
	{ name: "scanned", index: "exact", shards: 1 },
	{ name: "graphed", index: "hnsw", shards: 1 },
	{ name: "sharded", index: "hnsw", shards: 3 },
];

/** What an id may hold: a version of its vector, or nothing. */
type State = { readonly version: number; readonly vector: readonly number[] } | undefined;

const folder = mkdtempSync(join(tmpdir(), "hive-vector-crash-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test(`kill -9 at random instants loses no acknowledged write and revives nothing deleted (seed ${SEED})`, async () => {
	const random = seededRandom(SEED);
	const dataDir = join(folder, "data");
	let node = await LocalNode.start({ dataDir });
	const key = await newTenant(node, "crash");
	for (const { name, index, shards } of COLLECTIONS) {
		const made = await call(node, key, "POST", "/collections", { name, dimension: DIMENSION, index, shards });
		expect(made.status).toBe(201);
	}
	const acknowledged = new Map<string, State>();
	let version = 0;

	for (let round = 0; round < ROUNDS; round++) {
		/** What may or may not have happened when the process died. */
		const uncertain = new Map<string, State>();
		const dying = node;
		let dead = false;
		const writers = Array.from({ length: WRITERS }, async (_, writer) => {
			while (!dead) {
				const collection = (COLLECTIONS[Math.floor(random() * COLLECTIONS.length)] as { name: string }).name;
				const idCount = 1 + Math.floor(random() * 20);
				const ids = new Set(
					Array.from({ length: idCount }, () => writer * IDS_PER_WRITER + Math.floor(random() * IDS_PER_WRITER)),
				);
				const isDelete = random() < 0.25;
				const intended = new Map<string, State>();
				for (const id of ids) {
					version += 1;
					intended.set(
						`${collection}/${id}`,
						isDelete ? undefined : { version, vector: randomVector(random, DIMENSION) },
					);
				}
				for (const [place, state] of intended) uncertain.set(place, state);
				const path = `/collections/${collection}/vectors`;
				try {
					const answer = isDelete
						? await call(dying, key, "POST", `${path}/delete`, { ids: [...ids] })
						: await call(dying, key, "POST", path, {
								vectors: [...ids].map((id) => {
									const state = intended.get(`${collection}/${id}`) as NonNullable<State>;
									return { id, vector: state.vector, payload: { version: state.version } };
								}),
							});
					expect(answer.status, JSON.stringify(answer.body)).toBe(200);
				} catch (error) {
					if (dead) return;
					throw error;
				}
				for (const [place, state] of intended) {
					acknowledged.set(place, state);
					uncertain.delete(place);
				}
			}
		});
		await Bun.sleep(30 + random() * 500);
		dead = true;
		await dying.kill();
		await Promise.all(writers);

		node = await LocalNode.start({ dataDir });
		for (const { name } of COLLECTIONS) {
			const found = await scrollAll(node, key, name);
			for (let id = 0; id < WRITERS * IDS_PER_WRITER; id++) {
				const place = `${name}/${id}`;
				const stored = found.get(id);
				const allowed = [acknowledged.get(place), ...(uncertain.has(place) ? [uncertain.get(place)] : [])];
				const match = allowed.find((state) => state?.version === stored?.payload?.version);
				if (stored !== undefined) {
					expect(match, `${place} holds a version that was never written last (round ${round})`).toBeDefined();
					expect(stored.vector.map(Math.fround)).toEqual([...(match as NonNullable<State>).vector]);
				} else {
					expect(allowed.includes(undefined), `${place} is lost (round ${round})`).toBe(true);
				}
				acknowledged.set(place, match);
			}
			await searchAgrees(node, key, name, found, random);
		}
	}
	await node.stop();
	expect(node.process.exitCode).toBe(0);
});

/** Each hit exists with exactly that score, and the hits are those of a brute-force search. */
async function searchAgrees(
	node: LocalNode,
	key: string,
	collection: string,
	stored: Map<string | number, { vector: number[] }>,
	random: () => number,
): Promise<void> {
	let wanted = 0;
	let found = 0;
	for (let query = 0; query < 10; query++) {
		const vector = randomVector(random, DIMENSION);
		const answer = await call(node, key, "POST", `/collections/${collection}/search`, {
			vector,
			limit: 10,
			ef_search: 128,
		});
		expect(answer.status, JSON.stringify(answer.body)).toBe(200);
		const scores = [...stored.values()].map((row) => cosine(vector, row.vector)).sort((a, b) => b - a);
		const bound = scores[Math.min(10, scores.length) - 1] ?? 0;
		for (const hit of answer.body.results) {
			const row = stored.get(hit.id);
			expect(row, `${collection} finds ${hit.id}, which is not stored`).toBeDefined();
			expect(Math.abs(hit.score - cosine(vector, (row as { vector: number[] }).vector))).toBeLessThan(1e-6);
			if (hit.score >= bound - 1e-6) found += 1;
		}
		expect(answer.body.results.length).toBe(Math.min(10, stored.size));
		wanted += Math.min(10, scores.length);
	}
	expect(found / Math.max(1, wanted)).toBeGreaterThanOrEqual(0.98);
}
