/**
 * Vectors of a parsed body, taken out of it to cross from one thread to another: cloning arrays of numbers costs as much as
 * parsing them, one buffer costs nothing.
 *
 * They are what stands at `vector` in an object of an array that is a field of the body: `vectors[3].vector`,
 * `searches[0].vector`. Payloads stand deeper and stay as they are.
 */
export interface PackedBody {
	/** The body, with null where a vector was taken out. */
	readonly value: Record<string, unknown>;
	readonly vectors: readonly PackedField[];
}

interface PackedField {
	/** The body's field that is an array. */
	readonly field: string;
	/** Places in that array. */
	readonly places: Uint32Array<ArrayBuffer>;
	/** Of the vectors at these places, as counts of numbers. */
	readonly lengths: Uint32Array<ArrayBuffer>;
	/** The vectors one after another. */
	readonly numbers: Float32Array<ArrayBuffer>;
}

/**
 * Takes the vectors out. One that is not of numbers alone, all of which fit float32, is left where it is, so that whoever
 * checks it can say what is wrong with which entry.
 *
 * @param value changed in place.
 */
export function packVectors(value: Record<string, unknown>): PackedBody {
	const vectors: PackedField[] = [];
	for (const field of Object.keys(value)) {
		const rows = value[field];
		if (!Array.isArray(rows)) continue;
		const packed = packRows(field, rows);
		if (packed !== undefined) vectors.push(packed);
	}
	return { value, vectors };
}

/** The body as it was before packing, but for vectors that are Float32Arrays now. */
export function unpackVectors({ value, vectors }: PackedBody): Record<string, unknown> {
	for (const { field, places, lengths, numbers } of vectors) {
		const rows = value[field] as Record<string, unknown>[];
		let from = 0;
		for (let index = 0; index < places.length; index++) {
			const end = from + lengths[index]!;
			rows[places[index]!]!.vector = numbers.subarray(from, end);
			from = end;
		}
	}
	return value;
}

/** Buffers that may move instead of being copied. */
export const buffersOf = ({ vectors }: PackedBody): ArrayBuffer[] =>
	vectors.flatMap(({ places, lengths, numbers }) => [places.buffer, lengths.buffer, numbers.buffer]);

function packRows(field: string, rows: readonly unknown[]): PackedField | undefined {
	let numberCount = 0;
	let vectorCount = 0;
	for (const row of rows) {
		const vector = vectorOf(row);
		if (vector === undefined) continue;
		numberCount += vector.length;
		vectorCount++;
	}
	if (vectorCount === 0) return undefined;
	const numbers = new Float32Array(numberCount);
	const places = new Uint32Array(vectorCount);
	const lengths = new Uint32Array(vectorCount);
	let filled = 0;
	let packedCount = 0;
	for (let place = 0; place < rows.length; place++) {
		const vector = vectorOf(rows[place]);
		if (vector === undefined || !copyNumbers(vector, numbers, filled)) continue;
		(rows[place] as Record<string, unknown>).vector = null;
		places[packedCount] = place;
		lengths[packedCount] = vector.length;
		packedCount++;
		filled += vector.length;
	}
	if (packedCount === 0) return undefined;
	return { field, places: places.slice(0, packedCount), lengths: lengths.slice(0, packedCount), numbers };
}

function vectorOf(row: unknown): readonly unknown[] | undefined {
	if (typeof row !== "object" || row === null || !Object.hasOwn(row, "vector")) return undefined;
	const { vector } = row as { vector: unknown };
	// An empty one says what is wrong with it only while it is an array; nothing is gained by moving it.
	return Array.isArray(vector) && vector.length > 0 ? vector : undefined;
}

/** @returns false when an entry is no number or has no finite float32; `target` may hold a part of it then. */
function copyNumbers(vector: readonly unknown[], target: Float32Array, offset: number): boolean {
	for (let index = 0; index < vector.length; index++) {
		const entry = vector[index];
		if (typeof entry !== "number") return false;
		target[offset + index] = entry;
		if (!Number.isFinite(target[offset + index])) return false;
	}
	return true;
}
