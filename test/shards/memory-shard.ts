import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { HiveError } from "../../src/base/errors.ts";
import type { VectorId } from "../../src/base/ids.ts";
import type { OpenShard } from "../../src/shards/shard-host.ts";
import type {
	ShardConfig,
	StoredVector,
	UpsertBatch,
	VersionedRows,
	WriteResult,
} from "../../src/storage/shard-types.ts";

/** What a test can watch and hold up in all shards it opened. */
export class ShardProbe {
	readonly events: string[] = [];
	memoryBytesPerShard = 1_000;
	/** Called before each call on a shard runs; may throw, or wait. */
	before: (folder: string, method: string) => void | Promise<void> = () => {};

	openShard = async (folder: string, config: ShardConfig): Promise<OpenShard> => {
		await this.before(folder, "open");
		if (!existsSync(join(folder, "data.json"))) {
			throw new HiveError("INTERNAL", "the shard is missing", undefined, { cause: new Error(`nothing in ${folder}`) });
		}
		this.events.push(`open ${folder}`);
		return memoryShard(folder, config, this, JSON.parse(readFileSync(join(folder, "data.json"), "utf8")));
	};

	createShard = async (folder: string, config: ShardConfig): Promise<OpenShard> => {
		await this.before(folder, "create");
		if (existsSync(folder)) throw new HiveError("CONFLICT", "the shard exists already");
		mkdirSync(folder);
		writeFileSync(join(folder, "data.json"), "[]");
		this.events.push(`create ${folder}`);
		return memoryShard(folder, config, this, []);
	};
}

/** A shard that stores ids only, enough to see which calls reached which shard in which order. */
function memoryShard(folder: string, config: ShardConfig, probe: ShardProbe, rows: readonly VectorId[]): OpenShard {
	const ids = new Set<VectorId>(rows);
	let current = config;
	const run = async <Result>(method: string, work: () => Result): Promise<Result> => {
		await probe.before(folder, method);
		probe.events.push(method);
		return work();
	};
	const insert = (batch: Pick<UpsertBatch, "ids" | "vectors">): WriteResult => {
		const before = ids.size;
		for (const id of batch.ids) ids.add(id);
		return {
			vectorCountDelta: ids.size - before,
			bytesDelta: batch.vectors.byteLength,
			affectedCount: batch.ids.length,
		};
	};
	const stored = (id: VectorId): StoredVector => ({ id, vector: new Float32Array(1_000).subarray(4, 6) });
	const rowsOf = (found: readonly VectorId[]): VersionedRows => ({
		ids: found,
		versions: new Uint8Array(found.length * 16),
		deleted: new Uint8Array(found.length),
		vectors: new Float32Array(found.length * 2).fill(1),
		payloads: found.map(() => undefined),
	});
	const nothing: WriteResult = { vectorCountDelta: 0, bytesDelta: 0, affectedCount: 0 };
	return {
		upsert: (batch) => run("upsert", () => insert(batch)),
		measure: () => run("measure", () => nothing),
		update: ({ id }) => run("update", () => ({ ...nothing, row: rowsOf([id]), wasBehind: false })),
		delete: () => run("delete", () => nothing),
		merge: (rows) => run("merge", () => insert(rows)),
		rows: (asked) => run("rows", () => rowsOf(asked.filter((id) => ids.has(id)))),
		digest: (bucketCount) =>
			run("digest", () => ({ seq: 0, bucketCount, sums: new Uint32Array(2 * bucketCount), vectorCount: ids.size })),
		versions: () => run("versions", () => rowsOf([...ids])),
		allowPurge: () => run("allowPurge", () => {}),
		get: (asked) => run("get", () => asked.map((id) => (ids.has(id) ? stored(id) : undefined))),
		count: () => run("count", () => ids.size),
		scroll: () => run("scroll", () => ({ vectors: [...ids].map(stored) })),
		search: (requests) =>
			run("search", () =>
				requests.map((request) => ({
					hits: [...ids].map((id) => ({ ...stored(id), score: request.k })),
					plan: { kind: "exact" as const, candidateCount: current.hnsw.ef_search },
				})),
			),
		textStatistics: (texts) =>
			run("textStatistics", () => texts.map(() => ({ documentCount: ids.size, tokenCount: 0, documentCounts: [] }))),
		stats: () => ({
			vectorCount: ids.size,
			bytes: 0,
			diskBytes: 0,
			memoryBytes: probe.memoryBytesPerShard,
			indexState: "exact",
			indexedCount: 0,
			tombstoneCount: 0,
		}),
		createPayloadIndex: () => run("createPayloadIndex", () => {}),
		dropPayloadIndex: () => run("dropPayloadIndex", () => {}),
		reconfigure: (changed) =>
			run("reconfigure", () => {
				if (changed.hnsw.ef_search === 13) throw new HiveError("VALIDATION_FAILED", "13 brings bad luck");
				current = changed;
			}),
		close: async () => {
			await probe.before(folder, "close");
			writeFileSync(join(folder, "data.json"), JSON.stringify([...ids]));
			probe.events.push(`close ${folder}`);
		},
	};
}
