import { isUtf8 } from "node:buffer";
import { HiveError } from "../../base/errors.ts";

const refuse = (reason: string): HiveError =>
	new HiveError("VALIDATION_FAILED", `the body is not usable msgpack: ${reason}`);

/** Bytes of the value after each marker from 0xc0 on: fixed part only. -1: never used, or an extension, which JSON can't say. */
const FIXED_BYTES = [
	0, -1, 0, 0, 1, 2, 4, -1, -1, -1, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, -1, -1, -1, -1, -1, 1, 2, 4, 2, 4, 2, 4,
] as const;

/**
 * Walks over msgpack before it is decoded. The decoder sets aside an array's claimed length at once, so three bytes of
 * input cost it half a megabyte; what passed here really holds all it claims.
 *
 * Holds: one complete value and nothing after it, at most `depthMax` levels, maps keyed by strings, text in UTF-8 (the
 * decoder would guess), no extension types (JSON has nothing like them).
 *
 * @throws VALIDATION_FAILED. Cost: O(values), no allocation beyond the stack of open levels.
 */
export function requireSoundMsgpack(bytes: Uint8Array, depthMax: number): void {
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	// Values still owed on each open level; a map's level counts keys and values, so an even rest means a key is next.
	const owed: number[] = [1];
	const isMap: boolean[] = [false];
	let at = 0;
	while (owed.length > 0) {
		const level = owed.length - 1;
		const rest = owed[level]!;
		if (rest === 0) {
			owed.pop();
			isMap.pop();
			continue;
		}
		owed[level] = rest - 1;
		const marker = bytes[at];
		if (marker === undefined) throw refuse("it ends too early");
		at++;
		let textStart = at;
		const keyNext = isMap[level]! && rest % 2 === 0;
		let opens = -1;
		let opensMap = false;
		if (marker < 0x80 || marker >= 0xe0) {
			if (keyNext) throw refuse("a map has a key that is not a string");
			continue;
		}
		if (marker >= 0xa0 && marker < 0xc0) {
			at += marker & 0x1f;
		} else if (marker < 0xa0) {
			opensMap = marker < 0x90;
			opens = marker & 0x0f;
		} else {
			const fixedBytes = FIXED_BYTES[marker - 0xc0]!;
			if (fixedBytes < 0) throw refuse("it holds an extension type");
			if (at + fixedBytes > bytes.length) throw refuse("it ends too early");
			const isSized = (marker >= 0xc4 && marker <= 0xc6) || marker >= 0xd9;
			const size = isSized ? readSize(view, at, fixedBytes) : 0;
			at += fixedBytes;
			if (marker >= 0xdc) {
				opensMap = marker >= 0xde;
				opens = size;
			} else {
				textStart = at;
				at += size;
			}
		}
		if (at > bytes.length) throw refuse("it ends too early");
		const isString = (marker >= 0xa0 && marker < 0xc0) || (marker >= 0xd9 && marker <= 0xdb);
		if (isString && !isUtf8(bytes.subarray(textStart, at))) throw refuse("it holds text that is not UTF-8");
		if (keyNext && !isString) throw refuse("a map has a key that is not a string");
		if (opens < 0) continue;
		const values = opensMap ? opens * 2 : opens;
		// Each value takes a byte at least.
		if (values > bytes.length - at) throw refuse("it ends too early");
		if (owed.length > depthMax) throw refuse(`it is nested more than ${depthMax} levels deep`);
		owed.push(values);
		isMap.push(opensMap);
	}
	if (at !== bytes.length) throw refuse("something follows its first value");
}

function readSize(view: DataView, at: number, sizeBytes: number): number {
	if (sizeBytes === 1) return view.getUint8(at);
	return sizeBytes === 2 ? view.getUint16(at) : view.getUint32(at);
}
