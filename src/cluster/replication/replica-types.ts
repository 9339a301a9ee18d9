import type { NodeId } from "../../base/ids.ts";
import type { ShardCalls, ShardRef } from "../../shards/pool-types.ts";

/** What a node does with its copy of a shard when another node asks (or it asks itself). */
export type ReplicaMethod = Exclude<keyof ShardCalls, "drop" | "close" | "create">;

/** Changes what the copy holds; refused when the caller's topology is older than the callee's. */
export type ReplicaWrite = "upsert" | "update" | "delete" | "merge" | "createPayloadIndex" | "dropPayloadIndex";

/**
 * `complete`: holds all that was acknowledged. `incoming`: takes writes and is being filled. `none`: nothing of it is here.
 */
export type CopyState = "complete" | "incoming" | "none";

export type ReplicaFailureKind =
	/** No answer: the write may have been done. */
	| "unreachable"
	| "timeout"
	| "busy"
	/** Nothing of the shard is on that node. */
	| "missing"
	/** The copy is being filled and can't be read yet. */
	| "incoming"
	/** The caller's view of the topology is too old; `topologyVersion` tells what to read. */
	| "stale_topology"
	/** By that node's view it does not hold the shard. */
	| "not_holder";

/** A copy could not be used; another one may. */
export class ReplicaFailure extends Error {
	override readonly name = "ReplicaFailure";
	constructor(
		readonly kind: ReplicaFailureKind,
		readonly nodeId: NodeId,
		message: string,
		readonly topologyVersion?: number,
	) {
		super(message);
	}
}

/**
 * Calls on one node's copy of a shard, this node's own included. The one door for reads, writes, repair and moves; the
 * simulation puts its own network behind it.
 */
export interface ReplicaPort {
	/** @throws ReplicaFailure; HiveError the shard's own */
	call<M extends ReplicaMethod>(
		nodeId: NodeId,
		shard: ShardRef,
		method: M,
		args: Parameters<ShardCalls[M]>,
		options: { readonly timeoutMs: number; readonly signal?: AbortSignal },
	): Promise<ReturnType<ShardCalls[M]>>;
	/**
	 * Makes an empty copy: `complete` when the caller knows that nothing was ever written to the shard, `incoming` otherwise.
	 * Idempotent; a copy that is there stays as it is.
	 */
	make(nodeId: NodeId, shard: ShardRef, state: "complete" | "incoming", timeoutMs: number): Promise<void>;
	copyState(nodeId: NodeId, shard: ShardRef, timeoutMs: number): Promise<CopyState>;
}

/** This node's own copies, on disk. */
export interface LocalCopies {
	state(shard: ShardRef): Promise<CopyState>;
	make(shard: ShardRef, state: "complete" | "incoming"): Promise<void>;
	/** The copy holds all that was acknowledged: on disk when it settles. */
	markComplete(shard: ShardRef): Promise<void>;
	drop(shard: ShardRef): Promise<void>;
	/** Settles when no write accepted under a topology older than `version` is under way on the shard. */
	settled(shard: ShardRef, version: number): Promise<void>;
}

/** Takes note that a node missed a write: on disk when it settles. Cheap when it is known already. */
export interface HintSink {
	missed(nodeId: NodeId, shard: ShardRef): Promise<void>;
}

/** Brings this node's copy and another's to the same state, newest version winning; both have it all when it settles. */
export interface Reconciler {
	/** @throws ReplicaFailure, HiveError */
	reconcile(shard: ShardRef, peer: NodeId, signal?: AbortSignal): Promise<ReconcileResult>;
}

export interface ReconcileResult {
	/** Rows taken from the other and given to it. */
	readonly pulledRows: number;
	readonly pushedRows: number;
	readonly bytes: number;
}
