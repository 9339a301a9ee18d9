/** Reads LevelDB's variable-length numbers. Every read past the end throws a RangeError. */
export class ByteCursor {
	readonly #bytes: Uint8Array;
	at: number;

	constructor(bytes: Uint8Array, at = 0) {
		this.#bytes = bytes;
		this.at = at;
	}

	byte(): number {
		const byte = this.#bytes[this.at++];
		if (byte === undefined) throw new RangeError("the bytes end early");
		return byte;
	}

	/** Little-endian, seven bits a byte. At most 2^53. */
	varint(): number {
		let value = 0;
		for (let factor = 1; factor <= 2 ** 49; factor *= 128) {
			const byte = this.byte();
			value += (byte & 0x7f) * factor;
			if (byte < 0x80) return value;
		}
		throw new RangeError("a number is too long");
	}

	/** A view. */
	take(byteCount: number): Uint8Array {
		const end = this.at + byteCount;
		if (end > this.#bytes.length) throw new RangeError("the bytes end early");
		const taken = this.#bytes.subarray(this.at, end);
		this.at = end;
		return taken;
	}
}

/**
 * Undo Snappy's compression of a block.
 *
 * @throws RangeError when the bytes are not what Snappy makes.
 * Source: google/snappy, format_description.txt.
 */
export function decompressSnappy(bytes: Uint8Array, byteCountMax: number): Uint8Array {
	const cursor = new ByteCursor(bytes);
	const length = cursor.varint();
	if (length > byteCountMax) throw new RangeError("a block is too long");
	const out = new Uint8Array(length);
	let done = 0;
	while (cursor.at < bytes.length) {
		const tag = cursor.byte();
		const kind = tag & 3;
		if (kind === 0) {
			let count = tag >> 2;
			if (count >= 60) count = littleEndian(cursor, count - 59);
			out.set(cursor.take(count + 1), done);
			done += count + 1;
			continue;
		}
		const count = kind === 1 ? ((tag >> 2) & 7) + 4 : (tag >> 2) + 1;
		const distance = kind === 1 ? ((tag >> 5) << 8) | cursor.byte() : littleEndian(cursor, kind === 2 ? 2 : 4);
		if (distance === 0 || distance > done || done + count > length) throw new RangeError("a copy is out of bounds");
		// Byte by byte: a copy may reach into what it writes.
		for (let at = 0; at < count; at++) out[done + at] = out[done + at - distance]!;
		done += count;
	}
	if (done !== length) throw new RangeError("a block has another length");
	return out;
}

function littleEndian(cursor: ByteCursor, byteCount: number): number {
	let value = 0;
	for (let at = 0, factor = 1; at < byteCount; at++, factor *= 256) value += cursor.byte() * factor;
	return value;
}
