import type { Dirent } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { HiveError } from "../base/errors.ts";
import type { Filter } from "../base/filter.ts";
import type { VectorId } from "../base/ids.ts";
import type { PayloadIndexType } from "../base/schemas.ts";
import type { TextStatistics } from "./bm25.ts";
import { CopyReader } from "./copy-reader.ts";
import { parsePayload } from "./documents.ts";
import { compileFilter } from "./filter-evaluator.ts";
import { exactVectorCountMax } from "./graph-keeper.ts";
import { compareIds, encodeId } from "./id-order.ts";
import { documentKey, keyId, PREFIX, prefixEnd, readDocument } from "./keyspace.ts";
import { Maintenance } from "./maintenance.ts";
import { Matcher } from "./matcher.ts";
import { Searcher } from "./searcher.ts";
import { ShardDigests } from "./shard-digests.ts";
import { createShardFolder, openShardState, SHARD_FILES, type ShardDeps } from "./shard-opening.ts";
import type { ShardState } from "./shard-state.ts";
import type {
	ReadOptions,
	ScrollPage,
	ScrollRequest,
	SearchAnswer,
	SearchRequest,
	Selector,
	ShardConfig,
	ShardDigest,
	ShardStats,
	StoredVector,
	UpdateRequest,
	UpdateResult,
	UpdateStamp,
	UpsertBatch,
	Version,
	VersionedRows,
	VersionList,
	WriteAllowance,
	WriteResult,
} from "./shard-types.ts";
import { breakVectorSeal, writeVectorSeal } from "./vector-seal.ts";
import { mergeCommand, updateRowCommand } from "./versioned-rows.ts";
import { WordSearcher } from "./word-searcher.ts";
import {
	deleteCommand,
	deleteVersionCommand,
	nothing,
	updateCommand,
	upsertCommand,
	type WriteCommand,
} from "./write-commands.ts";
import { Writer } from "./writer.ts";

const TOMBSTONE_RETENTION_MS = 24 * 60 * 60 * 1000;
const DELETED_PER_COMMAND_MAX = 1_000;
const NO_ALLOWANCE: WriteAllowance = {};
/** Memory of an open shard besides its graph and ids: database handles, buffers, tables. */
const FIXED_BYTES = 256 * 1024;
/** An id, its place by slot and its slot by id. */
const ID_BYTES = 120;

/**
 * One shard, open: documents in LevelDB, an index derived from them. Knows no tenant and no network. Calls may overlap; each
 * sees the writes that were acknowledged before it began. Errors are `HiveError`s; INTERNAL with "stored document is
 * damaged" or "the shard lost acknowledged writes" means that the disk did not keep what it was given.
 */
export class Shard {
	readonly #state: ShardState;
	readonly #writer: Writer;
	readonly #maintenance: Maintenance;
	readonly #matcher: Matcher;
	readonly #words: WordSearcher;
	readonly #searcher: Searcher;
	readonly #digests: ShardDigests;
	readonly #copyReader: CopyReader;
	#config: ShardConfig;
	#closing: Promise<void> | undefined;
	/** Calls under way, which `close` waits for. */
	readonly #calls = new Set<Promise<unknown>>();

	private constructor(state: ShardState, config: ShardConfig, deps: ShardDeps) {
		this.#state = state;
		this.#config = config;
		this.#writer = new Writer(state, () => breakVectorSeal(join(state.folder, SHARD_FILES.vectorSeal)));
		const retentionMs = deps.tombstoneRetentionMs ?? TOMBSTONE_RETENTION_MS;
		this.#maintenance = new Maintenance(state, this.#writer, retentionMs, () => this.#config.isReplicated);
		this.#matcher = new Matcher(state);
		this.#words = new WordSearcher(state, this.#matcher);
		this.#searcher = new Searcher(state, this.#matcher, this.#words, () => this.#config.hnsw.ef_search);
		this.#digests = new ShardDigests(state.slots, state.clock, () => state.committed.seq);
		this.#copyReader = new CopyReader(state, this.#digests);
	}

	/**
	 * Make an empty shard and open it.
	 *
	 * @throws HiveError CONFLICT when the folder exists.
	 */
	static async create(folder: string, config: ShardConfig, deps: ShardDeps): Promise<Shard> {
		await createShardFolder(folder, config, deps.log ?? (() => undefined));
		return await Shard.open(folder, config, deps);
	}

	/**
	 * Open a shard that `create` made. Never makes one: a folder, or a database in it, that has gone is an error.
	 *
	 * @throws HiveError INTERNAL when something is missing or damaged; CONFLICT when it is open elsewhere.
	 */
	static async open(folder: string, config: ShardConfig, deps: ShardDeps): Promise<Shard> {
		const state = await openShardState(folder, config, deps);
		const shard = new Shard(state, config, deps);
		shard.#resumeIndexing();
		shard.#maintenance.purgeWhenDue();
		return shard;
	}

	/** Take over what may change while a shard is open: `hnsw.ef_search`, `isReplicated`. */
	reconfigure(config: ShardConfig): void {
		this.#config = config;
	}

	/** What a write would change now, exactly; writes nothing. Throws what the write would. */
	async measure(write: { readonly upsert: UpsertBatch } | { readonly update: UpdateRequest }): Promise<WriteResult> {
		const { scorer } = this.#state;
		return await this.#call(async () =>
			this.#writer.measure(
				"upsert" in write
					? upsertCommand(write.upsert, NO_ALLOWANCE, scorer)
					: updateCommand(write.update, NO_ALLOWANCE, scorer),
			),
		);
	}

	/**
	 * All of it is written, or nothing; with a version, all of which no newer one is known.
	 *
	 * @throws HiveError DIMENSION_MISMATCH, INVALID_VECTOR, QUOTA_EXCEEDED; RangeError when the version is none.
	 */
	async upsert(batch: UpsertBatch, allowance: WriteAllowance, version?: Version): Promise<WriteResult> {
		return await this.#call(() => this.#write(upsertCommand(batch, allowance, this.#state.scorer, version)));
	}

	/** @throws HiveError VECTOR_NOT_FOUND, DIMENSION_MISMATCH, INVALID_VECTOR, VALIDATION_FAILED, QUOTA_EXCEEDED */
	async update(request: UpdateRequest, allowance: WriteAllowance, stamp?: UpdateStamp): Promise<UpdateResult> {
		return await this.#call(() => this.#write(updateRowCommand(request, allowance, this.#state.scorer, stamp)));
	}

	/**
	 * By ids: all at once. By filter: in portions; what comes to match while it runs may stay.
	 *
	 * @throws RangeError when the version is none, or comes with a filter: other copies could not tell what it would mean for them.
	 */
	async delete(selector: Selector, version?: Version): Promise<WriteResult> {
		return await this.#call(async () => {
			if ("ids" in selector) {
				const { ids } = selector;
				// Where there are copies, or will be, an older one may bring back what is not even here.
				const leavesWord = version !== undefined || this.#config.isReplicated;
				return await this.#write(leavesWord ? deleteVersionCommand(ids, version) : deleteCommand(ids, undefined));
			}
			if (version !== undefined) throw new RangeError("a deletion with a version names its ids");
			return await this.#deleteMatching(selector.filter);
		});
	}

	/** All of it, or nothing; see `mergeCommand`. @throws HiveError DIMENSION_MISMATCH, INVALID_VECTOR; RangeError */
	async merge(rows: VersionedRows): Promise<WriteResult> {
		return await this.#call(async () => await this.#write(mergeCommand(rows, this.#state.scorer)));
	}

	/** @throws HiveError PAYLOAD_TOO_LARGE when they are more than 32 MiB together: ask for fewer */
	async rows(ids: readonly VectorId[]): Promise<VersionedRows> {
		return await this.#call(() => this.#copyReader.rows(ids));
	}

	/** Of the newest commit. The first one of so many buckets looks at every id. @throws RangeError */
	async digest(bucketCount: number): Promise<ShardDigest> {
		return await this.#call(async () => await this.#digests.digest(bucketCount));
	}

	/** See `CopyReader.versions`. @throws RangeError */
	async versions(bucketCount: number, buckets: readonly number[]): Promise<VersionList> {
		return await this.#call(() => this.#copyReader.versions(bucketCount, buckets));
	}

	/** @param beforeMs unix milliseconds; forgotten when the shard is closed. */
	async allowPurge(beforeMs: number): Promise<void> {
		await this.#call(async () => this.#maintenance.allowPurge(beforeMs));
	}

	/** In the order of `ids`; undefined for those that aren't there. */
	async get(ids: readonly VectorId[], options: ReadOptions): Promise<readonly (StoredVector | undefined)[]> {
		return await this.#call(async () => ids.map((id) => this.#state.documents.get(id, options)));
	}

	async count(filter: Filter | undefined): Promise<number> {
		return await this.#call(async () => {
			if (filter === undefined) return this.#state.slots.count;
			return (await this.#matcher.matches(filter, this.#slotLimit)).count;
		});
	}

	/** A page in id order. One that was changed while the page was gathered comes as it is then, or not at all. */
	async scroll(request: ScrollRequest): Promise<ScrollPage> {
		return await this.#call(() => this.#page(request));
	}

	/** The answers in the order of the requests. @throws HiveError DIMENSION_MISMATCH, INVALID_VECTOR, VECTOR_NOT_FOUND */
	async search(requests: readonly SearchRequest[]): Promise<readonly SearchAnswer[]> {
		return await this.#call(() => this.#searcher.search(requests));
	}

	/** Of each text, for searches by it of a collection of which this is a part. @throws HiveError VALIDATION_FAILED, OVERLOADED */
	async textStatistics(texts: readonly string[]): Promise<readonly TextStatistics[]> {
		return await this.#call(async () => {
			const statistics: TextStatistics[] = [];
			for (const text of texts) statistics.push(await this.#words.statistics(text));
			return statistics;
		});
	}

	async stats(): Promise<ShardStats> {
		const { committed, keeper, slots, folder, documents } = this.#state;
		const { rebuildReason } = keeper;
		const derivedBytes = keeper.memoryBytes + documents.memoryBytes + this.#digests.memoryBytes;
		return {
			vectorCount: committed.vectorCount,
			bytes: committed.bytes,
			diskBytes: await folderBytes(folder),
			memoryBytes: FIXED_BYTES + slots.slotCount * ID_BYTES + derivedBytes,
			indexState: keeper.indexState,
			indexedCount: keeper.indexedCount,
			tombstoneCount: keeper.tombstoneCount,
			...(rebuildReason === undefined ? {} : { rebuildReason }),
		};
	}

	/** Resolves when every document is in the index. */
	async createPayloadIndex(field: string, type: PayloadIndexType): Promise<void> {
		await this.#call(() => this.#maintenance.createIndex(field, type));
	}

	async dropPayloadIndex(field: string): Promise<void> {
		await this.#call(() => this.#maintenance.dropIndex(field));
	}

	/** Finishes the writes under way, saves the index snapshot, closes the files. Idempotent. */
	close(): Promise<void> {
		this.#closing ??= this.#close();
		return this.#closing;
	}

	async #close(): Promise<void> {
		const { store, highWater, vectors, keeper, log } = this.#state;
		await this.#maintenance.close();
		await Promise.allSettled(this.#calls);
		await this.#writer.close();
		await keeper.close();
		try {
			await this.#sealVectors();
		} catch (error) {
			// Costs a rebuild of the vector file on opening, nothing else.
			log("sealing the vector file failed", { error });
		}
		vectors.close();
		await store.close();
		highWater.close();
	}

	async #call<T>(work: () => Promise<T>): Promise<T> {
		if (this.#closing !== undefined) throw new HiveError("OVERLOADED", "the shard is closing");
		const call = this.#state.store.isOpen ? work() : this.#writer.submit(nothing).then(work);
		this.#calls.add(call);
		try {
			return await call;
		} finally {
			this.#calls.delete(call);
		}
	}

	async #deleteMatching(filter: Filter): Promise<WriteResult> {
		const { slots } = this.#state;
		const test = compileFilter(filter);
		const matches = await this.#matcher.matches(filter, this.#slotLimit);
		const ids = [...matches].map((slot) => slots.idOf(slot)).filter((id) => id !== undefined);
		const total = { vectorCountDelta: 0, bytesDelta: 0, affectedCount: 0 };
		for (let at = 0; at < ids.length; at += DELETED_PER_COMMAND_MAX) {
			const done = await this.#write(deleteCommand(ids.slice(at, at + DELETED_PER_COMMAND_MAX), test));
			total.vectorCountDelta += done.vectorCountDelta;
			total.bytesDelta += done.bytesDelta;
			total.affectedCount += done.affectedCount;
		}
		return total;
	}

	async #page(request: ScrollRequest): Promise<ScrollPage> {
		const { documents } = this.#state;
		const ids = await this.#pageIds(request, request.limit + 1);
		const page = ids.slice(0, request.limit);
		const vectors = page.map((id) => documents.get(id, request)).filter((vector) => vector !== undefined);
		const last = page.at(-1);
		return ids.length > request.limit && last !== undefined ? { vectors, next: last } : { vectors };
	}

	async #pageIds(request: ScrollRequest, wantedCount: number): Promise<VectorId[]> {
		const { filter } = request;
		if (filter === undefined) return await this.#idsByScan(request, wantedCount);
		const watch = this.#state.slots.watch();
		try {
			const narrowed = await this.#matcher.narrow(filter, this.#slotLimit);
			if (narrowed === undefined) return await this.#idsByScan(request, wantedCount);
			for (const slot of watch.touched) narrowed.slots.add(slot);
			return this.#idsAmong(request, narrowed.slots, wantedCount);
		} finally {
			watch.end();
		}
	}

	async #sealVectors(): Promise<void> {
		const { folder, slots, vectors, committed, config } = this.#state;
		vectors.sync();
		await writeVectorSeal(
			join(folder, SHARD_FILES.vectorSeal),
			join(folder, SHARD_FILES.vectors),
			config.dimension * 4,
			{ seq: committed.seq, rowCount: slots.slotCount, normMax: vectors.normMax },
		);
	}

	async #write<Result extends WriteResult>(command: WriteCommand<Result>): Promise<Result> {
		const result = await this.#writer.submit(command);
		this.#maintenance.purgeWhenDue();
		return result;
	}

	/** Indexes that the collection has and the shard has not: a call that did not reach it, or was cut short. */
	#resumeIndexing(): void {
		const { config, definitions, log } = this.#state;
		if (config.lexical !== undefined) {
			this.#maintenance.buildWordIndex(config.lexical).catch((error) => {
				if (this.#closing === undefined) log("building the index of words failed", { error });
			});
		}
		for (const [field, type] of Object.entries(config.payloadIndexes)) {
			const existing = definitions.get(field);
			if (existing?.isComplete && existing.type === type) continue;
			this.#maintenance.createIndex(field, type).catch((error) => {
				// Cut short by closing, it goes on when the shard is opened again.
				if (this.#closing === undefined) log("building a payload index failed", { field, error });
			});
		}
	}

	get #slotLimit(): number {
		return exactVectorCountMax(this.#state.config.dimension);
	}

	async #idsByScan(request: ScrollRequest, wantedCount: number): Promise<VectorId[]> {
		const test = request.filter === undefined ? undefined : compileFilter(request.filter);
		const lt = prefixEnd(PREFIX.document);
		const from = request.after === undefined ? PREFIX.document : documentKey(encodeId(request.after));
		const ids: VectorId[] = [];
		// `from` itself may be a document: it is the last one of the page before.
		for await (const rows of this.#state.store.rows({ gt: from, lt }, test === undefined ? wantedCount : undefined)) {
			for (const [key, value] of rows) {
				const row = readDocument(key, value);
				if (row.isTombstone) continue;
				const id = keyId(key);
				if (test === undefined || test(parsePayload(row.payloadText), id)) ids.push(id);
				if (ids.length === wantedCount) return ids;
			}
		}
		return ids;
	}

	#idsAmong(request: ScrollRequest, slots: Iterable<number>, wantedCount: number): VectorId[] {
		const { after } = request;
		const test = this.#matcher.slotTest(compileFilter(request.filter!));
		const candidates: { readonly id: VectorId; readonly slot: number }[] = [];
		for (const slot of slots) {
			const id = this.#state.slots.idOf(slot);
			if (id !== undefined && (after === undefined || compareIds(id, after) > 0)) candidates.push({ id, slot });
		}
		candidates.sort((a, b) => compareIds(a.id, b.id));
		const ids: VectorId[] = [];
		for (const { id, slot } of candidates) {
			if (test(slot)) ids.push(id);
			if (ids.length === wantedCount) break;
		}
		return ids;
	}
}

/** Disk space of all files in a folder: what is allocated, for files may have holes. */
async function folderBytes(folder: string): Promise<number> {
	const entries: Dirent[] = await readdir(folder, { withFileTypes: true, recursive: true });
	const sizes = entries.map(async (entry) => {
		try {
			return entry.isFile() ? (await stat(join(entry.parentPath, entry.name))).blocks * 512 : 0;
		} catch {
			// LevelDB removes files as it goes.
			return 0;
		}
	});
	return (await Promise.all(sizes)).reduce((sum, bytes) => sum + bytes, 0);
}
