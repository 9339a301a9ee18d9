import type { NodeId } from "../../base/ids.ts";
import type { ShardCalls, ShardName, ShardRef } from "../../shards/pool-types.ts";
import type { Version } from "../../storage/shard-types.ts";

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
	| "not_holder"
	/** The copy has promised to let nothing this old by any more. */
	| "outrun";

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

/** There is no room for this write: a later update has claimed the row. */
export class Outrun extends ReplicaFailure {
	constructor(
		nodeId: NodeId,
		/** What is newer than this passes. */
		readonly by: Version,
	) {
		super("outrun", nodeId, "a later update has claimed the row");
	}
}

/** Of an update of one row: the copy that does it, and the version that it writes the row in. */
export interface UpdateClaim {
	readonly home: NodeId;
	readonly version: Version;
}

export interface ReplicaCallOptions {
	readonly timeoutMs: number;
	readonly signal?: AbortSignal;
	/**
	 * Of a call for a client: the view that chose the node, and the copies that the collection wants. The node refuses it unless it is
	 * among the holders, and answers reads from a complete copy only. Absent: repair or a move asks, of any copy that is there, by
	 * the newest view.
	 */
	readonly client?: {
		readonly topologyVersion: number;
		readonly replicas: number;
		/** Of `update`, and of `merge` where it spreads: whose work it is. Of `rows`: the copy is to grant the claim before it looks. */
		readonly claim?: UpdateClaim;
	};
}

/**
 * Calls on one node's copy of a shard, this node's own included. The one door for reads, writes, repair and moves; the
 * simulation puts its own network behind it.
 */
export interface ReplicaPort {
	/** The caller keeps what is in `args`, vectors included. @throws ReplicaFailure; HiveError the shard's own */
	call<M extends ReplicaMethod>(
		nodeId: NodeId,
		shard: ShardRef,
		method: M,
		args: Parameters<ShardCalls[M]>,
		options: ReplicaCallOptions,
	): Promise<ReturnType<ShardCalls[M]>>;
	/**
	 * Makes an empty copy: `complete` when the caller knows that nothing was ever written to the shard, `incoming` otherwise.
	 * Idempotent; a copy that is there stays as it is.
	 */
	make(nodeId: NodeId, shard: ShardRef, state: "complete" | "incoming", timeoutMs: number): Promise<void>;
	copyState(nodeId: NodeId, shard: ShardRef, timeoutMs: number): Promise<CopyState>;
}

/** Has other nodes compare their copies. */
export interface RemoteReconciler {
	/** The node's copy and the peer's are in the same state when it settles. @throws ReplicaFailure, HiveError */
	reconcile(
		nodeId: NodeId,
		shard: ShardRef,
		peer: NodeId,
		options: { readonly timeoutMs: number; readonly signal?: AbortSignal },
	): Promise<void>;
}

/** A copy that is on this node's disk. */
export interface LocalCopy extends ShardName {
	readonly state: Exclude<CopyState, "none">;
}

/** This node's own copies, on disk. */
export interface LocalCopies {
	state(shard: ShardName): Promise<CopyState>;
	/** A copy that is there stays as it is. Durable when it settles. @throws HiveError INTERNAL when the disk refuses */
	make(shard: ShardRef, state: "complete" | "incoming"): Promise<void>;
	/** The copy holds all that was acknowledged: on disk when it settles. Does nothing when there is none. */
	markComplete(shard: ShardName): Promise<void>;
	/** Gone from the disk when it settles. Idempotent. */
	drop(shard: ShardName): Promise<void>;
	/**
	 * Settles when no write accepted under a topology older than `version` is under way on the shard. This node's view must be that
	 * new already.
	 */
	settled(shard: ShardName, version: number): Promise<void>;
	/** Every copy on the disk; those that are made or dropped meanwhile may be left out. */
	list(): AsyncIterable<LocalCopy>;
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
