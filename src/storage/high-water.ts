import { closeSync, fdatasync, fdatasyncSync, openSync, readFileSync, writeSync } from "node:fs";
import { lostWrites } from "./shard-errors.ts";
import type { StorageLog } from "./storage-log.ts";

const MAGIC = "HVHW";
const FILE_BYTES = 16;
const SYNC_INTERVAL_MS = 1_000;

/**
 * The last acknowledged commit's number, in a small file beside the database: a database that ends before it has lost
 * its tail. Written after every commit, synced about once a second: it survives the process at once, the machine soon.
 *
 *     "HVHW" · seq u64 · CRC-32 of both         little-endian
 */
export class HighWater {
	readonly #file: number;
	readonly #log: StorageLog;
	readonly #bytes = Buffer.alloc(FILE_BYTES);
	#timer: Timer | undefined;

	private constructor(file: number, log: StorageLog) {
		this.#file = file;
		this.#log = log;
		this.#bytes.write(MAGIC);
	}

	static create(path: string, log: StorageLog): HighWater {
		const mark = new HighWater(openSync(path, "wx"), log);
		mark.write(0);
		fdatasyncSync(mark.#file);
		return mark;
	}

	/** @throws HiveError INTERNAL when the file is missing or damaged: nobody can tell then whether the database is whole. */
	static open(path: string, log: StorageLog): { readonly mark: HighWater; readonly seq: number } {
		let bytes: Buffer;
		try {
			bytes = readFileSync(path);
		} catch {
			throw lostWrites({ missing: "high-water" });
		}
		const isWhole =
			bytes.length === FILE_BYTES &&
			bytes.toString("latin1", 0, 4) === MAGIC &&
			bytes.readUInt32LE(12) === Bun.hash.crc32(bytes.subarray(0, 12));
		if (!isWhole) throw lostWrites({ damaged: "high-water" });
		return { mark: new HighWater(openSync(path, "r+"), log), seq: Number(bytes.readBigUInt64LE(4)) };
	}

	write(seq: number): void {
		this.#bytes.writeBigUInt64LE(BigInt(seq), 4);
		this.#bytes.writeUInt32LE(Bun.hash.crc32(this.#bytes.subarray(0, 12)), 12);
		try {
			writeSync(this.#file, this.#bytes, 0, FILE_BYTES, 0);
		} catch (error) {
			// The commit itself is safe; a mark that lags behind only vouches for less.
			this.#log("writing the high-water mark failed", { error });
		}
		if (this.#timer === undefined) {
			this.#timer = setTimeout(() => this.#sync(), SYNC_INTERVAL_MS);
			this.#timer.unref();
		}
	}

	close(): void {
		clearTimeout(this.#timer);
		fdatasyncSync(this.#file);
		closeSync(this.#file);
	}

	#sync(): void {
		this.#timer = undefined;
		fdatasync(this.#file, (error) => {
			if (error !== null) this.#log("syncing the high-water mark failed", { error });
		});
	}
}
