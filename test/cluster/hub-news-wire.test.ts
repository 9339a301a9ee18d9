import { describe, expect, test } from "bun:test";
import type { NodeId } from "../../src/base/ids.ts";
import { HubNewsWire } from "../../src/cluster/hub-news-wire.ts";
import { SoloMembership } from "../../src/cluster/membership/solo-membership.ts";
import type { PeerHandler } from "../../src/cluster/peer/peer-types.ts";
import { MemoryNodes, nodeIdOf, topologyOf } from "./repair/memory-nodes.ts";
import { VirtualTime } from "./repair/virtual-time.ts";

function wires() {
	const time = new VirtualTime();
	const world = new MemoryNodes(topologyOf(1, { a: "active", b: "active", c: "active" }));
	const read: string[] = [];
	let isUp = true;
	let hangs = false;
	const wireOf = (name: string): HubNewsWire =>
		new HubNewsWire({
			membership: world.node(name),
			calls: world.peersOf(nodeIdOf(name)),
			methods: world.node(name),
			timers: time,
			isHubUp: () => isUp,
			catchUp: async () => {
				read.push(name);
				if (hangs) await new Promise<void>(() => {});
				return 7;
			},
		});
	const [a] = ["a", "b", "c"].map(wireOf);
	return {
		time,
		world,
		read,
		wire: a!,
		setUp: (value: boolean) => {
			isUp = value;
		},
		hang: () => {
			hangs = true;
		},
	};
}

describe("what the hub decided", () => {
	test("is read anew before a node says that something is not there, if the hub answers", async () => {
		const { wire, read, setUp } = wires();
		await wire.catchUp();
		expect(read).toEqual(["a"]);
		setUp(false);
		await wire.catchUp();
		expect(read).toEqual(["a"]);
	});

	test("is not waited for without end", async () => {
		const { wire, time, hang } = wires();
		hang();
		let isDone = false;
		void wire.catchUp().then(() => {
			isDone = true;
		});
		await time.pass(2_000);
		expect(isDone).toBe(true);
	});

	test("is read by all others that live when a node tells them to, and by nobody who is away", async () => {
		const { wire, read, world } = wires();
		await wire.tellMembers();
		expect(read.sort()).toEqual(["b", "c"]);
		world.setDown("b", true);
		world.node("c").methods.set("hub.catch_up", (async () => {
			throw new Error("busy");
		}) satisfies PeerHandler);
		await wire.tellMembers();
		expect(read.sort()).toEqual(["b", "c"]);
	});

	test("is known anyway to a node alone", async () => {
		const read: string[] = [];
		const alone = {
			call: async () => undefined,
			isConnected: () => false,
			handle: () => {},
		};
		const wire = new HubNewsWire({
			membership: new SoloMembership("node_a" as NodeId),
			calls: alone,
			methods: alone,
			timers: new VirtualTime(),
			isHubUp: () => true,
			catchUp: async () => read.push("a"),
		});
		await wire.catchUp();
		await wire.tellMembers();
		expect(read).toEqual([]);
	});
});
