import { expect, test } from "bun:test";
import type { CollectionId, NodeId } from "../../../src/base/ids.ts";
import { isDataAtRisk } from "../../../src/cluster/membership/data-at-risk.ts";
import { RingTopologyView } from "../../../src/cluster/membership/ring-topology-view.ts";
import {
	finished,
	isReadyToFinish,
	withDrainCancelled,
	withDraining,
	withMember,
	withRemoved,
} from "../../../src/cluster/membership/topology-change.ts";
import type { HubClient } from "../../../src/hub/hub-client-types.ts";
import type { CollectionRecord, TenantRecord, Topology } from "../../../src/hub/models.ts";
import { member, node, textOf, topology } from "./topology-fixture.ts";

const LETTERS = "abcdefghijklmnopqrstuvwxyz";
const SHARD_COUNT = 6;

/** Repeatable: xorshift, of 32 bits. */
function randomOf(seed: number): (below: number) => number {
	let state = seed * 2_654_435_761 + 1;
	return (below) => {
		state ^= state << 13;
		state ^= state >>> 17;
		state ^= state << 5;
		return (state >>> 0) % below;
	};
}

interface Shard {
	readonly collectionId: CollectionId;
	readonly replicas: number;
	/** What each node has of it; writes are numbered. */
	readonly heldBy: Map<NodeId, Set<number>>;
	readonly acknowledged: Set<number>;
}

/** A cluster as far as membership goes: who holds which write, through random joins, drains, deaths and removals. */
class Simulation {
	topology: Topology = withMember(topology("", 0), candidateOf("a"))!;
	readonly trace: string[] = [];
	readonly shards: Shard[];
	readonly #dead = new Set<NodeId>();
	readonly #random: (below: number) => number;
	readonly #hub: Pick<HubClient, "listTenants" | "listCollections">;
	#writeCount = 0;
	#viewed: { readonly topology: Topology; readonly view: RingTopologyView } | undefined;
	#lettersUsed = 1;
	finishedCount = 0;

	constructor(
		seed: number,
		private readonly judgeRisk: typeof isDataAtRisk,
	) {
		this.#random = randomOf(seed);
		this.shards = Array.from({ length: SHARD_COUNT }, (_, index) => ({
			collectionId: `${seed}-${index}` as CollectionId,
			replicas: 1 + (index % 3),
			heldBy: new Map(),
			acknowledged: new Set(),
		}));
		this.#hub = {
			listTenants: async () => ({ tenants: [{ id: "acme" } as TenantRecord], next: null }),
			listCollections: async () =>
				this.shards.map(
					({ collectionId, replicas }) => ({ id: collectionId, shards: 1, replicas }) as CollectionRecord,
				),
		};
	}

	async step(): Promise<void> {
		const nodeId = this.topology.members[this.#random(this.topology.members.length)]!.node_id as NodeId;
		const letter = nodeId.at(-1)!;
		const isLive = !this.#dead.has(nodeId);
		switch (this.#random(11)) {
			case 0:
				if (this.#lettersUsed === LETTERS.length) return;
				return this.#change(`join`, () => withMember(this.topology, candidateOf(LETTERS[this.#lettersUsed++]!)));
			case 1:
				return this.#change(`drain ${letter}`, () => withDraining(this.topology, nodeId, { isLive }));
			case 2:
				return this.#change(`cancel ${letter}`, () => withDrainCancelled(this.topology, nodeId));
			case 3:
				this.trace.push(`${letter} dies`);
				this.#dead.add(nodeId);
				return;
			case 4:
			case 8:
				this.trace.push(`${letter} is back`);
				this.#dead.delete(nodeId);
				return;
			case 5:
			case 6: {
				const acceptLoss = this.#random(4) === 0;
				const mayLose = await this.judgeRisk(this.#hub, this.topology, nodeId);
				this.#change(`remove ${letter}`, () => withRemoved(this.topology, nodeId, { isLive, mayLose, acceptLoss }));
				if (acceptLoss && mayLose) this.#forgetWhatIsLost();
				return;
			}
			case 7:
				return this.#settle();
			default:
				this.#write();
		}
	}

	/** Writes that were acknowledged and that nobody has who is read from. */
	missing(): string[] {
		const view = this.#view();
		return this.shards.flatMap((shard, index) => {
			const { current } = view.placement(shard.collectionId, 0, shard.replicas);
			const held = new Set(current.flatMap((nodeId) => [...(shard.heldBy.get(nodeId) ?? [])]));
			return [...shard.acknowledged].filter((write) => !held.has(write)).map((write) => `${index}: ${write}`);
		});
	}

	#view(): RingTopologyView {
		if (this.#viewed?.topology !== this.topology) {
			this.#viewed = { topology: this.topology, view: new RingTopologyView(this.topology) };
		}
		return this.#viewed.view;
	}

	#change(what: string, decide: () => Topology | undefined): void {
		try {
			this.topology = decide() ?? this.topology;
			this.trace.push(`${what}: ${textOf(this.topology)}`);
		} catch {
			this.trace.push(`${what}: refused`);
		}
	}

	/** Reaches those who live, in part; it is acknowledged when most of both sets have it. */
	#write(): void {
		const shard = this.shards[this.#random(SHARD_COUNT)]!;
		const write = ++this.#writeCount;
		const { current, next, writers } = this.#view().placement(shard.collectionId, 0, shard.replicas);
		const reached = new Set(writers.filter((nodeId) => !this.#dead.has(nodeId) && this.#random(5) > 0));
		for (const nodeId of reached) this.#held(shard, nodeId).add(write);
		const isMost = (nodes: readonly NodeId[]): boolean =>
			2 * nodes.filter((nodeId) => reached.has(nodeId)).length > nodes.length;
		if (isMost(current) && isMost(next)) shard.acknowledged.add(write);
	}

	/** Everything moves to where it shall be, if all live that have to take part. */
	#settle(): void {
		const isSettled = (nodeId: NodeId): number | undefined =>
			this.#dead.has(nodeId) ? undefined : this.topology.version;
		if (!isReadyToFinish(this.topology, isSettled)) return;
		const view = this.#view();
		for (const shard of this.shards) {
			const { current, writers } = view.placement(shard.collectionId, 0, shard.replicas);
			const all = new Set(current.flatMap((nodeId) => [...this.#held(shard, nodeId)]));
			for (const nodeId of writers) for (const write of all) this.#held(shard, nodeId).add(write);
		}
		this.topology = finished(this.topology);
		// What lies elsewhere is dropped.
		const after = this.#view();
		for (const shard of this.shards) {
			const { current } = after.placement(shard.collectionId, 0, shard.replicas);
			for (const nodeId of shard.heldBy.keys()) if (!current.includes(nodeId)) shard.heldBy.delete(nodeId);
		}
		this.finishedCount++;
		this.trace.push(`finished: ${textOf(this.topology)}`);
	}

	#held(shard: Shard, nodeId: NodeId): Set<number> {
		const held = shard.heldBy.get(nodeId) ?? new Set<number>();
		shard.heldBy.set(nodeId, held);
		return held;
	}

	#forgetWhatIsLost(): void {
		const lost = new Set(this.missing());
		for (const [index, { acknowledged }] of this.shards.entries()) {
			for (const write of acknowledged) if (lost.has(`${index}: ${write}`)) acknowledged.delete(write);
		}
	}
}

function candidateOf(letter: string) {
	const { state: _, ...candidate } = member(letter);
	expect(candidate.node_id).toBe(node(letter));
	return candidate;
}

/** @returns what went wrong first, if anything; how many changes were finished */
async function run(seed: number, judgeRisk = isDataAtRisk): Promise<{ wrong?: string; finishedCount: number }> {
	const simulation = new Simulation(seed, judgeRisk);
	for (let step = 0; step < 120; step++) {
		await simulation.step();
		const missing = simulation.missing();
		if (missing.length > 0) {
			return { wrong: `seed ${seed}\n${simulation.trace.join("\n")}\n${missing.join(", ")}`, finishedCount: 0 };
		}
	}
	return { finishedCount: simulation.finishedCount };
}

test("no acknowledged write is lost by any order of joins, drains, deaths and removals but what was accepted to be", async () => {
	let finishedCount = 0;
	for (let seed = 1; seed <= 100; seed++) {
		const result = await run(seed);
		expect(result.wrong).toBeUndefined();
		finishedCount += result.finishedCount;
	}
	expect(finishedCount).toBeGreaterThan(200);
});

test("a check of the risk that overlooks something is found out", async () => {
	let foundCount = 0;
	for (let seed = 1; seed <= 40; seed++) {
		const { wrong } = await run(seed, async () => false);
		if (wrong !== undefined) foundCount++;
	}
	expect(foundCount).toBeGreaterThan(5);
});
