import { closeSync, constants, fdatasync, fstatSync, openSync, readSync, writeSync } from "node:fs";
import type { Clock } from "../base/clock.ts";

/** Bytes of a nonce's digest. */
export const NONCE_DIGEST_BYTES = 24;
/** The digest, and the end of its time as float64. Divides a page, so that no slot is torn by a loss of power. */
const SLOT_BYTES = 32;
const SYNC_EVERY_MS = 1_000;
const READ_SLOTS = 4_096;

export interface JournalEntry {
	readonly slot: number;
	/** NONCE_DIGEST_BYTES of them. */
	readonly digest: Buffer;
	readonly validUntilMs: number;
}

type SyncFile = (file: number, done: (error: Error | null) => void) => void;

/**
 * A file of fixed slots, one a nonce, written in place before the request goes on: what was written has outlived the process
 * at once, and a loss of power costs about the last second.
 */
export class NonceJournal {
	readonly #clock: Clock;
	readonly #sync: SyncFile;
	readonly #file: number;
	readonly #freeSlots: number[] = [];
	#usedSlotCount: number;
	#syncedAtMs = Number.NEGATIVE_INFINITY;
	#isSyncing = false;
	#isClosed = false;
	#failure: Error | undefined;

	/** @throws what the file system says */
	constructor(path: string, clock: Clock, sync: SyncFile = fdatasync) {
		this.#clock = clock;
		this.#sync = sync;
		this.#file = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
		this.#usedSlotCount = Math.floor(fstatSync(this.#file).size / SLOT_BYTES);
	}

	/** What earlier processes left, once, at the start. What is not kept frees its slot. */
	load(keep: (entry: JournalEntry) => boolean): void {
		const page = Buffer.alloc(READ_SLOTS * SLOT_BYTES);
		for (let first = 0; first < this.#usedSlotCount; first += READ_SLOTS) {
			const slotCount = Math.min(READ_SLOTS, this.#usedSlotCount - first);
			const byteCount = readSync(this.#file, page, 0, slotCount * SLOT_BYTES, first * SLOT_BYTES);
			for (let index = 0; index < slotCount; index++) {
				const bytes = page.subarray(index * SLOT_BYTES, Math.min((index + 1) * SLOT_BYTES, byteCount));
				const slot = first + index;
				const isKept =
					bytes.length === SLOT_BYTES &&
					keep({
						slot,
						digest: Buffer.from(bytes.subarray(0, NONCE_DIGEST_BYTES)),
						validUntilMs: bytes.readDoubleLE(NONCE_DIGEST_BYTES),
					});
				if (!isKept) this.#freeSlots.push(slot);
			}
		}
	}

	/** @returns its slot, to be given back when the nonce may be forgotten. @throws what the disk says */
	write(digest: Buffer, validUntilMs: number): number {
		// Its descriptor may be another file's by now.
		if (this.#isClosed) throw new Error("the journal of nonces is closed");
		if (this.#failure !== undefined) throw this.#failure;
		const slot = this.#freeSlots.pop() ?? this.#usedSlotCount++;
		const bytes = Buffer.alloc(SLOT_BYTES);
		digest.copy(bytes, 0, 0, NONCE_DIGEST_BYTES);
		bytes.writeDoubleLE(validUntilMs, NONCE_DIGEST_BYTES);
		try {
			for (let done = 0; done < SLOT_BYTES; ) {
				done += writeSync(this.#file, bytes, done, SLOT_BYTES - done, slot * SLOT_BYTES + done);
			}
		} catch (cause) {
			this.free(slot);
			throw cause;
		}
		this.#syncNowAndThen();
		return slot;
	}

	free(slot: number): void {
		this.#freeSlots.push(slot);
	}

	close(): void {
		if (this.#isClosed) return;
		this.#isClosed = true;
		if (!this.#isSyncing) closeSync(this.#file);
	}

	#syncNowAndThen(): void {
		const nowMs = this.#clock.monotonicMs();
		if (this.#isSyncing || nowMs - this.#syncedAtMs < SYNC_EVERY_MS) return;
		this.#syncedAtMs = nowMs;
		this.#isSyncing = true;
		this.#sync(this.#file, (error) => {
			this.#isSyncing = false;
			// A disk that once failed to sync can't be trusted to have kept what came before.
			if (error !== null) this.#failure = error;
			if (this.#isClosed) closeSync(this.#file);
		});
	}
}
