import type { NodeId } from "../../base/ids.ts";

/** What one node may ask of another; the handler on the other side has the same name. */
export interface CallOptions {
	/** Milliseconds until the caller gives up; the callee is told and gives up too. */
	readonly timeoutMs: number;
	/** Large bodies take a stream of their own, so that small calls don't wait behind them. */
	readonly isBulk?: boolean;
	readonly signal?: AbortSignal;
}

/** Why a call got no answer. `busy`: too much waits for that node already. `unsupported`: an older version that lacks the method. */
export type PeerFailureKind = "unreachable" | "timeout" | "busy" | "unsupported";

/** The other node did not answer: whether it did what it was asked is unknown unless it was `unreachable` from the start. */
export class PeerFailure extends Error {
	override readonly name = "PeerFailure";
	constructor(
		readonly kind: PeerFailureKind,
		readonly nodeId: NodeId,
		message: string,
		options?: ErrorOptions,
	) {
		super(message, options);
	}
}

/**
 * Calls between the cluster's members: encrypted, authenticated both ways, pipelined, with back-pressure and deadlines. Bodies and
 * results are plain data: null, undefined, booleans, numbers, texts, Uint8Array, Float32Array, Uint32Array, arrays and objects of these.
 */
export interface PeerCalls {
	/** @throws PeerFailure; a HiveError the other side threw */
	call(nodeId: NodeId, method: string, body: unknown, options: CallOptions): Promise<unknown>;
	/** Whether calls to the node have a chance now. */
	isConnected(nodeId: NodeId): boolean;
}

export interface PeerCallContext {
	/** Who asks: a member of the topology, proven by its identity. */
	readonly from: NodeId;
	/** Aborts when the caller gives up or is gone. */
	readonly signal: AbortSignal;
}

/** @throws HiveError: goes to the caller as it is; anything else is logged and becomes INTERNAL */
export type PeerHandler = (body: unknown, context: PeerCallContext) => Promise<unknown>;

/** Where a node's parts say what other nodes may ask of them, before the network starts. */
export interface PeerMethods {
	handle(method: string, handler: PeerHandler): void;
}

/** Small facts to every member, at most once each, in no order: gossipsub. */
export interface PeerBroadcast {
	/** At most PEER_LIMITS.broadcastBytesMax after encoding. Never throws: what is lost, state exchange brings. */
	publish(topic: string, body: unknown): void;
	/** Only what members of the topology signed arrives. */
	subscribe(topic: string, listener: (body: unknown, from: NodeId) => void): void;
}
