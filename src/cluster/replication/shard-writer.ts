import type { NodeId } from "../../base/ids.ts";
import type { Consistency } from "../../base/schemas.ts";
import type { ShardCalls } from "../../shards/pool-types.ts";
import type { Version, WriteResult } from "../../storage/shard-types.ts";
import type { Placement, TopologyView } from "../membership/membership-types.ts";
import { factsOf } from "../shard-facts.ts";
import { isMissing, noQuorum, tooFew } from "./copy-failure.ts";
import { Outrun, type UpdateClaim } from "./replica-types.ts";
import { REPLICATION_LIMITS } from "./replication-limits.ts";
import type { ReplicatedShardSubject, ReplicationContext } from "./replication-types.ts";
import type { ShardFounding } from "./shard-founding.ts";
import { type RoundOutcome, runWriteRound } from "./write-round.ts";

type CopyWrite = "upsert" | "delete" | "merge";

/** What an update came to at one copy. */
export interface UpdatedRow {
	/** Copies that have it already. */
	readonly done: readonly NodeId[];
	readonly claim: UpdateClaim;
}

/** A write as each copy gets it. */
export interface CopiesWrite<M extends CopyWrite> {
	readonly method: M;
	/** Stamped with the version it is given; undefined where there is but one copy, which stamps it itself. */
	readonly args: (version: Version | undefined) => Parameters<ShardCalls[M]>;
	/** What it keeps in memory while a copy has not answered. */
	readonly bytes: number;
	/** Undefined: as the node's settings say. */
	readonly consistency: Consistency | undefined;
	/** It is there already, in a version of its own: it loses against newer rows, and fails where a later update has claimed this one. */
	readonly from?: UpdatedRow;
}

/** What one write did to one copy, in all its rounds. */
interface CopyTally {
	vectorCountDelta: number;
	bytesDelta: number;
	affectedCount: number;
}

/** Writes to all copies of one shard, newest version winning. */
export class ShardWriter {
	readonly #context: ReplicationContext;
	readonly #subject: ReplicatedShardSubject;
	readonly #founding: ShardFounding;

	constructor(context: ReplicationContext, subject: ReplicatedShardSubject, founding: ShardFounding) {
		this.#context = context;
		this.#subject = subject;
		this.#founding = founding;
	}

	/**
	 * Settles when so many copies as asked for have it on disk, and note was taken of those that missed it. When a copy holds
	 * something newer, the write is stamped anew and sent again: what is acknowledged is newer than all that was before.
	 *
	 * @returns what it did to the home's copy, or the first one that answered
	 * @throws Outrun only where the write is from an update; NO_QUORUM: it may have been done or not; what every copy would answer, nothing being written then
	 */
	async write<M extends CopyWrite>(write: CopiesWrite<M>): Promise<WriteResult> {
		const { membership, versions, clock } = this.#context;
		const { attemptsMax } = REPLICATION_LIMITS;
		const deadlineMs = clock.monotonicMs() + this.#allowedMs(write.bytes);
		const tallies = new Map<NodeId, CopyTally>();
		let version = write.from?.claim.version;
		let hasFounded = false;
		let wasSuperseded = false;
		let last: RoundOutcome | undefined;
		for (let attempt = 0; attempt < attemptsMax; attempt++) {
			const view = membership.view();
			const placement = this.#placement(view);
			if (placement.writers.length > 1) version ??= versions.next();
			const outcome = await this.#round(
				write,
				version,
				view.version,
				placement,
				Math.max(1, deadlineMs - clock.monotonicMs()),
				tallies,
			);
			last = outcome;
			switch (outcome.kind) {
				case "acknowledged": {
					await this.#noteMissed(outcome, write.bytes, write.consistency);
					if (wasSuperseded) this.#subject.doubt();
					return this.#result(placement, tallies);
				}
				case "refused":
					throw outcome.error;
				case "superseded":
					if (write.from !== undefined) throw new Outrun(membership.self, outcome.by);
					versions.observe(outcome.by);
					version = versions.next();
					wasSuperseded = true;
					break;
				case "stale":
					await membership.refresh(outcome.version);
					// Without the new topology it would be refused again.
					if (membership.view().version < outcome.version) attempt = attemptsMax;
					break;
				case "failed":
					if (hasFounded || ![...outcome.failures.values()].some(isMissing))
						throw this.#tooFew(outcome, write.consistency);
					hasFounded = true;
					await this.#founding.establish();
					break;
			}
			if (clock.monotonicMs() >= deadlineMs) break;
		}
		this.#subject.doubt();
		throw last?.kind === "failed" ? this.#tooFew(last, write.consistency) : noQuorum(1, 0, false);
	}

	async #round<M extends CopyWrite>(
		write: CopiesWrite<M>,
		version: Version | undefined,
		topologyVersion: number,
		placement: Placement,
		timeoutMs: number,
		tallies: Map<NodeId, CopyTally>,
	): Promise<RoundOutcome> {
		const { membership, port, timers, defaults } = this.#context;
		const { shard, replicas } = this.#subject;
		const claim = write.from?.claim;
		const client = { topologyVersion, replicas, ...(claim !== undefined && { claim }) };
		const send = (nodeId: NodeId, ms: number): Promise<WriteResult> =>
			port.call(nodeId, shard, write.method, write.args(version), { timeoutMs: ms, client }) as Promise<WriteResult>;
		let isOver = false;
		const answered = (nodeId: NodeId, result: WriteResult): void => {
			const tally = tallies.get(nodeId) ?? { vectorCountDelta: 0, bytesDelta: 0, affectedCount: 0 };
			tally.vectorCountDelta += result.vectorCountDelta;
			tally.bytesDelta += result.bytesDelta;
			tally.affectedCount = Math.max(tally.affectedCount, result.affectedCount);
			tallies.set(nodeId, tally);
			// One that comes when the client was told already, and tells otherwise.
			if (isOver && result.supersededBy !== undefined) this.#subject.doubt();
		};
		const outcome = await runWriteRound({
			placement,
			consistency: write.consistency ?? defaults.write,
			done: write.from?.done ?? [],
			send,
			isLive: (nodeId) => membership.isLive(nodeId),
			after: (delayMs, task) => timers.after(delayMs, task),
			timeoutMs,
			answered,
			yields: write.from !== undefined,
		});
		isOver = true;
		return outcome;
	}

	/** Before the client hears of it: what missed the write is on disk, what may still miss it is watched. */
	async #noteMissed(
		{ missed, pending }: Extract<RoundOutcome, { kind: "acknowledged" }>,
		bytes: number,
		consistency: Consistency | undefined,
	): Promise<void> {
		const { stragglers } = this.#context;
		const given = [...missed];
		for (const [nodeId, hasIt] of pending) {
			const watched = hasIt.then(async (has) => {
				if (!has) await this.#hint(nodeId).catch((error: unknown) => this.#logHint(nodeId, error));
			});
			if (!stragglers.adopt(watched, bytes)) given.push(nodeId);
		}
		await Promise.all(
			given.map(async (nodeId) => {
				try {
					await this.#hint(nodeId);
				} catch (error) {
					// A majority has the write whatever becomes of the hint; with fewer the hint is what was promised.
					if ((consistency ?? this.#context.defaults.write) === "one") throw error;
					this.#logHint(nodeId, error);
				}
			}),
		);
	}

	#hint(nodeId: NodeId): Promise<void> {
		return this.#context.hints.missed(nodeId, this.#subject.shard);
	}

	#logHint(nodeId: NodeId, error: unknown): void {
		this.#context.log("no note could be taken of a write that a copy missed; repair finds it later", {
			...factsOf(this.#subject.shard, nodeId),
			error: String(error),
		});
	}

	#placement(view: TopologyView): Placement {
		const { shard, replicas } = this.#subject;
		return view.placement(shard.collectionId, shard.shardIndex, replicas);
	}

	#allowedMs(bytes: number): number {
		const { membership } = this.#context;
		const { writers } = this.#placement(membership.view());
		const { writeMs, writeBytesPerMs, ownWriteMs } = REPLICATION_LIMITS;
		const isOwnAlone = writers.length === 1 && writers[0] === membership.self;
		return isOwnAlone ? ownWriteMs : writeMs + Math.ceil(bytes / writeBytesPerMs);
	}

	#result({ writers }: Placement, tallies: ReadonlyMap<NodeId, CopyTally>): WriteResult {
		const tally = writers.map((nodeId) => tallies.get(nodeId)).find((found) => found !== undefined);
		const { vectorCountDelta = 0, bytesDelta = 0, affectedCount = 0 } = tally ?? {};
		for (const other of tallies.values()) {
			if (other.vectorCountDelta === vectorCountDelta && other.bytesDelta === bytesDelta) continue;
			this.#subject.doubt();
			break;
		}
		return { vectorCountDelta, bytesDelta, affectedCount };
	}

	#tooFew(
		{ required, answered, failures }: Extract<RoundOutcome, { kind: "failed" }>,
		consistency: Consistency | undefined,
	): Error {
		this.#subject.doubt();
		return tooFew(required, answered, [...failures.values()], consistency !== undefined);
	}
}
