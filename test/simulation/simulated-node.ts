import type { NodeId, RandomBytes } from "../../src/base/ids.ts";
import { JOIN_METHOD } from "../../src/cluster/membership/join.ts";
import { Liveness } from "../../src/cluster/membership/liveness.ts";
import type { Membership } from "../../src/cluster/membership/membership-types.ts";
import { askTopologyOver, TOPOLOGY_METHOD, topologyHandler } from "../../src/cluster/membership/topology-exchange.ts";
import { TopologyKeeper } from "../../src/cluster/membership/topology-keeper.ts";
import type { PeerHandler } from "../../src/cluster/peer/peer-types.ts";
import { ByteThrottle } from "../../src/cluster/repair/byte-throttle.ts";
import { HintBook } from "../../src/cluster/repair/hint-book.ts";
import { HintReplayer } from "../../src/cluster/repair/hint-replayer.ts";
import { MoveRunner } from "../../src/cluster/repair/move-runner.ts";
import { PlacementWatch } from "../../src/cluster/repair/placement-watch.ts";
import { handleRepairCalls, RepairCalls } from "../../src/cluster/repair/repair-calls.ts";
import { RepairLoop } from "../../src/cluster/repair/repair-loop.ts";
import { ShardFiller } from "../../src/cluster/repair/shard-filler.ts";
import { ShardReconciler } from "../../src/cluster/repair/shard-reconciler.ts";
import { SurplusCopies } from "../../src/cluster/repair/surplus-copies.ts";
import { PeerReplicaPort } from "../../src/cluster/replication/peer-replica-port.ts";
import { handleReplicaCalls } from "../../src/cluster/replication/replica-messages.ts";
import { ReplicaService } from "../../src/cluster/replication/replica-service.ts";
import type { HintSink, ReplicaPort } from "../../src/cluster/replication/replica-types.ts";
import { Replication } from "../../src/cluster/replication/replication.ts";
import type { ReplicationParts } from "../../src/cluster/replication/replication-types.ts";
import { VersionClock } from "../../src/cluster/replication/version-clock.ts";
import { WriteEpochs } from "../../src/cluster/replication/write-epochs.ts";
import { shardKey } from "../../src/cluster/shard-facts.ts";
import type { Topology } from "../../src/hub/models.ts";
import type { VirtualTime } from "../cluster/repair/virtual-time.ts";
import type { Fault } from "./planted-faults.ts";
import { SimulatedCopies, type SimulatedDisk, SimulatedHints, simulatedPool } from "./simulated-disk.ts";
import { SimulatedHost } from "./simulated-host.ts";
import type { SimulatedHub } from "./simulated-hub.ts";
import type { Listener, SimulatedNetwork } from "./simulated-network.ts";

const HEARTBEAT_MS = 1_000;
/** How often a node hears from the hub's feed what has changed. */
const FEED_MS = 4_000;

interface Heartbeat {
	readonly topologyVersion: number;
	readonly settledVersion: number;
}

export interface SimulatedNodeParts {
	readonly nodeId: NodeId;
	readonly time: VirtualTime;
	readonly network: SimulatedNetwork;
	readonly hub: SimulatedHub;
	readonly disk: SimulatedDisk;
	readonly random: RandomBytes;
	readonly skewMs: number;
	/** No clock of two nodes is so far apart, no message so late. */
	readonly purgeMarginMs: number;
	readonly fault: Fault;
	readonly violated: (what: string) => void;
	readonly trace: (line: string) => void;
}

export const peerIdOf = (nodeId: NodeId): string => `peer-${nodeId}`;

/** One process of a node: the real parts, over the simulation's network, disk, hub and time. */
export class SimulatedNode implements Listener {
	readonly host: SimulatedHost;
	readonly keeper: TopologyKeeper;
	readonly copies: SimulatedCopies;
	readonly #parts: SimulatedNodeParts;
	readonly #liveness: Liveness;
	readonly #handlers = new Map<string, PeerHandler>();
	readonly #heartbeats = new Map<NodeId, Heartbeat>();
	readonly #replicationParts: ReplicationParts;
	readonly #sendBeat: (nodeId: NodeId, beat: Heartbeat) => void;
	readonly moves: MoveRunner;
	readonly book: HintBook;
	readonly #replayer: HintReplayer;
	readonly #placement: PlacementWatch;
	readonly #repair: RepairLoop;
	#isAtWork = false;

	static async start(parts: SimulatedNodeParts): Promise<SimulatedNode> {
		const host = new SimulatedHost(parts.nodeId, parts.time, parts.skewMs);
		const storage = parts.fault.hints(new SimulatedHints(parts.disk, host), host);
		const book = await HintBook.open({ storage, clock: host, log: () => {} });
		return new SimulatedNode(parts, host, book);
	}

	private constructor(parts: SimulatedNodeParts, host: SimulatedHost, book: HintBook) {
		const { nodeId, network, hub, disk, fault, violated } = parts;
		this.#parts = parts;
		this.host = host;
		this.book = book;
		const calls = network.callsOf(host);
		const methods = {
			handle: (method: string, handler: PeerHandler): void => void this.#handlers.set(method, handler),
		};
		const log = (_level: string, message: string, facts: Readonly<Record<string, unknown>>): void => {
			parts.trace(`${nodeId} says: ${message} ${JSON.stringify(facts)}`);
		};
		const tell = (message: string, facts: Readonly<Record<string, unknown>>): void => log("info", message, facts);

		this.#liveness = new Liveness({ clock: host, timers: host });
		let newestVersion = disk.topology?.version ?? 0;
		this.keeper = new TopologyKeeper({
			self: nodeId,
			peerId: peerIdOf(nodeId),
			hub: hub.clientFor(host),
			file: {
				load: () => disk.topology,
				save: (topology) => {
					if (topology.version < newestVersion) violated(`${nodeId} went back to topology ${topology.version}`);
					newestVersion = topology.version;
					disk.topology = topology;
				},
			},
			liveness: this.#liveness,
			askMember: askTopologyOver(calls),
			clock: host,
			timers: host,
			random: parts.random,
			log: tell,
		});
		const membership: Membership = this.keeper;
		const catalog = hub.catalogFor(host, membership);
		const epochs = new WriteEpochs();
		this.copies = new SimulatedCopies(disk, host, epochs);
		const service = fault.service(
			new ReplicaService({
				membership,
				copies: this.copies,
				epochs,
				pool: simulatedPool(disk, host),
				isDeleted: () => false,
				touched: (shard) => this.#repair.touched(shard),
				made: (shard) => this.#placement.made(shard),
			}),
			membership,
		);
		const port = new PeerReplicaPort({ membership, calls, service });
		const throttle = new ByteThrottle({ bytesPerSecond: 1024 * 1024, clock: host, timers: host });
		const reconciler = new ShardReconciler({ self: nodeId, port: fault.repairPort(port), throttle });
		handleReplicaCalls(methods, { service, reconciler });
		handleRepairCalls(methods, { membership, copies: this.copies, look: () => this.moves.kick() });
		methods.handle(TOPOLOGY_METHOD, topologyHandler(this.keeper));
		methods.handle(JOIN_METHOD, async (_body, { from }) => {
			const { addresses, serves_hub } = NOWHERE;
			return this.keeper.admit({ node_id: from, peer_id: peerIdOf(from), addresses, serves_hub });
		});
		methods.handle("heartbeat", async (body, { from }) => {
			const beat = body as Heartbeat;
			const known = this.#heartbeats.get(from);
			if (known === undefined || known.topologyVersion <= beat.topologyVersion) this.#heartbeats.set(from, beat);
			if (beat.topologyVersion > this.keeper.topology.version) void this.keeper.refresh(beat.topologyVersion);
		});
		this.#sendBeat = (to, beat) => {
			calls.call(to, "heartbeat", beat, { timeoutMs: HEARTBEAT_MS }).catch(() => undefined);
		};

		const repairCalls = new RepairCalls(calls);
		const shared = { membership, port, copies: this.copies, catalog, reconciler, calls: repairCalls, log };
		this.moves = new MoveRunner({
			...shared,
			filler: fault.filler(new ShardFiller(shared), this.copies),
			surplus: fault.surplus(new SurplusCopies(shared), this.copies, membership, catalog),
			hintCount: () => book.count,
			timers: host,
		});
		this.#placement = new PlacementWatch({ ...shared, timers: host, look: () => this.kickMoves() });
		this.#replayer = new HintReplayer({ ...shared, book, clock: host, timers: host });
		this.#repair = new RepairLoop({
			...shared,
			clock: host,
			agreedClock: host,
			timers: host,
			purgeMarginMs: parts.purgeMarginMs,
		});
		this.#replicationParts = {
			membership: fault.coordinatorView(membership),
			port,
			reconciler,
			remote: port,
			versions: fault.versions(new VersionClock(host, nodeId)),
			hints: this.#hintSink(disk),
			clock: host,
			timers: host,
			defaults: { write: fault.writeConsistency, read: "quorum" },
			log: tell,
		};
		this.keeper.onChange(() => this.#lookAround());
		this.#beat();
		const feed = (): void => {
			hub
				.clientFor(host)
				.getTopology()
				.then(
					(topology) => this.keeper.learn(topology),
					() => undefined,
				);
			host.after(FEED_MS, feed);
		};
		feed();
	}

	/** One client's request each, so that the simulation can look at what it sends. */
	replication(spy: (port: ReplicaPort) => ReplicaPort): Replication {
		const { port } = this.#replicationParts;
		return new Replication({ ...this.#replicationParts, port: this.#parts.fault.coordinatorPort(spy(port)) });
	}

	handlerFor(from: NodeId, method: string): PeerHandler | undefined {
		const isKnown = this.keeper.nodeIdOf(peerIdOf(from)) === from;
		if (!isKnown && (method !== JOIN_METHOD || this.keeper.isRetired(peerIdOf(from)))) return undefined;
		if (isKnown) this.#liveness.heard(from);
		return this.#handlers.get(method);
	}

	/** Asks a member to be let in, again and again. */
	async join(members: () => readonly NodeId[]): Promise<void> {
		const calls = this.#parts.network.callsOf(this.host);
		for (let turn = 0; !this.keeper.isMember && !this.keeper.hasLeft; turn++) {
			const asked = members();
			const nodeId = asked[turn % asked.length];
			if (nodeId !== undefined && nodeId !== this.host.nodeId) {
				try {
					this.keeper.learn((await calls.call(nodeId, JOIN_METHOD, null, { timeoutMs: 2_000 })) as Topology);
				} catch {
					// Another one may let it in.
				}
			}
			await this.host.delay(700);
		}
	}

	kill(): void {
		this.host.kill();
	}

	/** A collection was made. */
	kickMoves(): void {
		if (this.#isAtWork) this.moves.kick();
	}

	/** A hint that was acknowledged is on the disk. */
	#hintSink(disk: SimulatedDisk): HintSink {
		return {
			missed: async (nodeId, shard) => {
				await this.book.missed(nodeId, shard);
				const isPending = this.book.isMissed(nodeId, shard);
				const text = disk.hints.get(nodeId) ?? "";
				const [tenantId, collectionId, shardIndex] = shardKey(shard).split("/");
				const isThere =
					text.includes(`missed ${tenantId} ${collectionId} ${shardIndex} `) || text.includes("everything ");
				if (isPending && !isThere) this.#parts.violated(`a hint for ${nodeId} was acknowledged and is not on disk`);
			},
		};
	}

	#lookAround(): void {
		if (this.keeper.hasLeft) {
			// A node that learns that it has left ends.
			this.kill();
			return;
		}
		if (this.#isAtWork || !this.keeper.isMember) return;
		this.#isAtWork = true;
		this.moves.start();
		this.#replayer.start();
		this.#repair.start();
	}

	#beat(): void {
		this.#lookAround();
		if (this.#parts.fault.forgetsDeletions) {
			for (const { rows } of this.#parts.disk.copies.values()) rows.allowPurge(Number.MAX_SAFE_INTEGER);
		}
		const beat = { topologyVersion: this.keeper.topology.version, settledVersion: this.moves.settledVersion };
		for (const { nodeId } of this.keeper.peers()) this.#sendBeat(nodeId, beat);
		const settledOf = (nodeId: NodeId): number | undefined =>
			nodeId === this.host.nodeId ? this.moves.settledVersion : this.#heartbeats.get(nodeId)?.settledVersion;
		if (this.keeper.isMember)
			this.keeper.finishWhenSettled(this.#parts.fault.settledOf(settledOf)).catch(() => undefined);
		this.host.after(HEARTBEAT_MS, () => this.#beat());
	}
}

const NOWHERE = { addresses: [], serves_hub: false };
