import { afterAll, expect, test } from "bun:test";
import { join } from "node:path";
import type { Filter } from "../../src/base/filter.ts";
import type { VectorId } from "../../src/base/ids.ts";
import { Shard } from "../../src/storage/shard.ts";
import type { ShardConfig } from "../../src/storage/shard-types.ts";
import { bm25Oracle, type Words } from "./bm25-oracle.ts";
import { crashCopy } from "./crash-copy.ts";
import {
	type Entry,
	put,
	randomVector,
	searchOne,
	seededRandom,
	shardConfig,
	shardDeps,
	temporaryFolder,
} from "./shard-fixture.ts";

const folder = temporaryFolder();
afterAll(() => folder.remove());

const DIMENSION = 4;
const COLOURS = ["red", "green", "blue"] as const;
/** Few words are frequent, many are rare, as in any language. */
const VOCABULARY = Array.from({ length: 400 }, (_, rank) => `w${rank}x`);

interface Document extends Entry {
	readonly payload: { readonly title?: string; readonly body?: string | readonly string[]; readonly colour: string };
}

/** What the shard should hold, and the words of it. */
class Model {
	readonly entries = new Map<VectorId, Document>();
	readonly #random: () => number;

	constructor(random: () => number) {
		this.#random = random;
	}

	pick(count: number): number {
		return Math.floor(this.#random() * count);
	}

	words(countMax: number): string {
		return Array.from({ length: this.pick(countMax) }, () => {
			return VOCABULARY[Math.floor(VOCABULARY.length ** this.#random()) - 1];
		}).join(" ");
	}

	id(): VectorId {
		const number = this.pick(300);
		return number % 3 === 0 ? String(number) : number;
	}

	document(): Document {
		const payload = {
			...(this.pick(3) > 0 && { title: this.words(4) }),
			...(this.pick(5) > 0 && { body: this.pick(4) > 0 ? this.words(30) : [this.words(5), this.words(5)] }),
			colour: COLOURS[this.pick(3)]!,
		};
		return { id: this.id(), vector: randomVector(this.#random, DIMENSION), payload };
	}

	async step(shard: Shard, other: Shard): Promise<void> {
		switch (this.pick(8)) {
			case 0:
			case 1:
			case 2: {
				const documents = Array.from({ length: 1 + this.pick(40) }, () => this.document());
				for (const document of documents) this.entries.set(document.id, document);
				// Some at once share a commit, and some ids stand in it twice.
				const half = documents.length >> 1;
				await Promise.all([put(shard, documents.slice(0, half)), put(shard, documents.slice(half))]);
				return;
			}
			case 3: {
				const id = this.id();
				const found = this.entries.get(id);
				if (found === undefined) return;
				const title = this.words(6);
				await shard.update({ id, payloadPatch: JSON.stringify({ title, body: null }) }, {});
				const { body: _, ...rest } = found.payload;
				this.entries.set(id, { ...found, payload: { ...rest, title } });
				return;
			}
			case 4: {
				const id = this.id();
				const found = this.entries.get(id);
				if (found === undefined) return;
				const vector = randomVector(this.#random, DIMENSION);
				await shard.update({ id, vector }, {});
				this.entries.set(id, { ...found, vector });
				return;
			}
			case 5: {
				const ids = Array.from({ length: 1 + this.pick(20) }, () => this.id());
				for (const id of ids) this.entries.delete(id);
				await shard.delete({ ids });
				return;
			}
			case 6: {
				// What another copy holds comes over, its deletions too.
				const documents = [
					...new Map(Array.from({ length: 8 }, () => this.document()).map((one) => [one.id, one])).values(),
				];
				await put(other, documents);
				const gone = documents.slice(0, 2).map(({ id }) => id);
				await other.delete({ ids: gone });
				await shard.merge(await other.rows(documents.map(({ id }) => id)));
				for (const document of documents) this.entries.set(document.id, document);
				for (const id of gone) this.entries.delete(id);
				return;
			}
			default: {
				const colour = COLOURS[this.pick(3)]!;
				const filter: Filter = { must: [{ key: "colour", match: { value: colour } }] };
				if (this.pick(4) > 0) return;
				for (const [id, { payload }] of this.entries) if (payload.colour === colour) this.entries.delete(id);
				await shard.delete({ filter });
			}
		}
	}

	async check(shard: Shard): Promise<void> {
		const documents = new Map<VectorId, Words>();
		for (const [id, { payload }] of this.entries) {
			const texts = [payload.title, payload.body].flat().filter((text) => text !== undefined);
			documents.set(
				id,
				texts
					.join(" ")
					.split(" ")
					.filter((word) => word !== ""),
			);
		}
		for (let round = 0; round < 4; round++) {
			const text = `${this.words(6)} ${VOCABULARY[this.pick(5)]} w0x unheard`;
			const query = text.split(" ").filter((word) => word !== "");
			const colour = COLOURS[this.pick(3)]!;
			const k = [1, 3, 10, 1_000][this.pick(4)]!;
			const expected = bm25Oracle(documents, query);
			await expectHits(shard, { lexical: { text }, k }, expected);
			await expectHits(
				shard,
				{ lexical: { text }, k, filter: { must: [{ key: "colour", match: { value: colour } }] } },
				expected.filter(({ id }) => this.entries.get(id)!.payload.colour === colour),
			);
		}
	}
}

async function expectHits(
	shard: Shard,
	request: Parameters<typeof searchOne>[1] & { readonly k: number },
	expected: readonly { readonly id: VectorId; readonly score: number }[],
): Promise<void> {
	const { hits } = await searchOne(shard, request);
	expect(hits.length).toBe(Math.min(request.k, expected.length));
	const scores = new Map(expected.map(({ id, score }) => [id, score]));
	for (const [rank, { id, score }] of hits.entries()) {
		// Equal scores may differ in their last digit, and so in their order.
		expect(Math.abs(score - expected[rank]!.score)).toBeLessThan(1e-9);
		expect(Math.abs(score - scores.get(id)!)).toBeLessThan(1e-9);
	}
}

const VARIANTS: readonly Partial<ShardConfig>[] = [
	{},
	{ payloadIndexes: { colour: "keyword" } },
	{ isReplicated: true, index: "hnsw", payloadIndexes: { title: "text" } },
];

for (const [variant, changes] of VARIANTS.entries()) {
	test(`scores are BM25's over random writes, restarts and crashes: ${JSON.stringify(changes)}`, async () => {
		const random = seededRandom(variant + 11);
		const model = new Model(random);
		const lexical = { fields: ["title", "body"], language: "none" } as const;
		const config = shardConfig({ dimension: DIMENSION, lexical, ...changes });
		const deps = shardDeps({ exactVectorCountMax: 40 });
		const other = await Shard.create(join(folder.path, `other-${variant}`), { ...config, lexical: undefined }, deps);
		let path = join(folder.path, `model-${variant}`);
		let shard = await Shard.create(path, config, deps);
		for (let round = 0; round < 16; round++) {
			for (let step = 0; step < 8; step++) {
				await model.step(shard, other);
				if (step % 4 === 3) await model.check(shard);
			}
			if (round % 2 === 0) {
				await shard.close();
				shard = await Shard.open(path, config, deps);
			} else if (round % 4 === 1) {
				const copy = `${path}-${round}`;
				crashCopy(path, copy);
				await shard.close();
				path = copy;
				shard = await Shard.open(path, config, deps);
			}
			await model.check(shard);
		}
		await shard.close();
		await other.close();
	});
}
