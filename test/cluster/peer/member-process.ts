import { privateKeyFromProtobuf } from "@libp2p/crypto/keys";
import { peerIdFromPrivateKey } from "@libp2p/peer-id";
import type { NodeId } from "../../../src/base/ids.ts";
import { admit, knownAs, PeerRig } from "./peer-rig.ts";

/** A member in a process of its own: `bun member-process.ts <key> <node id> <peer id of the other> <node id> <address>`. */
const [key, nodeId, otherPeerId, otherNodeId, address] = process.argv.slice(2) as [
	string,
	string,
	string,
	string,
	string,
];
const privateKey = privateKeyFromProtobuf(Buffer.from(key, "base64"));
const identity = { privateKey, peerId: peerIdFromPrivateKey(privateKey).toString() };
const node = await new PeerRig().node({ identity, nodeId: nodeId as NodeId });
node.network.handle("echo", async (body) => body);
node.topology.members.set(otherPeerId, { nodeId: otherNodeId as NodeId, peerId: otherPeerId, addresses: [address] });
admit([node]);
console.log(JSON.stringify(knownAs(node)));
setInterval(() => undefined, 60_000);
