import { closeSync, constants, fdatasyncSync, fstatSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { HiveError } from "../base/errors.ts";

const ROWS_MIN = 64;
/** The runtime maps no more than this into one buffer. */
const MAPPED_BYTES_MAX = 2 ** 32 - 4096;
const NOTHING = new Float32Array(0);

/**
 * Vectors at full precision: float32 rows by slot, no header, mapped into memory. Unit vectors where the metric is cosine,
 * as inserted otherwise. Derived from the database's vector rows.
 *
 * Written through the file, not the mapping: a full disk is then an error and no signal that kills the process.
 */
export class VectorFile {
	readonly dimension: number;
	readonly #path: string;
	readonly #file: number;
	#rowCapacity: number;
	#rows: Float32Array = NOTHING;
	#runStart = 0;
	#runRows = 0;
	readonly #run: Float32Array;
	#normMax: number;

	/** @param normMax at least the length of each row that is in the file already. */
	constructor(path: string, dimension: number, normMax: number) {
		this.dimension = dimension;
		this.#normMax = normMax;
		this.#path = path;
		this.#file = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
		this.#rowCapacity = Math.floor(fstatSync(this.#file).size / (dimension * 4));
		this.#run = new Float32Array(dimension * Math.max(1, Math.floor(262_144 / dimension)));
		this.#map();
	}

	/** Row-major, `rowCapacity` rows, byteOffset 0. Another array after `reserve` grew the file. */
	get rows(): Float32Array {
		return this.#rows;
	}

	get rowCapacity(): number {
		return this.#rowCapacity;
	}

	/** At least the length of the longest row. Never falls. */
	get normMax(): number {
		return this.#normMax;
	}

	/** Make room for so many rows. @throws HiveError INTERNAL when that is more than one shard can hold. */
	reserve(rowCount: number): void {
		if (rowCount <= this.#rowCapacity) return;
		const rowBytes = this.dimension * 4;
		const rowsMax = Math.floor(MAPPED_BYTES_MAX / rowBytes);
		if (rowCount > rowsMax) {
			throw new HiveError("INTERNAL", `a shard holds at most ${rowsMax} vectors of ${this.dimension} dimensions`, {
				vectors_max: rowsMax,
			});
		}
		const capacity = Math.min(rowsMax, Math.max(ROWS_MIN, rowCount, Math.ceil(this.#rowCapacity * 1.5)));
		// Never shrunk, so that the former mapping stays valid for whoever still holds it.
		ftruncateSync(this.#file, capacity * rowBytes);
		this.#rowCapacity = capacity;
		this.#map();
	}

	/** Put a row. Neighbours are gathered into one write: `flush` before anything rests on it. The row is copied. */
	write(slot: number, row: Float32Array): void {
		if (slot !== this.#runStart + this.#runRows || (this.#runRows + 1) * this.dimension > this.#run.length) {
			this.flush();
			this.#runStart = slot;
		}
		let sum = 0;
		for (let at = 0; at < row.length; at++) sum += row[at]! * row[at]!;
		this.#normMax = Math.max(this.#normMax, Math.sqrt(sum));
		this.#run.set(row, this.#runRows * this.dimension);
		this.#runRows++;
	}

	flush(): void {
		const bytes = new Uint8Array(this.#run.buffer, 0, this.#runRows * this.dimension * 4);
		const position = this.#runStart * this.dimension * 4;
		this.#runRows = 0;
		for (let done = 0; done < bytes.length; ) {
			done += writeSync(this.#file, bytes, done, bytes.length - done, position + done);
		}
	}

	sync(): void {
		fdatasyncSync(this.#file);
	}

	close(): void {
		this.#rows = NOTHING;
		closeSync(this.#file);
	}

	#map(): void {
		if (this.#rowCapacity === 0) return;
		const bytes = Bun.mmap(this.#path, { shared: true });
		this.#rows = new Float32Array(bytes.buffer as ArrayBuffer, 0, this.#rowCapacity * this.dimension);
	}
}
