import type { Clock } from "../../base/clock.ts";
import type { NodeId, RandomBytes, TenantId } from "../../base/ids.ts";
import type { Timers } from "../../base/timers.ts";
import type { HubChange, Topology } from "../../hub/models.ts";
import type { KnownChanges } from "../../hub/recent-changes.ts";
import type { Question } from "../../hub/record-exchange.ts";
import type { Every } from "../../observe/event-loop-lag.ts";
import type { Membership } from "../membership/membership-types.ts";
import type { PeerBroadcast, PeerCalls, PeerMethods } from "../peer/peer-types.ts";
import { FactOutbox } from "./fact-outbox.ts";
import { mayTell } from "./fact-rights.ts";
import { type FactOnWire, isFactKind, parseFact, parseMessage } from "./fact-schemas.ts";
import { GOSSIP_LIMITS } from "./gossip-limits.ts";
import {
	GossipState,
	type HeardHeartbeat,
	type HubRecordFact,
	type KeptRecord,
	type KindedFact,
	recordName,
} from "./gossip-state.ts";
import type { DigestFact, Heartbeat, UsageFact } from "./gossip-types.ts";
import { changeOf, factOf } from "./record-facts.ts";
import { EXCHANGE_METHOD, StateExchange } from "./state-exchange.ts";

export const GOSSIP_TOPICS = ["heartbeats", "records", "usage", "digests"] as const;
export type GossipTopic = (typeof GOSSIP_TOPICS)[number];

/** Why a fact was not taken, or not sent. */
export type DropReason = "malformed" | "too_large" | "overflow" | "stranger";

export interface GossipParts {
	readonly calls: PeerCalls;
	readonly methods: PeerMethods;
	readonly broadcast: PeerBroadcast;
	readonly membership: Membership;
	readonly clock: Clock;
	readonly timers: Timers;
	readonly every: Every;
	readonly random: RandomBytes;
	/** Where the generation outlives the process; see `GossipState.generation`. */
	readonly generations: GenerationStore;
	/** What the node says of itself now. */
	readonly describe: () => Omit<Heartbeat, "nodeId" | "incarnation" | "sequence">;
	readonly log: (message: string, facts: Readonly<Record<string, unknown>>) => void;
	/** @param kind of fact, or "message" */
	readonly onDropped: (kind: string, reason: DropReason) => void;
}

export interface GenerationStore {
	/** undefined: there is none yet. */
	load(): number | undefined;
	/** On disk when it returns. Must not throw. */
	save(generation: number): void;
}

/** Who acts on what other nodes heard of the hub: the directory. */
export interface HubHearing {
	heardFromPeer(change: HubChange): void;
	/** Changes that others know without a gap; every one of them was given to `heardFromPeer`. */
	peerKnows(known: KnownChanges): void;
	/** Changes this node knows without a gap. */
	knownChanges(): KnownChanges | undefined;
	/** The hub went back to an older state, and another node noticed first. */
	peerSawHubGoBack(): void;
}

export interface UsageSum {
	readonly requests: number;
	readonly searches: number;
	readonly vectorsWritten: number;
	/** Unix milliseconds; 0: none. */
	readonly lastRequestMs: number;
}

/**
 * Small facts between all nodes: heartbeats, hub records and revocations, usage counters, digests. What is news here goes out to
 * everybody; what somebody missed comes by comparing states with a neighbour.
 */
export class Gossip {
	readonly #parts: GossipParts;
	readonly #state = new GossipState();
	readonly #exchange: StateExchange;
	readonly #outboxes: { readonly [Topic in Exclude<GossipTopic, "heartbeats">]: FactOutbox };
	readonly #heartbeatListeners: ((heartbeat: Heartbeat) => void)[] = [];
	readonly #digestListeners: ((digest: DigestFact) => void)[] = [];
	readonly #topologyListeners: ((topology: Topology, from: NodeId) => void)[] = [];
	readonly #stopTasks: (() => void)[] = [];
	readonly #neighboursWaiting = new Set<NodeId>();
	readonly #stopping = new AbortController();
	#hearing: HubHearing | undefined;
	#exchanging: Promise<void> | undefined;
	/** Of the hub's feed the state holds changes from here on; it was emptied when a new generation began. */
	#recordsFrom = 0;
	/** The generation in which this node's feed told last. */
	#toldInGeneration: number;
	#incarnation: number;
	#heartbeatSequence = 0;
	#digestSequence = 0;
	#isRunning = false;

	constructor(parts: GossipParts) {
		this.#parts = parts;
		this.#incarnation = parts.clock.nowMs();
		this.#state.enterGeneration(parts.generations.load() ?? 0);
		this.#toldInGeneration = this.#state.generation;
		const { clock, timers, methods, broadcast, onDropped } = parts;
		this.#exchange = new StateExchange({
			calls: parts.calls,
			state: this.#state,
			monotonicMs: () => clock.monotonicMs(),
			known: () => this.#known(),
			hearGeneration: (generation) => this.#hearGeneration(generation),
			take: (facts, from) => this.#take(facts, from, false),
		});
		const outbox = (topic: GossipTopic, batchMs: number): FactOutbox =>
			new FactOutbox({ batchMs, clock, timers, send: (facts) => this.#send(topic, facts), onDropped });
		this.#outboxes = {
			records: outbox("records", GOSSIP_LIMITS.recordBatchMs),
			usage: outbox("usage", GOSSIP_LIMITS.usageBatchMs),
			digests: outbox("digests", GOSSIP_LIMITS.digestBatchMs),
		};
		methods.handle(EXCHANGE_METHOD, (body, context) => this.#exchange.answer(body, context));
		for (const topic of GOSSIP_TOPICS) broadcast.subscribe(topic, (body, from) => this.#receive(body, from));
		parts.membership.onChange(() => this.#forgetStrangers());
	}

	/** Whoever acts on hub records of others. To be called once, before `start`. */
	attach(hearing: HubHearing): void {
		this.#hearing = hearing;
		// What was heard before nobody told to gossip.
		this.#recordsFrom = hearing.knownChanges()?.to ?? 0;
	}

	/** Heartbeats go out from now on, and neighbours are asked. */
	start(): void {
		const { every, timers } = this.#parts;
		this.#isRunning = true;
		this.#stopTasks.push(
			every(GOSSIP_LIMITS.heartbeatEveryMs, () => this.#beat()),
			every(GOSSIP_LIMITS.exchangeEveryMs, () => this.#askSomebody()),
			timers.after(0, () => this.#beat()),
		);
	}

	/** Sends what waits, then nothing any more. Ends a state exchange under way. Idempotent. */
	async stop(): Promise<void> {
		if (!this.#isRunning) return;
		for (const outbox of Object.values(this.#outboxes)) outbox.flush();
		// The last word: whoever stops says so.
		this.#beat();
		this.#isRunning = false;
		for (const stopTask of this.#stopTasks.splice(0)) stopTask();
		this.#neighboursWaiting.clear();
		this.#stopping.abort();
		await this.#exchanging;
	}

	/** A node came within reach: it may know what this one missed. */
	peerConnected(nodeId: NodeId): void {
		if (!this.#isRunning || this.#neighboursWaiting.size >= GOSSIP_LIMITS.neighboursWaitingMax) return;
		this.#neighboursWaiting.add(nodeId);
		this.#exchanging ??= this.#askWaiting().finally(() => {
			this.#exchanging = undefined;
		});
	}

	/** What was last heard of another node. */
	heartbeat(nodeId: NodeId): HeardHeartbeat | undefined {
		return this.#state.heartbeat(nodeId);
	}

	/** What was last heard of the other nodes. */
	heartbeats(): ReadonlyMap<NodeId, HeardHeartbeat> {
		const heard = new Map<NodeId, HeardHeartbeat>();
		for (const one of this.#state.heartbeats()) {
			if (one.heartbeat.nodeId !== this.#parts.membership.self) heard.set(one.heartbeat.nodeId, one);
		}
		return heard;
	}

	/** Called with each heartbeat of another node that is newer than those before it. */
	onHeartbeat(listener: (heartbeat: Heartbeat) => void): void {
		this.#heartbeatListeners.push(listener);
	}

	/** Called with what another node's copy of a shard comes to, when it is another than before. */
	onDigest(listener: (digest: DigestFact) => void): void {
		this.#digestListeners.push(listener);
	}

	/** Called with each topology that is newer than those heard of before, and who told. */
	onTopology(listener: (topology: Topology, from: NodeId) => void): void {
		this.#topologyListeners.push(listener);
	}

	/** What this node's own feed or a write made here brought. Topologies have `tellTopology`. */
	tell(change: HubChange): void {
		if (change.kind === "topology") return;
		const fact = factOf(change);
		// A hub without revisions has no order to tell of.
		if (fact.revision < 0) return;
		this.#toldInGeneration = this.#state.generation;
		const askedAt = Math.max(change.cursor, fact.revision);
		this.#tellRecord({ fact, askedAt, vouchedAtMs: 0, by: "", vouchedMs: undefined });
	}

	/** The hub answered a question with this record. */
	share(fact: HubRecordFact, { askedAt, atMs }: Question): void {
		const { clock, membership } = this.#parts;
		if (askedAt === undefined || fact.revision < 0) return;
		this.#tellRecord({
			fact,
			// An answer that has a revision is at least as new as that.
			askedAt: Math.max(askedAt, fact.revision),
			vouchedAtMs: atMs,
			by: membership.self,
			vouchedMs: clock.monotonicMs() - Math.max(0, clock.nowMs() - atMs),
		});
	}

	tellTopology(topology: Topology): void {
		for (const news of this.#state.merge([{ kind: "topology", fact: topology }]))
			this.#outboxes.records.add("topology", news);
	}

	/** The hub went back to an older state and gives out revisions again: what was said of its records counts no more, anywhere. */
	hubWentBack(): void {
		const { generation } = this.#state;
		// Another node noticed first, and told.
		if (generation > this.#toldInGeneration) {
			this.#toldInGeneration = generation;
			return;
		}
		this.#enterGeneration(generation + 1);
		this.#toldInGeneration = generation + 1;
		// Nobody shall go by the old state for longer than it takes to tell.
		this.#beat();
	}

	/** What any node had from the hub last. @param name a key's SHA-256, a tenant's id, a collection's id */
	record(kind: HubRecordFact["kind"], name: string): KeptRecord | undefined {
		return this.#state.record(kind, name);
	}

	/** @param facts of this node, whole counters, changed or not */
	publishUsage(facts: readonly UsageFact[]): void {
		// Of a tenant whose making nobody knows counts can't be told from those of another of its name.
		const told = facts
			.filter(({ createdAtMs }) => createdAtMs > 0)
			.map((fact): KindedFact => ({ kind: "usage", fact }));
		for (const news of this.#state.merge(told)) {
			if (news.kind === "usage") this.#outboxes.usage.add(news.fact.tenantId, news);
		}
	}

	/** What a tenant did on all other nodes together. @param createdAtMs of the tenant: what one before it did is not counted */
	usageElsewhere(tenantId: TenantId, createdAtMs: number): UsageSum {
		let sum: UsageSum = { requests: 0, searches: 0, vectorsWritten: 0, lastRequestMs: 0 };
		for (const fact of this.#state.usageOf(tenantId)) {
			if (fact.createdAtMs !== createdAtMs || fact.nodeId === this.#parts.membership.self) continue;
			sum = {
				requests: sum.requests + fact.requests,
				searches: sum.searches + fact.searches,
				vectorsWritten: sum.vectorsWritten + fact.vectorsWritten,
				lastRequestMs: Math.max(sum.lastRequestMs, fact.lastRequestMs),
			};
		}
		return sum;
	}

	/** What this node's copy of a shard comes to. */
	publishDigest({ shard, root }: Pick<DigestFact, "shard" | "root">): void {
		const nodeId = this.#parts.membership.self;
		const known = this.#state.digest(shard, nodeId);
		if (known?.root === root && known.incarnation === this.#incarnation) return;
		const sequence = ++this.#digestSequence;
		const fact = { nodeId, shard, root, incarnation: this.#incarnation, sequence };
		for (const news of this.#state.merge([{ kind: "digest", fact }])) this.#outboxes.digests.add(shard, news);
	}

	/** What members' copies of a shard came to, as they said last; this node's among them. */
	digestsOf(shard: string): readonly DigestFact[] {
		const found = this.#parts.membership
			.view()
			.members.map(({ node_id }) => this.#state.digest(shard, node_id as NodeId));
		return found.filter((digest) => digest !== undefined);
	}

	#tellRecord(fact: KeptRecord): void {
		for (const news of this.#state.merge([{ kind: "record", fact }])) {
			if (news.kind === "record") this.#outboxes.records.add(recordName(news.fact.fact), news);
		}
	}

	#beat(): void {
		const { membership, describe, log } = this.#parts;
		if (!this.#isRunning) return;
		try {
			const described = describe();
			const heartbeat: Heartbeat = {
				...described,
				addresses: described.addresses.slice(0, GOSSIP_LIMITS.addressesMax),
				transfers: described.transfers.slice(0, GOSSIP_LIMITS.transfersMax),
				nodeId: membership.self,
				incarnation: this.#incarnation,
				sequence: ++this.#heartbeatSequence,
			};
			this.#state.merge([{ kind: "heartbeat", fact: { heartbeat, heardAtMs: this.#parts.clock.monotonicMs() } }]);
			this.#send("heartbeats", [{ kind: "heartbeat", fact: { heartbeat, ageMs: 0 } }]);
		} catch (error) {
			log("this node could not say how it is", { error: String(error) });
		}
	}

	#send(topic: GossipTopic, facts: readonly FactOnWire[]): void {
		this.#parts.broadcast.publish(topic, { generation: this.#state.generation, facts });
	}

	#receive(body: unknown, from: NodeId): void {
		const message = parseMessage(body);
		if (message === undefined) {
			this.#parts.onDropped("message", "malformed");
			return;
		}
		this.#hearGeneration(message.generation);
		const isCurrent = message.generation === this.#state.generation;
		this.#take(isCurrent ? message.facts : message.facts.filter(({ kind }) => kind !== "record"), from, true);
	}

	/** @returns whether every hub record among them was taken */
	#take(
		facts: readonly { readonly kind: string; readonly fact?: unknown }[],
		from: NodeId,
		isBroadcast: boolean,
	): boolean {
		const { clock, membership, onDropped } = this.#parts;
		const nowMs = clock.monotonicMs();
		const context = { from, isBroadcast, membership, incarnation: this.#incarnation, nowMs: clock.nowMs() };
		const told: KindedFact[] = [];
		let isWhole = true;
		for (const { kind, fact } of facts) {
			const parsed = parseFact(kind, fact, nowMs);
			if (parsed === undefined) {
				onDropped(isFactKind(kind) ? kind : "message", "malformed");
				isWhole &&= kind !== "record";
			} else if (!mayTell(parsed, context)) onDropped(parsed.kind, "stranger");
			else told.push(parsed);
		}
		for (const news of this.#state.merge(told)) this.#hear(news, from);
		return isWhole;
	}

	#hear(news: KindedFact, from: NodeId): void {
		if (news.kind === "record") {
			const change = changeOf(news.fact.fact);
			this.#guard(() => this.#hearing?.heardFromPeer(change));
		} else if (news.kind === "topology") {
			for (const listener of this.#topologyListeners) this.#guard(() => listener(news.fact, from));
		} else if (news.kind === "digest") {
			const { fact } = news;
			if (fact.nodeId === this.#parts.membership.self) return;
			for (const listener of this.#digestListeners) this.#guard(() => listener(fact));
		} else if (news.kind === "heartbeat") {
			const { heartbeat } = news.fact;
			if (heartbeat.nodeId === this.#parts.membership.self) this.#outlive(heartbeat);
			else for (const listener of this.#heartbeatListeners) this.#guard(() => listener(heartbeat));
		}
	}

	/** Others remember this node from before it was started again, with a clock that went ahead: it must be newer than itself. */
	#outlive({ incarnation }: Heartbeat): void {
		this.#incarnation = incarnation + 1;
		this.#heartbeatSequence = 0;
	}

	#guard(tell: () => void): void {
		try {
			tell();
		} catch (error) {
			this.#parts.log("what another node told could not be acted on", { error: String(error) });
		}
	}

	#hearGeneration(generation: number): void {
		const leap = generation - this.#state.generation;
		if (leap <= 0) return;
		if (leap > GOSSIP_LIMITS.generationLeapMax) {
			this.#parts.onDropped("message", "malformed");
			return;
		}
		this.#enterGeneration(generation);
		this.#guard(() => this.#hearing?.peerSawHubGoBack());
	}

	#enterGeneration(generation: number): void {
		this.#state.enterGeneration(generation);
		this.#recordsFrom = this.#hearing?.knownChanges()?.to ?? 0;
		this.#parts.generations.save(generation);
		this.#parts.log("the hub went back to an older state: what nodes told of its records is forgotten", { generation });
	}

	#known(): KnownChanges | undefined {
		const known = this.#hearing?.knownChanges();
		if (known === undefined) return undefined;
		const from = Math.max(known.from, this.#recordsFrom, this.#state.recordFloor);
		return from > known.to ? undefined : { from, to: known.to };
	}

	#askSomebody(): void {
		const { membership, calls, random } = this.#parts;
		const near = membership
			.view()
			.members.map(({ node_id }) => node_id as NodeId)
			.filter((nodeId) => nodeId !== membership.self && calls.isConnected(nodeId));
		if (near.length === 0) return;
		const [high, low] = random(2);
		this.peerConnected(near[((high! << 8) | low!) % near.length]!);
	}

	/** One neighbour at a time. */
	async #askWaiting(): Promise<void> {
		for (const nodeId of this.#neighboursWaiting) {
			// Who asks for it again meanwhile may know of more.
			this.#neighboursWaiting.delete(nodeId);
			try {
				const known = await this.#exchange.askAll(nodeId, this.#stopping.signal);
				if (known !== undefined) this.#guard(() => this.#hearing?.peerKnows(known));
			} catch (error) {
				// The next one will know; in the meantime messages arrive as they are sent.
				if (this.#stopping.signal.aborted) return;
				this.#parts.log("a state exchange failed", { node_id: nodeId, error: String(error) });
			}
		}
	}

	#forgetStrangers(): void {
		const view = this.#parts.membership.view();
		this.#state.keepNodes((nodeId) => view.member(nodeId as NodeId) !== undefined);
	}
}
