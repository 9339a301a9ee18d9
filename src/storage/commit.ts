import type { VectorId } from "../base/ids.ts";
import { parsePayload } from "./documents.ts";
import { versionMs, versionStamp } from "./hybrid-clock.ts";
import { encodeId } from "./id-order.ts";
import {
	type CommitState,
	documentKey,
	encodeDocument,
	encodeMeta,
	encodeOwner,
	encodeSlots,
	metaKey,
	ownerDigest,
	ownerKey,
	redoKey,
	tombstoneKey,
	vectorKey,
} from "./keyspace.ts";
import type { RowBatch } from "./level-store.ts";
import type { ShardState } from "./shard-state.ts";
import type { TimeSlice } from "./time-slice.ts";
import { type WordEdits, wordEdits } from "./word-edits.ts";
import type { CommitDraft, DocumentAfter, DocumentChange } from "./write-draft.ts";

export const STATE_KEY = metaKey("state");
const TRIMMED_PER_COMMIT_MAX = 1_000;
const NOTHING = new Uint8Array(0);

/** One batch of rows, and what it will mean for memory. Built, written, then applied; or abandoned. */
export class Commit {
	readonly seq: number;
	readonly #state: ShardState;
	readonly #draft: CommitDraft;
	readonly #batch: RowBatch;
	readonly #vacated: number[] = [];
	readonly #assigned: { readonly slot: number; readonly id: VectorId; readonly stamp: number }[] = [];
	readonly #rewritten: { readonly slot: number; readonly stamp: number }[] = [];
	readonly #words: WordEdits | undefined;
	#digest: number;
	#after: CommitState | undefined;

	constructor(state: ShardState, draft: CommitDraft) {
		this.#state = state;
		this.#draft = draft;
		this.#batch = state.store.batch();
		this.#words = wordEdits(state, draft);
		this.#digest = state.committed.digest;
		this.seq = state.committed.seq + 1;
	}

	/** Put all rows into the batch and the new vectors into the vector file, where no live slot is touched. */
	async build(slice: TimeSlice): Promise<void> {
		for (const row of this.#draft.rows) {
			if (row.body === undefined) this.#batch.del(row.key);
			else this.#batch.put(row.key, row.body);
		}
		const scratch = new Float32Array(this.#state.config.dimension);
		for (const [id, change] of this.#draft.changes) {
			const slot = change.after === undefined ? undefined : this.#putDocument(id, change, change.after, scratch);
			if (slot === undefined) this.#deleteDocument(id, change);
			this.#words?.note(change, slot);
			if (slice.isSpent) await slice.rest();
		}
		await this.#words?.write(this.#batch, slice);
		this.#state.vectors.flush();
		this.#putBookkeeping();
	}

	/** Resolves when the batch is on disk. */
	async write(): Promise<void> {
		await this.#batch.write();
	}

	/** The batch is on disk: make it so in memory, at once for whoever searches. */
	apply(): void {
		const { slots, store, keeper, highWater, documents } = this.#state;
		for (const { slot, id, stamp } of this.#assigned) slots.assign(slot, id, stamp);
		for (const slot of this.#vacated) {
			slots.vacate(slot);
			documents.forget(slot);
		}
		for (const { slot, stamp } of this.#rewritten) {
			slots.restamp(slot, stamp);
			documents.forget(slot);
		}
		store.settle();
		this.#words?.apply();
		this.#state.committed = this.#after!;
		for (const callback of this.#draft.afterApply) callback();
		keeper.noteCommit(
			this.#vacated,
			this.#assigned.map(({ slot }) => slot),
		);
		highWater.write(this.seq);
	}

	/** The batch is not on disk, and never will be. */
	abandon(): void {
		for (const { slot } of this.#assigned) this.#state.slots.release(slot);
	}

	async discard(): Promise<void> {
		this.abandon();
		await this.#batch.discard();
	}

	/** @returns the slot that the document is in now. */
	#putDocument(id: VectorId, change: DocumentChange, after: DocumentAfter, scratch: Float32Array): number {
		const { before, version } = change;
		const encodedId = encodeId(id);
		const formerSlot = before?.slot;
		let slot: number;
		if (after.vector === undefined && formerSlot !== undefined) {
			slot = formerSlot;
			this.#rewritten.push({ slot, stamp: versionStamp(version) });
		} else {
			slot = this.#putVector(after.vector!, scratch);
			this.#assigned.push({ slot, id, stamp: versionStamp(version) });
			if (formerSlot !== undefined) this.#vacate(formerSlot);
		}
		this.#putPostings(change, slot);
		this.#batch.put(documentKey(encodedId), encodeDocument(version, { slot, payload: after.payload }));
		const owner = encodeOwner({ version, encodedId });
		this.#batch.put(ownerKey(slot), owner);
		this.#digest = (this.#digest + ownerDigest(slot, owner)) >>> 0;
		if (before !== undefined) this.#forgetOwner(before.slot, before.version, encodedId);
		return slot;
	}

	/** Also of one that did not live: other copies of the shard may have had it meanwhile, or have it yet. */
	#deleteDocument(id: VectorId, change: DocumentChange): void {
		const { before, version } = change;
		const encodedId = encodeId(id);
		this.#state.tombstones.note(version);
		this.#batch.put(documentKey(encodedId), encodeDocument(version, "tombstone"));
		this.#batch.put(tombstoneKey(versionMs(version), encodedId), NOTHING);
		if (before === undefined) return;
		this.#putPostings(change, before.slot);
		this.#forgetOwner(before.slot, before.version, encodedId);
		this.#vacate(before.slot);
	}

	#putVector(vector: Float32Array, scratch: Float32Array): number {
		const { slots, vectors, scorer } = this.#state;
		const slot = slots.reserve();
		vectors.reserve(slot + 1);
		scorer.normalise(vector, scratch, "vector");
		vectors.write(slot, scratch);
		this.#batch.put(vectorKey(slot), new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength));
		return slot;
	}

	#vacate(slot: number): void {
		this.#vacated.push(slot);
		this.#batch.del(ownerKey(slot));
		this.#batch.del(vectorKey(slot));
	}

	#forgetOwner(slot: number, version: Uint8Array, encodedId: Buffer): void {
		this.#digest = (this.#digest - ownerDigest(slot, encodeOwner({ version, encodedId }))) >>> 0;
	}

	#putPostings({ before, after }: DocumentChange, slot: number): void {
		const { definitions } = this.#state;
		if (definitions.isEmpty) return;
		// A key may be among both: it is deleted first, then put.
		if (before !== undefined) {
			for (const key of definitions.postings(parsePayload(before.payloadText), before.slot)) this.#batch.del(key);
		}
		for (const key of definitions.postings(parsePayload(after?.payload?.toString()), slot))
			this.#batch.put(key, NOTHING);
	}

	#putBookkeeping(): void {
		const { committed, keeper, versions } = this.#state;
		const covered = keeper.coveredSeq ?? committed.seq;
		const trimmedSeq = Math.max(committed.trimmedSeq, Math.min(covered, committed.trimmedSeq + TRIMMED_PER_COMMIT_MAX));
		for (let seq = committed.trimmedSeq + 1; seq <= trimmedSeq; seq++) this.#batch.del(redoKey(seq));
		this.#batch.put(redoKey(this.seq), encodeSlots([...this.#vacated, ...this.#assigned.map(({ slot }) => slot)]));
		this.#after = {
			seq: this.seq,
			trimmedSeq,
			vectorCount: committed.vectorCount + this.#draft.vectorCountDelta,
			bytes: committed.bytes + this.#draft.bytesDelta,
			digest: this.#digest,
			clockMs: versions.ms,
			clockCounter: versions.counter,
		};
		this.#batch.put(STATE_KEY, encodeMeta(this.#after));
	}
}
