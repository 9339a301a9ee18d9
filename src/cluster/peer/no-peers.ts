import type { NodeId } from "../../base/ids.ts";
import { type PeerBroadcast, type PeerCalls, PeerFailure, type PeerMethods } from "./peer-types.ts";

/** What a node alone has for a network: nobody to call, nobody who listens. */
export class NoPeers implements PeerCalls, PeerMethods, PeerBroadcast {
	async call(nodeId: NodeId): Promise<never> {
		throw new PeerFailure("unreachable", nodeId, "this node is alone");
	}

	isConnected(): boolean {
		return false;
	}

	handle(): void {}

	publish(): void {}

	subscribe(): void {}
}
