import { HiveError } from "../../src/base/errors.ts";
import type { NodeId, VectorId } from "../../src/base/ids.ts";
import { reachTopology } from "../../src/cluster/membership/reach-topology.ts";
import { RingTopologyView } from "../../src/cluster/membership/ring-topology-view.ts";
import type { ClusterShard } from "../../src/cluster/repair/repair-types.ts";
import type { ReplicaPort } from "../../src/cluster/replication/replica-types.ts";
import type { ReplicatedShard } from "../../src/cluster/replication/replicated-shard.ts";
import { shardKey } from "../../src/cluster/shard-facts.ts";
import type { MemberState, Topology } from "../../src/hub/models.ts";
import { compareVersions } from "../../src/storage/hybrid-clock.ts";
import type { UpdateStamp, Version, VersionedRow } from "../../src/storage/shard-types.ts";
import { shardRef } from "../cluster/repair/memory-nodes.ts";
import { SeededRandom, VirtualTime } from "../cluster/repair/virtual-time.ts";
import { History, type Observed, type Operation, type OperationKind } from "./history.ts";
import { Fault } from "./planted-faults.ts";
import { type DiskCopy, SimulatedDisk } from "./simulated-disk.ts";
import { SimulatedHub } from "./simulated-hub.ts";
import { SimulatedNetwork } from "./simulated-network.ts";
import { peerIdOf, SimulatedNode } from "./simulated-node.ts";

const NODES_MAX = 7;
const REPLICA_COUNTS = [1, 2, 3, 3];
const IDS_PER_SHARD = 6;
/** Clocks are off by at most that, one way or the other. */
const SKEW_MS_MAX = 20_000;
/** No two clocks are so far apart with the time that the latest of all messages takes. */
const PURGE_MARGIN_MS = 2 * SKEW_MS_MAX + 60_000;
const TOMBSTONE_RETENTION_MS = 5_000;
/** All is well again after so long without a fault: repair's longest pause is ten minutes. */
const HEALING_MS_MAX = 45 * 60_000;
const WRITING: readonly OperationKind[] = ["upsert", "upsert", "delete"];
/** Few, so that writes of one meet. */
const PATCHED_IDS = 3;
const PATCHING: readonly OperationKind[] = ["upsert", "upsert", "patch", "patch", "delete"];
const LOOK_EVERY_MS = 2_000;
const TRACE_LINES_KEPT = 4_000;

export interface SimulationOptions {
	readonly seed: number;
	/** Things that happen before everything heals. */
	readonly steps: number;
	readonly fault?: Fault;
	/** A life of another kind: clients update vectors in place, and nodes stop, but none comes, goes or dies. */
	readonly patches?: boolean;
	/** Every line is kept. */
	readonly keepsTrace?: boolean;
}

export interface SimulationResult {
	readonly seed: number;
	/** What must not be, in the order found; empty: all is well. */
	readonly problems: readonly string[];
	/** Equal for equal runs. */
	readonly traceHash: string;
	readonly trace: readonly string[];
	readonly eventCount: number;
	readonly operationCount: number;
	readonly acknowledgedCount: number;
	readonly topologyVersion: number;
	/** From the last fault until all copies agreed. */
	readonly healingMs: number;
}

/** A node of the cluster, running or not. */
interface Machine {
	readonly nodeId: NodeId;
	readonly disk: SimulatedDisk;
	readonly skewMs: number;
	process: SimulatedNode | undefined;
}

/** A cluster through a random life, all of which follows from the seed. */
export class ClusterSimulation {
	readonly #options: SimulationOptions;
	readonly #random: SeededRandom;
	readonly #time = new VirtualTime();
	readonly #network: SimulatedNetwork;
	readonly #hub: SimulatedHub;
	readonly #machines: Machine[] = [];
	readonly #history = new History();
	readonly #problems: string[] = [];
	readonly #trace: string[] = [];
	readonly #fault: Fault;
	/** By subject, the newest deletion that any copy ever took. */
	readonly #deletions = new Map<string, Version>();
	readonly #hasPatches: boolean;
	#view: RingTopologyView | undefined;
	#traceHash = 0n;
	#collectionCount = 0;
	#healingMs = 0;

	constructor(options: SimulationOptions) {
		this.#options = options;
		this.#fault = options.fault ?? new Fault();
		this.#hasPatches = options.patches === true || this.#fault.isOfPatches;
		this.#random = new SeededRandom(options.seed);
		const random = this.#random;
		this.#network = new SimulatedNetwork({ time: this.#time, random, trace: (line) => this.#note(line) });
		for (let count = 2 + random.below(4); count > 0; count--) this.#addMachine();
		const members = this.#machines.map(({ nodeId }) => memberOf(nodeId, "active"));
		this.#hub = new SimulatedHub({ version: 1, members, retired: [] }, () => 1 + random.below(8));
		this.#hub.onTopology = () => {
			for (const operation of this.#history.operations) this.#checkHeld(operation);
		};
	}

	async run(): Promise<SimulationResult> {
		for (const machine of this.#machines) {
			machine.disk.topology = this.#hub.topology;
			await this.#start(machine);
		}
		await this.#time.pass(1_500);
		for (let count = 1 + this.#random.below(2); count > 0; count--) await this.#makeCollection();
		for (let step = 0; step < this.#options.steps && this.#problems.length === 0; step++) {
			await (this.#hasPatches ? this.#patchingStep() : this.#step());
			await this.#time.pass(this.#random.chance(0.1) ? 4_000 + this.#random.below(12_000) : this.#random.below(900));
		}
		if (this.#problems.length === 0) await this.#heal();
		for (const { process } of this.#machines) process?.kill();
		return {
			seed: this.#options.seed,
			problems: this.#problems,
			traceHash: this.#traceHash.toString(16),
			trace: this.#trace,
			eventCount: this.#time.eventCount,
			operationCount: this.#history.operations.length,
			acknowledgedCount: this.#history.operations.filter(({ acknowledgedMs }) => acknowledgedMs !== undefined).length,
			topologyVersion: this.#hub.topology.version,
			healingMs: this.#healingMs,
		};
	}

	async #step(): Promise<void> {
		const random = this.#random;
		const dice = random.below(100);
		if (dice < 40) this.#write(1 + random.below(4));
		else if (dice < 48) this.#read();
		else if (dice < 54) this.#crash();
		else if (dice < 62) await this.#restartOne();
		else if (dice < 66) this.#pause();
		else if (dice < 72) this.#partition();
		else if (dice < 77) this.#note("~ links heal", () => this.#network.heal());
		else if (dice < 80) this.#disturb();
		else if (dice < 83) this.#hubAway();
		else if (dice < 85) this.#diskFull();
		else if (dice < 90) await this.#join();
		else if (dice < 93) this.#change("drain");
		else if (dice < 95) this.#change("cancelDrain");
		else if (dice < 97) this.#change("remove");
		else if (dice < 99) this.#changeReplicas();
		else await this.#makeCollection();
	}

	// What clients do

	#write(count: number): void {
		for (; count > 0; count--) {
			const found = this.#pickShard();
			const node = this.#pickCoordinator();
			if (found === undefined || node === undefined) return;
			const id = this.#random.below(IDS_PER_SHARD);
			const kind = this.#random.pick(WRITING);
			void this.#writeTo(node, found, id, kind);
		}
	}

	async #writeTo(node: SimulatedNode, found: ClusterShard, id: VectorId, kind: OperationKind): Promise<void> {
		const subject = `${shardKey(found.shard)} ${id}`;
		const operation = this.#history.begin(kind, subject, this.#time.monotonicMs());
		this.#note(`! ${kind} ${operation.number} of ${subject} through ${node.host.nodeId}`);
		const record = this.#recordOf(found);
		const shard = this.#shardOf(node, { ...found, replicas: record.replicas }, operation);
		try {
			await reachTopology(node.keeper, record.topologyVersion);
			await this.#perform(shard, id, operation);
			operation.acknowledgedMs = this.#time.monotonicMs();
			this.#note(`! ${operation.number} is done`);
			this.#checkHeld(operation);
		} catch (error) {
			operation.wasRefused = error instanceof HiveError && error.code === "VECTOR_NOT_FOUND";
			this.#note(`! ${operation.number} failed: ${String(error)}`);
			if (operation.wasRefused) this.#judge(subject, undefined, operation.startMs);
		}
	}

	#perform(shard: ReplicatedShard, id: VectorId, { kind, number }: Operation): Promise<unknown> {
		if (kind === "delete") return shard.delete({ ids: [id] }, undefined);
		if (kind === "patch") return shard.update({ id, payloadPatch: JSON.stringify({ patch: number }) }, {}, undefined);
		const payloads = [JSON.stringify({ op: number })];
		return shard.upsert({ ids: [id], vectors: new Float32Array([number, 1]), payloads }, {}, undefined);
	}

	/** As the hub has it, or as some node's cache still may. */
	#recordOf({ shard, replicas }: ClusterShard): { readonly replicas: number; readonly topologyVersion: number } {
		const records = this.#hub.records.get(shard.collectionId) ?? [{ replicas, topologyVersion: 0 }];
		return this.#random.chance(0.7) ? records.at(-1)! : this.#random.pick(records);
	}

	#shardOf(node: SimulatedNode, { shard, replicas }: ClusterShard, operation?: Operation): ReplicatedShard {
		const replication = node.replication((port) => (operation === undefined ? port : noting(port, operation)));
		const confirm = async (): Promise<void> => {
			const client = this.#hub.clientFor(node.host);
			await client.listCollections(shard.tenantId);
		};
		return replication.shard({ shard, replicas, doubt: () => {}, confirm });
	}

	/** Many writes of few vectors, by clients of all nodes, while now and then one node stops or is cut off. */
	async #patchingStep(): Promise<void> {
		const random = this.#random;
		const dice = random.below(100);
		const running = this.#running();
		if (dice < 55) {
			const found = this.#pickShard();
			if (found === undefined) return;
			for (let count = 1 + random.below(3); count > 0; count--) {
				const node = this.#pickCoordinator();
				if (node !== undefined) void this.#writeTo(node, found, random.below(PATCHED_IDS), random.pick(PATCHING));
				await this.#time.pass(random.below(60));
			}
		} else if (dice < 75) this.#read(PATCHED_IDS);
		else if (dice < 85) this.#pause();
		else if (dice < 92) {
			const { nodeId } = random.pick(running);
			this.#note(`~ ${nodeId} is cut off`);
			for (const { nodeId: other } of this.#machines) {
				this.#network.cut(nodeId, other);
				if (random.chance(0.7)) this.#network.cut(other, nodeId);
			}
		} else if (dice < 98) this.#network.heal();
		else this.#disturb();
	}

	#read(idCount = IDS_PER_SHARD): void {
		const found = this.#pickShard();
		const node = this.#pickCoordinator();
		if (found === undefined || node === undefined) return;
		const id = this.#random.below(idCount);
		const startMs = this.#time.monotonicMs();
		const record = this.#recordOf(found);
		const shard = this.#shardOf(node, { ...found, replicas: record.replicas });
		const subject = `${shardKey(found.shard)} ${id}`;
		const read = reachTopology(node.keeper, record.topologyVersion).then(() =>
			shard.get([id], { withPayload: true, withVector: false }, "quorum"),
		);
		void read.then(
			([stored]) => this.#judge(subject, stored && observedOf(stored.payload), startMs),
			(error: unknown) => this.#note(`? read of ${subject} failed: ${String(error)}`),
		);
	}

	#judge(subject: string, observed: Observed, beforeMs: number): void {
		const problem = this.#history.judge(subject, observed, beforeMs);
		this.#note(`? ${subject} is ${JSON.stringify(observed)}${problem === undefined ? "" : `: ${problem}`}`);
		if (problem !== undefined) this.#problems.push(`a quorum's read: ${problem}`);
	}

	async #makeCollection(): Promise<void> {
		const node = this.#pickCoordinator();
		if (node === undefined || this.#collectionCount === 4) return;
		const name = `c${this.#collectionCount++}`;
		const replicas = this.#random.pick([1, 2, 3, 3, 3]);
		const shardCount = 1 + this.#random.below(2);
		for (let index = 0; index < shardCount; index++) {
			const found = { shard: shardRef(name, index), replicas };
			this.#hub.shards.push(found);
			this.#note(`! ${shardKey(found.shard)} in ${replicas} copies`);
			// A process that is killed meanwhile leaves it to whoever writes first.
			const made = this.#shardOf(node, found).makeEmpty();
			made.then(
				() => node.kickMoves(),
				(error: unknown) => this.#note(`! ${shardKey(found.shard)} was not made: ${String(error)}`),
			);
		}
		for (const { process } of this.#machines) process?.kickMoves();
	}

	// What befalls nodes

	#addMachine(): Machine {
		const nodeId = `node_${String.fromCharCode(97 + this.#machines.length).repeat(16)}` as NodeId;
		const skewMs = this.#random.chance(0.5) ? this.#random.below(2 * SKEW_MS_MAX) - SKEW_MS_MAX : 0;
		const disk = new SimulatedDisk(this.#random, {
			nodeId,
			nowMs: () => this.#time.nowMs() + skewMs,
			tombstoneRetentionMs: TOMBSTONE_RETENTION_MS,
			violated: (what) => this.#problems.push(what),
			deleted: (shard, id, version) => {
				const subject = `${shardKey(shard)} ${id}`;
				const newest = this.#deletions.get(subject);
				if (newest === undefined || compareVersions(newest, version) < 0) this.#deletions.set(subject, version);
			},
		});
		disk.trace = (line) => this.#note(line);
		disk.onDrop = (copy) => this.#checkDropped(nodeId, copy);
		const machine: Machine = { nodeId, disk, skewMs, process: undefined };
		this.#machines.push(machine);
		return machine;
	}

	async #start(machine: Machine): Promise<SimulatedNode> {
		const node = await SimulatedNode.start({
			...machine,
			time: this.#time,
			network: this.#network,
			hub: this.#hub,
			random: this.#random.bytes,
			purgeMarginMs: PURGE_MARGIN_MS,
			fault: this.#fault,
			violated: (what) => this.#problems.push(what),
			trace: (line) => this.#note(line),
		});
		machine.process = node;
		this.#network.listen(node);
		if (!node.keeper.isMember) void node.join(() => this.#running().map(({ nodeId }) => nodeId));
		return node;
	}

	#crash(): void {
		const running = this.#running();
		if (running.length < 2) return;
		const machine = this.#random.pick(running);
		this.#note(`~ ${machine.nodeId} is killed`);
		machine.process!.kill();
	}

	async #restartOne(): Promise<void> {
		const dead = this.#machines.filter((machine) => !isRunning(machine) && !this.#hasLeft(machine));
		if (dead.length === 0) return;
		const machine = this.#random.pick(dead);
		this.#note(`~ ${machine.nodeId} is started`);
		await this.#start(machine);
	}

	#pause(): void {
		const running = this.#running();
		if (running.length === 0) return;
		const machine = this.#random.pick(running);
		const ms = 1_000 + this.#random.below(14_000);
		this.#note(`~ ${machine.nodeId} stops for ${ms} ms`);
		machine.process!.host.pause(ms);
	}

	#partition(): void {
		const isOneWay = this.#random.chance(0.4);
		const here = this.#machines.filter(() => this.#random.chance(0.4));
		const there = this.#machines.filter((machine) => !here.includes(machine));
		this.#note(`~ ${here.map(({ nodeId }) => nodeId)} cut off${isOneWay ? " one way" : ""}`);
		for (const { nodeId: from } of here) {
			for (const { nodeId: to } of there) {
				this.#network.cut(from, to);
				if (!isOneWay) this.#network.cut(to, from);
			}
		}
	}

	#disturb(): void {
		this.#note("~ the network is bad");
		this.#network.lossRate = this.#random.pick([0, 0.02, 0.1]);
		this.#network.duplicateRate = this.#random.pick([0, 0.1]);
		this.#network.straggleRate = this.#random.pick([0, 0.02, 0.1]);
	}

	#hubAway(): void {
		this.#hub.awayFrom.clear();
		if (this.#random.chance(0.4)) return;
		for (const { nodeId } of this.#machines) if (this.#random.chance(0.5)) this.#hub.awayFrom.add(nodeId);
		this.#note(`~ the hub is away from ${[...this.#hub.awayFrom]}`);
	}

	#diskFull(): void {
		const machine = this.#random.pick(this.#machines);
		machine.disk.isFull = !machine.disk.isFull;
		this.#note(`~ the disk of ${machine.nodeId} is ${machine.disk.isFull ? "full" : "free again"}`);
	}

	async #join(): Promise<void> {
		if (this.#machines.length === NODES_MAX) return;
		const machine = this.#addMachine();
		this.#note(`~ ${machine.nodeId} comes`);
		await this.#start(machine);
	}

	#change(kind: "drain" | "cancelDrain" | "remove"): void {
		const node = this.#pickCoordinator();
		if (node === undefined) return;
		const { nodeId } = this.#random.pick(this.#machines);
		this.#note(`~ ${kind} ${nodeId} through ${node.host.nodeId}`);
		const { keeper } = node;
		const change = kind === "remove" ? keeper.remove(nodeId, false) : keeper[kind](nodeId);
		change.then(
			() => this.#note(`~ ${kind} ${nodeId}: ${textOf(this.#hub.topology)}`),
			(error: unknown) => this.#note(`~ ${kind} ${nodeId} was refused: ${String(error)}`),
		);
	}

	/** As an operator would; in between the coordinator may die. */
	#changeReplicas(): void {
		const node = this.#pickCoordinator();
		const found = this.#pickShard();
		if (node === undefined || found === undefined) return;
		const { tenantId, collectionId } = found.shard;
		const replicas = this.#random.pick(REPLICA_COUNTS);
		const isWrittenDown = this.#random.chance(0.7);
		this.#note(`~ ${collectionId} is to have ${replicas} copies, through ${node.host.nodeId}`);
		const client = this.#hub.clientFor(node.host);
		node.keeper
			.changeReplicas(tenantId, collectionId, replicas)
			.then(async (topology_version) => {
				if (isWrittenDown) await client.updateCollection(tenantId, collectionId, { replicas, topology_version });
			})
			.then(
				() => this.#note(`~ ${collectionId}: ${textOf(this.#hub.topology)}`),
				(error: unknown) => this.#note(`~ ${collectionId} keeps its copies: ${String(error)}`),
			);
	}

	// Afterwards

	async #heal(): Promise<void> {
		this.#note("~ everything heals");
		const startMs = this.#time.monotonicMs();
		this.#network.heal();
		this.#hub.awayFrom.clear();
		for (const machine of this.#machines) {
			machine.disk.isFull = false;
			if (!isRunning(machine) && !this.#hasLeft(machine)) await this.#start(machine);
		}
		let unrest: string[] = [];
		for (;;) {
			await this.#time.pass(LOOK_EVERY_MS);
			unrest = this.#unrest();
			if (unrest.length === 0 || this.#problems.length > 0) break;
			if (this.#time.monotonicMs() - startMs > HEALING_MS_MAX) break;
		}
		this.#healingMs = this.#time.monotonicMs() - startMs;
		this.#problems.push(...unrest.map((what) => `without end: ${what}`));
		if (this.#problems.length === 0) this.#checkContent();
		if (this.#problems.length === 0) await this.#probe();
	}

	/** What is not yet as it shall be. */
	#unrest(): string[] {
		if (this.#running().some(({ process }) => process!.host.isPaused)) return ["a node is stopped"];
		const { topology, shards } = this.#hub;
		const view = this.#viewOf(topology);
		const unrest: string[] = [];
		if (view.isChanging) unrest.push(`the topology is ${textOf(topology)}`);
		for (const { nodeId, process, disk } of this.#machines) {
			if (view.member(nodeId) === undefined) {
				if (process?.host.isRunning === true) unrest.push(`${nodeId} runs, and is no member`);
				continue;
			}
			if (view.member(nodeId)?.state === "removed") continue;
			if (process?.host.isRunning !== true) unrest.push(`${nodeId} does not run`);
			else if (process.keeper.topology.version !== topology.version) unrest.push(`${nodeId} has an old topology`);
			else if (process.book.count > 0) unrest.push(`${nodeId} has hints`);
			else if (process.moves.settledVersion !== topology.version) unrest.push(`${nodeId} has not settled`);
			for (const { shard } of disk.copies.values()) {
				const { replicas } = shards.find((each) => shardKey(each.shard) === shardKey(shard))!;
				const { writers } = view.placement(shard.collectionId, shard.shardIndex, replicas);
				if (!writers.includes(nodeId)) unrest.push(`${nodeId} has a copy of ${shardKey(shard)} left`);
			}
		}
		for (const { shard, replicas } of shards) {
			const { writers } = view.placement(shard.collectionId, shard.shardIndex, replicas);
			const copies = writers.map((nodeId) => this.#machine(nodeId)?.disk.copy(shard));
			if (copies.some((copy) => copy?.state !== "complete")) unrest.push(`${shardKey(shard)} lacks copies`);
			else if (new Set(copies.map((copy) => copy!.rows.content)).size > 1) {
				const contents = copies.map((copy, at) => `${writers[at]}: ${copy!.rows.content.replaceAll("\n", " ")}`);
				unrest.push(`the copies of ${shardKey(shard)} differ: ${contents.join("; ")}`);
			}
		}
		return unrest;
	}

	/** What is in the copies, which agree. */
	#checkContent(): void {
		const view = this.#viewOf(this.#hub.topology);
		for (const { shard, replicas } of this.#hub.shards) {
			const { current } = view.placement(shard.collectionId, shard.shardIndex, replicas);
			const { rows } = this.#machine(current[0]!)!.disk.copy(shard)!.rows;
			for (let id = 0; id < IDS_PER_SHARD; id++) {
				const row = rows.get(id);
				const observed =
					row?.document === undefined ? undefined : { ...observedOf(row.document.payload), version: row.version };
				const problem = this.#history.judge(`${shardKey(shard)} ${id}`, observed);
				if (problem !== undefined) this.#problems.push(`${problem}: it is ${row?.document?.payload}`);
			}
		}
	}

	/** Every node takes writes again, whatever its clock says. */
	async #probe(): Promise<void> {
		const before = this.#history.operations.length;
		for (const { process, nodeId } of this.#running()) {
			if (!process!.keeper.isMember) continue;
			for (const found of this.#hub.shards) {
				await this.#time.wait(this.#writeTo(process!, found, this.#random.below(IDS_PER_SHARD), "upsert"));
			}
			this.#note(`~ ${nodeId} was probed`);
		}
		for (const { kind, number, acknowledgedMs, subject } of this.#history.operations.slice(before)) {
			if (acknowledgedMs === undefined) this.#problems.push(`${kind} ${number} of ${subject} failed with all well`);
		}
	}

	/** What was acknowledged is on most of the copies that are read, at any time. */
	#checkHeld({ acknowledgedMs, version, subject, kind, number }: Operation): void {
		const { topology, shards } = this.#hub;
		// Who is given up takes part of a majority along: those who are left are made whole first.
		if (acknowledgedMs === undefined || version === undefined) return;
		if (this.#history.hasNewer(subject, version)) return;
		if (topology.members.some(({ state }) => state === "removed")) return;
		const [key, id] = subject.split(" ");
		const { shard, replicas } = shards.find((each) => shardKey(each.shard) === key)!;
		const { current } = this.#viewOf(topology).placement(shard.collectionId, shard.shardIndex, replicas);
		const rows = current.map((nodeId) => this.#machine(nodeId)?.disk.copy(shard)?.rows.rows);
		const isDone = (row: VersionedRow | undefined): boolean =>
			row !== undefined && compareVersions(row.version, version) >= 0;
		const deletion = this.#deletions.get(subject);
		const isDeleted = deletion !== undefined && compareVersions(deletion, version) >= 0;
		const having = current.filter((_, at) => {
			const row = rows[at]?.get(Number(id));
			// To have nothing of what was deleted, or word of an earlier deletion, is as good.
			return isDone(row) || (isDeleted && rows[at] !== undefined && row?.document === undefined);
		});
		if (2 * having.length > current.length) return;
		this.#problems.push(`${kind} ${number} of ${subject} is on ${having} alone, of ${current}`);
	}

	/** What only a copy knew is known to those who hold the shard before it goes. */
	#checkDropped(nodeId: NodeId, { shard, rows }: DiskCopy): void {
		const { replicas } = this.#hub.shards.find((each) => shardKey(each.shard) === shardKey(shard))!;
		const view = this.#viewOf(this.#hub.topology);
		const { writers } = view.placement(shard.collectionId, shard.shardIndex, replicas);
		const others = writers.map((holder) => this.#machine(holder)?.disk.copy(shard)?.rows.rows);
		for (const { id, version, document } of rows.rows.values()) {
			const isKnown = others.some((each) => {
				const row = each?.get(id);
				return row !== undefined && compareVersions(row.version, version) >= 0;
			});
			if (!isKnown && document !== undefined) {
				this.#problems.push(`${nodeId} drops ${shardKey(shard)} with ${id}, which nobody else has`);
			}
		}
	}

	#viewOf(topology: Topology): RingTopologyView {
		if (this.#view?.version !== topology.version) this.#view = new RingTopologyView(topology);
		return this.#view;
	}

	// Looking things up

	#running(): Machine[] {
		return this.#machines.filter(isRunning);
	}

	#machine(nodeId: NodeId): Machine | undefined {
		return this.#machines.find((machine) => machine.nodeId === nodeId);
	}

	#hasLeft({ nodeId, process }: Machine): boolean {
		const { members, retired } = this.#hub.topology;
		const isGivenUp = members.some(({ node_id, state }) => node_id === nodeId && state === "removed");
		return isGivenUp || process?.keeper.hasLeft === true || retired.some(({ node_id }) => node_id === nodeId);
	}

	#pickShard(): ClusterShard | undefined {
		return this.#hub.shards.length === 0 ? undefined : this.#random.pick(this.#hub.shards);
	}

	/** A node that answers clients. */
	#pickCoordinator(): SimulatedNode | undefined {
		const members = this.#running().filter(({ process }) => process!.keeper.isMember);
		return members.length === 0 ? undefined : this.#random.pick(members).process;
	}

	#note(line: string, act: () => void = () => {}): void {
		const text = `${Math.round(this.#time.monotonicMs())} ${line}`;
		this.#traceHash = Bun.hash.xxHash64(text, this.#traceHash);
		if (this.#options.keepsTrace === true && !line.endsWith(" heartbeat") && !line.endsWith("heartbeat's answer")) {
			this.#trace.push(text);
			if (this.#trace.length > 2 * TRACE_LINES_KEPT) this.#trace.splice(0, TRACE_LINES_KEPT);
		}
		act();
	}
}

const isRunning = ({ process }: Machine): boolean => process?.host.isRunning === true;

const memberOf = (nodeId: NodeId, state: MemberState) => ({
	node_id: nodeId,
	peer_id: peerIdOf(nodeId),
	state,
	addresses: [],
	serves_hub: false,
});

const textOf = ({ version, members }: Topology): string =>
	`${version}: ${members.map(({ node_id, state }) => `${node_id.at(-1)}:${state}`).join(" ")}`;

function observedOf(payload: string | undefined): NonNullable<Observed> {
	return JSON.parse(payload ?? "{}") as NonNullable<Observed>;
}

/** Notes under which version the operation was sent last. */
function noting(port: ReplicaPort, operation: Operation): ReplicaPort {
	return {
		call: async (nodeId, shard, method, args, options) => {
			if (method === "upsert") operation.version = args[2] as Version | undefined;
			else if (method === "delete") operation.version = args[1] as Version | undefined;
			else if (method === "update") operation.version = (args[2] as UpdateStamp | undefined)?.version;
			return await port.call(nodeId, shard, method, args, options);
		},
		make: (...args) => port.make(...args),
		copyState: (...args) => port.copyState(...args),
	};
}
