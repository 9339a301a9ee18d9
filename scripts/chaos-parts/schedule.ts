import type { Dice } from "../attacks/dice.ts";
import { clockLibrary, type TestCluster } from "./test-cluster.ts";
import type { VirtualNetwork } from "./virtual-network.ts";

/** The nodes, what they run on, and who of them takes part. */
export interface Stage {
	readonly cluster: TestCluster;
	readonly network: VirtualNetwork;
	readonly nodes: readonly number[];
	readonly random: Dice;
	/** A line of what happens. */
	readonly tell: (what: string) => void;
}

/** Something that goes wrong, for a while. */
interface Fault {
	readonly name: string;
	run(stage: Stage): Promise<void>;
}

const HOLD_MS_MIN = 1_500;
const HOLD_MS_MAX = 5_000;
const HOUR_SECONDS = 3_600;

const hold = (random: Dice): Promise<void> => Bun.sleep(HOLD_MS_MIN + random.below(HOLD_MS_MAX - HOLD_MS_MIN));

export const FAULTS: readonly Fault[] = [
	{
		name: "kill -9",
		async run({ cluster, nodes, random, tell }) {
			const node = random.pick(nodes);
			tell(`node ${node} is killed`);
			await cluster.kill(node);
			await hold(random);
			await cluster.start(node);
		},
	},
	{
		name: "hang",
		async run({ cluster, nodes, random, tell }) {
			const node = random.pick(nodes);
			tell(`node ${node} is stopped and goes on later`);
			cluster.freeze(node);
			await hold(random);
			cluster.thaw(node);
		},
	},
	{
		name: "partition",
		async run({ network, nodes, random, tell }) {
			const node = random.pick(nodes);
			tell(`node ${node} is cut off from the others, both ways`);
			network.partition([node]);
			await hold(random);
			network.heal();
		},
	},
	{
		name: "one-way partition",
		async run({ network, nodes, random, tell }) {
			const from = random.pick(nodes);
			const to = random.pick(nodes.filter((node) => node !== from));
			tell(`what node ${from} sends to node ${to} is lost`);
			network.cut(from, to);
			await hold(random);
			network.heal();
		},
	},
	{
		name: "bad line",
		async run({ network, random, tell }) {
			tell("5 % of all packets are lost, each takes 100 ms");
			network.disturb(0.05, 100);
			await hold(random);
			network.heal();
		},
	},
	{
		name: "full disk",
		async run({ cluster, nodes, random, tell }) {
			const node = random.pick(nodes);
			tell(`the disk of node ${node} is full`);
			cluster.fillDisk(node);
			await hold(random);
			cluster.freeDisk(node);
		},
	},
	{
		name: "wrong clock",
		async run({ cluster, nodes, random, tell }) {
			if (clockLibrary() === undefined) return;
			const node = random.pick(nodes);
			const offset = random.chance(0.5) ? HOUR_SECONDS : -HOUR_SECONDS;
			tell(`node ${node} starts again with a clock that is ${offset} s off`);
			cluster.setClock(node, offset);
			await cluster.stop(node);
			await cluster.start(node);
			await hold(random);
			cluster.setClock(node, 0);
			await cluster.kill(node);
			await cluster.start(node);
		},
	},
	{
		name: "hub gone",
		async run({ cluster, random, tell }) {
			tell("node 1, which runs the hub, is killed");
			await cluster.kill(1);
			await hold(random);
			await cluster.start(1);
		},
	},
	{
		name: "rolling restart",
		async run({ cluster, nodes, tell }) {
			tell("all nodes restart, one after the other");
			for (const node of nodes) {
				await cluster.stop(node);
				await cluster.start(node);
			}
		},
	},
];

/** Every fault once in a seeded order, then again in another, until it is over. */
export async function runSchedule(stage: Stage, isOver: () => boolean): Promise<readonly string[]> {
	const done: string[] = [];
	let left: Fault[] = [];
	while (!isOver()) {
		if (left.length === 0) left = [...FAULTS];
		const [fault] = left.splice(stage.random.below(left.length), 1);
		await fault!.run(stage);
		done.push(fault!.name);
		await Bun.sleep(500 + stage.random.below(1_000));
	}
	return done;
}
