import { HiveError } from "../../base/errors.ts";
import type { Filter } from "../../base/filter.ts";
import type { NodeId, VectorId } from "../../base/ids.ts";
import type { Consistency, PayloadIndexType } from "../../base/schemas.ts";
import type { ShardCalls } from "../../shards/pool-types.ts";
import type { TextStatistics } from "../../storage/bm25.ts";
import type {
	ReadOptions,
	ScrollPage,
	ScrollRequest,
	SearchAnswer,
	SearchRequest,
	Selector,
	ShardStats,
	StoredVector,
	UpdateRequest,
	UpdateStamp,
	UpsertBatch,
	WriteAllowance,
	WriteResult,
} from "../../storage/shard-types.ts";
import { packRows } from "../../storage/versioned-rows.ts";
import type { Placement, TopologyView } from "../membership/membership-types.ts";
import { isCopyFailure, isMissing, newerTopology, tooFew } from "./copy-failure.ts";
import { Outrun, type UpdateClaim } from "./replica-types.ts";
import { REPLICATION_LIMITS } from "./replication-limits.ts";
import type { ReplicatedShardSubject, ReplicationContext } from "./replication-types.ts";
import { ShardFounding } from "./shard-founding.ts";
import { ShardReader } from "./shard-reader.ts";
import { ShardWriter } from "./shard-writer.ts";

type Measured = Parameters<ShardCalls["measure"]>[0];

/**
 * One shard, wherever its copies are: what a `Shard` can do, done to as many copies as asked for. Holds nothing of its own.
 *
 * `consistency` undefined: as the node's settings say. All throw NO_QUORUM when too few copies answer; a write may have been done
 * or not then.
 */
export class ReplicatedShard {
	readonly #context: ReplicationContext;
	readonly #subject: ReplicatedShardSubject;
	readonly #founding: ShardFounding;
	readonly #reader: ShardReader;
	readonly #writer: ShardWriter;

	constructor(context: ReplicationContext, subject: ReplicatedShardSubject) {
		this.#context = context;
		this.#subject = subject;
		this.#founding = new ShardFounding(context, subject);
		this.#reader = new ShardReader(context, subject, this.#founding);
		this.#writer = new ShardWriter(context, subject, this.#founding);
	}

	/** Makes its copies, the caller knowing that it is new. @throws what most of its nodes threw */
	makeEmpty(): Promise<void> {
		return this.#founding.found();
	}

	/**
	 * @param allowance heeded where there is one copy; several can't be kept to it together
	 * @throws QUOTA_EXCEEDED having written nothing
	 */
	upsert(batch: UpsertBatch, allowance: WriteAllowance, consistency: Consistency | undefined): Promise<WriteResult> {
		return this.#writer.write({
			method: "upsert",
			args: (version) => (version === undefined ? [batch, allowance] : [batch, {}, version]),
			bytes: bytesOf(batch),
			consistency,
		});
	}

	/** @throws VECTOR_NOT_FOUND, VALIDATION_FAILED, QUOTA_EXCEEDED: nothing is written then */
	async update(
		request: UpdateRequest,
		allowance: WriteAllowance,
		consistency: Consistency | undefined,
	): Promise<WriteResult> {
		const { homes } = this.#placed();
		const failures: unknown[] = [];
		let hasFounded = false;
		for (let attempt = 0; attempt < homes.length + REPLICATION_LIMITS.attemptsMax; attempt++) {
			const { view, placement, homes: now } = this.#placed();
			const home = now[failures.length];
			if (home === undefined) break;
			try {
				if (placement.writers.length === 1) return await this.#updateAlone(home, view, request, allowance);
				return await this.#updateAt(home, view, request, consistency);
			} catch (error) {
				if (!isCopyFailure(error)) throw error;
				if (error instanceof Outrun) {
					this.#context.versions.observe(error.by);
					continue;
				}
				const version = newerTopology([error]);
				if (version !== undefined) {
					await this.#context.membership.refresh(version);
					if (this.#context.membership.view().version > view.version) continue;
				}
				if (isMissing(error) && !hasFounded) {
					hasFounded = true;
					await this.#founding.establish();
					continue;
				}
				this.#subject.doubt();
				failures.push(error);
			}
		}
		throw tooFew(1, 0, failures, consistency !== undefined);
	}

	async delete(selector: Selector, consistency: Consistency | undefined): Promise<WriteResult> {
		if ("ids" in selector) return await this.#deleteIds(selector.ids, consistency);
		if (this.#placed().placement.writers.length === 1) {
			return await this.#writer.write({
				method: "delete",
				args: (version) => {
					if (version !== undefined) throw moved();
					return [selector];
				},
				bytes: 0,
				consistency,
			});
		}
		return await this.#deleteMatching(selector.filter, consistency);
	}

	get(
		ids: readonly VectorId[],
		options: ReadOptions,
		consistency: Consistency | undefined,
	): Promise<readonly (StoredVector | undefined)[]> {
		return this.#reader.get(ids, options, consistency);
	}

	count(filter: Filter | undefined, consistency: Consistency | undefined): Promise<number> {
		return this.#reader.read("count", [filter], consistency);
	}

	scroll(request: ScrollRequest, consistency: Consistency | undefined): Promise<ScrollPage> {
		return this.#reader.read("scroll", [request], consistency);
	}

	search(requests: readonly SearchRequest[], consistency: Consistency | undefined): Promise<readonly SearchAnswer[]> {
		return this.#reader.read("search", [requests], consistency);
	}

	textStatistics(texts: readonly string[], consistency: Consistency | undefined): Promise<readonly TextStatistics[]> {
		return this.#reader.read("textStatistics", [texts], consistency);
	}

	/** Of the home's copy, so that all who ask count the same. */
	stats(): Promise<ShardStats> {
		return this.#reader.read("stats", [], "one", "home");
	}

	/** What the home's copy would change by it. */
	measure(write: Measured): Promise<WriteResult> {
		return this.#reader.read("measure", [write], "one", "home");
	}

	/** Built by every copy that can be reached; the others build it when they are opened. */
	async createPayloadIndex(field: string, type: PayloadIndexType): Promise<void> {
		await this.#onCopies("createPayloadIndex", [field, type]);
	}

	async dropPayloadIndex(field: string): Promise<void> {
		await this.#onCopies("dropPayloadIndex", [field]);
	}

	/** Who holds the shard now, those that live first, which decide on updates one after the other. */
	#placed(): { readonly view: TopologyView; readonly placement: Placement; readonly homes: readonly NodeId[] } {
		const { membership } = this.#context;
		const { shard, replicas } = this.#subject;
		const view = membership.view();
		const placement = view.placement(shard.collectionId, shard.shardIndex, replicas);
		const { current } = placement;
		const isLive = (nodeId: NodeId): boolean => membership.isLive(nodeId);
		const homes =
			current.length === 1 ? current : [...current.filter(isLive), ...current.filter((nodeId) => !isLive(nodeId))];
		return { view, placement, homes };
	}

	async #updateAlone(
		home: NodeId,
		{ version }: TopologyView,
		request: UpdateRequest,
		allowance: WriteAllowance,
	): Promise<WriteResult> {
		const { port, membership } = this.#context;
		const { shard, replicas } = this.#subject;
		const { writeMs, ownWriteMs } = REPLICATION_LIMITS;
		const {
			row: _row,
			wasBehind: _wasBehind,
			...change
		} = await port.call(home, shard, "update", [request, allowance], {
			timeoutMs: home === membership.self ? ownWriteMs : writeMs,
			client: { topologyVersion: version, replicas },
		});
		return change;
	}

	/**
	 * Does it at the home, which does one after the other, and gives what became of it to the other copies. The version is claimed
	 * before the row is read: however late the home comes to write, nothing that was acknowledged since is older.
	 *
	 * @throws Outrun: the same again, in a newer version, may succeed
	 */
	async #updateAt(
		home: NodeId,
		view: TopologyView,
		request: UpdateRequest,
		consistency: Consistency | undefined,
	): Promise<WriteResult> {
		const { port, versions } = this.#context;
		const { shard, replicas } = this.#subject;
		const claim: UpdateClaim = { home, version: versions.next() };
		const claimed = await this.#reader.claim(request.id, claim);
		if ("outrunBy" in claimed) throw new Outrun(home, claimed.outrunBy);
		const known = packRows(claimed.row === undefined ? [] : [claimed.row], shard.config.dimension);
		const stamp: UpdateStamp = { version: claim.version, known };
		const { row, wasBehind, ...change } = await port.call(home, shard, "update", [request, {}, stamp], {
			timeoutMs: REPLICATION_LIMITS.writeMs,
			client: { topologyVersion: view.version, replicas, claim },
		});
		if (wasBehind) this.#subject.doubt();
		if (change.supersededBy !== undefined) throw new Outrun(home, change.supersededBy);
		await this.#writer.write({
			method: "merge",
			args: () => [row],
			bytes: row.vectors.byteLength,
			consistency,
			from: { done: [home], claim },
		});
		return change;
	}

	#deleteIds(ids: readonly VectorId[], consistency: Consistency | undefined): Promise<WriteResult> {
		return this.#writer.write({
			method: "delete",
			args: (version) => (version === undefined ? [{ ids }] : [{ ids }, version]),
			bytes: 0,
			consistency,
		});
	}

	/** What matches is looked up in one copy and deleted by id everywhere, so that all copies delete the same. */
	async #deleteMatching(filter: Filter, consistency: Consistency | undefined): Promise<WriteResult> {
		const readPage = await this.#reader.pages(consistency ?? this.#context.defaults.write);
		const sum = { vectorCountDelta: 0, bytesDelta: 0, affectedCount: 0 };
		for (let after: VectorId | undefined, isDone = false; !isDone; ) {
			const page = await readPage({
				filter,
				limit: REPLICATION_LIMITS.deletePageIds,
				withPayload: false,
				withVector: false,
				...(after !== undefined && { after }),
			});
			if (page.vectors.length > 0) {
				const ids = page.vectors.map(({ id }) => id);
				const { vectorCountDelta, bytesDelta, affectedCount } = await this.#deleteIds(ids, consistency);
				sum.vectorCountDelta += vectorCountDelta;
				sum.bytesDelta += bytesDelta;
				sum.affectedCount += affectedCount;
			}
			after = page.next;
			isDone = after === undefined;
		}
		return sum;
	}

	/** @throws NO_QUORUM when not even one copy could; what a copy refused */
	async #onCopies<M extends "createPayloadIndex" | "dropPayloadIndex">(
		method: M,
		args: Parameters<ShardCalls[M]>,
	): Promise<void> {
		const { port } = this.#context;
		const { shard } = this.#subject;
		const { placement } = this.#placed();
		const failures: unknown[] = [];
		await Promise.all(
			placement.writers.map(async (nodeId) => {
				try {
					// By the newest topology: an index is of no consequence where a copy is to go.
					await port.call(nodeId, shard, method, args, { timeoutMs: REPLICATION_LIMITS.payloadIndexMs });
				} catch (error) {
					if (!isCopyFailure(error)) throw error;
					// It is built, or not, when the copy is there and opened.
					if (!isMissing(error)) failures.push(error);
				}
			}),
		);
		if (failures.length === placement.writers.length) throw tooFew(1, 0, failures, false);
	}
}

function bytesOf({ vectors, payloads }: UpsertBatch): number {
	let bytes = vectors.byteLength;
	for (const payload of payloads) bytes += payload?.length ?? 0;
	return bytes;
}

const moved = (): HiveError =>
	new HiveError("CONFLICT", "the shard was given more copies while the request was under way; retry");
