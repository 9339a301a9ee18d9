import type { NodeId } from "../../base/ids.ts";
import type { ShardCalls, ShardRef } from "../../shards/pool-types.ts";
import type { UpsertBatch, VersionedRows } from "../../storage/shard-types.ts";
import type { Membership } from "../membership/membership-types.ts";
import { PEER_LIMITS } from "../peer/peer-limits.ts";
import { type PeerCalls, PeerFailure } from "../peer/peer-types.ts";
import { doneOf, REPLICA_METHODS } from "./replica-messages.ts";
import type { ReplicaCaller, ReplicaService } from "./replica-service.ts";
import {
	type CopyState,
	type RemoteReconciler,
	type ReplicaCallOptions,
	ReplicaFailure,
	type ReplicaMethod,
	type ReplicaPort,
} from "./replica-types.ts";

export interface PeerReplicaPortParts {
	readonly membership: Membership;
	readonly calls: PeerCalls;
	/** This node's own copies. */
	readonly service: ReplicaService;
}

interface SendOptions {
	readonly timeoutMs: number;
	readonly signal?: AbortSignal;
	readonly isBulk?: boolean;
}

/** Copies wherever they are: other nodes' over the network, this node's own directly. */
export class PeerReplicaPort implements ReplicaPort, RemoteReconciler {
	readonly #parts: PeerReplicaPortParts;

	constructor(parts: PeerReplicaPortParts) {
		this.#parts = parts;
	}

	async call<M extends ReplicaMethod>(
		nodeId: NodeId,
		shard: ShardRef,
		method: M,
		args: Parameters<ShardCalls[M]>,
		options: ReplicaCallOptions,
	): Promise<ReturnType<ShardCalls[M]>> {
		const { membership, service } = this.#parts;
		const caller = this.#caller(options.client);
		if (nodeId === membership.self) return await service.call(shard, method, ownArgs(method, args), caller);
		const { timeoutMs, signal } = options;
		return (await this.#send(
			nodeId,
			REPLICA_METHODS.call,
			{ shard: plain(shard), method, args, caller },
			{
				timeoutMs,
				...(signal !== undefined && { signal }),
				isBulk: isBulk(method, args, shard),
			},
		)) as ReturnType<ShardCalls[M]>;
	}

	async make(nodeId: NodeId, shard: ShardRef, state: "complete" | "incoming", timeoutMs: number): Promise<void> {
		const { membership, service } = this.#parts;
		const caller = this.#caller(undefined);
		if (nodeId === membership.self) return await service.make(shard, state, caller);
		await this.#send(nodeId, REPLICA_METHODS.make, { shard: plain(shard), state, caller }, { timeoutMs });
	}

	async copyState(nodeId: NodeId, shard: ShardRef, timeoutMs: number): Promise<CopyState> {
		const { membership, service } = this.#parts;
		if (nodeId === membership.self) return await service.copyState(shard);
		return (await this.#send(nodeId, REPLICA_METHODS.state, { shard: plain(shard) }, { timeoutMs })) as CopyState;
	}

	async reconcile(nodeId: NodeId, shard: ShardRef, peer: NodeId, options: SendOptions): Promise<void> {
		await this.#send(nodeId, REPLICA_METHODS.reconcile, { shard: plain(shard), peer }, options);
	}

	#caller(client: ReplicaCallOptions["client"]): ReplicaCaller {
		return client ?? { topologyVersion: this.#parts.membership.view().version };
	}

	async #send(nodeId: NodeId, method: string, body: unknown, options: SendOptions): Promise<unknown> {
		try {
			return doneOf(await this.#parts.calls.call(nodeId, method, body, options));
		} catch (error) {
			if (!(error instanceof PeerFailure)) throw error;
			// A node too old to know what is asked is of no more use than one that can't be reached.
			const kind = error.kind === "unsupported" ? "unreachable" : error.kind;
			throw new ReplicaFailure(kind, nodeId, error.message);
		}
	}
}

/** Without what else the object may carry. */
const plain = ({ tenantId, collectionId, shardIndex, config, configRevision }: ShardRef): ShardRef => ({
	tenantId,
	collectionId,
	shardIndex,
	config,
	configRevision,
});

/** A batch's vectors move to the worker that owns the shard; its sender may need them for other copies, or again. */
function ownArgs<M extends ReplicaMethod>(method: M, args: Parameters<ShardCalls[M]>): Parameters<ShardCalls[M]> {
	if (method !== "upsert") return args;
	const [batch, ...rest] = args as Parameters<ShardCalls["upsert"]>;
	return [{ ...batch, vectors: batch.vectors.slice() }, ...rest] as Parameters<ShardCalls[M]>;
}

/** Whether the call or its answer is likely large. */
function isBulk(method: ReplicaMethod, args: readonly unknown[], { config }: ShardRef): boolean {
	const vectorBytes = config.dimension * Float32Array.BYTES_PER_ELEMENT;
	switch (method) {
		case "upsert":
		case "merge": {
			const { vectors, payloads } = args[0] as UpsertBatch | VersionedRows;
			let bytes = vectors.byteLength;
			for (const payload of payloads) bytes += payload?.length ?? 0;
			return bytes >= PEER_LIMITS.bulkBytesMin;
		}
		case "rows":
			return (args[0] as readonly unknown[]).length * vectorBytes >= PEER_LIMITS.bulkBytesMin;
		case "versions":
			return true;
		default:
			return false;
	}
}
