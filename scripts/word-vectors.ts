import { readFileSync, writeFileSync } from "node:fs";

/**
 * A compact file of word vectors, most frequent word first: the 16-byte header ("HVWV", then count, dimension and the
 * byte length of the word list, each u32 little-endian), the words joined by newlines (UTF-8), padding to an even
 * offset, and the rows as float16 little-endian, row-major.
 */
export interface WordVectors {
	readonly words: readonly string[];
	readonly dimension: number;
	/** [count × dimension], row-major. */
	readonly vectors: Float32Array;
}

const MAGIC = 0x56575648; // "HVWV", little-endian
const HEADER_BYTES = 16;

/** @param countMax rows wanted at most; the file's first ones are given. */
export function readWordVectors(path: string, countMax = Number.MAX_SAFE_INTEGER): WordVectors {
	const bytes = readFileSync(path);
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	if (bytes.byteLength < HEADER_BYTES || view.getUint32(0, true) !== MAGIC) {
		throw new Error(`${path} is not a word vector file`);
	}
	const storedCount = view.getUint32(4, true);
	const dimension = view.getUint32(8, true);
	const wordBytes = view.getUint32(12, true);
	const rowsOffset = evenUp(HEADER_BYTES + wordBytes);
	if (bytes.byteLength !== rowsOffset + storedCount * dimension * 2) throw new Error(`${path} is cut short`);
	const count = Math.min(storedCount, countMax);
	const words = bytes
		.subarray(HEADER_BYTES, HEADER_BYTES + wordBytes)
		.toString("utf8")
		.split("\n")
		.slice(0, count);
	const halves = new Float16Array(
		bytes.buffer.slice(bytes.byteOffset + rowsOffset, bytes.byteOffset + rowsOffset + count * dimension * 2),
	);
	return { words, dimension, vectors: Float32Array.from(halves) };
}

export function writeWordVectors(path: string, data: WordVectors): void {
	const words = Buffer.from(data.words.join("\n"), "utf8");
	const rowsOffset = evenUp(HEADER_BYTES + words.byteLength);
	const bytes = new Uint8Array(rowsOffset + data.vectors.length * 2);
	const view = new DataView(bytes.buffer);
	view.setUint32(0, MAGIC, true);
	view.setUint32(4, data.words.length, true);
	view.setUint32(8, data.dimension, true);
	view.setUint32(12, words.byteLength, true);
	bytes.set(words, HEADER_BYTES);
	new Float16Array(bytes.buffer, rowsOffset).set(data.vectors);
	writeFileSync(path, bytes);
}

const evenUp = (offset: number): number => offset + (offset % 2);
