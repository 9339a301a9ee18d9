import { afterAll, expect, test } from "bun:test";
import { join } from "node:path";
import fc from "fast-check";
import type { VectorId } from "../../src/base/ids.ts";
import { Shard } from "../../src/storage/shard.ts";
import type { WriteResult } from "../../src/storage/shard-types.ts";
import { batchOf, contentOf, versionAt, versionOf } from "./copy-fixture.ts";
import { crashCopy } from "./crash-copy.ts";
import { shardConfig, shardDeps, temporaryFolder } from "./shard-fixture.ts";

const folder = temporaryFolder();
afterAll(() => folder.remove());

const DIMENSION = 3;
const IDS: readonly VectorId[] = [0, 1, 2, 3, 4, "0", "1", "ü"];
const COLOURS = ["red", "green"] as const;
const NOW_MS = 1_000;
const BUCKETS = [0, 1, 2, 3];
const config = shardConfig({ dimension: DIMENSION, isReplicated: true, payloadIndexes: { colour: "keyword" } });
let shardCount = 0;

/** A write that came to the cluster once, and reaches each copy in its own time, maybe more than once. */
interface ClusterWrite {
	readonly ids: readonly VectorId[];
	readonly version: Uint8Array;
	/** Undefined deletes. */
	readonly document: { readonly vector: Float32Array; readonly payload: string | undefined } | undefined;
}

const idsGiven = fc.subarray([...IDS], { minLength: 1 });
const documentGiven = fc.record({
	vector: fc
		.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: -9, max: 9 }), fc.integer({ min: -9, max: 9 }))
		.map((numbers) => Float32Array.from(numbers)),
	payload: fc.option(
		fc
			.record({ colour: fc.constantFrom(...COLOURS), note: fc.string({ maxLength: 5 }) })
			.map((it) => JSON.stringify(it)),
		{ nil: undefined },
	),
});

/** Versions are of all times before and after the clock of those who store them; no two are the same. */
const writesGiven = fc
	.array(
		fc.record({
			ids: idsGiven,
			ms: fc.integer({ min: 990, max: 1_010 }),
			node: fc.constantFrom("node-a", "node-b"),
			document: fc.option(documentGiven, { nil: undefined, freq: 2 }),
		}),
		{ minLength: 1, maxLength: 14 },
	)
	.map((writes) =>
		writes.map(
			({ ids, ms, node, document }, at): ClusterWrite => ({ ids, document, version: versionAt(ms, at, node) }),
		),
	);

/** What one copy goes through: the indexes of writes in their order there, and what comes between. */
type Step =
	| { readonly kind: "write"; readonly at: number }
	| { readonly kind: "merge"; readonly from: number; readonly ids: readonly VectorId[] }
	| { readonly kind: "reopen" | "crash" };

const restGiven = fc.oneof(
	{ weight: 4, arbitrary: fc.nat({ max: 50 }).map((at) => ({ kind: "write" as const, at })) },
	{ weight: 4, arbitrary: fc.record({ kind: fc.constant("merge" as const), from: fc.nat({ max: 2 }), ids: idsGiven }) },
	{ weight: 1, arbitrary: fc.constantFrom({ kind: "reopen" as const }, { kind: "crash" as const }) },
);

class Copy {
	shard!: Shard;
	vectorCount = 0;
	bytes = 0;
	#path = join(folder.path, `copy-${shardCount++}`);
	readonly #deps = shardDeps({ clock: { nowMs: () => NOW_MS, monotonicMs: () => performance.now() } });

	static async create(): Promise<Copy> {
		const copy = new Copy();
		copy.shard = await Shard.create(copy.#path, config, copy.#deps);
		return copy;
	}

	async write({ ids, version, document }: ClusterWrite): Promise<void> {
		const result =
			document === undefined
				? await this.shard.delete({ ids }, version)
				: await this.shard.upsert(batchOf(ids, document.vector, document.payload), {}, version);
		this.add(result);
	}

	async mergeFrom(other: Copy, ids: readonly VectorId[]): Promise<void> {
		this.add(await this.shard.merge(await other.shard.rows(ids)));
	}

	add({ vectorCountDelta, bytesDelta }: WriteResult): void {
		this.vectorCount += vectorCountDelta;
		this.bytes += bytesDelta;
	}

	async restart(kind: "reopen" | "crash"): Promise<void> {
		if (kind === "crash") {
			const path = join(folder.path, `copy-${shardCount++}`);
			crashCopy(this.#path, path);
			await this.shard.close();
			this.#path = path;
		} else await this.shard.close();
		this.shard = await Shard.open(this.#path, config, this.#deps);
	}

	async content() {
		const { seq: _, ...digest } = await this.shard.digest(4);
		const rows = contentOf(await this.shard.rows(IDS), DIMENSION);
		const list = await this.shard.versions(4, BUCKETS);
		const listed = contentOf({ ...list, vectors: new Float32Array(0), payloads: [] }, 0);
		const red = await this.shard.count({ must: [{ key: "colour", match: { value: "red" } }] });
		return { digest, rows, listed, red };
	}
}

/** What is left of writes when for each id the newest counts. */
function expectedRows(writes: readonly ClusterWrite[]) {
	const rows: Record<string, unknown> = {};
	const newestLast = [...writes].sort((a, b) => Buffer.compare(a.version, b.version));
	for (const { ids, version, document } of newestLast) {
		for (const id of ids) {
			rows[JSON.stringify(id)] = {
				version: Buffer.from(version).toString("hex"),
				isDeleted: document === undefined,
				vector: document === undefined ? undefined : [...document.vector],
				payload: document?.payload,
			};
		}
	}
	return rows;
}

test("copies given the same writes in any order, repeated, merged, restarted or killed, are the same in the end", async () => {
	const scenario = writesGiven.chain((writes) => {
		const every = writes.map((_, at): Step => ({ kind: "write", at }));
		const stepsGiven = fc
			.array(restGiven, { maxLength: 10 })
			.chain((rest) => fc.shuffledSubarray([...every, ...rest], { minLength: every.length + rest.length }));
		return fc.record({ writes: fc.constant(writes), plans: fc.tuple(stepsGiven, stepsGiven, stepsGiven) });
	});
	await fc.assert(
		fc.asyncProperty(scenario, fc.integer({ min: 1, max: 4 }), async ({ writes, plans }, together) => {
			const copies = await Promise.all(plans.map(() => Copy.create()));
			const longest = Math.max(...plans.map((plan) => plan.length));
			for (let at = 0; at < longest; at += together) {
				for (const [index, plan] of plans.entries()) {
					const copy = copies[index]!;
					// Those that arrive together share a commit.
					const steps = plan.slice(at, at + together);
					await Promise.all(
						steps.map(async (step) => {
							if (step.kind === "write") await copy.write(writes[step.at % writes.length]!);
							if (step.kind === "merge") await copy.mergeFrom(copies[step.from]!, step.ids);
						}),
					);
					for (const { kind } of steps) if (kind === "reopen" || kind === "crash") await copy.restart(kind);
				}
			}
			const expected = expectedRows(writes);
			const [first, ...others] = await Promise.all(copies.map((copy) => copy.content()));
			expect(first!.rows).toEqual(expected);
			for (const other of others) expect(other).toEqual(first!);
			for (const copy of copies) {
				const { vectorCount, bytes } = await copy.shard.stats();
				expect({ vectorCount: copy.vectorCount, bytes: copy.bytes }).toEqual({ vectorCount, bytes });
				await copy.restart("reopen");
				expect(await copy.content()).toEqual(first!);
				await copy.shard.close();
			}
		}),
		{ numRuns: 40, seed: 4 },
	);
}, 60_000);

test("digests are equal exactly when what lives is the same in the same versions", async () => {
	const stateGiven = fc.uniqueArray(
		fc.record({ id: fc.constantFrom(...IDS), ms: fc.integer({ min: 1, max: 2 }), isDeleted: fc.boolean() }),
		{ selector: ({ id }) => JSON.stringify(id), maxLength: 4 },
	);
	const livingOf = (state: readonly { id: VectorId; ms: number; isDeleted: boolean }[]) =>
		state
			.filter(({ isDeleted }) => !isDeleted)
			.map(({ id, ms }) => `${JSON.stringify(id)} ${ms}`)
			.sort()
			.join();
	await fc.assert(
		fc.asyncProperty(stateGiven, stateGiven, fc.constantFrom(1, 2, 64), async (one, other, bucketCount) => {
			const digests = [];
			for (const state of [one, other]) {
				const { shard } = await Copy.create();
				for (const { id, ms, isDeleted } of state) {
					if (isDeleted) await shard.delete({ ids: [id] }, versionAt(ms));
					else await shard.upsert(batchOf([id], Float32Array.of(1, 2, 3)), {}, versionAt(ms));
				}
				digests.push((await shard.digest(bucketCount)).sums);
				await shard.close();
			}
			expect(Buffer.compare(new Uint8Array(digests[0]!.buffer), new Uint8Array(digests[1]!.buffer)) === 0).toBe(
				livingOf(one) === livingOf(other),
			);
		}),
		{ numRuns: 60, seed: 5 },
	);
}, 60_000);

test("what is written without a version is newer than what it replaces, whatever clock that came from, also after a kill", async () => {
	const stepGiven = fc.oneof(
		fc.record({ kind: fc.constantFrom("upsert" as const, "delete" as const), id: fc.constantFrom(0, 1, 2) }),
		fc.record({
			kind: fc.constantFrom("put" as const, "remove" as const),
			id: fc.constantFrom(0, 1, 2),
			ms: fc.integer({ min: 900, max: 5_000 }),
		}),
		fc.record({ kind: fc.constantFrom("update" as const, "reopen" as const, "crash" as const), id: fc.constant(0) }),
	);
	await fc.assert(
		fc.asyncProperty(fc.array(stepGiven, { maxLength: 25 }), async (steps) => {
			const copy = await Copy.create();
			const vector = Float32Array.of(1, 2, 3);
			for (const [at, step] of steps.entries()) {
				const { id } = step;
				const before = (await versionOf(copy.shard, id)) ?? "";
				const [found] = await copy.shard.get([id], { withPayload: false, withVector: false });
				switch (step.kind) {
					case "put":
						await copy.shard.upsert(batchOf([id], vector), {}, versionAt(step.ms, at));
						continue;
					case "remove":
						await copy.shard.delete({ ids: [id] }, versionAt(step.ms, at));
						continue;
					case "reopen":
					case "crash":
						await copy.restart(step.kind);
						expect((await versionOf(copy.shard, id)) ?? "").toBe(before);
						continue;
					case "upsert":
						await copy.shard.upsert(batchOf([id], vector), {});
						break;
					case "delete":
						await copy.shard.delete({ ids: [id] });
						if (found === undefined) continue;
						break;
					case "update":
						if (found === undefined) continue;
						await copy.shard.update({ id, payloadPatch: '{"a":1}' }, {});
				}
				expect((await versionOf(copy.shard, id))! > before).toBe(true);
			}
			await copy.shard.close();
		}),
		{ numRuns: 40, seed: 6 },
	);
}, 60_000);
