import { HiveError } from "../base/errors.ts";
import type { Filter } from "../base/filter.ts";
import type { VectorId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { Consistency, PayloadIndexType } from "../base/schemas.ts";
import type { CollectionPatch, CollectionRecord } from "../hub/models.ts";
import { sumStatistics, type TextStatistics } from "../storage/bm25.ts";
import type {
	ReadOptions,
	SearchAnswer,
	SearchRequest,
	Selector,
	ShardStats,
	StoredVector,
	UpdateRequest,
	UpsertBatch,
	WriteAllowance,
	WriteResult,
} from "../storage/shard-types.ts";
import { type AdmittedWriter, updateDemand, upsertDemand } from "./admitted-writer.ts";
import type { CollectionShards } from "./collection-shards.ts";
import { mergeAnswers, mergeStats } from "./hit-merge.ts";
import { decodeCursor, encodeCursor, mergePages } from "./scroll-cursor.ts";
import { ShardRouter } from "./shard-router.ts";
import type { Collection } from "./tenant-types.ts";

/** Changes the record at the hub: given the current one, says what to change, or undefined for nothing. */
export type ChangeRecord = (
	decide: (current: CollectionRecord) => CollectionPatch | undefined,
) => Promise<CollectionRecord>;

export interface LocalCollectionParts {
	readonly shards: CollectionShards;
	readonly writer: AdmittedWriter;
	readonly changeRecord: ChangeRecord;
	/**
	 * Sees to it that as many copies are made, or dropped, as are wanted from now on. To be called before the record says so.
	 *
	 * @returns the version of the topology that the record has to name; undefined on a node without one
	 */
	readonly changeReplicas: (replicas: number) => Promise<number | undefined>;
	/** The shards as they are to be called once the record has changed. */
	readonly shardsOf: (record: CollectionRecord) => CollectionShards;
}

/** A collection as seen from this node: splits what it is asked by shard and merges what comes back. */
export class LocalCollection implements Collection {
	readonly record: CollectionRecord;
	readonly #parts: LocalCollectionParts;
	readonly #shards: CollectionShards;
	readonly #router: ShardRouter;

	constructor(parts: LocalCollectionParts) {
		this.record = parts.shards.record;
		this.#parts = parts;
		this.#shards = parts.shards;
		this.#router = new ShardRouter(parts.shards.count);
	}

	async upsert(batch: UpsertBatch, consistency?: Consistency): Promise<WriteResult> {
		return this.#parts.writer.write(
			upsertDemand(batch, this.record.dimension),
			this.#router.splitBatch(batch).map(({ shardIndex, part }) => {
				const write = (allowance: WriteAllowance): Promise<WriteResult> =>
					this.#shards.call(shardIndex, (shard) => shard.upsert(part, allowance, consistency));
				return {
					shardIndex,
					measure: () => this.#shards.call(shardIndex, (shard) => shard.measure({ upsert: part })),
					write: () => write({}),
					writeWithin: write,
				};
			}),
		);
	}

	async update(request: UpdateRequest, consistency?: Consistency): Promise<WriteResult> {
		const shardIndex = this.#router.shardOf(request.id);
		const write = (allowance: WriteAllowance): Promise<WriteResult> =>
			this.#shards.call(shardIndex, (shard) => shard.update(request, allowance, consistency));
		return this.#parts.writer.write(updateDemand(request), [
			{
				shardIndex,
				measure: () => this.#shards.call(shardIndex, (shard) => shard.measure({ update: request })),
				write: () => write({}),
				writeWithin: write,
			},
		]);
	}

	async delete(selector: Selector, consistency?: Consistency): Promise<WriteResult> {
		return this.#parts.writer.shrink(
			this.#splitSelector(selector).map(({ shardIndex, part }) => ({
				shardIndex,
				write: () => this.#shards.call(shardIndex, (shard) => shard.delete(part, consistency)),
			})),
		);
	}

	async get(
		ids: readonly VectorId[],
		options: ReadOptions,
		consistency?: Consistency,
	): Promise<readonly (StoredVector | undefined)[]> {
		const found = new Array<StoredVector | undefined>(ids.length);
		await Promise.all(
			this.#router.splitIds(ids).map(async ({ shardIndex, part: positions }) => {
				const asked = positions.map((position) => ids[position]!);
				const stored = await this.#shards.call(shardIndex, (shard) => shard.get(asked, options, consistency));
				for (const [index, position] of positions.entries()) found[position] = stored[index];
			}),
		);
		return found;
	}

	async count(filter: Filter | undefined, consistency?: Consistency): Promise<number> {
		const counts = await this.#shards.callAll((shard) => shard.count(filter, consistency));
		return counts.reduce((sum, count) => sum + count, 0);
	}

	async scroll(
		request: ReadOptions & { filter?: Filter; limit: number; cursor?: string; after?: VectorId },
		consistency?: Consistency,
	): Promise<{ vectors: readonly StoredVector[]; cursor: string | null }> {
		const { cursor, ...rest } = request;
		const asked = { ...rest, ...(cursor === undefined ? {} : { after: decodeCursor(cursor) }) };
		const pages = await this.#shards.callAll((shard) => shard.scroll(asked, consistency));
		const { vectors, next } = mergePages(pages, request.limit);
		return { vectors, cursor: next === undefined ? null : encodeCursor(next) };
	}

	async search(requests: readonly SearchRequest[], consistency?: Consistency): Promise<readonly SearchAnswer[]> {
		if (this.#shards.count === 1) return this.#shards.call(0, (shard) => shard.search(requests, consistency));
		const [vectors, statistics] = await Promise.all([
			this.#vectorsById(requests, consistency),
			this.#textStatistics(requests, consistency),
		]);
		const byShard = await Promise.all(
			Array.from({ length: this.#shards.count }, (_, shardIndex) => {
				const asked = requests.map((request) => this.#requestFor(shardIndex, request, vectors, statistics));
				return this.#shards.call(shardIndex, (shard) => shard.search(asked, consistency));
			}),
		);
		return requests.map((request, index) =>
			mergeAnswers(
				byShard.map((answers) => answers[index]!),
				request.k,
				request.lexical === undefined && this.record.metric === "euclidean" ? "lowest" : "highest",
			),
		);
	}

	async stats(): Promise<ShardStats> {
		return mergeStats(await this.#shards.callAll((shard) => shard.stats()));
	}

	async createPayloadIndex(field: string, type: PayloadIndexType): Promise<CollectionRecord> {
		const record = await this.#parts.changeRecord((current) => {
			const indexes = current.payload_indexes;
			if (Object.hasOwn(indexes, field)) {
				if (indexes[field] === type) return undefined;
				throw new HiveError("CONFLICT", `field ${field} is indexed as ${indexes[field]}; drop that index first`, {
					field: "type",
				});
			}
			if (Object.keys(indexes).length >= LIMITS.payloadIndexesMax) {
				throw new HiveError(
					"VALIDATION_FAILED",
					`a collection has at most ${LIMITS.payloadIndexesMax} payload indexes`,
					{
						field: "field",
					},
				);
			}
			return { payload_indexes: { ...indexes, [field]: type } };
		});
		// Asked also when the record has it already: an attempt before may have got no further than the hub.
		await this.#parts.shardsOf(record).callAll((shard) => shard.createPayloadIndex(field, type));
		return record;
	}

	async dropPayloadIndex(field: string): Promise<CollectionRecord> {
		const record = await this.#parts.changeRecord((current) => {
			if (!Object.hasOwn(current.payload_indexes, field)) return undefined;
			const { [field]: _, ...left } = current.payload_indexes;
			return { payload_indexes: left };
		});
		await this.#parts.shardsOf(record).callAll((shard) => shard.dropPayloadIndex(field));
		return record;
	}

	/** An open shard hears of it with its next call. */
	async reconfigure(patch: CollectionPatch): Promise<CollectionRecord> {
		if (patch.replicas === undefined) return this.#parts.changeRecord(() => patch);
		const version = await this.#parts.changeReplicas(patch.replicas);
		return this.#parts.changeRecord(() => (version === undefined ? patch : { ...patch, topology_version: version }));
	}

	#splitSelector(selector: Selector): { shardIndex: number; part: Selector }[] {
		if ("filter" in selector) {
			return Array.from({ length: this.#shards.count }, (_, shardIndex) => ({ shardIndex, part: selector }));
		}
		return this.#router.splitIds(selector.ids).map(({ shardIndex, part: positions }) => ({
			shardIndex,
			part: { ids: positions.map((position) => selector.ids[position]!) },
		}));
	}

	/** The stored vectors that requests name by id. @throws VECTOR_NOT_FOUND */
	async #vectorsById(
		requests: readonly SearchRequest[],
		consistency: Consistency | undefined,
	): Promise<ReadonlyMap<VectorId, Float32Array>> {
		const ids = new Set<VectorId>();
		for (const { id } of requests) if (id !== undefined) ids.add(id);
		const vectors = new Map<VectorId, Float32Array>();
		if (ids.size === 0) return vectors;
		const asked = [...ids];
		const stored = await this.get(asked, { withPayload: false, withVector: true }, consistency);
		for (const [index, id] of asked.entries()) {
			const vector = stored[index]?.vector;
			if (vector === undefined) {
				throw new HiveError("VECTOR_NOT_FOUND", `vector ${JSON.stringify(id)} does not exist`, { id });
			}
			vectors.set(id, vector);
		}
		return vectors;
	}

	/** How often the words of each text are said in all shards: what makes a word rare must not depend on the shard. */
	async #textStatistics(
		requests: readonly SearchRequest[],
		consistency: Consistency | undefined,
	): Promise<ReadonlyMap<string, TextStatistics>> {
		const texts = [...new Set(requests.flatMap(({ lexical }) => (lexical === undefined ? [] : [lexical.text])))];
		if (texts.length === 0) return new Map();
		const byShard = await this.#shards.callAll((shard) => shard.textStatistics(texts, consistency));
		return new Map(texts.map((text, index) => [text, sumStatistics(byShard.map((ofTexts) => ofTexts[index]!))]));
	}

	/**
	 * The owner of the id is asked by id, so that it leaves the vector itself out; the others are given the vector. Texts go along with
	 * what is known of their words.
	 */
	#requestFor(
		shardIndex: number,
		request: SearchRequest,
		vectors: ReadonlyMap<VectorId, Float32Array>,
		statistics: ReadonlyMap<string, TextStatistics>,
	): SearchRequest {
		const { id, lexical, ...rest } = request;
		if (lexical !== undefined) {
			return { ...request, lexical: { text: lexical.text, statistics: statistics.get(lexical.text)! } };
		}
		if (id === undefined || this.#router.shardOf(id) === shardIndex) return request;
		return { ...rest, vector: vectors.get(id)! };
	}
}
