import { HiveError } from "../../base/errors.ts";
import type { CollectionId } from "../../base/ids.ts";
import type { ShardCalls, ShardName, ShardPool, ShardRef } from "../../shards/pool-types.ts";
import type { Membership } from "../membership/membership-types.ts";
import {
	type CopyState,
	type LocalCopies,
	ReplicaFailure,
	type ReplicaFailureKind,
	type ReplicaMethod,
	type ReplicaWrite,
} from "./replica-types.ts";
import type { WriteEpochs } from "./write-epochs.ts";

/** What the caller goes by. */
export interface ReplicaCaller {
	readonly topologyVersion: number;
	/** Of the collection, when the call is for a client. */
	readonly replicas?: number | undefined;
}

export interface ReplicaServiceParts {
	readonly membership: Membership;
	readonly copies: Pick<LocalCopies, "state" | "make"> & {
		/** The state, when it can be told without looking at the disk. */
		knownState(shard: ShardName): CopyState | undefined;
	};
	readonly epochs: WriteEpochs;
	readonly pool: Pick<ShardPool, "call">;
	/** Whether the collection was deleted, as this node heard. */
	readonly isDeleted: (collectionId: CollectionId) => boolean;
	/** Told when a copy was written to, or may have been. */
	readonly touched: (shard: ShardName) => void;
	/** Told when a copy was to be made here. */
	readonly made?: (shard: ShardName) => void;
}

const WRITES: ReadonlySet<ReplicaMethod> = new Set<ReplicaWrite>([
	"upsert",
	"update",
	"delete",
	"merge",
	"createPayloadIndex",
	"dropPayloadIndex",
]);
/** They change no document: a topology need not wait for them, and they may take long. */
const INDEX_WRITES: ReadonlySet<ReplicaMethod> = new Set<ReplicaWrite>(["createPayloadIndex", "dropPayloadIndex"]);

/**
 * What this node does with its copies when it or another node asks. Calls that write from an older view of the topology than
 * this node's are refused: after it has seen a version, every write it takes went to that version's holders.
 */
export class ReplicaService {
	readonly #parts: ReplicaServiceParts;

	constructor(parts: ReplicaServiceParts) {
		this.#parts = parts;
	}

	/** @throws ReplicaFailure; HiveError COLLECTION_NOT_FOUND, and what the shard or its pool threw */
	async call<M extends ReplicaMethod>(
		shard: ShardRef,
		method: M,
		args: Parameters<ShardCalls[M]>,
		caller: ReplicaCaller,
	): Promise<ReturnType<ShardCalls[M]>> {
		const { membership, copies, pool } = this.#parts;
		if (caller.topologyVersion > membership.view().version) await membership.refresh(caller.topologyVersion);
		const state = copies.knownState(shard) ?? (await copies.state(shard));
		// In one tick from here on: what is checked holds when the call is counted.
		this.#admit(shard, method, state, caller);
		if (!WRITES.has(method)) return await pool.call(shard as never, method, ...args);
		return await this.#write(shard, method, args);
	}

	/** @throws ReplicaFailure, HiveError */
	async make(shard: ShardRef, state: "complete" | "incoming", caller: ReplicaCaller): Promise<void> {
		const { membership, copies } = this.#parts;
		if (caller.topologyVersion > membership.view().version) await membership.refresh(caller.topologyVersion);
		this.#refuseDeleted(shard);
		this.#checkVersion(caller);
		await copies.make(shard, state);
		this.#parts.made?.(shard);
	}

	async copyState(shard: ShardName): Promise<CopyState> {
		this.#refuseDeleted(shard);
		return await this.#parts.copies.state(shard);
	}

	async #write<M extends ReplicaMethod>(
		shard: ShardRef,
		method: M,
		args: Parameters<ShardCalls[M]>,
	): Promise<ReturnType<ShardCalls[M]>> {
		const { membership, pool, epochs, touched } = this.#parts;
		if (INDEX_WRITES.has(method)) return await pool.call(shard as never, method, ...args);
		const leave = epochs.enter(membership.view().version);
		try {
			return await pool.call(shard as never, method, ...args);
		} finally {
			leave();
			touched(shard);
		}
	}

	#admit(shard: ShardRef, method: ReplicaMethod, state: CopyState, caller: ReplicaCaller): void {
		this.#refuseDeleted(shard);
		const isWrite = WRITES.has(method);
		if (isWrite) this.#checkVersion(caller);
		if (caller.replicas !== undefined) this.#checkHolder(shard, caller.topologyVersion, caller.replicas);
		if (state === "none") throw this.#failure("missing", "there is no copy of the shard on this node");
		if (state === "incoming" && !isWrite && caller.replicas !== undefined) {
			throw this.#failure("incoming", "the copy is being filled");
		}
	}

	#checkVersion({ topologyVersion }: ReplicaCaller): void {
		const { version } = this.#parts.membership.view();
		if (topologyVersion < version) throw this.#failure("stale_topology", "the topology has changed", version);
	}

	#checkHolder({ collectionId, shardIndex }: ShardName, topologyVersion: number, replicas: number): void {
		const { membership } = this.#parts;
		const view = membership.view();
		// By a topology that this node could not get hold of it may well be a holder.
		if (topologyVersion > view.version) return;
		if (view.placement(collectionId, shardIndex, replicas).writers.includes(membership.self)) return;
		if (topologyVersion < view.version) {
			throw this.#failure("stale_topology", "the topology has changed", view.version);
		}
		throw this.#failure("not_holder", "the shard has no place on this node");
	}

	#refuseDeleted({ collectionId }: ShardName): void {
		if (this.#parts.isDeleted(collectionId)) {
			throw new HiveError("COLLECTION_NOT_FOUND", "the collection was deleted");
		}
	}

	#failure(kind: ReplicaFailureKind, message: string, topologyVersion?: number): ReplicaFailure {
		return new ReplicaFailure(kind, this.#parts.membership.self, message, topologyVersion);
	}
}
