import { HiveError } from "../../base/errors.ts";
import type { NodeId, VectorId } from "../../base/ids.ts";
import { recentMap } from "../../base/recent-map.ts";
import type { ShardCalls, ShardRef } from "../../shards/pool-types.ts";
import { VERSION_BYTES, versionMs } from "../../storage/hybrid-clock.ts";
import type { ShardDigest, VersionedRows, VersionList } from "../../storage/shard-types.ts";
import type { ReconcileResult, Reconciler, ReplicaPort } from "../replication/replica-types.ts";
import { shardKey } from "../shard-facts.ts";
import type { ByteThrottle } from "./byte-throttle.ts";
import { REPAIR_LIMITS } from "./repair-limits.ts";
import { bucketCountFor, differingBuckets, diffVersions } from "./version-diff.ts";

const BUCKET_COUNTS_REMEMBERED_MAX = 20_000;
/** A digest may have so many times too few or too many buckets: another number of them has to be counted anew. */
const BUCKET_COUNT_SLACK = 4;
/** What a row weighs besides its vector and payload: id, version, framing. */
const ROW_OVERHEAD_BYTES = 48;

export interface ShardReconcilerParts {
	readonly self: NodeId;
	readonly port: Pick<ReplicaPort, "call">;
	/** Shared by all that the node moves. */
	readonly throttle: Pick<ByteThrottle, "take">;
}

export interface PassProgress {
	readonly rowsDone: number;
	/** As the other copy counted them at the start. */
	readonly rowsTotal: number;
	readonly bytesDone: number;
}

export interface PassOptions {
	readonly signal?: AbortSignal | undefined;
	readonly onProgress?: ((progress: PassProgress) => void) | undefined;
}

export interface PassResult extends ReconcileResult {
	/** When the oldest of the rows was written that one copy had to take from the other, unix milliseconds; Infinity: none had to. */
	readonly oldestMovedMs: number;
}

interface Direction {
	/** Of what is newer in the other copy; `known`: only where this one knows of the id. */
	readonly pulls: "all" | "known" | "none";
	readonly pushes: boolean;
	/**
	 * Whether buckets with equal sums are compared as well. The sums are of what lives: equal ones may hide that one copy has never
	 * heard of a deletion, which matters where a copy shall stand for another one.
	 */
	readonly everyBucket: boolean;
}

/** One comparison under way. */
interface Pass extends Direction, PassOptions {
	readonly shard: ShardRef;
	readonly peer: NodeId;
	readonly rowsTotal: number;
	pulledRows: number;
	pushedRows: number;
	bytes: number;
	comparedRows: number;
	oldestMovedMs: number;
	/** Of one row, as those before were on average. */
	rowBytes: number;
}

/**
 * Compares this node's copy of a shard with another one and exchanges what differs, the newest version winning. What either
 * had when the call began, both have when it settles; what is written meanwhile is the writers' affair, so that it ends. What
 * was exchanged before a failure stays: to repeat it is to go on.
 */
export class ShardReconciler implements Reconciler {
	readonly #parts: ShardReconcilerParts;
	readonly #bucketCounts = recentMap<string, number>(BUCKET_COUNTS_REMEMBERED_MAX);

	constructor(parts: ShardReconcilerParts) {
		this.#parts = parts;
	}

	async reconcile(shard: ShardRef, peer: NodeId, signal?: AbortSignal): Promise<PassResult> {
		return await this.#compare(shard, peer, { pulls: "all", pushes: true, everyBucket: false }, { signal });
	}

	/**
	 * Brings everything the other copy knows into this node's, which need not be complete, deletions included.
	 *
	 * @throws ReplicaFailure, HiveError; what the signal aborts with
	 */
	async fill(shard: ShardRef, source: NodeId, options: PassOptions): Promise<PassResult> {
		return await this.#compare(shard, source, { pulls: "all", pushes: false, everyBucket: true }, options);
	}

	/**
	 * Brings what only this node's copy holds into all the others. What one of them knows to be out of date none is given: a copy
	 * that has not heard of a deletion would take what was deleted.
	 *
	 * @throws ReplicaFailure, HiveError; what the signal aborts with
	 */
	async handOver(shard: ShardRef, holders: readonly NodeId[], options: PassOptions): Promise<void> {
		for (const holder of holders) {
			await this.#compare(shard, holder, { pulls: "known", pushes: false, everyBucket: false }, options);
		}
		for (const holder of holders) {
			await this.#compare(shard, holder, { pulls: "none", pushes: true, everyBucket: false }, options);
		}
	}

	async #compare(
		shard: ShardRef,
		peer: NodeId,
		direction: Direction,
		{ signal, onProgress }: PassOptions,
	): Promise<PassResult> {
		const { here, there } = await this.#digests(shard, peer, direction, signal);
		const pass: Pass = {
			...direction,
			shard,
			peer,
			signal,
			onProgress,
			rowsTotal: there.vectorCount,
			pulledRows: 0,
			pushedRows: 0,
			bytes: 0,
			comparedRows: 0,
			oldestMovedMs: Number.POSITIVE_INFINITY,
			rowBytes: shard.config.dimension * Float32Array.BYTES_PER_ELEMENT + ROW_OVERHEAD_BYTES,
		};
		const buckets = direction.everyBucket
			? Array.from({ length: there.bucketCount }, (_, bucket) => bucket)
			: differingBuckets(here.sums, there.sums);
		let rowsPerBucket = Math.max(here.vectorCount, there.vectorCount) / there.bucketCount + 1;
		for (let start = 0; start < buckets.length; ) {
			const fitting = Math.floor(REPAIR_LIMITS.versionsPerCall / rowsPerBucket);
			const count = Math.max(1, Math.min(REPAIR_LIMITS.bucketsPerCall, fitting));
			const listed = await this.#exchange(pass, there.bucketCount, buckets.slice(start, start + count));
			// Deletions are among them, of which the digests did not tell how many there are.
			rowsPerBucket = Math.max(rowsPerBucket, listed / count);
			start += count;
		}
		const { pulledRows, pushedRows, bytes, oldestMovedMs } = pass;
		return { pulledRows, pushedRows, bytes, oldestMovedMs };
	}

	/** Of both copies at about the same time, with as many buckets as fit the number of rows. */
	async #digests(
		shard: ShardRef,
		peer: NodeId,
		{ everyBucket }: Direction,
		signal: AbortSignal | undefined,
	): Promise<{ readonly here: ShardDigest; readonly there: ShardDigest }> {
		const key = shardKey(shard);
		const digestsOf = async (bucketCount: number) => {
			const [here, there] = await Promise.all([
				this.#call(this.#parts.self, shard, "digest", [bucketCount], signal),
				this.#call(peer, shard, "digest", [bucketCount], signal),
			]);
			return { here, there };
		};
		const bucketCount = this.#bucketCounts.get(key) ?? REPAIR_LIMITS.bucketCountMin;
		const digests = await digestsOf(bucketCount);
		const { here, there } = digests;
		const fitting = bucketCountFor(Math.max(here.vectorCount, there.vectorCount));
		const fits = fitting <= bucketCount * BUCKET_COUNT_SLACK && bucketCount <= fitting * BUCKET_COUNT_SLACK;
		const isDone = fits || (!everyBucket && differingBuckets(here.sums, there.sums).length === 0);
		if (isDone) return digests;
		this.#bucketCounts.set(key, fitting);
		return await digestsOf(fitting);
	}

	/** @returns how many ids the longer of the two lists had */
	async #exchange(pass: Pass, bucketCount: number, buckets: readonly number[]): Promise<number> {
		const { shard, peer, signal } = pass;
		const { self } = this.#parts;
		const [here, there] = await Promise.all([
			this.#call(self, shard, "versions", [bucketCount, buckets], signal),
			this.#call(peer, shard, "versions", [bucketCount, buckets], signal),
		]);
		const { newerThere, newerHere } = diffVersions(here, there);
		const pulled = pass.pulls === "none" ? [] : pass.pulls === "all" ? newerThere : knownOf(newerThere, here);
		pass.comparedRows += there.ids.length - pulled.length;
		pass.onProgress?.(progressOf(pass));
		pass.pulledRows += await this.#transfer(pass, pulled, peer, self);
		if (pass.pushes) pass.pushedRows += await this.#transfer(pass, newerHere, self, peer);
		return Math.max(here.ids.length, there.ids.length);
	}

	/** @returns how many rows were given */
	async #transfer(pass: Pass, ids: readonly VectorId[], from: NodeId, to: NodeId): Promise<number> {
		let start = 0;
		let given = 0;
		let hasFailed = false;
		const carry = async (): Promise<void> => {
			while (start < ids.length && !hasFailed) {
				const batch = ids.slice(start, start + batchRows(pass.rowBytes));
				start += batch.length;
				try {
					const movedCount = await this.#move(pass, batch, from, to);
					given += movedCount;
				} catch (error) {
					hasFailed = true;
					throw error;
				}
			}
		};
		const carriers = Array.from({ length: REPAIR_LIMITS.batchesInFlight }, carry);
		// All have ended before a failure is told: nothing goes on behind the caller's back.
		for (const outcome of await Promise.allSettled(carriers)) {
			if (outcome.status === "rejected") throw outcome.reason;
		}
		return given;
	}

	async #move(pass: Pass, ids: readonly VectorId[], from: NodeId, to: NodeId): Promise<number> {
		const { shard, signal } = pass;
		let rows: VersionedRows;
		try {
			rows = await this.#call(from, shard, "rows", [ids], signal);
		} catch (error) {
			const isTooMuch = error instanceof HiveError && error.code === "PAYLOAD_TOO_LARGE" && ids.length > 1;
			if (!isTooMuch) throw error;
			const half = ids.length >> 1;
			return (
				(await this.#move(pass, ids.slice(0, half), from, to)) + (await this.#move(pass, ids.slice(half), from, to))
			);
		}
		// Word of a deletion that was let go meanwhile is not among them.
		if (rows.ids.length === 0) return 0;
		const bytes = bytesOf(rows);
		await this.#parts.throttle.take(bytes, signal);
		await this.#call(to, shard, "merge", [rows], signal);
		pass.bytes += bytes;
		pass.rowBytes = Math.max(ROW_OVERHEAD_BYTES, bytes / rows.ids.length);
		pass.oldestMovedMs = Math.min(pass.oldestMovedMs, oldestOf(rows));
		if (to === this.#parts.self) pass.comparedRows += rows.ids.length;
		pass.onProgress?.(progressOf(pass));
		return rows.ids.length;
	}

	async #call<M extends "digest" | "versions" | "rows" | "merge">(
		nodeId: NodeId,
		shard: ShardRef,
		method: M,
		args: Parameters<ShardCalls[M]>,
		signal: AbortSignal | undefined,
	): Promise<ReturnType<ShardCalls[M]>> {
		signal?.throwIfAborted();
		return await this.#parts.port.call(nodeId, shard, method, args, {
			timeoutMs: REPAIR_LIMITS.callMs,
			...(signal !== undefined && { signal }),
		});
	}
}

const progressOf = ({ comparedRows, rowsTotal, bytes }: Pass): PassProgress => ({
	rowsDone: Math.min(comparedRows, rowsTotal),
	rowsTotal,
	bytesDone: bytes,
});

function knownOf(ids: readonly VectorId[], here: VersionList): readonly VectorId[] {
	const known = new Set(here.ids);
	return ids.filter((id) => known.has(id));
}

function oldestOf({ ids, versions }: VersionedRows): number {
	let oldestMs = Number.POSITIVE_INFINITY;
	for (let at = 0; at < ids.length; at++) {
		oldestMs = Math.min(oldestMs, versionMs(versions.subarray(at * VERSION_BYTES, (at + 1) * VERSION_BYTES)));
	}
	return oldestMs;
}

const batchRows = (rowBytes: number): number =>
	Math.max(1, Math.min(REPAIR_LIMITS.rowsPerCall, Math.floor(REPAIR_LIMITS.bytesPerCall / rowBytes)));

function bytesOf({ ids, vectors, payloads }: VersionedRows): number {
	const payloadBytes = payloads.reduce((sum, payload) => sum + (payload?.length ?? 0), 0);
	return vectors.byteLength + payloadBytes + ids.length * ROW_OVERHEAD_BYTES;
}
