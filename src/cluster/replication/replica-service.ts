import { HiveError } from "../../base/errors.ts";
import type { CollectionId, VectorId } from "../../base/ids.ts";
import type { ShardCalls, ShardName, ShardPool, ShardRef } from "../../shards/pool-types.ts";
import type { Version, WriteResult } from "../../storage/shard-types.ts";
import type { Membership } from "../membership/membership-types.ts";
import {
	type CopyState,
	type LocalCopies,
	Outrun,
	ReplicaFailure,
	type ReplicaFailureKind,
	type ReplicaMethod,
	type ReplicaWrite,
	type UpdateClaim,
} from "./replica-types.ts";
import { RowClaims } from "./row-claims.ts";
import type { WriteEpochs } from "./write-epochs.ts";

/** What the caller goes by. */
export interface ReplicaCaller {
	readonly topologyVersion: number;
	/** Of the collection, when the call is for a client. */
	readonly replicas?: number | undefined;
	readonly claim?: UpdateClaim | undefined;
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
	/** Told when a copy holds more or less than before because others knew better: no client's write counted that here. */
	readonly mended?: (shard: ShardName) => void;
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
	readonly #claims = new RowClaims();

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
		if (WRITES.has(method)) return await this.#write(shard, method, args, caller.claim);
		if (method === "rows" && caller.claim !== undefined) {
			await this.#grant(shard, (args as Parameters<ShardCalls["rows"]>)[0], caller.claim);
		}
		return await pool.call(shard as never, method, ...args);
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

	/** What was let by before is done when it settles, so that whoever looks then sees it. @throws Outrun */
	async #grant(shard: ShardRef, ids: readonly VectorId[], claim: UpdateClaim): Promise<void> {
		for (const id of ids) {
			const later = this.#claims.grant(shard, id, claim);
			if (later !== undefined) throw new Outrun(this.#parts.membership.self, later);
		}
		await this.#claims.settled(shard);
	}

	async #write<M extends ReplicaMethod>(
		shard: ShardRef,
		method: M,
		args: Parameters<ShardCalls[M]>,
		claim: UpdateClaim | undefined,
	): Promise<ReturnType<ShardCalls[M]>> {
		const { membership, pool, epochs, touched } = this.#parts;
		if (INDEX_WRITES.has(method)) return await pool.call(shard as never, method, ...args);
		const { ids, version } = stampOf(method, args, claim);
		const later = version === undefined ? undefined : this.#claims.later(shard, ids, version, claim);
		if (later !== undefined) throw new Outrun(membership.self, later);
		const leaveEpoch = epochs.enter(membership.view().version);
		const leaveClaims = this.#claims.enter(shard);
		try {
			const result = await pool.call(shard as never, method, ...args);
			if (method === "merge" && claim === undefined) {
				const { vectorCountDelta, bytesDelta } = result as WriteResult;
				if (vectorCountDelta !== 0 || bytesDelta !== 0) this.#parts.mended?.(shard);
			}
			if (claim !== undefined) for (const id of ids) this.#claims.fulfil(shard, id, claim.version);
			return result;
		} finally {
			leaveClaims();
			leaveEpoch();
			touched(shard);
		}
	}

	#admit(shard: ShardRef, method: ReplicaMethod, state: CopyState, caller: ReplicaCaller): void {
		this.#refuseDeleted(shard);
		const isWrite = WRITES.has(method);
		if (isWrite || caller.claim !== undefined) this.#checkVersion(caller);
		if (caller.replicas !== undefined) this.#checkHolder(shard, caller.topologyVersion, caller.replicas);
		if (state === "none") throw this.#failure("missing", "there is no copy of the shard on this node");
		if (state === "incoming" && !isWrite && caller.replicas !== undefined) {
			// Of a copy that shall be, a claim wants no more than its promise.
			const isPromise = caller.claim !== undefined && !this.#isCurrent(shard, caller.replicas);
			if (!isPromise) throw this.#failure("incoming", "the copy is being filled");
		}
	}

	#isCurrent({ collectionId, shardIndex }: ShardName, replicas: number): boolean {
		const { membership } = this.#parts;
		return membership.view().placement(collectionId, shardIndex, replicas).current.includes(membership.self);
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

/** The rows that a write is about, and its version; without one it is of no consequence for other copies, or comes from one. */
function stampOf<M extends ReplicaMethod>(
	method: M,
	args: Parameters<ShardCalls[M]>,
	claim: UpdateClaim | undefined,
): { readonly ids: readonly VectorId[]; readonly version: Version | undefined } {
	switch (method as ReplicaWrite) {
		case "upsert": {
			const [{ ids }, , version] = args as Parameters<ShardCalls["upsert"]>;
			return { ids, version };
		}
		case "delete": {
			const [selector, version] = args as Parameters<ShardCalls["delete"]>;
			return { ids: "ids" in selector ? selector.ids : [], version };
		}
		case "update":
			return { ids: [(args as Parameters<ShardCalls["update"]>)[0].id], version: claim?.version };
		case "merge":
			return { ids: (args as Parameters<ShardCalls["merge"]>)[0].ids, version: claim?.version };
		default:
			return { ids: [], version: undefined };
	}
}
