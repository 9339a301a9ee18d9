import type { Stream } from "@libp2p/interface";
import { encodePart, type Frame, type FrameKind, FrameReader, PART_BYTES_MAX } from "./frames.ts";

export type Direction = "sent" | "received";

export interface FrameStreamParts {
	readonly stream: Stream;
	/** A longer message ends the stream. */
	readonly bodyBytesMax: number;
	readonly onFrame: (frame: Frame) => void;
	/** Once; nothing comes or goes afterwards. */
	readonly onEnd: () => void;
	readonly onBytes: (direction: Direction, byteCount: number) => void;
}

interface Outgoing {
	readonly kind: FrameKind;
	readonly callId: number;
	readonly body: Uint8Array;
	sentBytes: number;
	readonly done: () => void;
}

/**
 * Messages over one stream, with back-pressure: what the stream does not take yet waits here. Short ones go between the parts of
 * a long one.
 */
export class FrameStream {
	readonly #parts: FrameStreamParts;
	#short: Outgoing[] = [];
	#long: Outgoing[] = [];
	#isPumping = false;
	#isOver = false;
	/** Told when the stream takes more, or is over. */
	#wake: () => void = () => undefined;
	queuedBytes = 0;

	constructor(parts: FrameStreamParts) {
		this.#parts = parts;
		const { stream, bodyBytesMax, onFrame, onBytes } = parts;
		const reader = new FrameReader(bodyBytesMax);
		stream.addEventListener("message", ({ data }) => {
			if (this.#isOver) return;
			onBytes("received", data.byteLength);
			let frames: Frame[];
			try {
				frames = reader.push(data.subarray());
			} catch (error) {
				this.abort(error as Error);
				return;
			}
			for (const frame of frames) onFrame(frame);
		});
		stream.addEventListener("drain", () => this.#wake());
		stream.addEventListener("close", () => this.#end());
		stream.addEventListener("remoteCloseWrite", () => this.#end());
	}

	get isOver(): boolean {
		return this.#isOver;
	}

	/**
	 * @returns settles when the connection has taken it, when it was withdrawn, or once the stream is over: whoever waits for an
	 * answer hears of that
	 */
	send(kind: FrameKind, callId: number, body: Uint8Array): Promise<void> {
		if (this.#isOver) return Promise.resolve();
		const { promise, resolve: done } = Promise.withResolvers<void>();
		const queue = body.byteLength > PART_BYTES_MAX ? this.#long : this.#short;
		queue.push({ kind, callId, body, sentBytes: 0, done });
		this.queuedBytes += body.byteLength;
		if (!this.#isPumping) {
			this.#isPumping = true;
			// What is sent in one go goes out in one go.
			queueMicrotask(() => void this.#pump());
		}
		return promise;
	}

	/** What has not gone out yet of a call's message stays here. */
	withdraw(callId: number): void {
		const isMeant = (outgoing: Outgoing): boolean => outgoing.callId === callId;
		for (const outgoing of [...this.#short, ...this.#long].filter(isMeant)) this.#leave(outgoing);
		this.#short = this.#short.filter((outgoing) => !isMeant(outgoing));
		this.#long = this.#long.filter((outgoing) => !isMeant(outgoing));
	}

	/** The other side shall wait with what it has to say; some more may come. */
	pause(): void {
		if (!this.#isOver && this.#parts.stream.status === "open") this.#parts.stream.pause();
	}

	resume(): void {
		if (!this.#isOver && this.#parts.stream.status === "open") this.#parts.stream.resume();
	}

	abort(reason = new Error("given up")): void {
		this.#parts.stream.abort(reason);
		this.#end();
	}

	async #pump(): Promise<void> {
		const { stream, onBytes } = this.#parts;
		try {
			for (let bytes = this.#next(); bytes !== undefined; bytes = this.#next()) {
				onBytes("sent", bytes.byteLength);
				if (stream.send(bytes)) continue;
				// The stream's own promise of a drain holds only once.
				while (stream.writableNeedsDrain && !this.#isOver) {
					await new Promise<void>((resolve) => {
						this.#wake = resolve;
					});
				}
			}
		} catch (error) {
			this.abort(error as Error);
		} finally {
			this.#isPumping = false;
		}
	}

	/** The next bytes to go out: some short messages, or a part of a long one. */
	#next(): Uint8Array | undefined {
		if (this.#short.length > 0) return this.#nextShort();
		const outgoing = this.#long[0];
		if (outgoing === undefined) return undefined;
		const { kind, callId, body, sentBytes } = outgoing;
		const bytes = body.subarray(sentBytes, sentBytes + PART_BYTES_MAX);
		outgoing.sentBytes += bytes.byteLength;
		this.queuedBytes -= bytes.byteLength;
		const isLast = outgoing.sentBytes === body.byteLength;
		if (isLast) {
			this.#long.shift();
			outgoing.done();
		}
		return encodePart(kind, callId, bytes, isLast);
	}

	#nextShort(): Uint8Array {
		const parts: Uint8Array[] = [];
		let byteCount = 0;
		while (parts.length < this.#short.length && byteCount < PART_BYTES_MAX) {
			const { kind, callId, body } = this.#short[parts.length]!;
			const part = encodePart(kind, callId, body, true);
			parts.push(part);
			byteCount += part.byteLength;
		}
		for (const outgoing of this.#short.splice(0, parts.length)) this.#leave(outgoing);
		return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
	}

	#leave(outgoing: Outgoing): void {
		this.queuedBytes -= outgoing.body.byteLength - outgoing.sentBytes;
		outgoing.done();
	}

	#end(): void {
		if (this.#isOver) return;
		this.#isOver = true;
		for (const outgoing of [...this.#short, ...this.#long]) outgoing.done();
		this.#short = [];
		this.#long = [];
		this.queuedBytes = 0;
		this.#wake();
		this.#parts.onEnd();
	}
}
