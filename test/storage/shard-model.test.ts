import { afterAll, expect, test } from "bun:test";
import { join } from "node:path";
import type { Filter } from "../../src/base/filter.ts";
import type { VectorId } from "../../src/base/ids.ts";
import { VECTOR_OVERHEAD_BYTES } from "../../src/base/limits.ts";
import { compareIds } from "../../src/storage/id-order.ts";
import { Shard } from "../../src/storage/shard.ts";
import type { ShardConfig } from "../../src/storage/shard-types.ts";
import { crashCopy } from "./crash-copy.ts";
import {
	bruteForce,
	type Entry,
	failureOf,
	graphReady,
	put,
	randomVector,
	recallOf,
	searchOne,
	seededRandom,
	shardConfig,
	shardDeps,
	temporaryFolder,
} from "./shard-fixture.ts";

const folder = temporaryFolder();
afterAll(() => folder.remove());

const DIMENSION = 6;
const COLOURS = ["red", "green", "blue"] as const;

/** The shard and what it should hold, changed side by side. */
class Model {
	readonly entries = new Map<VectorId, Entry>();
	readonly #random: () => number;

	constructor(random: () => number) {
		this.#random = random;
	}

	pick(count: number): number {
		return Math.floor(this.#random() * count);
	}

	someId(): VectorId {
		const number = this.pick(120);
		return number % 3 === 0 ? String(number) : number;
	}

	entry(): Entry {
		const vector = randomVector(this.#random, DIMENSION);
		const id = this.someId();
		return this.pick(5) === 0 ? { id, vector } : { id, vector, payload: this.payload() };
	}

	payload(): Record<string, unknown> {
		return { colour: COLOURS[this.pick(3)]!, size: this.pick(10), "naïve ✓": "ü".repeat(this.pick(4)) };
	}

	async step(shard: Shard): Promise<void> {
		switch (this.pick(7)) {
			case 0:
			case 1:
			case 2: {
				const entries = Array.from({ length: 1 + this.pick(12) }, () => this.entry());
				const before = this.entries.size;
				for (const entry of entries) this.entries.set(entry.id, entry);
				const result = await put(shard, entries);
				expect(result.affectedCount).toBe(new Set(entries.map(({ id }) => id)).size);
				expect(result.vectorCountDelta).toBe(this.entries.size - before);
				return;
			}
			case 3: {
				const id = this.someId();
				const vector = randomVector(this.#random, DIMENSION);
				const found = this.entries.get(id);
				if (found === undefined) {
					expect((await failureOf(() => shard.update({ id, vector }, {}))).code).toBe("VECTOR_NOT_FOUND");
					return;
				}
				await shard.update({ id, vector }, {});
				this.entries.set(id, { ...found, vector });
				return;
			}
			case 4: {
				const id = this.someId();
				const found = this.entries.get(id);
				if (found === undefined) return;
				await shard.update({ id, payloadPatch: '{"size":99,"colour":null}' }, {});
				const { colour: _, ...rest } = found.payload ?? {};
				this.entries.set(id, { ...found, payload: { ...rest, size: 99 } });
				return;
			}
			case 5: {
				const ids = Array.from({ length: 1 + this.pick(8) }, () => this.someId());
				const there = new Set(ids.filter((id) => this.entries.has(id)));
				for (const id of there) this.entries.delete(id);
				expect((await shard.delete({ ids })).affectedCount).toBe(there.size);
				return;
			}
			default: {
				const size = this.pick(10);
				const matching = [...this.entries.values()].filter(({ payload }) => payload?.size === size);
				for (const { id } of matching) this.entries.delete(id);
				const filter: Filter = { must: [{ key: "size", match: { value: size } }] };
				expect((await shard.delete({ filter })).affectedCount).toBe(matching.length);
			}
		}
	}

	async check(shard: Shard, config: ShardConfig): Promise<void> {
		const stats = await shard.stats();
		expect(stats.vectorCount).toBe(this.entries.size);
		let bytes = 0;
		for (const { payload } of this.entries.values()) {
			bytes += DIMENSION * 4 + VECTOR_OVERHEAD_BYTES;
			bytes += payload === undefined ? 0 : Buffer.byteLength(JSON.stringify(payload));
		}
		expect(stats.bytes).toBe(bytes);
		const ids = [...this.entries.keys()].sort(compareIds);
		const page = await shard.scroll({ limit: 1_000, withPayload: true, withVector: true });
		expect(page.vectors.map(({ id }) => id)).toEqual(ids);
		for (const { id, payload, vector } of page.vectors) {
			const entry = this.entries.get(id)!;
			expect(vector).toEqual(entry.vector);
			expect(payload === undefined ? undefined : JSON.parse(payload)).toEqual(entry.payload);
		}
		const colour = COLOURS[this.pick(3)]!;
		const filter: Filter = { must: [{ key: "colour", match: { value: colour } }] };
		const matching = [...this.entries.values()].filter(({ payload }) => payload?.colour === colour);
		expect(await shard.count(filter)).toBe(matching.length);
		const query = randomVector(this.#random, DIMENSION);
		for (const [entries, request] of [
			[this.entries.values(), {}],
			[matching, { filter }],
		] as const) {
			const expected = bruteForce(config.metric, entries, query, 5);
			const { hits } = await searchOne(shard, { vector: query, k: 5, withVector: true, ...request });
			expect(hits.length).toBe(expected.length);
			expect(recallOf(hits, expected)).toBeGreaterThanOrEqual(config.index === "exact" ? 1 : 0.6);
			for (const hit of hits) {
				expect(hit.vector).toEqual(this.entries.get(hit.id)!.vector);
				const [exact] = bruteForce(config.metric, [this.entries.get(hit.id)!], query, 1);
				expect(hit.score).toBeCloseTo(exact!.score, 6);
			}
		}
	}
}

const VARIANTS: readonly Partial<ShardConfig>[] = [
	{ index: "exact" },
	{ index: "hnsw", quantization: "i8" },
	{ index: "auto", metric: "euclidean", payloadIndexes: { colour: "keyword", size: "integer" } },
	{ index: "auto", metric: "dot", quantization: "f16", payloadIndexes: { colour: "keyword" } },
	{ index: "auto", lexical: { fields: ["colour", '"naïve ✓"'], language: "english" } },
];

for (const [variant, changes] of VARIANTS.entries()) {
	test(`random writes over restarts and crashes leave what a map would hold: ${JSON.stringify(changes)}`, async () => {
		const random = seededRandom(variant + 1);
		const model = new Model(random);
		const config = shardConfig({ dimension: DIMENSION, ...changes });
		const deps = shardDeps({ exactVectorCountMax: 40 });
		let path = join(folder.path, `model-${variant}`);
		let shard = await Shard.create(path, config, deps);
		for (let round = 0; round < 24; round++) {
			for (let step = 0; step < 12; step++) {
				await model.step(shard);
				if (step % 4 === 3) await model.check(shard, config);
			}
			if (round % 3 === 0) await graphReady(shard);
			if (round % 2 === 0) {
				await shard.close();
				shard = await Shard.open(path, config, deps);
			} else if (round % 4 === 1) {
				// What a killed process leaves behind: the files as they are, nothing closed.
				const copy = `${path}-${round}`;
				crashCopy(path, copy);
				await shard.close();
				path = copy;
				shard = await Shard.open(path, config, deps);
			}
			await model.check(shard, config);
		}
		await shard.close();
	});
}
