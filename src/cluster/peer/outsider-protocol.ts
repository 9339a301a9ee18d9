import type { Stream } from "@libp2p/interface";
import type { NodeId } from "../../base/ids.ts";
import type { Timers } from "../../base/timers.ts";
import { JOIN_METHOD } from "../membership/join.ts";
import { decodeRequest, encodeRequest, outcomeOf, resultOf, unsupportedOutcome } from "./call-outcome.ts";
import { type Direction, FrameStream } from "./frame-stream.ts";
import { FRAME_KINDS } from "./frames.ts";
import { PEER_LIMITS } from "./peer-limits.ts";

type OnBytes = (direction: Direction, byteCount: number) => void;

export interface OutsiderProtocolParts {
	/** Answers JOIN_METHOD, asked by whoever has the secret and this identity. */
	readonly join: (body: unknown, peerId: string) => Promise<unknown>;
	readonly timers: Timers;
	readonly onBytes: OnBytes;
	readonly onDefect: (method: string, error: unknown) => void;
}

/**
 * What a node may ask that is no member, whatever version it speaks: one question a stream, and there is only one question.
 */
export class OutsiderProtocol {
	constructor(private readonly parts: OutsiderProtocolParts) {}

	serve(stream: Stream, peerId: string): void {
		const { timers, onBytes } = this.parts;
		let isAsked = false;
		const callOff = timers.after(PEER_LIMITS.outsiderMs, () => frames.abort());
		const frames: FrameStream = new FrameStream({
			stream,
			bodyBytesMax: PEER_LIMITS.outsiderBodyBytesMax,
			onBytes,
			onEnd: callOff,
			onFrame: ({ kind, callId, body }) => {
				if (isAsked || kind !== FRAME_KINDS.request) return frames.abort();
				isAsked = true;
				void this.#answer(body, peerId).then((outcome) => frames.send(outcome.kind, callId, outcome.body));
			},
		});
	}

	/** @throws the HiveError the other side threw; Error when no answer came */
	async ask(stream: Stream, body: unknown): Promise<unknown> {
		const { timers, onBytes } = this.parts;
		const { promise, resolve, reject } = Promise.withResolvers<unknown>();
		const timeoutMs = PEER_LIMITS.outsiderMs;
		const frames = new FrameStream({
			stream,
			bodyBytesMax: PEER_LIMITS.outsiderAnswerBytesMax,
			onBytes,
			onEnd: () => reject(new Error("the connection was lost before an answer came")),
			onFrame: (frame) => {
				try {
					// Nobody knows yet which node it is.
					resolve(resultOf(frame, "" as NodeId));
				} catch (error) {
					reject(error);
				}
			},
		});
		const callOff = timers.after(timeoutMs, () => reject(new Error(`no answer within ${timeoutMs} ms`)));
		try {
			void frames.send(FRAME_KINDS.request, 1, encodeRequest({ method: JOIN_METHOD, timeoutMs, body }));
			return await promise;
		} finally {
			callOff();
			frames.abort();
		}
	}

	async #answer(bytes: Uint8Array, peerId: string): ReturnType<typeof outcomeOf> {
		const { join, onDefect } = this.parts;
		let method = "";
		const failed = (error: unknown): void => onDefect(method, error);
		try {
			const request = decodeRequest(bytes);
			method = request.method;
			if (method !== JOIN_METHOD) return unsupportedOutcome(method);
			return await outcomeOf(() => join(request.body, peerId), failed);
		} catch (error) {
			return outcomeOf(() => Promise.reject(error as Error), failed);
		}
	}
}
