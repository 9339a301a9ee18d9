import type { VectorId } from "../base/ids.ts";
import { VECTOR_OVERHEAD_BYTES } from "../base/limits.ts";
import type { Documents } from "./documents.ts";
import type { DocumentRow } from "./keyspace.ts";

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
}

/** A row outside the documents; without a body it is deleted. */
export interface RowChange {
	readonly key: Uint8Array;
	readonly body?: Uint8Array;
}

/** What the requests of one commit change together. */
export class CommitDraft {
	readonly changes = new Map<VectorId, DocumentChange>();
	/** Written before the documents' own rows. */
	readonly rows: RowChange[] = [];
	readonly afterApply: (() => void)[] = [];
	vectorCountDelta = 0;
	bytesDelta = 0;

	get isEmpty(): boolean {
		return this.changes.size === 0 && this.rows.length === 0;
	}
}

/** What one request changes, on top of the requests before it. Given up when it fails, merged when it doesn't. */
export class RequestDraft {
	readonly #base: CommitDraft;
	readonly #documents: Documents;
	readonly #dimension: number;
	readonly #changes = new Map<VectorId, DocumentChange>();
	readonly #rows: RowChange[] = [];
	readonly #afterApply: (() => void)[] = [];
	#vectorCountDelta = 0;
	#bytesDelta = 0;

	constructor(base: CommitDraft, documents: Documents, dimension: number) {
		this.#base = base;
		this.#documents = documents;
		this.#dimension = dimension;
	}

	get vectorCountDelta(): number {
		return this.#vectorCountDelta;
	}

	get bytesDelta(): number {
		return this.#bytesDelta;
	}

	/** The document as this request finds it; undefined when it does not live. */
	find(id: VectorId): { readonly payload: Buffer | undefined } | undefined {
		const change = this.#pending(id);
		return change === undefined ? this.#documents.read(id) : change.after;
	}

	/** A committed document that no request of this commit has changed so far. */
	findUntouched(id: VectorId): DocumentRow | undefined {
		return this.#pending(id) === undefined ? this.#documents.read(id) : undefined;
	}

	/** @param vector undefined keeps the one that the document has, which must live then. Not copied. */
	put(id: VectorId, payload: Buffer | undefined, vector: Float32Array | undefined): void {
		const change = this.#pending(id);
		const before = change === undefined ? this.#documents.read(id) : change.before;
		const found = change === undefined ? before : change.after;
		if (found === undefined) {
			this.#vectorCountDelta++;
			this.#bytesDelta += this.#dimension * 4 + VECTOR_OVERHEAD_BYTES;
		}
		this.#bytesDelta += (payload?.length ?? 0) - (found?.payload?.length ?? 0);
		this.#changes.set(id, { before, after: { payload, vector: vector ?? change?.after?.vector } });
	}

	/** @returns whether the document lived. */
	remove(id: VectorId): boolean {
		const change = this.#pending(id);
		const before = change === undefined ? this.#documents.read(id) : change.before;
		const found = change === undefined ? before : change.after;
		if (found === undefined) return false;
		this.#vectorCountDelta--;
		this.#bytesDelta -= this.#dimension * 4 + VECTOR_OVERHEAD_BYTES + (found.payload?.length ?? 0);
		this.#changes.set(id, { before, after: undefined });
		return true;
	}

	row(change: RowChange): void {
		this.#rows.push(change);
	}

	/** Called when the commit is on disk, along with what it changes in memory. */
	onApplied(callback: () => void): void {
		this.#afterApply.push(callback);
	}

	merge(): void {
		for (const [id, change] of this.#changes) this.#base.changes.set(id, change);
		for (const row of this.#rows) this.#base.rows.push(row);
		for (const callback of this.#afterApply) this.#base.afterApply.push(callback);
		this.#base.vectorCountDelta += this.#vectorCountDelta;
		this.#base.bytesDelta += this.#bytesDelta;
	}

	#pending(id: VectorId): DocumentChange | undefined {
		return this.#changes.get(id) ?? this.#base.changes.get(id);
	}
}
