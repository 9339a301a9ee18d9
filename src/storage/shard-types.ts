import type { Filter } from "../base/filter.ts";
import type { VectorId } from "../base/ids.ts";
import type { IndexKind, Metric, PayloadIndexType, Quantization } from "../base/schemas.ts";
import type { LexicalSettings } from "../base/text-settings.ts";
import type { TextStatistics } from "./bm25.ts";

/** What a shard must know of its collection. Plain data: it crosses a worker boundary with each call. */
export interface ShardConfig {
	readonly dimension: number;
	readonly metric: Metric;
	readonly quantization: Quantization;
	readonly index: IndexKind;
	readonly hnsw: { readonly m: number; readonly ef_construction: number; readonly ef_search: number };
	readonly payloadIndexes: Readonly<Record<string, PayloadIndexType>>;
	/** What is searched by its words; absent: nothing. */
	readonly lexical?: LexicalSettings | undefined;
	/** Other nodes have copies: word of a deletion is kept until `allowPurge` says that all have heard of it. */
	readonly isReplicated: boolean;
}

/** Vectors to write whole: what had the same id before is replaced, payload included. The last of equal ids wins. */
export interface UpsertBatch {
	readonly ids: readonly VectorId[];
	/** [count × dimension], row-major, finite; moved to the worker, not reused. */
	readonly vectors: Float32Array;
	/** JSON text of an object, or undefined for none. Same length as `ids`. */
	readonly payloads: readonly (string | undefined)[];
}

export interface UpdateRequest {
	readonly id: VectorId;
	/** Replaces the vector. */
	readonly vector?: Float32Array;
	/** JSON text of an object: its top-level fields replace those of the stored payload; `null` removes a field. */
	readonly payloadPatch?: string;
}

export type Selector = { readonly ids: readonly VectorId[] } | { readonly filter: Filter };

export interface ReadOptions {
	readonly withPayload: boolean;
	readonly withVector: boolean;
}

export interface StoredVector {
	readonly id: VectorId;
	/** JSON text; absent when there is none or it was not asked for. */
	readonly payload?: string;
	/** As inserted (float32), not normalised. */
	readonly vector?: Float32Array;
}

/** How the shard's counts changed by a write that is now on disk. */
export interface WriteResult {
	readonly vectorCountDelta: number;
	readonly bytesDelta: number;
	/** Ids that were written, or deleted (those that existed), as asked. */
	readonly affectedCount: number;
	/** Of a write with a version: the newest version that stood in its way, when one did. The write is void for that id here. */
	readonly supersededBy?: Version;
}

/** When and where a document was written: 16 bytes, hybrid time and node (hybrid-clock.ts). As bytes they sort by age. */
export type Version = Uint8Array;

/** Documents as they are, deleted ones included: what copies of a shard exchange. No id twice. */
export interface VersionedRows {
	readonly ids: readonly VectorId[];
	/** 16 bytes a row. */
	readonly versions: Uint8Array;
	/** 1: the document was deleted. */
	readonly deleted: Uint8Array;
	/** float32, the vectors of the rows that live, one after the other. */
	readonly vectors: Float32Array;
	/** Per row; undefined where deleted or without payload. */
	readonly payloads: readonly (string | undefined)[];
}

/** One of the rows that copies exchange. */
export interface VersionedRow {
	readonly id: VectorId;
	readonly version: Version;
	/** Undefined: deleted. */
	readonly document: { readonly payload: string | undefined; readonly vector: Float32Array } | undefined;
}

/** How an update is done at one copy for all. */
export interface UpdateStamp {
	/** That the row will have. An update that finds something newer is void. */
	readonly version: Version;
	/** The row as others know it, or none: taken over first, where this copy knows less. */
	readonly known: VersionedRows;
}

/** An update, with the row as it is now, none where something newer stood in its way: what other copies are given. */
export interface UpdateResult extends WriteResult {
	readonly row: VersionedRows;
	/** Whether what was taken over first changed what the shard holds: not counted in this. */
	readonly wasBehind: boolean;
}

/** Sums over the documents that live, by bucket (hash of the id): equal sums, equal documents in equal versions. */
export interface ShardDigest {
	/** The commit it is of. */
	readonly seq: number;
	readonly bucketCount: number;
	/** Two numbers of 32 bits a bucket. */
	readonly sums: Uint32Array;
	readonly vectorCount: number;
}

/** Ids with their versions, deleted ones included, of some buckets. */
export interface VersionList {
	readonly ids: readonly VectorId[];
	readonly versions: Uint8Array;
	readonly deleted: Uint8Array;
}

/** What a write may add at most; a write that would add more is refused with QUOTA_EXCEEDED before anything is written. */
export interface WriteAllowance {
	readonly vectorCountMax?: number;
	readonly bytesMax?: number;
}

/** What is looked for by its words. */
export interface LexicalQuery {
	readonly text: string;
	/** Of the whole collection; undefined: of the shard, which is all of it. */
	readonly statistics?: TextStatistics;
}

export interface SearchRequest {
	/** Exactly one of `vector`, `id` (search with a stored vector; the vector itself is not among the hits) and `lexical`. */
	readonly vector?: Float32Array;
	readonly id?: VectorId;
	readonly lexical?: LexicalQuery;
	/** Hits wanted: offset + limit. */
	readonly k: number;
	readonly filter?: Filter;
	readonly efSearch?: number;
	readonly exact?: boolean;
	readonly scoreThreshold?: number;
	readonly withPayload: boolean;
	readonly withVector: boolean;
}

export interface Hit extends StoredVector {
	/** Cosine similarity, inner product or BM25, higher first; euclidean: the distance, lower first. */
	readonly score: number;
}

/** Which way the search took: `explain: true` shows it. */
export interface SearchPlan {
	readonly kind: "exact" | "hnsw" | "filter_exact" | "hnsw_filtered" | "lexical" | "empty";
	readonly candidateCount: number;
	readonly efSearch?: number;
	/** Vectors that are searched exactly because the graph does not hold them yet. */
	readonly tailCount?: number;
}

export interface SearchAnswer {
	readonly hits: readonly Hit[];
	readonly plan: SearchPlan;
}

export interface ScrollRequest extends ReadOptions {
	readonly filter?: Filter;
	readonly limit: number;
	/** Ids strictly after this one, in the shard's id order (integers by value, then strings by UTF-8 bytes). */
	readonly after?: VectorId;
}

export interface ScrollPage {
	readonly vectors: readonly StoredVector[];
	/** The last id of the page when more may follow. */
	readonly next?: VectorId;
}

export interface ShardStats {
	readonly vectorCount: number;
	/** What the quota counts: sum of vector bytes (4 × dimension), payload bytes and VECTOR_OVERHEAD_BYTES a vector. */
	readonly bytes: number;
	readonly diskBytes: number;
	readonly memoryBytes: number;
	/** `exact`: no graph. `building`: a graph grows in the background. `ready`: the graph holds everything but a short tail. */
	readonly indexState: "exact" | "building" | "ready";
	readonly indexedCount: number;
	readonly tombstoneCount: number;
	/** Why the index was built anew on opening, when it was. */
	readonly rebuildReason?: string;
}
