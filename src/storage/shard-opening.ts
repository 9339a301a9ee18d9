import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { HiveError } from "../base/errors.ts";
import { STATE_KEY } from "./commit.ts";
import { Documents } from "./documents.ts";
import { syncPath } from "./durable-file.ts";
import { exactVectorCountMax, GraphKeeper } from "./graph-keeper.ts";
import { HighWater } from "./high-water.ts";
import { HybridClock, versionStamp } from "./hybrid-clock.ts";
import { decodeId } from "./id-order.ts";
import { type IndexDefinition, IndexDefinitions } from "./index-definitions.ts";
import {
	type CommitState,
	encodeMeta,
	encodeOwner,
	keySeq,
	keySlot,
	metaKey,
	ownerDigest,
	PREFIX,
	prefixEnd,
	readableKeyId,
	readMeta,
	readOwner,
	readSlots,
	readVector,
} from "./keyspace.ts";
import { LevelStore } from "./level-store.ts";
import { DEFINITIONS_KEY } from "./maintenance.ts";
import { Scorer } from "./scorer.ts";
import { damagedDocument, damagedRow, lostWrites } from "./shard-errors.ts";
import type { ShardState } from "./shard-state.ts";
import type { ShardConfig } from "./shard-types.ts";
import { SlotTable } from "./slot-table.ts";
import type { StorageLog } from "./storage-log.ts";
import { checkTables } from "./table-check.ts";
import { Tombstones } from "./tombstones.ts";
import { VectorFile } from "./vector-file.ts";
import { verifiedVectorSeal } from "./vector-seal.ts";
import { newWordIndex, WORDS_KEY, WordIndex, type WordIndexRow } from "./word-index.ts";

export const SHARD_FILES = {
	database: "db",
	highWater: "high-water",
	vectors: "vectors.f32",
	vectorSeal: "vectors.ok",
} as const;

const FORMAT = 1;
const FORMAT_KEY = metaKey("format");

/** What a shard is given. */
export interface ShardDeps {
	readonly clock: Clock;
	/** 8 bytes that name this node in versions. */
	readonly nodeTag: Uint8Array;
	readonly log?: StorageLog;
	/** How many vectors are searched without a graph; otherwise by dimension. */
	readonly exactVectorCountMax?: number;
	/** How long a deleted document's tombstone is kept, milliseconds. */
	readonly tombstoneRetentionMs?: number;
}

/** What can't change once a shard is made. */
interface FormatRow {
	readonly format: number;
	readonly dimension: number;
	readonly metric: string;
}

/**
 * Make an empty shard on disk: whole, or not at all.
 *
 * @throws HiveError CONFLICT when the folder exists.
 */
export async function createShardFolder(folder: string, config: ShardConfig, log: StorageLog): Promise<void> {
	if (existsSync(folder)) throw new HiveError("CONFLICT", "the shard exists already");
	const unfinished = `${folder}.creating`;
	rmSync(unfinished, { recursive: true, force: true });
	mkdirSync(unfinished, { recursive: true, mode: 0o700 });
	const store = await LevelStore.create(join(unfinished, SHARD_FILES.database), log);
	try {
		const format: FormatRow = { format: FORMAT, dimension: config.dimension, metric: config.metric };
		const batch = store.batch();
		batch.put(FORMAT_KEY, encodeMeta(format));
		batch.put(STATE_KEY, encodeMeta(EMPTY));
		if (config.lexical !== undefined) batch.put(WORDS_KEY, encodeMeta(newWordIndex(config.lexical, null)));
		await batch.write();
	} finally {
		await store.close();
	}
	HighWater.create(join(unfinished, SHARD_FILES.highWater), log).close();
	syncPath(unfinished);
	renameSync(unfinished, folder);
	syncPath(dirname(folder));
}

const EMPTY: CommitState = {
	seq: 0,
	trimmedSeq: 0,
	vectorCount: 0,
	bytes: 0,
	digest: 0,
	clockMs: 0,
	clockCounter: 0,
};

/**
 * Open a shard's folder: check that the database has all that was acknowledged, restore who owns which slot, the vector file
 * and the graph (the latter may still be building when this resolves).
 *
 * @throws HiveError INTERNAL when something is missing or damaged; CONFLICT when it is open elsewhere.
 */
export async function openShardState(folder: string, config: ShardConfig, deps: ShardDeps): Promise<ShardState> {
	const log = deps.log ?? (() => undefined);
	if (!existsSync(folder)) throw lostWrites({ missing: "folder" });
	const { mark: highWater, seq: markedSeq } = HighWater.open(join(folder, SHARD_FILES.highWater), log);
	let store: LevelStore | undefined;
	let vectors: VectorFile | undefined;
	try {
		const hasDamage = await checkTables(join(folder, SHARD_FILES.database));
		store = await LevelStore.open(join(folder, SHARD_FILES.database), log);
		checkFormat(store, config);
		const committed = readState(store, markedSeq);
		const redo = await readRedo(store, committed);
		const slots = await readSlotTable(store, committed);
		if (hasDamage) await checkDocumentKeys(store, slots);
		const scorer = new Scorer(config.metric, config.dimension);
		vectors = await openVectors(folder, store, committed, slots, scorer);
		const keeper = new GraphKeeper({
			folder,
			config,
			clock: deps.clock,
			log,
			slots,
			vectors,
			scorer,
			exactVectorCountMax: deps.exactVectorCountMax ?? exactVectorCountMax(config.dimension),
			seq: () => state.committed.seq,
		});
		const state: ShardState = {
			folder,
			clock: deps.clock,
			log,
			config,
			store,
			highWater,
			versions: new HybridClock(deps.clock, deps.nodeTag, {
				ms: committed.clockMs,
				counter: committed.clockCounter,
			}),
			slots,
			vectors,
			documents: new Documents(store, slots, config.dimension),
			tombstones: await Tombstones.open(store, config.isReplicated),
			scorer,
			keeper,
			definitions: new IndexDefinitions(readDefinitions(store)),
			words: new WordIndex(readWordIndex(store)),
			committed,
		};
		await keeper.open(committed.trimmedSeq, (seq) => touchedAfter(redo, seq));
		return state;
	} catch (error) {
		vectors?.close();
		await store?.close();
		highWater.close();
		throw error;
	}
}

function checkFormat(store: LevelStore, config: ShardConfig): void {
	const value = store.get(FORMAT_KEY);
	if (value === undefined) throw lostWrites({ missing: "format" });
	const { format, dimension, metric } = readMeta<FormatRow>(FORMAT_KEY, value);
	if (format !== FORMAT) throw new HiveError("INTERNAL", `the shard has format ${format}, not ${FORMAT}`);
	if (dimension !== config.dimension || metric !== config.metric) {
		throw new HiveError("INTERNAL", "the shard was made for another dimension or metric", { dimension, metric });
	}
}

function readState(store: LevelStore, markedSeq: number): CommitState {
	const value = store.get(STATE_KEY);
	if (value === undefined) throw lostWrites({ missing: "state" });
	const state = readMeta<CommitState>(STATE_KEY, value);
	if (state.seq < markedSeq) throw lostWrites({ lost_from: state.seq + 1, lost_to: markedSeq });
	return state;
}

/** The slots that each commit since the trim point touched, in order of commits. */
async function readRedo(store: LevelStore, committed: CommitState): Promise<Map<number, Uint32Array>> {
	const redo = new Map<number, Uint32Array>();
	let expected = committed.trimmedSeq + 1;
	for await (const rows of store.rows({ gte: PREFIX.redo, lt: prefixEnd(PREFIX.redo) })) {
		for (const [key, value] of rows) {
			const seq = keySeq(key);
			// A log that lost a record in its middle brings back what was trimmed later than that; it is of no account.
			if (seq < expected) continue;
			if (seq > expected) throw lostWrites({ lost_from: expected, lost_to: seq - 1 });
			redo.set(seq, readSlots(key, value));
			expected++;
		}
	}
	if (expected <= committed.seq) throw lostWrites({ lost_from: expected, lost_to: committed.seq });
	return redo;
}

function* touchedAfter(redo: ReadonlyMap<number, Uint32Array>, seq: number): Generator<number, void> {
	for (const [at, slots] of redo) if (at > seq) yield* slots;
}

async function readSlotTable(store: LevelStore, committed: CommitState): Promise<SlotTable> {
	const slots = new SlotTable();
	let digest = 0;
	for await (const rows of store.rows({ gte: PREFIX.owner, lt: prefixEnd(PREFIX.owner) })) {
		for (const [key, value] of rows) {
			const owner = readOwner(key, value);
			const slot = keySlot(key);
			digest = (digest + ownerDigest(slot, encodeOwner(owner))) >>> 0;
			slots.restore(slot, decodeId(owner.encodedId), versionStamp(owner.version));
		}
	}
	if (slots.count !== committed.vectorCount || digest !== committed.digest) {
		throw lostWrites({ vectors_expected: committed.vectorCount, vectors_found: slots.count });
	}
	return slots;
}

/** A damaged document is found out when it is read, but not one that is filed under another id now. */
async function checkDocumentKeys(store: LevelStore, slots: SlotTable): Promise<void> {
	let foundCount = 0;
	for await (const rows of store.rows({ gte: PREFIX.document, lt: prefixEnd(PREFIX.document) })) {
		for (const [key] of rows) {
			const id = readableKeyId(key);
			if (id !== undefined && slots.slotOf(id) !== undefined) foundCount++;
		}
	}
	if (foundCount !== slots.count) throw lostWrites({ vectors_expected: slots.count, vectors_found: foundCount });
}

function readDefinitions(store: LevelStore): Record<string, IndexDefinition> {
	const value = store.get(DEFINITIONS_KEY);
	return value === undefined ? {} : readMeta<Record<string, IndexDefinition>>(DEFINITIONS_KEY, value);
}

function readWordIndex(store: LevelStore): WordIndexRow | undefined {
	const value = store.get(WORDS_KEY);
	return value === undefined ? undefined : readMeta<WordIndexRow>(WORDS_KEY, value);
}

async function openVectors(
	folder: string,
	store: LevelStore,
	committed: CommitState,
	slots: SlotTable,
	scorer: Scorer,
): Promise<VectorFile> {
	const path = join(folder, SHARD_FILES.vectors);
	const sealPath = join(folder, SHARD_FILES.vectorSeal);
	const seal = await verifiedVectorSeal(sealPath, path, scorer.dimension * 4, committed.seq);
	if (seal !== undefined && seal.rowCount >= slots.slotCount) {
		return new VectorFile(path, scorer.dimension, seal.normMax);
	}
	const vectors = new VectorFile(path, scorer.dimension, 0);
	try {
		await rebuildVectors(vectors, store, slots, scorer);
		return vectors;
	} catch (error) {
		vectors.close();
		throw error;
	}
}

async function rebuildVectors(vectors: VectorFile, store: LevelStore, slots: SlotTable, scorer: Scorer): Promise<void> {
	vectors.reserve(slots.slotCount);
	const scratch = new Float32Array(scorer.dimension);
	let rowCount = 0;
	for await (const rows of store.rows({ gte: PREFIX.vector, lt: prefixEnd(PREFIX.vector) })) {
		for (const [key, value] of rows) {
			const slot = keySlot(key);
			const id = slots.idOf(slot);
			if (id === undefined) throw damagedRow("vector");
			const vector = readVector(key, value, scorer.dimension);
			if (vector === undefined) throw damagedDocument(id);
			scorer.normalise(vector, scratch, "vector");
			vectors.write(slot, scratch);
			rowCount++;
		}
	}
	vectors.flush();
	if (rowCount !== slots.count) throw lostWrites({ vectors_expected: slots.count, vectors_found: rowCount });
}
