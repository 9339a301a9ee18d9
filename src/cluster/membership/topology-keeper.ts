import type { Clock } from "../../base/clock.ts";
import { HiveError } from "../../base/errors.ts";
import type { CollectionId, NodeId, RandomBytes, TenantId } from "../../base/ids.ts";
import type { Timers } from "../../base/timers.ts";
import { backoffMs } from "../../hub/backoff.ts";
import { hubIsOlder } from "../../hub/hub-age.ts";
import type { HubClient } from "../../hub/hub-client-types.ts";
import type { ReplicaCount, Topology, TopologyMember } from "../../hub/models.ts";
import { isDataAtRisk } from "./data-at-risk.ts";
import type { Liveness } from "./liveness.ts";
import type { Membership, TopologyView } from "./membership-types.ts";
import { RingTopologyView } from "./ring-topology-view.ts";
import {
	type Candidate,
	finished,
	isCountChanging,
	isReadyToFinish,
	withDrainCancelled,
	withDraining,
	withMember,
	withRemoved,
	withReplicas,
} from "./topology-change.ts";
import type { TopologyFile } from "./topology-file.ts";

export interface TopologyKeeperParts {
	readonly self: NodeId;
	readonly peerId: string;
	/** Asked only where a method says HUB_UNAVAILABLE, and to refresh. */
	readonly hub: Pick<HubClient, "getTopology" | "putTopology" | "listTenants" | "listCollections" | "updateCollection">;
	readonly file: Pick<TopologyFile, "load" | "save">;
	readonly liveness: Pick<Liveness, "isLive" | "onChange">;
	/** Asks another member for the topology it knows. May throw. */
	readonly askMember: (nodeId: NodeId) => Promise<Topology>;
	readonly clock: Clock;
	readonly timers: Timers;
	readonly random: RandomBytes;
	readonly log: (message: string, facts: Readonly<Record<string, unknown>>) => void;
}

/** Attempts at a compare-and-set that others may win. */
const ATTEMPTS_MAX = 8;
/** From this attempt on the pauses grow no longer: a change takes the hub milliseconds. */
const LONGEST_PAUSE_ATTEMPT = 4;
/** Members asked for a newer topology while the hub is asked too. */
const MEMBERS_ASKED_MAX = 4;
const REFRESH_MS_MAX = 5_000;
/** A change of topology that could be finished waits so long for each member that should do it before. */
const TAKEOVER_MS = 5_000;

type TopologySource = "hub" | NodeId;

/** Who a peer is, for the network: nobody else is heard. */
export interface KnownPeer {
	readonly nodeId: NodeId;
	readonly peerId: string;
	readonly addresses: readonly string[];
}

/**
 * The topology as this node knows it. It comes from the hub, from peers who heard of it first, and after a restart from the
 * disk; the higher version counts. Changes are decided here and made at the hub by compare-and-set.
 */
export class TopologyKeeper implements Membership {
	readonly self: NodeId;
	readonly #parts: TopologyKeeperParts;
	#topology: Topology = { version: 0, members: [], retired: [] };
	#view: TopologyView;
	#nodeIdByPeerId: ReadonlyMap<string, NodeId> = new Map();
	#retiredPeerIds: ReadonlySet<string> = new Set();
	readonly #readings = new Map<TopologySource, Promise<void>>();
	/** Sources that did not answer last time. */
	readonly #failing = new Set<TopologySource>();
	#isApart = false;
	#isFinishing = false;
	/** Since when the change of topology under way could be finished, on the monotonic clock. */
	#ready: { readonly version: number; readonly sinceMs: number } | undefined;
	readonly #waiting = new Set<{ readonly version: number; readonly arrived: () => void }>();
	readonly #listeners: (() => void)[] = [];

	constructor(parts: TopologyKeeperParts) {
		this.self = parts.self;
		this.#parts = parts;
		this.#view = this.#adopt(parts.file.load() ?? this.#topology);
		parts.liveness.onChange(() => this.#tell());
	}

	get topology(): Topology {
		return this.#topology;
	}

	/** Whether this node is a member, as far as it knows. */
	get isMember(): boolean {
		return this.#topology.members.some(({ node_id }) => node_id === this.self);
	}

	/** Whether this node stays by itself, though its hub has members. */
	get isApart(): boolean {
		return this.#isApart;
	}

	/** Whether this node has left the cluster for good. */
	get hasLeft(): boolean {
		return this.#topology.retired.some(({ node_id }) => node_id === this.self);
	}

	view(): TopologyView {
		return this.#view;
	}

	isLive(nodeId: NodeId): boolean {
		return nodeId === this.self || this.#parts.liveness.isLive(nodeId);
	}

	/**
	 * While members come and go it takes a majority of those there were and one of those there will be: of two sides that were cut
	 * off from each other, and know of different versions, only one has it.
	 */
	hasMajority(): boolean {
		const { members } = this.#view;
		const isMost = (...states: readonly TopologyMember["state"][]): boolean => {
			const counted = members.filter(({ state }) => states.includes(state));
			const liveCount = counted.filter(({ node_id }) => this.isLive(node_id as NodeId)).length;
			return 2 * liveCount > counted.length || counted.length === 0;
		};
		return isMost("active", "draining") && isMost("active", "joining");
	}

	onChange(listener: () => void): void {
		this.#listeners.push(listener);
	}

	/** Someone tells of a topology; an older one is no news. */
	learn(topology: Topology): void {
		if (topology.version <= this.#topology.version || this.#isApart) return;
		const hasHolder = topology.members.some(({ state }) => state !== "removed");
		if (!hasHolder && this.#topology.members.length > 0) {
			// Each node would think itself alone with everything.
			this.#parts.log("a topology without members is ignored", { version: topology.version });
			return;
		}
		this.#view = this.#adopt(topology);
		try {
			this.#parts.file.save(topology);
		} catch (error) {
			// It is asked for again after a restart.
			this.#parts.log("the topology could not be written down", { error: String(error) });
		}
		for (const waiting of this.#waiting) {
			if (topology.version >= waiting.version) waiting.arrived();
		}
		this.#tell();
	}

	async refresh(version: number): Promise<void> {
		if (this.#topology.version >= version) return;
		const { promise: arrived, resolve } = Promise.withResolvers<void>();
		const waiting = { version, arrived: resolve };
		this.#waiting.add(waiting);
		const callOff = this.#parts.timers.after(REFRESH_MS_MAX, resolve);
		try {
			// The hub may be away, and members may know no more: whoever tells first.
			const members = [...this.peers()].filter(({ nodeId }) => this.isLive(nodeId)).slice(0, MEMBERS_ASKED_MAX);
			const sources: readonly TopologySource[] = ["hub", ...members.map(({ nodeId }) => nodeId)];
			const asked = sources.map(async (source) => {
				const isUnderWay = this.#readings.has(source);
				await this.#read(source);
				// What was under way may have begun before that version was made.
				if (isUnderWay && this.#topology.version < version) await this.#read(source);
			});
			await Promise.race([arrived, Promise.all(asked)]);
		} finally {
			callOff();
			this.#waiting.delete(waiting);
		}
	}

	/**
	 * Puts this node into the topology, at work at once when it is the first, and brings its addresses there up to date. To be
	 * called where the hub can be reached; others are admitted by a member.
	 *
	 * @throws HUB_UNAVAILABLE; OVERLOADED; CONFLICT when this node has left before, or another one has its identity
	 */
	async enter(own: Pick<TopologyMember, "addresses" | "serves_hub">): Promise<void> {
		await this.#change((topology) => withMember(topology, { node_id: this.self, peer_id: this.#parts.peerId, ...own }));
	}

	/**
	 * As `enter`, when there is no member yet.
	 *
	 * @returns whether this node is a member
	 */
	async found(own: Pick<TopologyMember, "addresses" | "serves_hub">): Promise<boolean> {
		const member = { node_id: this.self, peer_id: this.#parts.peerId, ...own };
		await this.#change((topology) => (topology.members.length === 0 ? withMember(topology, member) : undefined));
		return this.isMember;
	}

	/** Its hub has members, and this node is to be none of them: what it stores is its own, and it goes by no topology. */
	stayApart(): void {
		this.#isApart = true;
		this.#view = this.#adopt({ version: 0, members: [], retired: [] });
		this.#tell();
	}

	/**
	 * Lets a node in that has proven that it knows the secret. Asking again changes nothing.
	 *
	 * @throws HUB_UNAVAILABLE, OVERLOADED: ask again; CONFLICT when it is refused for good
	 */
	async admit(candidate: Candidate): Promise<Topology> {
		return this.#change((topology) => {
			// Else the newcomer, which holds nothing, would be the first member.
			const own = topology.members.find(({ node_id }) => node_id === this.self);
			if (own === undefined || own.state === "removed") {
				throw new HiveError("HUB_UNAVAILABLE", "the node that was asked is no member of the cluster itself");
			}
			return withMember(topology, candidate);
		});
	}

	/**
	 * Begins to give a collection another number of copies: those it has answer until those it shall have hold everything.
	 *
	 * @returns the version of the topology that says so: the collection's record has to name it
	 * @throws COLLECTION_NOT_FOUND, TENANT_NOT_FOUND, HUB_UNAVAILABLE, OVERLOADED
	 */
	async changeReplicas(tenantId: TenantId, collectionId: CollectionId, to: number): Promise<number> {
		const { version } = await this.#change(async (topology) => {
			const record = (await this.#parts.hub.listCollections(tenantId)).find(({ id }) => id === collectionId);
			if (record === undefined) throw new HiveError("COLLECTION_NOT_FOUND", "the collection was deleted");
			const { replicas: from } = record;
			return withReplicas(topology, { tenant_id: tenantId, collection_id: collectionId, from, to });
		});
		return version;
	}

	/** Begins to empty the node. @throws NOT_FOUND, CONFLICT, HUB_UNAVAILABLE, OVERLOADED */
	async drain(nodeId: NodeId): Promise<void> {
		await this.#change((topology) => withDraining(topology, nodeId, { isLive: this.isLive(nodeId) }));
	}

	/** The node that is being emptied stays after all. @throws NOT_FOUND, CONFLICT, HUB_UNAVAILABLE, OVERLOADED */
	async cancelDrain(nodeId: NodeId): Promise<void> {
		await this.#change((topology) => withDrainCancelled(topology, nodeId));
	}

	/** Gives up a dead node. @throws NOT_FOUND, CONFLICT, HUB_UNAVAILABLE, OVERLOADED */
	async remove(nodeId: NodeId, acceptLoss: boolean): Promise<void> {
		await this.#change(async (topology) => {
			const node = { isLive: this.isLive(nodeId), acceptLoss };
			const without = withRemoved(topology, nodeId, { ...node, mayLose: false });
			if (without === undefined || acceptLoss) return without;
			const mayLose = await isDataAtRisk(this.#parts.hub, topology, nodeId);
			return withRemoved(topology, nodeId, { ...node, mayLose });
		});
	}

	/**
	 * Ends a change of topology when everything is in place; to be called about once a second. One member acts, lest all race;
	 * should it not come to it, the others take over one after the other.
	 *
	 * @param settledOf the newest version of which a node, this one included, holds all it has to hold
	 * @throws HUB_UNAVAILABLE, OVERLOADED
	 */
	async finishWhenSettled(settledOf: (nodeId: NodeId) => number | undefined): Promise<void> {
		const topology = this.#topology;
		if (this.#isFinishing) return;
		if (!isReadyToFinish(topology, settledOf)) {
			this.#ready = undefined;
			return;
		}
		const nowMs = this.#parts.clock.monotonicMs();
		if (this.#ready?.version !== topology.version) this.#ready = { version: topology.version, sinceMs: nowMs };
		const live = this.#view.members.filter(
			({ state, node_id }) => state !== "removed" && this.isLive(node_id as NodeId),
		);
		const turn = live.findIndex(({ node_id }) => node_id === this.self);
		if (turn < 0 || nowMs - this.#ready.sinceMs < turn * TAKEOVER_MS) return;
		this.#isFinishing = true;
		try {
			for (const count of (topology.replica_counts ?? []).filter(isCountChanging)) {
				await this.#recordReplicas(count, topology.version);
			}
			await this.#change((current) => (current.version === topology.version ? finished(current) : undefined));
		} finally {
			this.#isFinishing = false;
		}
	}

	/** Whoever began to change the number may not have come to write it down. */
	async #recordReplicas({ tenant_id, collection_id, to }: ReplicaCount, version: number): Promise<void> {
		const { hub } = this.#parts;
		const tenantId = tenant_id as TenantId;
		try {
			const record = (await hub.listCollections(tenantId)).find(({ id }) => id === collection_id);
			if (record !== undefined && record.replicas !== to) {
				await hub.updateCollection(tenantId, record.name, { replicas: to, topology_version: version });
			}
		} catch (error) {
			// Deleted meanwhile: there is nothing to write it into.
			const isGone = error instanceof HiveError && ["TENANT_NOT_FOUND", "COLLECTION_NOT_FOUND"].includes(error.code);
			if (!isGone) throw error;
		}
	}

	nodeIdOf(peerId: string): NodeId | undefined {
		return this.#nodeIdByPeerId.get(peerId);
	}

	isRetired(peerId: string): boolean {
		return this.#retiredPeerIds.has(peerId);
	}

	/** All members but this one. */
	*peers(): Generator<KnownPeer> {
		for (const { node_id, peer_id, addresses } of this.#topology.members) {
			if (node_id !== this.self && peer_id !== "") yield { nodeId: node_id as NodeId, peerId: peer_id, addresses };
		}
	}

	/** The member through which the others reach the embedded hub; one that lives, if any does. */
	get hubNode(): NodeId | undefined {
		const serving = this.#topology.members.filter(({ serves_hub, state }) => serves_hub && state !== "removed");
		const found = serving.find(({ node_id }) => this.isLive(node_id as NodeId)) ?? serving[0];
		return found?.node_id as NodeId | undefined;
	}

	/** Shared by all who ask meanwhile. Never throws. */
	#read(source: TopologySource): Promise<void> {
		const underWay = this.#readings.get(source);
		if (underWay !== undefined) return underWay;
		const reading = this.#readFrom(source).finally(() => this.#readings.delete(source));
		this.#readings.set(source, reading);
		return reading;
	}

	async #readFrom(source: TopologySource): Promise<void> {
		const { hub, askMember, log } = this.#parts;
		try {
			this.learn(await (source === "hub" ? hub.getTopology() : askMember(source)));
			this.#failing.delete(source);
		} catch (error) {
			if (this.#failing.has(source)) return;
			this.#failing.add(source);
			log("the topology could not be read", { from: source, error: String(error) });
		}
	}

	/** Decides anew when somebody else was first. */
	async #change(
		decide: (topology: Topology) => Topology | undefined | Promise<Topology | undefined>,
	): Promise<Topology> {
		const { hub, timers, random } = this.#parts;
		for (let attempt = 1; ; attempt++) {
			const current = await hub.getTopology();
			this.learn(current);
			const isOlder = current.version < this.#topology.version;
			if (!isOlder) {
				const wanted = await decide(current);
				if (wanted === undefined) return current;
				try {
					const made = await hub.putTopology(wanted);
					this.learn(made);
					return made;
				} catch (error) {
					if (!(error instanceof HiveError && error.code === "CONFLICT")) throw error;
				}
			}
			if (attempt === ATTEMPTS_MAX)
				throw isOlder ? hubIsOlder(current.version, this.#topology.version) : tooManyChanges();
			const { promise, resolve } = Promise.withResolvers<void>();
			timers.after(backoffMs(Math.min(attempt, LONGEST_PAUSE_ATTEMPT), random), resolve);
			await promise;
		}
	}

	#adopt(topology: Topology): TopologyView {
		const { self, peerId } = this.#parts;
		this.#topology = topology;
		this.#nodeIdByPeerId = new Map(
			topology.members
				.filter(({ peer_id }) => peer_id !== "")
				.map(({ peer_id, node_id }) => [peer_id, node_id as NodeId]),
		);
		this.#retiredPeerIds = new Set(topology.retired.map(({ peer_id }) => peer_id));
		if (topology.members.some(({ state }) => state !== "removed")) return new RingTopologyView(topology);
		// Until it is let in anywhere, a node is by itself.
		const alone: TopologyMember = {
			node_id: self,
			peer_id: peerId,
			state: "active",
			addresses: [],
			serves_hub: false,
		};
		return new RingTopologyView({ ...topology, members: [alone] });
	}

	#tell(): void {
		for (const listener of this.#listeners) {
			try {
				listener();
			} catch (error) {
				this.#parts.log("a listener to the topology failed", { error: String(error) });
			}
		}
	}
}

const tooManyChanges = (): HiveError =>
	new HiveError("OVERLOADED", "the topology is being changed by many at once: try again", { retry_after_seconds: 1 });
