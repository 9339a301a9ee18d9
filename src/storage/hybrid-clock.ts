import type { Clock } from "../base/clock.ts";

/** 48 bits of milliseconds, 16 bits of counter, 8 bytes naming the node: unique, and sorts by time as bytes. */
export const VERSION_BYTES = 16;
const COUNTER_MAX = 0xffff;

/** A hybrid logical clock: follows the wall clock, and goes on by its counter when that stands still or jumps back. */
export class HybridClock {
	readonly #clock: Clock;
	readonly #nodeTag: Uint8Array;
	#ms: number;
	#counter: number;

	/**
	 * @param nodeTag 8 bytes.
	 * @param last    the newest time given out before; every version from here on is newer.
	 */
	constructor(clock: Clock, nodeTag: Uint8Array, last: { readonly ms: number; readonly counter: number }) {
		if (nodeTag.length !== 8) throw new RangeError("a node tag is 8 bytes");
		this.#clock = clock;
		this.#nodeTag = nodeTag;
		this.#ms = last.ms;
		this.#counter = last.counter;
	}

	get ms(): number {
		return this.#ms;
	}

	get counter(): number {
		return this.#counter;
	}

	/** A version newer than any before. 16 bytes, new. */
	next(): Uint8Array {
		const nowMs = Math.floor(this.#clock.nowMs());
		if (nowMs > this.#ms) {
			this.#ms = nowMs;
			this.#counter = 0;
		} else if (this.#counter < COUNTER_MAX) this.#counter++;
		else {
			this.#ms++;
			this.#counter = 0;
		}
		const version = Buffer.allocUnsafe(VERSION_BYTES);
		version.writeUIntBE(this.#ms, 0, 6);
		version.writeUInt16BE(this.#counter, 6);
		version.set(this.#nodeTag, 8);
		return version;
	}
}

/** When a version was made, milliseconds since the epoch. */
export function versionMs(version: Uint8Array): number {
	return Buffer.from(version.buffer, version.byteOffset, version.byteLength).readUIntBE(0, 6);
}

/** 32 bits that tell versions of one document apart. */
export function versionStamp(version: Uint8Array): number {
	return Bun.hash.xxHash32(version);
}
