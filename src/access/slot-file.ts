import {
	closeSync,
	existsSync,
	fdatasync,
	fstatSync,
	fsyncSync,
	openSync,
	readSync,
	renameSync,
	rmSync,
	writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { crc32c } from "../storage/crc32c.ts";
import { syncPath } from "../storage/durable-file.ts";

/** A power of two, so that no slot lies across two pages: a process killed in the middle of a write leaves the old or the new. */
export const SLOT_BYTES = 256;
/** Of each slot; the rest is its owner's. */
export const CHECKSUM_BYTES = 4;

/** Slots are made in chunks of zeros, so that their place on the disk is taken before it is needed. */
const CHUNK_SLOTS = 1_024;
/** With fewer free slots than this more are made, while there may still be room on the disk. */
const SPARE_SLOTS = 128;

const FREE = new Uint8Array(SLOT_BYTES);

/** What of the file system may fail in a test. */
export interface SlotDisk {
	/** @returns bytes written. */
	write(file: number, bytes: Uint8Array, offset: number, length: number, position: number): number;
	sync(file: number): Promise<void>;
}

const systemDisk: SlotDisk = {
	write: (file, bytes, offset, length, position) => writeSync(file, bytes, offset, length, position),
	sync: (file) => new Promise((resolve, reject) => fdatasync(file, (err) => (err ? reject(err) : resolve()))),
};

export interface SlotFileOptions {
	/** Told of what was found damaged and left out. */
	readonly onDamage: (message: string, facts: Readonly<Record<string, unknown>>) => void;
	readonly disk?: SlotDisk;
}

/**
 * A file of slots of a fixed size, each with a CRC-32C, rewritten in place. What was written is there after `kill -9`, and
 * after a loss of power once it was synced. Belongs to one process.
 */
export class SlotFile {
	readonly #file: number;
	readonly #disk: SlotDisk;
	/** Positions to be used next, the last first. */
	readonly #free: number[] = [];
	#slotCount: number;
	#syncing: Promise<void> | undefined;
	#isClosed = false;

	private constructor(file: number, slotCount: number, disk: SlotDisk) {
		this.#file = file;
		this.#slotCount = slotCount;
		this.#disk = disk;
	}

	/**
	 * Opens the file, or makes it. What is damaged is left out: a slot alone, or, where the file is none of ours, all of it,
	 * moved aside as `<path>.damaged`.
	 *
	 * @param onSlot given the position and the bytes of each slot in use; the bytes are only lent.
	 * @throws what the file system throws
	 */
	static open(
		path: string,
		onSlot: (position: number, slot: Uint8Array) => void,
		{ onDamage, disk = systemDisk }: SlotFileOptions,
	): SlotFile {
		if (existsSync(path) && !hasHeader(path)) {
			renameSync(path, `${path}.damaged`);
			onDamage("the counters can't be read and start anew; the old file is kept aside", {});
		}
		if (!existsSync(path)) makeFile(path, disk);
		const file = openSync(path, "r+");
		try {
			// A tail shorter than a slot is what a full disk left of a chunk.
			const opened = new SlotFile(file, Math.floor(fstatSync(file).size / SLOT_BYTES), disk);
			opened.#read(onSlot, onDamage);
			return opened;
		} catch (cause) {
			closeSync(file);
			throw cause;
		}
	}

	/**
	 * @returns the position of a slot that is free from now on for the caller; undefined when there is none and the disk is full.
	 */
	allocate(): number | undefined {
		if (this.#free.length < SPARE_SLOTS) this.#grow();
		return this.#free.pop();
	}

	/** @param slot SLOT_BYTES, the first CHECKSUM_BYTES of them filled in here. @throws what the file system throws */
	write(position: number, slot: Uint8Array): void {
		this.#requireOpen();
		seal(slot);
		this.#writeAll(slot, position * SLOT_BYTES);
	}

	/** @throws what the file system throws; the slot may be given out again all the same */
	release(position: number): void {
		this.#free.push(position);
		if (!this.#isClosed) this.#writeAll(FREE, position * SLOT_BYTES);
	}

	/** What was written before the call survives a loss of power when the promise settles. @throws when the disk refuses */
	async sync(): Promise<void> {
		// One under way may have begun before the last write.
		if (this.#syncing !== undefined) await this.#syncing.catch(() => undefined);
		this.#requireOpen();
		this.#syncing ??= this.#disk.sync(this.#file).finally(() => {
			this.#syncing = undefined;
		});
		await this.#syncing;
	}

	/** Idempotent. */
	async close(): Promise<void> {
		if (this.#isClosed) return;
		this.#isClosed = true;
		await this.#syncing?.catch(() => undefined);
		closeSync(this.#file);
	}

	#requireOpen(): void {
		if (this.#isClosed) throw new Error("the slot file is closed");
	}

	#read(onSlot: (position: number, slot: Uint8Array) => void, onDamage: SlotFileOptions["onDamage"]): void {
		const chunk = new Uint8Array(CHUNK_SLOTS * SLOT_BYTES);
		for (let first = 1; first < this.#slotCount; first += CHUNK_SLOTS) {
			const count = Math.min(CHUNK_SLOTS, this.#slotCount - first);
			readAll(this.#file, chunk.subarray(0, count * SLOT_BYTES), first * SLOT_BYTES);
			for (let index = 0; index < count; index++) {
				const slot = chunk.subarray(index * SLOT_BYTES, (index + 1) * SLOT_BYTES);
				const position = first + index;
				if (isSealed(slot)) onSlot(position, slot);
				else if (isFree(slot)) this.#free.push(position);
				else {
					onDamage("a counter is damaged and starts anew", { slot: position });
					this.release(position);
				}
			}
		}
	}

	#grow(): void {
		const first = this.#slotCount;
		try {
			this.#writeAll(new Uint8Array(CHUNK_SLOTS * SLOT_BYTES), first * SLOT_BYTES);
		} catch {
			// The disk is full: the spare slots are for this, and the next to ask tries again.
			return;
		}
		this.#slotCount += CHUNK_SLOTS;
		for (let position = this.#slotCount - 1; position >= first; position--) this.#free.push(position);
	}

	#writeAll(bytes: Uint8Array, position: number): void {
		for (let done = 0; done < bytes.length; ) {
			done += this.#disk.write(this.#file, bytes, done, bytes.length - done, position + done);
		}
	}
}

/** `hvslots1`, and how long a slot is. */
function makeHeader(): Uint8Array {
	const header = new Uint8Array(SLOT_BYTES);
	header.set(Buffer.from("hvslots1"), CHECKSUM_BYTES);
	new DataView(header.buffer).setUint32(CHECKSUM_BYTES + 8, SLOT_BYTES, true);
	seal(header);
	return header;
}

function makeFile(path: string, disk: SlotDisk): void {
	const temporary = `${path}.new`;
	const bytes = new Uint8Array((1 + CHUNK_SLOTS) * SLOT_BYTES);
	bytes.set(makeHeader());
	const file = openSync(temporary, "w", 0o600);
	try {
		for (let done = 0; done < bytes.length; ) done += disk.write(file, bytes, done, bytes.length - done, done);
		fsyncSync(file);
	} catch (cause) {
		rmSync(temporary, { force: true });
		throw cause;
	} finally {
		closeSync(file);
	}
	renameSync(temporary, path);
	syncPath(dirname(path));
}

function hasHeader(path: string): boolean {
	const header = new Uint8Array(SLOT_BYTES);
	const file = openSync(path, "r");
	try {
		return readSync(file, header, 0, SLOT_BYTES, 0) === SLOT_BYTES && Buffer.compare(header, makeHeader()) === 0;
	} finally {
		closeSync(file);
	}
}

function readAll(file: number, bytes: Uint8Array, position: number): void {
	for (let done = 0; done < bytes.length; ) {
		const count = readSync(file, bytes, done, bytes.length - done, position + done);
		if (count === 0) throw new Error("the file became shorter while it was read");
		done += count;
	}
}

function checksumOf(slot: Uint8Array): number {
	return crc32c(slot, CHECKSUM_BYTES, SLOT_BYTES);
}

/** Little-endian, and without a DataView: this is done for every request. */
function seal(slot: Uint8Array): void {
	const checksum = checksumOf(slot);
	slot[0] = checksum;
	slot[1] = checksum >>> 8;
	slot[2] = checksum >>> 16;
	slot[3] = checksum >>> 24;
}

/** CRC-32C of zeros is not zero, so a free slot is not sealed. */
function isSealed(slot: Uint8Array): boolean {
	return new DataView(slot.buffer, slot.byteOffset, SLOT_BYTES).getUint32(0, true) === checksumOf(slot);
}

const isFree = (slot: Uint8Array): boolean => Buffer.compare(slot, FREE) === 0;
