import { expect } from "bun:test";
import type { NodeId } from "../../src/base/ids.ts";
import { HUB_METHOD } from "../../src/cluster/hub-over-peers.ts";
import { decodeBody, encodeBody } from "../../src/cluster/peer/peer-codec.ts";
import type { CallOptions, PeerCalls, PeerHandler } from "../../src/cluster/peer/peer-types.ts";

/** The node that asks. */
export const JOINED = "node_joinedjoinedjoi" as NodeId;

/** Calls that reach a handler in the form in which they travel. */
export class HubWire implements PeerCalls {
	readonly options: CallOptions[] = [];
	readonly bodies: unknown[] = [];

	constructor(private readonly handler: PeerHandler) {}

	async call(_nodeId: NodeId, method: string, body: unknown, options: CallOptions): Promise<unknown> {
		expect(method).toBe(HUB_METHOD);
		this.options.push(options);
		this.bodies.push(body);
		const signal = options.signal ?? new AbortController().signal;
		return decodeBody(encodeBody(await this.handler(decodeBody(encodeBody(body)), { from: JOINED, signal })));
	}

	isConnected(): boolean {
		return true;
	}
}
