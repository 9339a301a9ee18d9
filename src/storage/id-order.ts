import type { VectorId } from "../base/ids.ts";

/**
 * The order of ids in a shard: integers by value, then strings by their UTF-8 bytes. The encoding sorts alike:
 *
 *     integer  0x01 · u64 big-endian          string  0x02 · UTF-8
 */
const INTEGER_TAG = 1;
const STRING_TAG = 2;
const INTEGER_BYTES = 9;

export function encodeId(id: VectorId): Buffer {
	if (typeof id === "number") {
		const encoded = Buffer.allocUnsafe(INTEGER_BYTES);
		encoded[0] = INTEGER_TAG;
		encoded.writeUInt32BE(Math.floor(id / 0x1_0000_0000), 1);
		encoded.writeUInt32BE(id >>> 0, 5);
		return encoded;
	}
	const encoded = Buffer.allocUnsafe(1 + Buffer.byteLength(id));
	encoded[0] = STRING_TAG;
	encoded.write(id, 1);
	return encoded;
}

/** @throws Error when the bytes are no encoded id. */
export function decodeId(bytes: Buffer): VectorId {
	if (bytes[0] === INTEGER_TAG && bytes.length === INTEGER_BYTES) {
		return bytes.readUInt32BE(1) * 0x1_0000_0000 + bytes.readUInt32BE(5);
	}
	if (bytes[0] === STRING_TAG) return bytes.toString("utf8", 1);
	throw new Error("these bytes are no encoded id");
}

/** Negative when `a` comes first, 0 when they are the same id. */
export function compareIds(a: VectorId, b: VectorId): number {
	if (typeof a === "number") return typeof b === "number" ? a - b : -1;
	if (typeof b === "number") return 1;
	const shared = Math.min(a.length, b.length);
	for (let at = 0; at < shared; at++) {
		const left = a.charCodeAt(at);
		const right = b.charCodeAt(at);
		if (left !== right) return byCodePoint(left) - byCodePoint(right);
	}
	return a.length - b.length;
}

// UTF-8 sorts by code point, UTF-16 puts the surrogates (code points from U+10000) before U+E000..U+FFFF.
function byCodePoint(unit: number): number {
	if (unit < 0xd800) return unit;
	return unit < 0xe000 ? unit + 0x2000 : unit - 0x800;
}
