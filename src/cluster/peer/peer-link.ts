import type { Stream } from "@libp2p/interface";
import type { NodeId } from "../../base/ids.ts";
import type { Timers } from "../../base/timers.ts";
import { encodeRequest, resultOf } from "./call-outcome.ts";
import { type Direction, FrameStream } from "./frame-stream.ts";
import { FRAME_KINDS, type Frame } from "./frames.ts";
import { PEER_LIMITS } from "./peer-limits.ts";
import { type CallOptions, PeerFailure } from "./peer-types.ts";

/** Small calls don't wait behind large bodies. */
export type Lane = "calls" | "bulk";

/** What goes between nodes. */
export type TrafficKind = Lane | "gossip" | "outsiders";

interface PendingCall {
	resolve(result: unknown): void;
	reject(error: unknown): void;
}

export interface PeerLinkParts {
	readonly nodeId: NodeId;
	/** Opens a stream to the node. @throws PeerFailure; anything else when there is no way to it */
	readonly openStream: (lane: Lane, signal: AbortSignal) => Promise<Stream>;
	/** A frame came. */
	readonly onAlive: () => void;
	readonly onBytes: (lane: Lane, direction: Direction, byteCount: number) => void;
	readonly timers: Timers;
}

/**
 * Calls to one node. Small and large bodies have a stream each, opened by their first call and anew when one is lost; calls on
 * a stream that is lost fail at once.
 */
export class PeerLink {
	readonly #parts: PeerLinkParts;
	readonly #streams = new Map<Lane, Promise<FrameStream>>();
	readonly #pending = new Map<number, PendingCall>();
	/** Which calls wait for an answer on which stream. */
	readonly #callsOf = new Map<FrameStream, Set<number>>();
	readonly #forgetters = new WeakMap<FrameStream, () => void>();
	#lastCallId = 0;

	constructor(parts: PeerLinkParts) {
		this.#parts = parts;
	}

	async call(method: string, body: unknown, { timeoutMs, isBulk, signal }: CallOptions): Promise<unknown> {
		const { nodeId, timers } = this.#parts;
		if (this.#pending.size >= PEER_LIMITS.callsInFlightMax) {
			throw new PeerFailure("busy", nodeId, "too many calls wait for the node");
		}
		if (signal?.aborted === true) throw new PeerFailure("timeout", nodeId, "the caller gave up");
		const bytes = encodeRequest({ method, timeoutMs, body });
		if (bytes.byteLength > PEER_LIMITS.bodyBytesMax) throw new RangeError(`a call of ${bytes.byteLength} bytes`);
		const lane = isBulk === true || bytes.byteLength >= PEER_LIMITS.bulkBytesMin ? "bulk" : "calls";
		const callId = this.#nextCallId();
		const { promise, resolve, reject } = Promise.withResolvers<unknown>();
		let stream: FrameStream | undefined;
		this.#pending.set(callId, { resolve, reject });
		const giveUp = (reason: string): void => {
			stream?.withdraw(callId);
			void stream?.send(FRAME_KINDS.cancel, callId, new Uint8Array(0));
			reject(new PeerFailure("timeout", nodeId, reason));
		};
		const callOff = timers.after(timeoutMs, () => giveUp(`no answer within ${timeoutMs} ms`));
		const aborted = (): void => giveUp("the caller gave up");
		signal?.addEventListener("abort", aborted);
		// It may be given up while the stream is being opened.
		promise.catch(() => undefined);
		try {
			const opened = this.#stream(lane);
			opened.catch(() => undefined);
			const first = await Promise.race([opened, promise]);
			stream = first as FrameStream;
			if (stream.isOver) throw new PeerFailure("unreachable", nodeId, "the connection is lost");
			if (stream.queuedBytes + bytes.byteLength > PEER_LIMITS.queuedBytesMax) {
				throw new PeerFailure("busy", nodeId, "too much waits to be sent to the node");
			}
			this.#callsOf.get(stream)?.add(callId);
			void stream.send(FRAME_KINDS.request, callId, bytes);
			return await promise;
		} finally {
			callOff();
			signal?.removeEventListener("abort", aborted);
			this.#pending.delete(callId);
			if (stream !== undefined) this.#callsOf.get(stream)?.delete(callId);
		}
	}

	/** There is a newer connection: calls go over it from now on, those under way are waited for. */
	renew(): void {
		for (const [frames, calls] of this.#callsOf) if (calls.size === 0) frames.abort();
		this.#streams.clear();
	}

	/** Fails every call under way, and lets go of the streams: the next call opens new ones. */
	drop(): void {
		for (const opened of this.#streams.values()) {
			opened.then(
				(stream) => stream.abort(),
				() => undefined,
			);
		}
		this.#streams.clear();
	}

	#stream(lane: Lane): Promise<FrameStream> {
		const known = this.#streams.get(lane);
		if (known !== undefined) return known;
		const opening = this.#open(lane);
		this.#streams.set(lane, opening);
		const forget = (): void => {
			if (this.#streams.get(lane) === opening) this.#streams.delete(lane);
		};
		opening.then((stream) => {
			if (stream.isOver) forget();
			else this.#forgetters.set(stream, forget);
		}, forget);
		return opening;
	}

	async #open(lane: Lane): Promise<FrameStream> {
		const { nodeId, openStream, onBytes } = this.#parts;
		let stream: Stream;
		try {
			// Others may wait for it too, who have more time than the one who began.
			stream = await openStream(lane, AbortSignal.timeout(PEER_LIMITS.dialMsMax));
		} catch (cause) {
			if (cause instanceof PeerFailure) throw cause;
			throw new PeerFailure("unreachable", nodeId, "there is no connection to the node", { cause });
		}
		const calls = new Set<number>();
		const frames: FrameStream = new FrameStream({
			stream,
			bodyBytesMax: PEER_LIMITS.bodyBytesMax,
			onFrame: (frame) => this.#answered(frame),
			onBytes: (direction, byteCount) => onBytes(lane, direction, byteCount),
			onEnd: () => {
				this.#callsOf.delete(frames);
				this.#forgetters.get(frames)?.();
				for (const callId of calls) {
					this.#pending.get(callId)?.reject(new PeerFailure("unreachable", nodeId, "the connection is lost"));
				}
			},
		});
		this.#callsOf.set(frames, calls);
		return frames;
	}

	#answered(frame: Frame): void {
		this.#parts.onAlive();
		// It may have been given up.
		const pending = this.#pending.get(frame.callId);
		if (pending === undefined) return;
		try {
			pending.resolve(resultOf(frame, this.#parts.nodeId));
		} catch (error) {
			pending.reject(error);
		}
	}

	#nextCallId(): number {
		do this.#lastCallId = (this.#lastCallId + 1) >>> 0;
		while (this.#pending.has(this.#lastCallId));
		return this.#lastCallId;
	}
}
