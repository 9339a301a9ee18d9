import type { Stream } from "@libp2p/interface";
import type { NodeId } from "../../base/ids.ts";
import type { Timers } from "../../base/timers.ts";
import { type CallOutcome, decodeRequest, outcomeOf, unsupportedOutcome } from "./call-outcome.ts";
import { type Direction, FrameStream } from "./frame-stream.ts";
import { FRAME_KINDS, type Frame } from "./frames.ts";
import { PEER_LIMITS } from "./peer-limits.ts";
import type { PeerHandler } from "./peer-types.ts";

export interface CallServerParts {
	readonly handlers: ReadonlyMap<string, PeerHandler>;
	readonly timers: Timers;
	/** Told of what a handler threw that is no HiveError. */
	readonly onDefect: (method: string, error: unknown) => void;
}

export interface ServedStream {
	readonly stream: Stream;
	readonly from: NodeId;
	/** Told of every frame. */
	readonly onAlive: () => void;
	readonly onBytes: (direction: Direction, byteCount: number) => void;
}

/** Answers the calls that come on a member's stream, several at a time, each as soon as it is done. */
export class CallServer {
	constructor(private readonly parts: CallServerParts) {}

	serve({ stream, from, onAlive, onBytes }: ServedStream): void {
		const running = new Map<number, AbortController>();
		const waiting = new Map<number, Frame>();
		let runningBytes = 0;
		const start = (frame: Frame): void => {
			const controller = new AbortController();
			running.set(frame.callId, controller);
			runningBytes += frame.body.byteLength;
			void this.#answer(frame, from, controller)
				.then(({ kind, body }) => (controller.signal.aborted ? undefined : frames.send(kind, frame.callId, body)))
				// Only when its answer has gone out is a call over: whoever does not read answers gets no more of them.
				.then(() => {
					running.delete(frame.callId);
					runningBytes -= frame.body.byteLength;
					startWaiting();
				});
		};
		const isFull = (): boolean =>
			running.size >= PEER_LIMITS.handlersMax || runningBytes >= PEER_LIMITS.handledBytesMax;
		const startWaiting = (): void => {
			for (const [callId, frame] of waiting) {
				if (isFull()) return;
				waiting.delete(callId);
				start(frame);
			}
			frames.resume();
		};
		const frames: FrameStream = new FrameStream({
			stream,
			bodyBytesMax: PEER_LIMITS.bodyBytesMax,
			onBytes,
			onEnd: () => {
				waiting.clear();
				for (const controller of running.values()) controller.abort();
			},
			onFrame: (frame) => {
				onAlive();
				if (frame.kind === FRAME_KINDS.cancel) {
					waiting.delete(frame.callId);
					running.get(frame.callId)?.abort();
					frames.withdraw(frame.callId);
				}
				if (frame.kind !== FRAME_KINDS.request || running.has(frame.callId)) return;
				if (!isFull()) return start(frame);
				waiting.set(frame.callId, frame);
				frames.pause();
			},
		});
	}

	async #answer(frame: Frame, from: NodeId, controller: AbortController): Promise<CallOutcome> {
		const { handlers, timers, onDefect } = this.parts;
		let method = "";
		let callOff: () => void = () => undefined;
		try {
			const request = decodeRequest(frame.body);
			method = request.method;
			const handler = handlers.get(method);
			if (handler === undefined) return unsupportedOutcome(method);
			// The caller gives up then; what is still under way here shall too.
			callOff = timers.after(request.timeoutMs, () => controller.abort());
			const { signal } = controller;
			return await outcomeOf(
				() => handler(request.body, { from, signal }),
				(error) => onDefect(method, error),
			);
		} catch (error) {
			return outcomeOf(
				() => Promise.reject(error as Error),
				(defect) => onDefect(method, defect),
			);
		} finally {
			callOff();
		}
	}
}
