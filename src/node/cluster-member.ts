import type { UsageMeter } from "../access/usage-meter.ts";
import { HiveError } from "../base/errors.ts";
import type { CollectionId, NodeId, TenantId } from "../base/ids.ts";
import { systemTimers } from "../base/timers.ts";
import { Gossip } from "../cluster/gossip/gossip.ts";
import type { Heartbeat } from "../cluster/gossip/gossip-types.ts";
import { CLUSTER_PROTOCOL, JOIN_METHOD, joinCluster } from "../cluster/membership/join.ts";
import type { PeerBroadcast } from "../cluster/peer/peer-types.ts";
import { backoffMs, pause } from "../hub/backoff.ts";
import type { CachedHubDirectory } from "../hub/hub-directory.ts";
import type { HubChange, Topology, TopologyMember } from "../hub/models.ts";
import { systemEvery } from "../observe/event-loop-lag.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { DataFolder } from "./data-folder.ts";
import { joinAddresses, systemResolve } from "./join-addresses.ts";
import type { PeerParts } from "./peer-parts.ts";
import type { ProcessParts } from "./process-parts.ts";
import type { ShardParts } from "./shard-parts.ts";

/** A topology in which all is in place is finished by about then. */
const FINISH_EVERY_MS = 1_000;
const TELL_USAGE_EVERY_MS = 1_000;
/** Tenants whose counts go out at a time. */
const USAGE_FACTS_MAX = 5_000;
/** After which a member that nobody answers says so. */
const LONELY_MS = 10_000;

/** A node whose calls are answered and whose heartbeats don't come for so long is connected to anew, and not again before. */
const MUTE_MS_MAX = 10_000;

/** Where the hub is, seen from this node. */
export type HubSeat =
	/** In this node alone: the others ask it through this one. */
	| "here"
	/** In another member. */
	| "member"
	/** In a database, or a process, that every node reaches by itself. */
	| "shared";

export interface ClusterMemberParts {
	readonly peers: PeerParts;
	readonly shards: ShardParts;
	readonly directory: CachedHubDirectory;
	readonly meter: UsageMeter;
	readonly folder: DataFolder;
	readonly hubSeat: HubSeat;
	/** `cluster.join` */
	readonly join: readonly string[];
	/** Whether it looks for members at all. */
	readonly seeksMembers: boolean;
	readonly describe: () => Omit<Heartbeat, "nodeId" | "incarnation" | "sequence" | "addresses" | "protocol">;
	readonly metrics: Metrics;
	/** This node is no member any more. */
	readonly onLeft: () => void;
	readonly process: ProcessParts;
}

/** A node's life as a member of a cluster: how it becomes one, what it tells the others and hears of them, and what follows. */
export class ClusterMember {
	readonly gossip: Gossip;
	readonly #parts: ClusterMemberParts;
	readonly #stopping = new AbortController();
	readonly #stopTasks: (() => void)[] = [];
	/** When each node was connected to last, on the monotonic clock. */
	readonly #connectedAtMs = new Map<NodeId, number>();
	#isRepairing = false;
	#hasLeft = false;
	/** The topology that was acted on last. */
	#seen: Topology;

	/** To be made before the network starts. */
	constructor(parts: ClusterMemberParts) {
		this.#parts = parts;
		const { peers, folder, directory, metrics } = parts;
		const { keeper, network } = peers;
		const { clock, random, log } = parts.process;
		this.#seen = keeper.topology;
		this.gossip = new Gossip({
			calls: network,
			methods: network,
			broadcast: counted(network, metrics),
			membership: keeper,
			clock,
			timers: systemTimers,
			every: systemEvery,
			random,
			generations: {
				load: () => folder.readCounter("hubGeneration"),
				save: (generation) => this.#saveGeneration(generation),
			},
			describe: () => ({ ...parts.describe(), addresses: network.addresses, protocol: CLUSTER_PROTOCOL }),
			log: (message, facts) => log.info(facts, message),
			onDropped: (kind, reason) => log.debug({ kind, reason }, "a fact of gossip was not taken"),
		});
		this.gossip.attach({
			heardFromPeer: (change) => {
				this.#noteCollection(change);
				directory.heardFromPeer(change);
			},
			peerKnows: (known) => directory.peerKnows(known),
			knownChanges: () => directory.knownChanges(),
			peerSawHubGoBack: () => directory.peerSawHubGoBack(),
		});
		directory.onNews((change) => this.#hearNews(change));
		peers.onConnected((nodeId) => {
			this.#connectedAtMs.set(nodeId, clock.monotonicMs());
			this.gossip.peerConnected(nodeId);
		});
		this.gossip.onTopology((topology) => keeper.learn(topology));
		this.gossip.onHeartbeat((heartbeat) => this.#hearHeartbeat(heartbeat));
		keeper.onChange(() => this.#look());
	}

	/** Whether the node may answer: what it would hold or grant by itself counts for nothing while it seeks to be a member. */
	get isSettled(): boolean {
		const { keeper } = this.#parts.peers;
		return keeper.isMember || keeper.isApart;
	}

	get hasLeft(): boolean {
		return this.#parts.peers.keeper.hasLeft;
	}

	/** Whether another member was heard. */
	get hasCompany(): boolean {
		return this.gossip.heartbeats().size > 0;
	}

	/**
	 * Listens, and connects to the members that are known. From here on other nodes are answered.
	 *
	 * @throws CONFLICT when another one listens there; VALIDATION_FAILED when it can't listen there
	 */
	async listen(): Promise<void> {
		const { peers, meter, process } = this.#parts;
		await peers.network.start();
		this.gossip.start();
		this.gossip.publishUsage([...meter.facts(peers.keeper.self)]);
		this.#stopTasks.push(
			systemEvery(FINISH_EVERY_MS, () => {
				this.#finish();
				this.#reconnectMute();
			}),
			systemEvery(TELL_USAGE_EVERY_MS, () => this.#tellUsage()),
		);
		process.log.info({ addresses: peers.network.addresses }, "listens for other nodes");
		this.#look();
	}

	/**
	 * Becomes a member, or brings a member's addresses up to date; or stays apart, where it looks for no members and is not the first.
	 * Goes on until that has come about.
	 *
	 * @throws CONFLICT when it is refused for good; HUB_UNAVAILABLE once `stop` was called, or when the hub is in this very node
	 *         and does not answer
	 */
	async enter(): Promise<void> {
		const { hubSeat, peers, directory, seeksMembers, process } = this.#parts;
		const { keeper } = peers;
		if (keeper.hasLeft) throw leftForGood();
		if (hubSeat === "here") {
			await keeper.enter(this.#own);
			return;
		}
		if (hubSeat === "shared" && !keeper.isMember) {
			await this.#untilHubAnswers(async () => keeper.learn(await directory.hub.getTopology()));
			if (keeper.topology.members.length === 0)
				await this.#untilHubAnswers(async () => void (await keeper.found(this.#own)));
		}
		if (keeper.isMember) {
			const callOff = systemTimers.after(LONELY_MS, () => this.#warnIfLonely());
			await this.#untilHubAnswers(() => keeper.enter(this.#own));
			callOff();
		} else if (seeksMembers) await this.#join();
		else {
			process.log.warn(
				{},
				"this node shares its hub with a cluster that it does not join (cluster.join): it shares tenants and keys with that, and no data",
			);
			keeper.stayApart();
		}
	}

	/** Says good-bye. Settles when nothing is under way. Idempotent. */
	async stop(): Promise<void> {
		this.#stopping.abort();
		for (const stopTask of this.#stopTasks.splice(0)) stopTask();
		this.#tellUsage();
		await this.gossip.stop();
	}

	get #own(): { addresses: string[]; serves_hub: boolean } {
		const { peers, hubSeat } = this.#parts;
		return { addresses: [...peers.network.addresses], serves_hub: hubSeat === "here" };
	}

	/** Asks a member to be let in, which only one that has the secret can. */
	async #join(): Promise<void> {
		const { peers, join, process } = this.#parts;
		const { keeper, network } = peers;
		const { log, random } = process;
		log.info({ join }, "asks to be let into the cluster");
		const topology = await joinCluster(
			{
				addresses: async () => [
					...(await joinAddresses(join, systemResolve, (name, error) =>
						log.warn({ name, reason: String(error) }, "the nodes behind a name could not be looked up"),
					)),
					...network.discovered(),
					...[...keeper.peers()].flatMap(({ addresses }) => addresses),
				],
				ask: (address, request) => network.ask(address, JOIN_METHOD, request),
				random,
				log: (message, facts) => log.warn(facts, message),
			},
			{ node_id: keeper.self, ...this.#own, protocol: CLUSTER_PROTOCOL },
			this.#stopping.signal,
		);
		keeper.learn(topology);
		log.info({ topology_version: topology.version, members: topology.members.length }, "is a member of the cluster");
	}

	/** Again and again. @throws what the hub or a rule refuses for good; whatever it is once stopped */
	async #untilHubAnswers(work: () => Promise<void>): Promise<void> {
		const { signal } = this.#stopping;
		const { log } = this.#parts.process;
		for (let attempt = 1; ; attempt++) {
			try {
				await work();
				return;
			} catch (error) {
				const isRefusal = error instanceof HiveError && !["HUB_UNAVAILABLE", "OVERLOADED"].includes(error.code);
				if (isRefusal || signal.aborted) throw error;
				// A defect is no reason for the node to end.
				if (!(error instanceof HiveError)) log.error({ err: error }, "the topology could not be changed");
			}
			await pause(backoffMs(attempt, this.#parts.process.random), signal);
		}
	}

	#hearNews(change: HubChange): void {
		const { keeper } = this.#parts.peers;
		if (change.kind === "topology") {
			if (change.version > keeper.topology.version) void keeper.refresh(change.version);
			return;
		}
		this.#noteCollection(change);
		this.gossip.tell(change);
	}

	#noteCollection(change: HubChange): void {
		if (change.kind !== "collection") return;
		const { removal, placement } = this.#parts.shards;
		if (change.record === null) removal.heard(change.tenant_id as TenantId, change.collection_id as CollectionId);
		else placement.changed(change.record);
	}

	#hearHeartbeat({ nodeId, addresses, topologyVersion, isStopping }: Heartbeat): void {
		const { peers } = this.#parts;
		const { keeper, network } = peers;
		const member = keeper.topology.members.find(({ node_id }) => node_id === nodeId);
		if (member !== undefined && member.peer_id !== "") network.learnAddresses(member.peer_id, addresses);
		if (isStopping) peers.leaves(nodeId);
		else peers.returns(nodeId);
		if (topologyVersion > keeper.topology.version) void keeper.refresh(topologyVersion);
	}

	/** The topology has changed, or a node came or went. */
	#look(): void {
		const { peers, shards, process, onLeft } = this.#parts;
		const { keeper } = peers;
		if (keeper.topology.version > this.#seen.version) {
			this.#logMembers(this.#seen.members, keeper.topology);
			this.#seen = keeper.topology;
			this.gossip.tellTopology(keeper.topology);
			shards.suspectShares().catch((err: unknown) => {
				process.log.warn({ err }, "the tenants on this node could not be listed");
			});
		}
		if (keeper.hasLeft && !this.#hasLeft) {
			this.#hasLeft = true;
			process.log.warn(
				{ node_id: keeper.self },
				"this node has left the cluster: it answers nothing more, and can be stopped",
			);
			onLeft();
		}
		if (this.#isRepairing || !keeper.isMember || keeper.hasLeft) return;
		this.#isRepairing = true;
		shards.startRepair(this.gossip);
	}

	/** Who came and who went, in the log of every member. */
	#logMembers(before: readonly TopologyMember[], { version, members }: Topology): void {
		const states = new Map(before.map(({ node_id, state }) => [node_id, state]));
		const changed = members.filter(({ node_id, state }) => states.get(node_id) !== state);
		for (const { node_id } of members) states.delete(node_id);
		const gone = [...states.keys()];
		if (changed.length + gone.length === 0) return;
		const facts = {
			topology_version: version,
			changed: changed.map(({ node_id, state }) => ({ node_id, state })),
			gone,
		};
		this.#parts.process.log.info(facts, "the members of the cluster have changed");
	}

	#finish(): void {
		const { peers, shards, process } = this.#parts;
		const { keeper } = peers;
		if (!keeper.isMember) return;
		const settledOf = (nodeId: NodeId): number | undefined =>
			nodeId === keeper.self ? shards.moves.settledVersion : this.gossip.heartbeat(nodeId)?.heartbeat.settledVersion;
		keeper.finishWhenSettled(settledOf).catch((error: unknown) => {
			process.log.info({ reason: String(error) }, "a change of the topology could not be finished yet");
		});
	}

	/** Gossip has streams of its own, which may be lost where calls are not. */
	#reconnectMute(): void {
		const { peers, process } = this.#parts;
		const nowMs = process.clock.monotonicMs();
		for (const { nodeId } of peers.keeper.peers()) {
			const connectedAtMs = this.#connectedAtMs.get(nodeId);
			if (connectedAtMs === undefined || !peers.network.isConnected(nodeId)) continue;
			const heardAtMs = this.gossip.heartbeat(nodeId)?.heardAtMs ?? Number.NEGATIVE_INFINITY;
			if (nowMs - Math.max(heardAtMs, connectedAtMs) < MUTE_MS_MAX) continue;
			process.log.warn({ node_id: nodeId }, "a node answers, and its gossip does not come: it is connected to anew");
			this.#connectedAtMs.set(nodeId, nowMs);
			peers.network.reconnect(nodeId, "its gossip does not come");
		}
	}

	#tellUsage(): void {
		const { meter, peers } = this.#parts;
		const facts = meter.changedFacts(peers.keeper.self, USAGE_FACTS_MAX);
		if (facts.length > 0) this.gossip.publishUsage(facts);
	}

	#warnIfLonely(): void {
		const { peers, process } = this.#parts;
		if (this.hasCompany || [...peers.keeper.peers()].length === 0) return;
		process.log.warn(
			{},
			"no other member answers: they are down, can't be reached, or this node was removed from the cluster meanwhile",
		);
	}

	#saveGeneration(generation: number): void {
		const { folder, process } = this.#parts;
		try {
			folder.writeCounter("hubGeneration", generation);
		} catch (err) {
			// Neighbours tell it again.
			process.log.error({ err }, "that the hub went back to an older state could not be written down");
		}
	}
}

/** @see ClusterMember.enter */
function leftForGood(): HiveError {
	return new HiveError(
		"CONFLICT",
		"this node has left the cluster, and what it holds may be out of date: start it with an empty data folder to let it join as a new one",
		{ field: "data_dir" },
	);
}

/** Counts messages by their topic. */
function counted(broadcast: PeerBroadcast, metrics: Metrics): PeerBroadcast {
	return {
		publish(topic, body) {
			metrics.countGossipMessage(topic, "sent");
			broadcast.publish(topic, body);
		},
		subscribe: (topic, listener) =>
			broadcast.subscribe(topic, (body, from) => {
				metrics.countGossipMessage(topic, "received");
				listener(body, from);
			}),
	};
}
