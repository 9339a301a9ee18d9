import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { NodeId } from "../../../src/base/ids.ts";
import { PEER_LIMITS } from "../../../src/cluster/peer/peer-limits.ts";
import { admit, allConnected, knownAs, PeerRig, type RigNode, until } from "./peer-rig.ts";
import { RawPeer } from "./raw-peer.ts";

const TOPIC = "records";

let rig: PeerRig;
const raw: RawPeer[] = [];
beforeEach(() => {
	rig = new PeerRig();
});
afterEach(async () => {
	await Promise.all(raw.splice(0).map((peer) => peer.close()));
	await rig.close();
});

interface Heard {
	readonly by: NodeId;
	readonly body: unknown;
	readonly from: NodeId;
}

function listen(nodes: readonly RigNode[]): Heard[] {
	const heard: Heard[] = [];
	for (const { network, nodeId } of nodes) {
		network.subscribe(TOPIC, (body, from) => heard.push({ by: nodeId, body, from }));
	}
	return heard;
}

/** Says it again until everybody else heard it: whoever has just subscribed may have missed the first. */
async function tellAll(from: RigNode, others: readonly RigNode[], heard: readonly Heard[]): Promise<void> {
	const word = crypto.randomUUID();
	await until(() => {
		from.network.publish(TOPIC, { word });
		return others.every(({ nodeId }) =>
			heard.some(({ by, body }) => by === nodeId && (body as { word?: string }).word === word),
		);
	});
}

describe("what a member tells all", () => {
	test("is heard by every other one under its name, and not by itself", async () => {
		const nodes = await rig.cluster(3);
		const heard = listen(nodes);
		for (const node of nodes) {
			const others = nodes.filter((other) => other !== node);
			await tellAll(node, others, heard);
		}
		expect(heard.filter(({ by, from }) => by === from)).toEqual([]);
		expect(nodes[0]!.traffic.get("gossip sent")).toBeGreaterThan(0);
		expect(nodes[1]!.traffic.get("gossip received")).toBeGreaterThan(0);
	});

	test("may be as large as agreed, and is not sent when it is larger", async () => {
		const nodes = (await rig.cluster(2)) as [RigNode, RigNode];
		const heard = listen(nodes);
		await tellAll(nodes[0], [nodes[1]], heard);
		const largest = "x".repeat(PEER_LIMITS.broadcastBytesMax - 5);
		nodes[0].network.publish(TOPIC, largest);
		await until(() => heard.some(({ body }) => body === largest));
		nodes[0].network.publish(TOPIC, `${largest}xxxxxx`);
		expect(nodes[0].logged).toContain("a message to all members is too large and was not sent");
	});

	test("reaches a node that came back, and one that came later", async () => {
		const nodes = await rig.cluster(2);
		const heard = listen(nodes);
		await tellAll(nodes[0]!, [nodes[1]!], heard);
		const [first, second] = nodes as [RigNode, RigNode];
		const { addresses } = second.network;
		await second.network.stop();
		await until(() => !first.network.isConnected(second.nodeId));
		const again = await rig.node({ identity: second.identity, nodeId: second.nodeId, listen: addresses });
		const later = await rig.node();
		const all = [first, again, later];
		const heardNow = listen(all);
		admit(all);
		await allConnected(all);
		await tellAll(first, [again, later], heardNow);
		await tellAll(later, [first, again], heardNow);
	});

	test("that a listener can't take does not keep others from it", async () => {
		const [one, other] = (await rig.cluster(2)) as [RigNode, RigNode];
		const heard = listen([other]);
		other.network.subscribe(TOPIC, () => {
			throw new Error("no");
		});
		await tellAll(one, [other], heard);
		expect(other.logged).toContain("a message to all members could not be taken");
	});
});

describe("a stranger with the secret", () => {
	/** One that takes part in gossip as if it were a member, connected to a node. */
	async function intruder(node: RigNode, others: readonly RigNode[]): Promise<{ peer: RawPeer; heard: unknown[] }> {
		const peer = await RawPeer.open();
		raw.push(peer);
		for (const other of others) peer.topology.members.set(other.identity.peerId, knownAs(other));
		const heard: unknown[] = [];
		peer.host.gossip.subscribe(TOPIC, (body) => heard.push(body));
		const connection = await peer.dial(node.network.addresses[0]!);
		peer.host.gossip.connected(connection);
		return { peer, heard };
	}

	test("is neither told anything nor heard", async () => {
		const nodes = (await rig.cluster(2)) as [RigNode, RigNode];
		const heard = listen(nodes);
		const { peer, heard: overheard } = await intruder(nodes[0], nodes);
		for (let round = 0; round < 5; round++) {
			peer.host.gossip.publish(TOPIC, { word: "forged" });
			await tellAll(nodes[0], [nodes[1]], heard);
			for (const connection of peer.host.libp2p.getConnections()) peer.host.gossip.connected(connection);
		}
		expect(overheard).toEqual([]);
		expect(heard.filter(({ body }) => (body as { word: string }).word === "forged")).toEqual([]);
	});

	test("is not heard through a member that takes it for one either", async () => {
		const nodes = (await rig.cluster(2)) as [RigNode, RigNode];
		const [fooled, other] = nodes;
		const heard = listen(nodes);
		await tellAll(other, [fooled], heard);
		const { peer } = await intruder(fooled, [fooled]);
		const nodeId = "node_eeeeeeeeeeeeeeee" as NodeId;
		fooled.topology.members.set(peer.identity.peerId, { nodeId, peerId: peer.identity.peerId, addresses: [] });
		await peer.host.libp2p.handle("/hive-vector/calls/1", () => undefined);
		fooled.network.peersChanged();
		await until(() => {
			for (const connection of peer.host.libp2p.getConnections()) peer.host.gossip.connected(connection);
			peer.host.gossip.publish(TOPIC, { word: "smuggled" });
			return heard.some(({ by, from }) => by === fooled.nodeId && from === nodeId);
		});
		await tellAll(fooled, [other], heard);
		expect(heard.filter(({ by, from }) => by === other.nodeId && from === nodeId)).toEqual([]);
	});
});
