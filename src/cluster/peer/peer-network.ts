import type { Connection, Stream } from "@libp2p/interface";
import type { Clock } from "../../base/clock.ts";
import { HiveError } from "../../base/errors.ts";
import type { NodeId, RandomBytes } from "../../base/ids.ts";
import type { Timers } from "../../base/timers.ts";
import { JOIN_METHOD } from "../membership/join.ts";
import { CallServer } from "./call-server.ts";
import type { Direction } from "./frame-stream.ts";
import { MemberConnections, type PeerAdmission } from "./member-connections.ts";
import { OutsiderProtocol } from "./outsider-protocol.ts";
import { PeerAddresses } from "./peer-addresses.ts";
import { PeerDialer } from "./peer-dialer.ts";
import type { PeerHost } from "./peer-host.ts";
import type { PeerIdentity } from "./peer-identity.ts";
import { PEER_LIMITS } from "./peer-limits.ts";
import { type Lane, PeerLink, type TrafficKind } from "./peer-link.ts";
import { PeerPings, PING_METHOD } from "./peer-pings.ts";
import {
	type CallOptions,
	type PeerBroadcast,
	type PeerCalls,
	PeerFailure,
	type PeerHandler,
	type PeerMethods,
} from "./peer-types.ts";

export interface PeerEvents {
	/** The node answered on a new connection, having had none. */
	connected(nodeId: NodeId): void;
	/** There is no connection to the node any more. */
	disconnected(nodeId: NodeId): void;
	/** Something came from the node. */
	heard(nodeId: NodeId): void;
}

export interface PeerNetworkParts {
	readonly identity: PeerIdentity;
	/** What this node speaks, `major.minor`. */
	readonly protocol: string;
	readonly admission: PeerAdmission;
	/** Answers JOIN_METHOD, asked by whoever has the secret and this identity. */
	readonly join: (body: unknown, peerId: string) => Promise<unknown>;
	readonly events: PeerEvents;
	/** Told to others in the place of the addresses listened at. Multiaddresses. */
	readonly advertise: readonly string[];
	readonly clock: Clock;
	readonly timers: Timers;
	readonly random: RandomBytes;
	readonly log: (message: string, facts: Readonly<Record<string, unknown>>) => void;
	readonly onBytes: (kind: TrafficKind, direction: Direction, byteCount: number) => void;
}

const OUTSIDER_PROTOCOL = "/hive-vector/join";
const OUTSIDER_STREAMS_MAX = 2;
/** A stream each for small calls and for bulk, and as many that are just being replaced. */
const MEMBER_STREAMS_MAX = 4;
const LANES: readonly Lane[] = ["calls", "bulk"];

/**
 * The connections between the cluster's members, and all that goes over them: calls, broadcasts, and the one question of those
 * who are no members yet.
 */
export class PeerNetwork implements PeerCalls, PeerMethods, PeerBroadcast {
	readonly #parts: PeerNetworkParts;
	readonly #host: PeerHost;
	readonly #connections: MemberConnections;
	readonly #addresses = new PeerAddresses();
	readonly #handlers = new Map<string, PeerHandler>();
	readonly #links = new Map<NodeId, PeerLink>();
	readonly #server: CallServer;
	readonly #outsiders: OutsiderProtocol;
	readonly #dialer: PeerDialer;
	readonly #pings: PeerPings;
	/** Members that answered on the connections they have now. */
	readonly #connected = new Set<NodeId>();
	/** Members known to speak another version. */
	readonly #foreign = new Set<NodeId>();
	/** Questions under way on a connection. */
	readonly #asking = new Map<string, number>();
	#stopping: Promise<void> | undefined;

	/** @param host made with a gater that asks `isWelcome`, and not started */
	constructor(parts: PeerNetworkParts, host: PeerHost) {
		this.#parts = parts;
		this.#host = host;
		const { admission, timers, clock, random, log, onBytes } = parts;
		const onDefect = (method: string, error: unknown): void => {
			log("a call of another node failed", { method, error: error instanceof Error ? error.stack : String(error) });
		};
		this.#connections = new MemberConnections({
			admission,
			timers,
			onOpened: (nodeId, connection) => {
				host.gossip.connected(connection);
				this.#links.get(nodeId)?.renew();
				this.#pings.begin(nodeId);
				for (const older of this.#connections.allTo(nodeId)) if (older !== connection) void this.#verify(older);
			},
			onLost: (nodeId, peerId) => this.#lost(nodeId, () => host.gossip.disconnected(peerId)),
		});
		this.#server = new CallServer({ handlers: this.#handlers, timers, onDefect });
		this.#outsiders = new OutsiderProtocol({
			join: parts.join,
			timers,
			onBytes: (direction, byteCount) => onBytes("outsiders", direction, byteCount),
			onDefect,
		});
		this.#dialer = new PeerDialer({
			ownPeerId: parts.identity.peerId,
			admission,
			addresses: this.#addresses,
			isConnected: (nodeId) => this.#connections.to(nodeId) !== undefined,
			dial: async ({ peerId }, address) => {
				await host.dial(address, peerId, AbortSignal.timeout(PEER_LIMITS.dialMsMax));
			},
			timers,
			random,
			log,
		});
		this.#pings = new PeerPings({
			protocol: parts.protocol,
			call: (nodeId, method, body, timeoutMs) => this.call(nodeId, method, body, { timeoutMs }),
			onSilent: (nodeId) => this.#connections.giveUp(nodeId, "the node is silent"),
			onForeign: (nodeId) => this.#refuseForeign(nodeId),
			onTick: () => this.#look(),
			clock,
			timers,
		});
		this.#handlers.set(PING_METHOD, this.#pings.answer);
		host.libp2p.addEventListener("connection:open", ({ detail }) => this.#connections.opened(detail));
		host.libp2p.addEventListener("connection:close", ({ detail }) => this.#connections.closed(detail));
	}

	/** Whether a peer that proved its identity may have a connection. */
	isWelcome(peerId: string): boolean {
		return this.#connections.isWelcome(peerId);
	}

	/**
	 * Listens, and connects to members from now on.
	 *
	 * @throws CONFLICT when another one listens there; VALIDATION_FAILED when it can't listen there
	 */
	async start(): Promise<void> {
		const { libp2p } = this.#host;
		await libp2p.handle(
			OUTSIDER_PROTOCOL,
			(stream, { remotePeer }) => this.#serveOutsider(stream, remotePeer.toString()),
			{
				maxInboundStreams: OUTSIDER_STREAMS_MAX,
			},
		);
		for (const lane of LANES) {
			const options = { maxInboundStreams: MEMBER_STREAMS_MAX, maxOutboundStreams: MEMBER_STREAMS_MAX };
			await libp2p.handle(
				this.#protocolOf(lane),
				(stream, { remotePeer }) => this.#serve(lane, stream, remotePeer.toString()),
				options,
			);
		}
		try {
			await libp2p.start();
		} catch (cause) {
			await this.stop();
			if (String(cause).includes("EADDRINUSE")) {
				throw new HiveError(
					"CONFLICT",
					"cannot listen for other nodes: another program listens there; give cluster.listen (--listen) another port",
					{ field: "cluster.listen" },
					{ cause },
				);
			}
			throw new HiveError(
				"VALIDATION_FAILED",
				"the node can't listen at the address for other nodes",
				{ field: "cluster.listen" },
				{ cause },
			);
		}
		this.#dialer.look();
	}

	/** Where others can reach this node: multiaddresses. */
	get addresses(): readonly string[] {
		if (this.#parts.advertise.length > 0) return this.#parts.advertise;
		const listening = this.#host.listeningAt();
		const distant = listening.filter((address) => !LOOPBACK.test(address));
		return distant.length > 0 ? distant : listening;
	}

	handle(method: string, handler: PeerHandler): void {
		if (this.#handlers.has(method)) throw new Error(`the method ${method} has a handler`);
		this.#handlers.set(method, handler);
	}

	async call(nodeId: NodeId, method: string, body: unknown, options: CallOptions): Promise<unknown> {
		if (this.#connections.to(nodeId) === undefined) {
			throw new PeerFailure("unreachable", nodeId, "there is no connection to the node");
		}
		return this.#link(nodeId).call(method, body, options);
	}

	isConnected(nodeId: NodeId): boolean {
		return this.#connected.has(nodeId);
	}

	publish(topic: string, body: unknown): void {
		this.#host.gossip.publish(topic, body);
	}

	subscribe(topic: string, listener: (body: unknown, from: NodeId) => void): void {
		this.#host.gossip.subscribe(topic, listener);
	}

	/** The topology has changed. */
	peersChanged(): void {
		this.#connections.peersChanged();
		this.#dialer.look();
	}

	/** A peer said where it can be found. */
	learnAddresses(peerId: string, addresses: readonly string[]): void {
		this.#addresses.learn(peerId, addresses);
	}

	/**
	 * Asks whoever answers at a multiaddress, as one who has the secret, for the one thing that needs no membership.
	 *
	 * @throws the HiveError the other side threw; Error when no answer came within a bounded time
	 */
	async ask(address: string, method: typeof JOIN_METHOD, body: unknown): Promise<unknown> {
		if (method !== JOIN_METHOD) throw new Error(`nobody answers ${String(method)} to a stranger`);
		const connection = await this.#dialStranger(address);
		const { id } = connection;
		this.#asking.set(id, (this.#asking.get(id) ?? 0) + 1);
		try {
			const stream = await connection.newStream(OUTSIDER_PROTOCOL, {
				signal: AbortSignal.timeout(PEER_LIMITS.dialMsMax),
			});
			return await this.#outsiders.ask(stream, body);
		} finally {
			const others = this.#asking.get(id)! - 1;
			if (others > 0) this.#asking.set(id, others);
			else this.#asking.delete(id);
			this.#parts.timers.after(PEER_LIMITS.outsiderLingerMs, () => {
				if (!this.#asking.has(id) && this.#connections.isStranger(connection)) connection.abort(new Error("asked"));
			});
		}
	}

	async #dialStranger(address: string): Promise<Connection> {
		try {
			return await this.#host.dial(address, undefined, AbortSignal.timeout(PEER_LIMITS.dialMsMax));
		} catch (cause) {
			const why = String(cause);
			// Who has another secret can't even say so.
			const isOther = why.includes("handshake") || why.includes("Unexpected EOF");
			throw isOther
				? new Error("what answers there has another cluster.secret, or is no node's port for other nodes (7802)", {
						cause,
					})
				: cause;
		}
	}

	/** Gives up the connections to a node, which is then dialled anew: something about them is wrong that calls don't show. */
	reconnect(nodeId: NodeId, why: string): void {
		this.#connections.giveUp(nodeId, why);
	}

	/** Multiaddresses at which nodes of this cluster were found on the local network. */
	discovered(): readonly string[] {
		return this.#host.discovered();
	}

	/** The node's wall clock minus this one's, in milliseconds, give or take half a round trip; undefined: not known. */
	clockOffsetMs(nodeId: NodeId): number | undefined {
		return this.#pings.clockOffsetMs(nodeId);
	}

	/** What the node speaks, `major.minor`; undefined: not known. */
	protocolOf(nodeId: NodeId): string | undefined {
		return this.#pings.protocolOf(nodeId);
	}

	/** Fails every call under way. */
	stop(): Promise<void> {
		this.#stopping ??= this.#stop();
		return this.#stopping;
	}

	async #stop(): Promise<void> {
		this.#dialer.stop();
		this.#pings.stop();
		this.#connections.stop();
		const { promise: patience, resolve } = Promise.withResolvers<void>();
		const callOff = this.#parts.timers.after(PEER_LIMITS.stopMsMax, resolve);
		const stopped = Promise.resolve(this.#host.libp2p.stop()).catch((error: unknown) => {
			this.#parts.log("the network did not stop cleanly", { error: String(error) });
		});
		await Promise.race([stopped, patience]);
		callOff();
	}

	#serve(lane: Lane, stream: Stream, peerId: string): void {
		const { admission, onBytes } = this.#parts;
		const from = admission.isRetired(peerId) ? undefined : admission.nodeIdOf(peerId);
		if (from === undefined) stream.abort(new Error("not a member"));
		else {
			this.#server.serve({
				stream,
				from,
				onAlive: () => this.#heard(from),
				onBytes: (direction, byteCount) => onBytes(lane, direction, byteCount),
			});
		}
	}

	#serveOutsider(stream: Stream, peerId: string): void {
		if (this.#parts.admission.isRetired(peerId)) stream.abort(new Error("not welcome"));
		else this.#outsiders.serve(stream, peerId);
	}

	#link(nodeId: NodeId): PeerLink {
		const known = this.#links.get(nodeId);
		if (known !== undefined) return known;
		const link = new PeerLink({
			nodeId,
			openStream: (lane, signal) => this.#openStream(nodeId, lane, signal),
			onAlive: () => this.#heard(nodeId),
			onBytes: this.#parts.onBytes,
			timers: this.#parts.timers,
		});
		this.#links.set(nodeId, link);
		return link;
	}

	async #openStream(nodeId: NodeId, lane: Lane, signal: AbortSignal): Promise<Stream> {
		const connection = this.#connections.to(nodeId);
		if (connection === undefined) throw new PeerFailure("unreachable", nodeId, "there is no connection to the node");
		try {
			return await connection.newStream(this.#protocolOf(lane), { signal });
		} catch (cause) {
			if ((cause as Error).name !== "UnsupportedProtocolError") throw cause;
			throw new PeerFailure("unsupported", nodeId, "the node speaks another version of the protocol", { cause });
		}
	}

	/** A node that came back after it had lost its power knows nothing of the connections it had. */
	async #verify(connection: Connection): Promise<void> {
		try {
			const signal = AbortSignal.timeout(PEER_LIMITS.dialMsMax);
			const stream = await connection.newStream(this.#protocolOf("calls"), { signal });
			stream.abort(new Error("not needed"));
		} catch {
			connection.abort(new Error("a newer connection has taken its place"));
		}
	}

	/** Versions of the same major number understand each other: what one of them lacks it says. */
	#protocolOf(lane: Lane): string {
		return `/hive-vector/${lane}/${this.#parts.protocol.split(".")[0]}`;
	}

	#heard(nodeId: NodeId): void {
		this.#pings.heard(nodeId);
		this.#dialer.heard(nodeId);
		this.#foreign.delete(nodeId);
		const { events } = this.#parts;
		if (!this.#connected.has(nodeId) && this.#connections.to(nodeId) !== undefined) {
			this.#connected.add(nodeId);
			this.#tell(() => events.connected(nodeId));
		}
		this.#tell(() => events.heard(nodeId));
	}

	#lost(nodeId: NodeId, tellGossip: () => void): void {
		tellGossip();
		this.#pings.end(nodeId);
		this.#links.get(nodeId)?.drop();
		this.#links.delete(nodeId);
		if (this.#connected.delete(nodeId)) this.#tell(() => this.#parts.events.disconnected(nodeId));
		this.#dialer.look();
	}

	#refuseForeign(nodeId: NodeId): void {
		if (!this.#foreign.has(nodeId)) {
			this.#foreign.add(nodeId);
			this.#parts.log("a node speaks another version of the protocol", {
				node_id: nodeId,
				protocol: this.#parts.protocol,
			});
		}
		this.#connections.giveUp(nodeId, "another version of the protocol");
	}

	/** What may have been missed is made up for. */
	#look(): void {
		for (const nodeId of this.#connections.connectedMembers) {
			const connection = this.#connections.to(nodeId);
			if (connection !== undefined) this.#host.gossip.connected(connection);
		}
		this.#dialer.look();
	}

	#tell(tell: () => void): void {
		try {
			tell();
		} catch (error) {
			this.#parts.log("a listener to the network failed", { error: String(error) });
		}
	}
}

const LOOPBACK = /^\/(ip4\/127\.|ip6\/::1\/|dns[46]?\/localhost\/)/;
