import type { Connection, PeerId } from "@libp2p/interface";
import type { NodeId } from "../../base/ids.ts";
import type { Timers } from "../../base/timers.ts";
import type { TopologyKeeper } from "../membership/topology-keeper.ts";
import { PEER_LIMITS } from "./peer-limits.ts";

/** Who may be heard. */
export type PeerAdmission = Pick<TopologyKeeper, "nodeIdOf" | "isRetired" | "peers">;

export interface MemberConnectionsParts {
	readonly admission: PeerAdmission;
	readonly timers: Timers;
	/** A connection to a member is there, maybe besides others. */
	readonly onOpened: (nodeId: NodeId, connection: Connection) => void;
	/** The last connection to a member is gone. */
	readonly onLost: (nodeId: NodeId, peerId: PeerId) => void;
}

interface Held {
	readonly connection: Connection;
	/** Undefined: a stranger, who has the secret. */
	nodeId: NodeId | undefined;
	/** A stranger's time is short. */
	callOff: () => void;
}

/** The open connections, and whose they are. Both sides may have opened one: the newest is used. */
export class MemberConnections {
	readonly #parts: MemberConnectionsParts;
	readonly #held = new Map<string, Held>();
	#isStopped = false;

	constructor(parts: MemberConnectionsParts) {
		this.#parts = parts;
	}

	/** Whether a peer that proved its identity may have a connection at all. */
	isWelcome(peerId: string): boolean {
		const { admission } = this.#parts;
		if (this.#isStopped || admission.isRetired(peerId)) return false;
		return admission.nodeIdOf(peerId) !== undefined || this.#strangers.length < PEER_LIMITS.outsidersMax;
	}

	opened(connection: Connection): void {
		const peerId = connection.remotePeer.toString();
		if (connection.status !== "open") return;
		if (this.#isStopped || this.#parts.admission.isRetired(peerId)) {
			connection.abort(new Error("a connection nobody wants"));
			return;
		}
		const held: Held = { connection, nodeId: undefined, callOff: () => undefined };
		this.#held.set(connection.id, held);
		if (this.#recognised(held)) return;
		held.callOff = this.#parts.timers.after(PEER_LIMITS.outsiderMs, () => connection.abort(new Error("time is up")));
	}

	closed(connection: Connection): void {
		const held = this.#held.get(connection.id);
		if (held === undefined) return;
		this.#held.delete(connection.id);
		held.callOff();
		if (held.nodeId !== undefined && this.to(held.nodeId) === undefined) {
			this.#parts.onLost(held.nodeId, connection.remotePeer);
		}
	}

	/** The newest connection to a member. */
	to(nodeId: NodeId): Connection | undefined {
		return this.allTo(nodeId).at(-1);
	}

	/** The oldest first. */
	allTo(nodeId: NodeId): readonly Connection[] {
		const connections: Connection[] = [];
		for (const held of this.#held.values()) {
			if (held.nodeId === nodeId && held.connection.status === "open") connections.push(held.connection);
		}
		return connections;
	}

	/** Members to whom there is a connection. */
	get connectedMembers(): readonly NodeId[] {
		return [...new Set([...this.#held.values()].flatMap(({ nodeId }) => nodeId ?? []))];
	}

	isStranger(connection: Connection): boolean {
		const held = this.#held.get(connection.id);
		return held !== undefined && held.nodeId === undefined;
	}

	/** Others are members now: strangers that became members are recognised, those that are no more lose their connections. */
	peersChanged(): void {
		const { admission } = this.#parts;
		for (const held of [...this.#held.values()]) {
			const peerId = held.connection.remotePeer.toString();
			const isGone = held.nodeId !== undefined && admission.nodeIdOf(peerId) !== held.nodeId;
			if (isGone || admission.isRetired(peerId))
				this.#abort(held.connection, "the node is no member of the cluster any more");
			else if (held.nodeId === undefined) this.#recognised(held);
		}
	}

	/** Gives up every connection to a member. */
	giveUp(nodeId: NodeId, reason: string): void {
		for (const { nodeId: held, connection } of [...this.#held.values()]) {
			if (held === nodeId) this.#abort(connection, reason);
		}
	}

	stop(): void {
		this.#isStopped = true;
		for (const { connection } of [...this.#held.values()]) this.#abort(connection, "this node stops");
	}

	get #strangers(): readonly Held[] {
		return [...this.#held.values()].filter(({ nodeId }) => nodeId === undefined);
	}

	/** @returns whether it is a member's */
	#recognised(held: Held): boolean {
		const nodeId = this.#parts.admission.nodeIdOf(held.connection.remotePeer.toString());
		if (nodeId === undefined) return false;
		held.nodeId = nodeId;
		held.callOff();
		this.#parts.onOpened(nodeId, held.connection);
		return true;
	}

	#abort(connection: Connection, reason: string): void {
		connection.abort(new Error(reason));
		// The event may come later, or, from a connection that is half closed already, never.
		this.closed(connection);
	}
}
