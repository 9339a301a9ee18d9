import type { Clock } from "../base/clock.ts";
import type { Version } from "./shard-types.ts";

/** 48 bits of milliseconds, 16 bits of counter, 8 bytes naming the node: unique, and sorts by time as bytes. */
export const VERSION_BYTES = 16;
const COUNTER_MAX = 0xffff;
/** Some 4,000 years ahead: no clock is that wrong, and one that came near the end of its 48 bits could not go on. */
const OBSERVED_MS_MAX = 2 ** 47;

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

	/**
	 * From here on every version is newer than this one, wherever it was made.
	 *
	 * @throws RangeError when these bytes are no version that a clock could have made.
	 */
	observe(version: Version): void {
		if (version.length !== VERSION_BYTES) throw new RangeError(`a version is ${VERSION_BYTES} bytes`);
		const ms = versionMs(version);
		if (ms > OBSERVED_MS_MAX) throw new RangeError("a version is of a time that no clock shows");
		if (ms < this.#ms) return;
		const counter = version[6]! * 256 + version[7]!;
		this.#counter = ms > this.#ms ? counter : Math.max(this.#counter, counter);
		this.#ms = ms;
	}

	/** A version newer than any before. 16 bytes, new. */
	next(): Version {
		const nowMs = Math.floor(this.#clock.nowMs());
		if (nowMs > this.#ms) {
			this.#ms = nowMs;
			this.#counter = 0;
		} else if (this.#counter < COUNTER_MAX) this.#counter++;
		else {
			this.#ms++;
			this.#counter = 0;
		}
		// A buffer of its own: it may cross to another thread, which takes all of the buffer behind a view.
		const version = Buffer.alloc(VERSION_BYTES);
		version.writeUIntBE(this.#ms, 0, 6);
		version.writeUInt16BE(this.#counter, 6);
		version.set(this.#nodeTag, 8);
		return version;
	}
}

/** When a version was made, milliseconds since the epoch. */
export function versionMs(version: Version): number {
	return Buffer.from(version.buffer, version.byteOffset, version.byteLength).readUIntBE(0, 6);
}

/** Negative when `a` is the older one, 0 when they are the same. */
export function compareVersions(a: Version, b: Version): number {
	return Buffer.compare(a, b);
}

/** 32 bits that tell versions of one document apart. */
export function versionStamp(version: Version): number {
	return Bun.hash.xxHash32(version);
}
