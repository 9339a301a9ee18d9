import { HiveError } from "../../base/errors.ts";
import type { NodeId, VectorId } from "../../base/ids.ts";
import type { Consistency } from "../../base/schemas.ts";
import type { ShardCalls } from "../../shards/pool-types.ts";
import type { ReadOptions, StoredVector, Version, VersionedRow } from "../../storage/shard-types.ts";
import { packRows } from "../../storage/versioned-rows.ts";
import type { TopologyView } from "../membership/membership-types.ts";
import { isCopyFailure, isMissing, isNoAnswer, newerTopology, newestOutrun, tooFew } from "./copy-failure.ts";
import { AllCopiesFailed, readHedged } from "./hedged-read.ts";
import type { ReplicaCallOptions, UpdateClaim } from "./replica-types.ts";
import { REPLICATION_LIMITS } from "./replication-limits.ts";
import type { ReplicatedShardSubject, ReplicationContext } from "./replication-types.ts";
import { RowSet, storedVector, unpackRows } from "./row-sets.ts";
import type { ShardFounding } from "./shard-founding.ts";
import { groupsOf, requiredCount } from "./write-quorum.ts";

/** What one copy can answer for all. */
export type CopyRead = "get" | "count" | "scroll" | "search" | "textStatistics" | "stats" | "measure";

/** Whom to ask first: this node, or the shard's home, whose count is the one that others go by. */
export type FirstAsked = "self" | "home";

/** The next page of one copy. */
export type CopyPages = (request: Parameters<ShardCalls["scroll"]>[0]) => Promise<ReturnType<ShardCalls["scroll"]>>;

interface Chosen {
	readonly view: TopologyView;
	readonly required: number;
	readonly current: readonly NodeId[];
	/** Those that hold the shard, and those that shall where they are others. */
	readonly groups: readonly (readonly NodeId[])[];
	/** Whether the request itself said how many copies it wants. */
	readonly isChosen: boolean;
}

/** As it is at a majority; undefined: nothing was ever heard of it. */
export type ClaimedRow = { readonly row: VersionedRow | undefined } | { readonly outrunBy: Version };

/** Reads from one copy of a shard, or from as many as are asked for. */
export class ShardReader {
	readonly #context: ReplicationContext;
	readonly #subject: ReplicatedShardSubject;
	readonly #founding: ShardFounding;

	constructor(context: ReplicationContext, subject: ReplicatedShardSubject, founding: ShardFounding) {
		this.#context = context;
		this.#subject = subject;
		this.#founding = founding;
	}

	/**
	 * One copy's answer: whichever is first. Where more are asked for, the copy is brought up to so many others first.
	 *
	 * @throws NO_QUORUM; what any copy would answer
	 */
	read<M extends CopyRead>(
		method: M,
		args: Parameters<ShardCalls[M]>,
		consistency: Consistency | undefined,
		first: FirstAsked = "self",
	): Promise<ReturnType<ShardCalls[M]>> {
		return this.#retried(consistency, async (chosen) => {
			const client = this.#client(chosen);
			if (chosen.required > 1) return await this.#readFrom(await this.#broughtUp(chosen), chosen, method, args);
			const inOrder = this.#inOrder(chosen.current, method, first);
			return await readHedged(this.#context, inOrder, method, (nodeId, options) =>
				this.#context.port.call(nodeId, this.#subject.shard, method, args, { ...options, client }),
			);
		});
	}

	/**
	 * What is known of the ids, deletions included, by so many copies together; those among them that knew less know it all when
	 * it settles.
	 *
	 * @throws NO_QUORUM
	 */
	async rows(ids: readonly VectorId[], consistency: Consistency | undefined): Promise<RowSet> {
		const { dimension } = this.#subject.shard.config;
		const vectorBytes = dimension * Float32Array.BYTES_PER_ELEMENT;
		const { rowsIdsMax, rowsBytes } = REPLICATION_LIMITS;
		const pageSize = Math.max(1, Math.min(rowsIdsMax, Math.floor(rowsBytes / vectorBytes)));
		const known = new RowSet();
		for (let start = 0; start < ids.length; start += pageSize) {
			known.add(await this.#rowsOf(ids.slice(start, start + pageSize), consistency));
		}
		return known;
	}

	/**
	 * Claims a row for an update: a majority, of the copies there are and of those there will be, lets nothing older than its version
	 * by from now on, and tells what it has.
	 *
	 * @returns the newest row, if there is any, or what outran the claim
	 * @throws NO_QUORUM
	 */
	claim(id: VectorId, claim: UpdateClaim): Promise<ClaimedRow> {
		return this.#retried("quorum", async (chosen) => {
			const { shard } = this.#subject;
			const client = { ...this.#client(chosen), claim };
			const known = new RowSet();
			const ask = async (nodeId: NodeId, signal: AbortSignal): Promise<void> => {
				const options = { timeoutMs: REPLICATION_LIMITS.readMs, signal, client };
				const rows = await this.#context.port.call(nodeId, shard, "rows", [[id]], options);
				known.add(unpackRows(rows, shard.config.dimension));
			};
			try {
				await Promise.all(
					chosen.groups.map((nodes) =>
						this.#askSeveral(this.#inOrder(nodes, "rows", "self"), requiredCount("quorum", nodes.length), ask),
					),
				);
			} catch (error) {
				const outrun = error instanceof AllCopiesFailed ? newestOutrun(error.failures.values()) : undefined;
				if (outrun === undefined) throw error;
				return { outrunBy: outrun };
			}
			return { row: known.get(id) };
		});
	}

	/** In the order of `ids`. @throws NO_QUORUM */
	async get(
		ids: readonly VectorId[],
		options: ReadOptions,
		consistency: Consistency | undefined,
	): Promise<readonly (StoredVector | undefined)[]> {
		if (this.#choose(consistency).required <= 1) return await this.read("get", [ids, options], consistency);
		const known = await this.rows(ids, consistency);
		return ids.map((id) => storedVector(known.get(id), options));
	}

	/**
	 * Pages of one copy, from the one that so many others were brought up to at the start.
	 *
	 * @throws NO_QUORUM
	 */
	pages(consistency: Consistency | undefined): Promise<CopyPages> {
		return this.#retried(consistency, async (chosen) => {
			const serving = await this.#broughtUp(chosen);
			return (request) => this.#readFrom(serving, chosen, "scroll", [request]);
		});
	}

	async #rowsOf(ids: readonly VectorId[], consistency: Consistency | undefined): Promise<readonly VersionedRow[]> {
		try {
			return await this.#retried(consistency, (chosen) => this.#agreedRows(ids, chosen));
		} catch (error) {
			const isTooMuch = error instanceof HiveError && error.code === "PAYLOAD_TOO_LARGE" && ids.length > 1;
			if (!isTooMuch) throw error;
			const half = ids.length >> 1;
			const first = await this.#rowsOf(ids.slice(0, half), consistency);
			return [...first, ...(await this.#rowsOf(ids.slice(half), consistency))];
		}
	}

	/** Of each id the newest that the asked copies know, which all of them know afterwards. */
	async #agreedRows(ids: readonly VectorId[], chosen: Chosen): Promise<readonly VersionedRow[]> {
		const { port } = this.#context;
		const { shard } = this.#subject;
		const client = this.#client(chosen);
		const nodes = this.#inOrder(chosen.current, "rows", "self");
		const answers = await this.#askSeveral(nodes, chosen.required, async (nodeId, signal) => {
			const options = { timeoutMs: REPLICATION_LIMITS.readMs, signal, client };
			const rows = await port.call(nodeId, shard, "rows", [ids], options);
			return new RowSet().add(unpackRows(rows, shard.config.dimension));
		});
		const newest = new RowSet();
		for (const rows of answers.values()) newest.add(rows.all());
		await Promise.all(
			[...answers].map(async ([nodeId, rows]) => {
				const lacking = newest.newerThan(rows);
				if (lacking.length === 0) return;
				const merged = packRows(lacking, shard.config.dimension);
				await port.call(nodeId, shard, "merge", [merged], { timeoutMs: REPLICATION_LIMITS.writeMs, client });
			}),
		);
		return [...newest.all()];
	}

	/** Asks so many of them, at once, and another one for each that fails or is slow. @throws AllCopiesFailed */
	#askSeveral<Answer>(
		nodes: readonly NodeId[],
		wanted: number,
		ask: (nodeId: NodeId, signal: AbortSignal) => Promise<Answer>,
	): Promise<ReadonlyMap<NodeId, Answer>> {
		if (wanted === 0) return Promise.resolve(new Map());
		if (nodes.length < wanted) return Promise.reject(new AllCopiesFailed(new Map()));
		const { timers, latencies } = this.#context;
		const { promise, resolve, reject } = Promise.withResolvers<ReadonlyMap<NodeId, Answer>>();
		const answers = new Map<NodeId, Answer>();
		const failures = new Map<NodeId, unknown>();
		const controller = new AbortController();
		const cancels = new Set<() => void>();
		let nextIndex = 0;
		let isOver = false;
		const end = (settle: () => void): void => {
			if (isOver) return;
			isOver = true;
			for (const cancel of cancels) cancel();
			controller.abort();
			settle();
		};
		const askNext = (): void => {
			if (isOver || nextIndex === nodes.length) return;
			const nodeId = nodes[nextIndex++]!;
			const cancel = timers.after(REPLICATION_LIMITS.nextCopyMs, () => {
				latencies.avoid(nodeId);
				askNext();
			});
			cancels.add(cancel);
			ask(nodeId, controller.signal).then(
				(answer) => {
					cancel();
					if (isOver) return;
					answers.set(nodeId, answer);
					if (answers.size === wanted) end(() => resolve(answers));
				},
				(error: unknown) => {
					cancel();
					if (isOver) return;
					if (!isCopyFailure(error)) return end(() => reject(error));
					failures.set(nodeId, error);
					if (isNoAnswer(error)) latencies.avoid(nodeId);
					if (nodes.length - failures.size < wanted) {
						return end(() => reject(new AllCopiesFailed(failures, answers.size)));
					}
					askNext();
				},
			);
		};
		for (let count = 0; count < wanted; count++) askNext();
		return promise;
	}

	/** One copy that holds all that so many of them hold. @throws AllCopiesFailed */
	async #broughtUp(chosen: Chosen): Promise<NodeId> {
		const { port } = this.#context;
		const { shard } = this.#subject;
		const nodes = this.#inOrder(chosen.current, "search", "self");
		const failures = new Map<NodeId, unknown>();
		let best = 0;
		for (const serving of nodes) {
			try {
				if ((await port.copyState(serving, shard, REPLICATION_LIMITS.copyStateMs)) !== "complete") continue;
			} catch (error) {
				if (!isCopyFailure(error)) throw error;
				failures.set(serving, error);
				continue;
			}
			const peers = nodes.filter((nodeId) => nodeId !== serving && !isNoAnswer(failures.get(nodeId)));
			const agreed = await this.#bringUp(serving, peers, chosen.required, failures);
			best = Math.max(best, agreed);
			if (agreed === chosen.required) return serving;
		}
		throw new AllCopiesFailed(failures, best);
	}

	/** @returns how many copies, the serving one among them, hold the same, at most as many as are wanted */
	async #bringUp(
		serving: NodeId,
		peers: readonly NodeId[],
		wanted: number,
		failures: Map<NodeId, unknown>,
	): Promise<number> {
		const { membership, reconciler, remote } = this.#context;
		const { shard } = this.#subject;
		const timeoutMs = REPLICATION_LIMITS.reconcileMs;
		try {
			await this.#askSeveral(peers, wanted - 1, async (peer, signal) => {
				if (serving !== membership.self) await remote.reconcile(serving, shard, peer, { timeoutMs });
				else await reconciler.reconcile(shard, peer, AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]));
			});
			return wanted;
		} catch (error) {
			if (!(error instanceof AllCopiesFailed)) throw error;
			for (const [peer, failure] of error.failures) failures.set(peer, failure);
			return 1 + error.answered;
		}
	}

	#readFrom<M extends CopyRead>(
		nodeId: NodeId,
		chosen: Chosen,
		method: M,
		args: Parameters<ShardCalls[M]>,
	): Promise<ReturnType<ShardCalls[M]>> {
		return this.#context.port.call(nodeId, this.#subject.shard, method, args, {
			timeoutMs: REPLICATION_LIMITS.readMs,
			client: this.#client(chosen),
		});
	}

	/** Again with the newer topology, or with copies, where those who were asked say that these lacked. */
	async #retried<Answer>(
		consistency: Consistency | undefined,
		attempt: (chosen: Chosen) => Promise<Answer>,
	): Promise<Answer> {
		const { membership } = this.#context;
		let hasFounded = false;
		for (let count = 1; ; count++) {
			const chosen = this.#choose(consistency);
			try {
				return await attempt(chosen);
			} catch (error) {
				if (!(error instanceof AllCopiesFailed) && !isCopyFailure(error)) throw error;
				const failures = error instanceof AllCopiesFailed ? [...error.failures.values()] : [error];
				const answered = error instanceof AllCopiesFailed ? error.answered : 0;
				const version = newerTopology(failures);
				if (version !== undefined && version > chosen.view.version) await membership.refresh(version);
				const isNewer = membership.view().version > chosen.view.version;
				const lacksCopies = !hasFounded && failures.some(isMissing);
				if (count === REPLICATION_LIMITS.attemptsMax || (!isNewer && !lacksCopies)) {
					throw tooFew(chosen.required, answered, failures, chosen.isChosen);
				}
				if (isNewer) continue;
				hasFounded = true;
				await this.#founding.establish();
			}
		}
	}

	#choose(consistency: Consistency | undefined): Chosen {
		const { membership, defaults } = this.#context;
		const { shard, replicas } = this.#subject;
		const view = membership.view();
		const placement = view.placement(shard.collectionId, shard.shardIndex, replicas);
		const { current } = placement;
		return {
			view,
			current,
			groups: groupsOf(placement),
			required: requiredCount(consistency ?? defaults.read, current.length),
			isChosen: consistency !== undefined,
		};
	}

	#client({ view }: Chosen): NonNullable<ReplicaCallOptions["client"]> {
		return { topologyVersion: view.version, replicas: this.#subject.replicas };
	}

	/** Those that are likely to answer, and soon, before the others. */
	#inOrder(nodes: readonly NodeId[], method: string, first: FirstAsked): readonly NodeId[] {
		if (nodes.length === 1) return nodes;
		const { membership, latencies } = this.#context;
		const rank = (nodeId: NodeId): number => {
			if (!membership.isLive(nodeId)) return 3;
			if (nodeId === membership.self) return first === "self" ? 0 : 1;
			return latencies.isAvoided(nodeId) ? 2 : 1;
		};
		const ranked = nodes.map((nodeId, place) => ({
			nodeId,
			rank: rank(nodeId),
			// The home's word counts; else whoever is fastest.
			tieBreak: first === "home" ? place : latencies.usualMs(nodeId, method),
		}));
		return ranked.sort((a, b) => a.rank - b.rank || a.tieBreak - b.tieBreak).map(({ nodeId }) => nodeId);
	}
}
