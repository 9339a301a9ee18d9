import type { VectorId } from "../base/ids.ts";
import { VECTOR_OVERHEAD_BYTES } from "../base/limits.ts";
import { compareVersions } from "./hybrid-clock.ts";
import type { DocumentRow } from "./keyspace.ts";
import type { ShardState } from "./shard-state.ts";
import type { Version, VersionedRow } from "./shard-types.ts";
import type { WordIndexRow } from "./word-index.ts";

/** What a document will be. */
export interface DocumentAfter {
	/** UTF-8 of JSON text. */
	readonly payload: Buffer | undefined;
	/** Undefined keeps the stored vector. */
	readonly vector: Float32Array | undefined;
}

export interface DocumentChange {
	/** As committed; undefined when it did not live. */
	readonly before: DocumentRow | undefined;
	/** Undefined deletes it. */
	readonly after: DocumentAfter | undefined;
	readonly version: Version;
}

/** A row outside the documents; without a body it is deleted. */
export interface RowChange {
	readonly key: Uint8Array;
	readonly body?: Uint8Array;
}

/** What the index of words becomes besides what the documents' changes make of it. */
export interface WordIndexChange {
	/** Undefined: there is none any more. More slots than before: the documents in them are put in. */
	readonly row: WordIndexRow | undefined;
}

/** A document as a request finds it. */
interface Standing {
	readonly before: DocumentRow | undefined;
	/** Undefined when it does not live. */
	readonly found: { readonly payload: Buffer | undefined; readonly vector?: Float32Array | undefined } | undefined;
	/** Of the document that lives, or that this commit deletes. */
	readonly version: Version | undefined;
}

/** What the requests of one commit change together. */
export class CommitDraft {
	readonly changes = new Map<VectorId, DocumentChange>();
	/** Written before the documents' own rows. */
	readonly rows: RowChange[] = [];
	readonly afterApply: (() => void)[] = [];
	/** Undefined leaves it as it is. */
	wordIndex: WordIndexChange | undefined;
	vectorCountDelta = 0;
	bytesDelta = 0;

	get isEmpty(): boolean {
		return this.changes.size === 0 && this.rows.length === 0 && this.wordIndex === undefined;
	}
}

/** What one request changes, on top of the requests before it. Given up when it fails, merged when it doesn't. */
export class RequestDraft {
	readonly #base: CommitDraft;
	readonly #state: ShardState;
	readonly #changes = new Map<VectorId, DocumentChange>();
	readonly #rows: RowChange[] = [];
	readonly #afterApply: (() => void)[] = [];
	#vectorCountDelta = 0;
	#bytesDelta = 0;
	#version: Version | undefined;
	#wordIndex: WordIndexChange | undefined;

	constructor(base: CommitDraft, state: ShardState) {
		this.#base = base;
		this.#state = state;
	}

	get vectorCountDelta(): number {
		return this.#vectorCountDelta;
	}

	get bytesDelta(): number {
		return this.#bytesDelta;
	}

	/** Of what the request writes without a version given: newer than all that the shard holds. */
	get version(): Version {
		this.#version ??= this.#state.versions.next();
		return this.#version;
	}

	/** The document as this request finds it; undefined when it does not live. */
	find(id: VectorId): { readonly payload: Buffer | undefined } | undefined {
		return this.#standing(id).found;
	}

	/** A committed document that no request of this commit has changed so far. */
	findUntouched(id: VectorId): DocumentRow | undefined {
		return this.#pending(id) === undefined ? this.#state.documents.read(id) : undefined;
	}

	/** A document that lives when this request is done, whole. */
	living(id: VectorId): VersionedRow {
		const { before, found, version } = this.#standing(id);
		const vector = found?.vector ?? this.#state.documents.vector(before!.slot);
		return { id, version: version!, document: { payload: found?.payload?.toString(), vector } };
	}

	/** @param vector undefined keeps the one that the document has, which must live then. Not copied. */
	put(id: VectorId, payload: Buffer | undefined, vector: Float32Array | undefined): void {
		this.#change(id, this.#standing(id), { payload, vector }, this.version);
	}

	/** @returns whether the document lived. */
	remove(id: VectorId): boolean {
		const standing = this.#standing(id);
		if (standing.found === undefined) return false;
		this.#change(id, standing, undefined, this.version);
		return true;
	}

	/**
	 * Put a document as it is in this version, or delete it, unless what is known of it is as new.
	 *
	 * @param after not copied; undefined deletes, and leaves word of it whether or not the document lives.
	 * @returns     the version that stays, when it is this one or a newer one; undefined when the change is made. A new array.
	 * @throws RangeError when the version is none.
	 */
	putVersion(id: VectorId, after: DocumentAfter | undefined, version: Version): Version | undefined {
		this.#state.versions.observe(version);
		const standing = this.#standing(id);
		const known = this.#known(id, standing, version);
		if (known !== undefined && compareVersions(known, version) >= 0) return new Uint8Array(known);
		this.#change(id, standing, after, version);
		return undefined;
	}

	/** What is known of the document, be it a deletion, if that is newer than the version. A new array. */
	newerThan(id: VectorId, version: Version): Version | undefined {
		const known = this.#known(id, this.#standing(id), version);
		return known !== undefined && compareVersions(known, version) > 0 ? new Uint8Array(known) : undefined;
	}

	row(change: RowChange): void {
		this.#rows.push(change);
	}

	changeWordIndex(row: WordIndexRow | undefined): void {
		this.#wordIndex = { row };
	}

	/** Called when the commit is on disk, along with what it changes in memory. */
	onApplied(callback: () => void): void {
		this.#afterApply.push(callback);
	}

	merge(): void {
		for (const [id, change] of this.#changes) this.#base.changes.set(id, change);
		for (const row of this.#rows) this.#base.rows.push(row);
		for (const callback of this.#afterApply) this.#base.afterApply.push(callback);
		this.#base.wordIndex = this.#wordIndex ?? this.#base.wordIndex;
		this.#base.vectorCountDelta += this.#vectorCountDelta;
		this.#base.bytesDelta += this.#bytesDelta;
	}

	#change(id: VectorId, { before, found }: Standing, after: DocumentAfter | undefined, version: Version): void {
		const fixedBytes = this.#state.config.dimension * 4 + VECTOR_OVERHEAD_BYTES;
		if (found !== undefined) {
			this.#vectorCountDelta--;
			this.#bytesDelta -= fixedBytes + (found.payload?.length ?? 0);
		}
		if (after !== undefined) {
			this.#vectorCountDelta++;
			this.#bytesDelta += fixedBytes + (after.payload?.length ?? 0);
			// What this commit replaced before must not come back with the stored vector.
			if (after.vector === undefined && found?.vector !== undefined) after = { ...after, vector: found.vector };
		}
		this.#changes.set(id, { before, after, version });
	}

	#standing(id: VectorId): Standing {
		const change = this.#pending(id);
		if (change !== undefined) return { before: change.before, found: change.after, version: change.version };
		const before = this.#state.documents.read(id);
		return { before, found: before, version: before?.version };
	}

	/** Undefined when that is certainly older than `version`. */
	#known(id: VectorId, standing: Standing, version: Version): Version | undefined {
		return standing.version ?? this.#state.tombstones.standing(id, version);
	}

	#pending(id: VectorId): DocumentChange | undefined {
		return this.#changes.get(id) ?? this.#base.changes.get(id);
	}
}
