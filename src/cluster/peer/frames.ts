/**
 * A message between nodes goes out in parts, so that a long one does not hold those behind it. A part: length of what follows
 * (u32), kind (u8; the highest bit says that more of the message comes), number of the call (u32), bytes; integers little-endian.
 */
export const FRAME_KINDS = { request: 1, result: 2, error: 3, cancel: 4 } as const;
export type FrameKind = (typeof FRAME_KINDS)[keyof typeof FRAME_KINDS];

const HEAD_BYTES = 9;
const LENGTH_BYTES = 4;
const MORE_FOLLOWS = 0x80;

/** Bytes of a message in one part: with what the layers below add it fits into one message of Noise, of 64 KiB at the most. */
export const PART_BYTES_MAX = 64 * 1024 - 64;

export interface Frame {
	readonly kind: number;
	readonly callId: number;
	readonly body: Uint8Array;
}

/** @param bytes at most PART_BYTES_MAX */
export function encodePart(kind: FrameKind, callId: number, bytes: Uint8Array, isLast: boolean): Uint8Array {
	const part = Buffer.allocUnsafe(HEAD_BYTES + bytes.byteLength);
	part.writeUInt32LE(HEAD_BYTES - LENGTH_BYTES + bytes.byteLength, 0);
	part[4] = isLast ? kind : kind | MORE_FOLLOWS;
	part.writeUInt32LE(callId, 5);
	part.set(bytes, HEAD_BYTES);
	return part;
}

interface Unfinished {
	readonly kind: number;
	readonly callId: number;
	readonly parts: Uint8Array[];
	byteCount: number;
}

/** Puts messages together again from the pieces in which a stream brings their parts. */
export class FrameReader {
	#pieces: Uint8Array[] = [];
	#byteCount = 0;
	#unfinished: Unfinished | undefined;

	/** @param bodyBytesMax a longer message ends the stream */
	constructor(private readonly bodyBytesMax: number) {}

	/**
	 * @param piece not to be used again: the bodies of short messages are parts of it
	 * @returns messages that are whole now
	 * @throws RangeError when one is too long, or a part is none
	 */
	push(piece: Uint8Array): Frame[] {
		this.#pieces.push(piece);
		this.#byteCount += piece.byteLength;
		const frames: Frame[] = [];
		for (;;) {
			if (this.#byteCount < LENGTH_BYTES) return frames;
			const length = this.#peekLength();
			if (length < HEAD_BYTES - LENGTH_BYTES || length > PART_BYTES_MAX + HEAD_BYTES - LENGTH_BYTES) {
				throw new RangeError(`a part of ${length} bytes`);
			}
			if (this.#byteCount < LENGTH_BYTES + length) return frames;
			const frame = this.#joined(this.#take(LENGTH_BYTES + length));
			if (frame !== undefined) frames.push(frame);
		}
	}

	#joined(part: Buffer): Frame | undefined {
		const kind = part[4]! & ~MORE_FOLLOWS;
		const callId = part.readUInt32LE(5);
		const bytes = part.subarray(HEAD_BYTES);
		const isLast = kind === part[4];
		let unfinished = this.#unfinished;
		if (isLast && (unfinished?.callId !== callId || unfinished.kind !== kind)) {
			// Short messages overtake a long one, and one of them may say that it won't go on.
			if (kind === FRAME_KINDS.cancel && unfinished?.callId === callId) this.#unfinished = undefined;
			this.#bound(bytes.byteLength);
			return { kind, callId, body: bytes };
		}
		if (unfinished?.callId !== callId || unfinished.kind !== kind) {
			// Long ones come one after the other: the one before was given up.
			unfinished = { kind, callId, parts: [], byteCount: 0 };
			this.#unfinished = unfinished;
		}
		unfinished.byteCount += bytes.byteLength;
		this.#bound(unfinished.byteCount);
		unfinished.parts.push(bytes);
		if (!isLast) return undefined;
		this.#unfinished = undefined;
		return { kind, callId, body: Buffer.concat(unfinished.parts) };
	}

	#bound(byteCount: number): void {
		if (byteCount > this.bodyBytesMax) throw new RangeError(`a message of more than ${this.bodyBytesMax} bytes`);
	}

	#peekLength(): number {
		if (this.#pieces[0]!.byteLength < LENGTH_BYTES) this.#pieces = [Buffer.concat(this.#pieces)];
		const first = this.#pieces[0]!;
		return Buffer.from(first.buffer, first.byteOffset, LENGTH_BYTES).readUInt32LE(0);
	}

	/** Without a copy when one piece has them all, as is usual for the parts of long messages. */
	#take(byteCount: number): Buffer {
		const first = this.#pieces[0]!;
		if (first.byteLength >= byteCount) {
			if (first.byteLength === byteCount) this.#pieces.shift();
			else this.#pieces[0] = first.subarray(byteCount);
			this.#byteCount -= byteCount;
			return Buffer.from(first.buffer, first.byteOffset, byteCount);
		}
		const taken: Uint8Array[] = [];
		let missing = byteCount;
		let used = 0;
		while (missing > 0) {
			const piece = this.#pieces[used]!;
			if (piece.byteLength <= missing) {
				taken.push(piece);
				used++;
				missing -= piece.byteLength;
			} else {
				taken.push(piece.subarray(0, missing));
				this.#pieces[used] = piece.subarray(missing);
				missing = 0;
			}
		}
		this.#pieces.splice(0, used);
		this.#byteCount -= byteCount;
		return Buffer.concat(taken);
	}
}
