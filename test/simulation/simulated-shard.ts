import { HiveError } from "../../src/base/errors.ts";
import type { NodeId, VectorId } from "../../src/base/ids.ts";
import { nodeTag } from "../../src/cluster/replication/version-clock.ts";
import type { ShardCalls, ShardRef } from "../../src/shards/pool-types.ts";
import { compareVersions, HybridClock } from "../../src/storage/hybrid-clock.ts";
import type {
	StoredVector,
	UpdateRequest,
	UpdateResult,
	UpdateStamp,
	UpsertBatch,
	Version,
	VersionedRow,
	WriteAllowance,
	WriteResult,
} from "../../src/storage/shard-types.ts";
import { packRows } from "../../src/storage/versioned-rows.ts";
import { MemoryShard } from "../cluster/repair/memory-shard.ts";

export interface SimulatedShardParts {
	readonly nodeId: NodeId;
	readonly shard: ShardRef;
	/** Told of each deletion that is taken. */
	readonly deleted: (shard: ShardRef, id: VectorId, version: Version) => void;
	/** The node's wall clock. */
	readonly nowMs: () => number;
	readonly tombstoneRetentionMs: number;
	/** Something is wrong that no order of events excuses. */
	readonly violated: (what: string) => void;
}

/** A copy of a shard as it lies on a node's disk. */
export class SimulatedShard extends MemoryShard {
	readonly #parts: SimulatedShardParts;
	readonly #clock: HybridClock;

	constructor(parts: SimulatedShardParts) {
		super(parts.shard.config.dimension, parts.nowMs, parts.tombstoneRetentionMs);
		this.#parts = parts;
		const clock = { nowMs: parts.nowMs, monotonicMs: () => 0 };
		this.#clock = new HybridClock(clock, nodeTag(parts.nodeId), { ms: 0, counter: 0 });
	}

	override put(rows: readonly VersionedRow[]): WriteResult {
		const before = rows.map(({ id }) => this.rows.get(id));
		const result = super.put(rows);
		for (const [at, { id, version }] of rows.entries()) {
			this.#clock.observe(version);
			if (this.rows.get(id)?.document === undefined) this.#parts.deleted(this.#parts.shard, id, version);
			const standing = before[at];
			if (standing !== undefined && compareVersions(this.rows.get(id)!.version, standing.version) < 0) {
				this.#parts.violated(`${id} went back to an older version on ${this.#parts.nodeId}`);
			}
		}
		return result;
	}

	/** As the worker would call it. */
	answer<M extends keyof ShardCalls>(method: M, args: readonly unknown[]): ReturnType<ShardCalls[M]> {
		return this.#answer(method, args) as ReturnType<ShardCalls[M]>;
	}

	#answer(method: keyof ShardCalls, args: readonly unknown[]): unknown {
		switch (method) {
			case "upsert": {
				const [batch, , version] = args as Parameters<ShardCalls["upsert"]>;
				return this.upsert(batch as UpsertBatch, version ?? this.#clock.next());
			}
			case "delete": {
				const [selector, version] = args as Parameters<ShardCalls["delete"]>;
				if (!("ids" in selector)) throw new Error("nobody deletes by filter here");
				return this.delete(selector.ids, version ?? this.#clock.next());
			}
			case "update":
				return this.#update(...(args as Parameters<ShardCalls["update"]>));
			case "merge":
				return this.merge(...(args as Parameters<ShardCalls["merge"]>));
			case "rows":
				return this.rowsOf(...(args as Parameters<ShardCalls["rows"]>));
			case "digest":
				return this.digest(...(args as Parameters<ShardCalls["digest"]>));
			case "versions":
				return this.versions(...(args as Parameters<ShardCalls["versions"]>));
			case "allowPurge":
				return this.allowPurge(...(args as Parameters<ShardCalls["allowPurge"]>));
			case "get":
				return (args as Parameters<ShardCalls["get"]>)[0].map((id) => this.#stored(id));
			default:
				throw new Error(`nobody asks for ${method} here`);
		}
	}

	/** A patch of JSON, as storage does it. */
	#update({ id, payloadPatch = "{}" }: UpdateRequest, _allowance: WriteAllowance, stamp?: UpdateStamp): UpdateResult {
		if (stamp !== undefined) this.merge(stamp.known);
		const version = stamp?.version ?? this.#clock.next();
		const standing = this.rows.get(id);
		const order = standing === undefined ? -1 : compareVersions(standing.version, version);
		if (order > 0) {
			const counts = { affectedCount: 0, vectorCountDelta: 0, bytesDelta: 0 };
			return { ...counts, supersededBy: standing!.version, row: packRows([], this.dimension), wasBehind: false };
		}
		if (standing?.document === undefined) throw new HiveError("VECTOR_NOT_FOUND", "there is no such vector", { id });
		const { payload = "{}", vector } = standing.document;
		const merged = JSON.stringify({ ...JSON.parse(payload), ...JSON.parse(payloadPatch) });
		const row: VersionedRow = { id, version, document: { payload: merged, vector } };
		return { ...this.put([row]), row: packRows([order === 0 ? standing : row], this.dimension), wasBehind: false };
	}

	#stored(id: VectorId): StoredVector | undefined {
		const document = this.rows.get(id)?.document;
		return document && { id, ...(document.payload !== undefined && { payload: document.payload }) };
	}
}
