const POLYNOMIAL = 0x82f63b78;
const SLICES = 8;

/** Table `slice` at `slice × 256`. Source: Kounavis and Berry, slicing-by-8. */
const TABLES = tables();

function tables(): Uint32Array {
	const all = new Uint32Array(SLICES * 256);
	for (let byte = 0; byte < 256; byte++) {
		let crc = byte;
		for (let bit = 0; bit < 8; bit++) crc = (crc & 1) !== 0 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
		all[byte] = crc;
	}
	for (let at = 256; at < all.length; at++) {
		const before = all[at - 256]!;
		all[at] = (before >>> 8) ^ all[before & 0xff]!;
	}
	return all;
}

/** CRC-32C (Castagnoli), which LevelDB guards its blocks with, of the bytes from `start` up to `end`. */
export function crc32c(bytes: Uint8Array, start: number, end: number): number {
	const table = TABLES;
	let crc = ~0;
	let at = start;
	for (; at + SLICES <= end; at += SLICES) {
		const low = crc ^ (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24));
		crc =
			table[1792 + (low & 0xff)]! ^
			table[1536 + ((low >>> 8) & 0xff)]! ^
			table[1280 + ((low >>> 16) & 0xff)]! ^
			table[1024 + (low >>> 24)]! ^
			table[768 + bytes[at + 4]!]! ^
			table[512 + bytes[at + 5]!]! ^
			table[256 + bytes[at + 6]!]! ^
			table[bytes[at + 7]!]!;
	}
	for (; at < end; at++) crc = (crc >>> 8) ^ table[(crc ^ bytes[at]!) & 0xff]!;
	return ~crc >>> 0;
}
