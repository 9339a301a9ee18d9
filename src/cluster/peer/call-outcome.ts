import { HiveError, isErrorCode, type WireError } from "../../base/errors.ts";
import type { NodeId } from "../../base/ids.ts";
import { FRAME_KINDS, type Frame, type FrameKind } from "./frames.ts";
import { decodeBody, encodeBody } from "./peer-codec.ts";
import { PEER_LIMITS } from "./peer-limits.ts";
import { PeerFailure } from "./peer-types.ts";

/** An error frame: the other side's own error, or that it has no such method. */
type ErrorBody = { readonly error: WireError } | { readonly unsupported: string };

/** What a request frame holds. */
export interface CallRequest {
	readonly method: string;
	/** Milliseconds until the caller gives up. */
	readonly timeoutMs: number;
	readonly body: unknown;
}

export interface CallOutcome {
	readonly kind: FrameKind;
	readonly body: Uint8Array;
}

export const encodeRequest = ({ method, timeoutMs, body }: CallRequest): Uint8Array =>
	encodeBody([method, timeoutMs, body]);

/** @throws HiveError VALIDATION_FAILED */
export function decodeRequest(bytes: Uint8Array): CallRequest {
	let request: unknown;
	try {
		request = decodeBody(bytes);
	} catch (cause) {
		throw new HiveError("VALIDATION_FAILED", "a call that can't be read", undefined, { cause });
	}
	const [method, timeoutMs, body] = Array.isArray(request) ? (request as unknown[]) : [];
	if (typeof method !== "string" || typeof timeoutMs !== "number") {
		throw new HiveError("VALIDATION_FAILED", "a call that is none");
	}
	return { method, timeoutMs, body };
}

/** @param onDefect told of what was thrown that is no HiveError */
export async function outcomeOf(
	answer: () => Promise<unknown>,
	onDefect: (error: unknown) => void,
): Promise<CallOutcome> {
	try {
		const body = encodeBody(await answer());
		// The other side would end the stream, and with it every other call on it.
		if (body.byteLength > PEER_LIMITS.bodyBytesMax) throw new RangeError(`an answer of ${body.byteLength} bytes`);
		return { kind: FRAME_KINDS.result, body };
	} catch (error) {
		if (error instanceof HiveError) return errorOutcome({ error: error.toWire() });
		onDefect(error);
		return errorOutcome({ error: { code: "INTERNAL", message: "the node failed; its log has the cause" } });
	}
}

export const unsupportedOutcome = (method: string): CallOutcome => errorOutcome({ unsupported: method.slice(0, 64) });

/** @throws the HiveError the other side threw; PeerFailure `unsupported`; Error when the frame is no answer */
export function resultOf({ kind, body }: Frame, nodeId: NodeId): unknown {
	const decoded = decodeBody(body);
	if (kind === FRAME_KINDS.result) return decoded;
	const { error, unsupported } = (decoded ?? {}) as { readonly error?: WireError; readonly unsupported?: string };
	if (unsupported !== undefined) throw new PeerFailure("unsupported", nodeId, `the node has no method ${unsupported}`);
	if (!isErrorCode(error?.code)) throw new HiveError("INTERNAL", "a node answered with an error of an unknown kind");
	throw HiveError.fromWire(error);
}

const errorOutcome = (body: ErrorBody): CallOutcome => ({ kind: FRAME_KINDS.error, body: encodeBody(body) });
