import type { RowSource } from "./exact-scan.ts";
import type { VectorFile } from "./vector-file.ts";

const NOWHERE = -1;
const MATRIX_ROWS_MIN = 64;

/**
 * Live slots that a graph does not hold. `source` gathers their vectors in a matrix of their own, so that they can be scanned without
 * the rest; it is kept up while the tail is short and dropped when it grows past `matrixRowsMax`.
 */
export class Tail {
	readonly #vectors: VectorFile;
	readonly #matrixRowsMax: number;
	readonly #slots: number[] = [];
	/** Where a slot stands in `#slots`, by slot. */
	#places = new Int32Array(0);
	#matrix: Float32Array | undefined;

	constructor(vectors: VectorFile, matrixRowsMax: number) {
		this.#vectors = vectors;
		this.#matrixRowsMax = matrixRowsMax;
	}

	get count(): number {
		return this.#slots.length;
	}

	get slots(): readonly number[] {
		return this.#slots;
	}

	has(slot: number): boolean {
		return slot < this.#places.length && this.#places[slot] !== NOWHERE;
	}

	/** The slot's row must be in the vector file. */
	add(slot: number): void {
		this.#growPlaces(slot + 1);
		const place = this.#slots.push(slot) - 1;
		this.#places[slot] = place;
		if (this.#matrix === undefined) return;
		if (this.count > this.#matrixRowsMax) this.#matrix = undefined;
		else {
			this.#growMatrix();
			this.#copyRow(slot, place);
		}
	}

	/** @returns whether it was there. */
	remove(slot: number): boolean {
		if (!this.has(slot)) return false;
		const place = this.#places[slot]!;
		const last = this.#slots.pop()!;
		this.#places[slot] = NOWHERE;
		if (last !== slot) {
			this.#slots[place] = last;
			this.#places[last] = place;
			const dimension = this.#vectors.dimension;
			const from = this.count * dimension;
			this.#matrix?.copyWithin(place * dimension, from, from + dimension);
		}
		return true;
	}

	/** The tail's rows, when they are few enough to be gathered. Valid until the tail changes. */
	get source(): RowSource | undefined {
		if (this.count > this.#matrixRowsMax) return undefined;
		if (this.#matrix === undefined) {
			this.#growMatrix();
			for (const [place, slot] of this.#slots.entries()) this.#copyRow(slot, place);
		}
		return {
			rows: this.#matrix!,
			rowCount: this.count,
			deadCount: 0,
			normMax: this.#vectors.normMax,
			slotAt: (row) => this.#slots[row],
		};
	}

	#copyRow(slot: number, place: number): void {
		const dimension = this.#vectors.dimension;
		const start = slot * dimension;
		this.#matrix!.set(this.#vectors.rows.subarray(start, start + dimension), place * dimension);
	}

	#growMatrix(): void {
		const needed = this.count * this.#vectors.dimension;
		if (this.#matrix !== undefined && this.#matrix.length >= needed) return;
		const rowCount = Math.max(MATRIX_ROWS_MIN, Math.ceil(this.count * 1.5));
		const grown = new Float32Array(
			Math.min(rowCount, Math.max(this.count, this.#matrixRowsMax)) * this.#vectors.dimension,
		);
		if (this.#matrix !== undefined) grown.set(this.#matrix);
		this.#matrix = grown;
	}

	#growPlaces(count: number): void {
		if (count <= this.#places.length) return;
		const grown = new Int32Array(Math.max(count, Math.ceil(this.#places.length * 1.5))).fill(NOWHERE);
		grown.set(this.#places);
		this.#places = grown;
	}
}
