import {
	type GossipSub,
	type GossipSubComponents,
	type GossipsubOpts,
	gossipsub,
	TopicValidatorResult,
} from "@libp2p/gossipsub";
import type { Connection, PeerId, Topology as ProtocolListener, StreamHandler } from "@libp2p/interface";
import type { NodeId } from "../../base/ids.ts";
import type { Direction } from "./frame-stream.ts";
import type { PeerAdmission } from "./member-connections.ts";
import { decodeBody, encodeBody } from "./peer-codec.ts";
import { PEER_LIMITS } from "./peer-limits.ts";
import type { PeerBroadcast } from "./peer-types.ts";

type Registrar = GossipSubComponents["registrar"];
type Meters = NonNullable<GossipsubOpts["metricsRegister"]>;

export interface MemberGossipParts {
	readonly admission: Pick<PeerAdmission, "nodeIdOf" | "isRetired">;
	readonly components: GossipSubComponents;
	readonly onBytes: (direction: Direction, byteCount: number) => void;
	readonly log: (message: string, facts: Readonly<Record<string, unknown>>) => void;
}

/**
 * gossipsub among members: streams of strangers are refused, none are opened to them, and what a stranger signed is dropped,
 * whoever brings it. Clusters are small, so whoever has news tells all members at once.
 */
export class MemberGossip implements PeerBroadcast {
	readonly #parts: MemberGossipParts;
	readonly #pubsub: GossipSub & { start(): Promise<void>; stop(): Promise<void> };
	/** Whom gossipsub wants told of members that come and go. */
	readonly #listeners = new Set<ProtocolListener>();
	readonly #subscribers = new Map<string, ((body: unknown, from: NodeId) => void)[]>();
	#isStarted = false;

	constructor(parts: MemberGossipParts) {
		this.#parts = parts;
		const { components, onBytes } = parts;
		this.#pubsub = gossipsub({
			globalSignaturePolicy: "StrictSign",
			floodPublish: true,
			emitSelf: false,
			allowPublishToZeroTopicPeers: true,
			ignoreDuplicatePublishError: true,
			fallbackToFloodsub: false,
			doPX: false,
			// Members may share an address, and a slow one is no enemy.
			scoreParams: { IPColocationFactorWeight: 0, behaviourPenaltyWeight: 0 },
			// A node that comes back is told again at once.
			pruneBackoff: 5_000,
			unsubcribeBackoff: 2_000,
			maxInboundDataLength: 4 * PEER_LIMITS.broadcastBytesMax,
			maxOutboundBufferSize: 64 * PEER_LIMITS.broadcastBytesMax,
			metricsRegister: byteMeter(onBytes),
			metricsTopicStrToLabel: new Map(),
		})({
			// One by one: what libp2p gives is no plain object.
			privateKey: components.privateKey,
			peerId: components.peerId,
			peerStore: components.peerStore,
			connectionManager: components.connectionManager,
			logger: components.logger,
			registrar: this.#guarded(components.registrar),
		}) as GossipSub & { start(): Promise<void>; stop(): Promise<void> };
		this.#pubsub.addEventListener("message", ({ detail }) => {
			if (detail.type === "signed") this.#deliver(detail.topic, detail.data, detail.from);
		});
	}

	/** Called by libp2p, as is `stop`. */
	async start(): Promise<void> {
		await this.#pubsub.start();
		this.#isStarted = true;
		for (const topic of this.#subscribers.keys()) this.#pubsub.subscribe(topic);
	}

	async stop(): Promise<void> {
		this.#isStarted = false;
		await this.#pubsub.stop();
	}

	/** There is a connection to a member. To be told again now and then: a stream may have been lost with another connection. */
	connected(connection: Connection): void {
		for (const listener of this.#listeners) void listener.onConnect?.(connection.remotePeer, checked(connection));
	}

	disconnected(peerId: PeerId): void {
		for (const listener of this.#listeners) void listener.onDisconnect?.(peerId);
	}

	publish(topic: string, body: unknown): void {
		if (!this.#isStarted) return;
		const { log } = this.#parts;
		const bytes = encodeBody(body);
		if (bytes.byteLength > PEER_LIMITS.broadcastBytesMax) {
			log("a message to all members is too large and was not sent", { topic, bytes: bytes.byteLength });
			return;
		}
		this.#pubsub.publish(topic, bytes).catch((error: unknown) => {
			log("a message to all members could not be sent", { topic, error: String(error) });
		});
	}

	subscribe(topic: string, listener: (body: unknown, from: NodeId) => void): void {
		const listeners = this.#subscribers.get(topic) ?? [];
		listeners.push(listener);
		this.#subscribers.set(topic, listeners);
		this.#pubsub.topicValidators.set(topic, (_sender, message) => {
			if (message.type !== "signed" || message.data.byteLength > PEER_LIMITS.broadcastBytesMax) {
				return TopicValidatorResult.Reject;
			}
			if (this.#signer(message.from) !== undefined) return TopicValidatorResult.Accept;
			// The sender may know of a newer topology with the signer in it.
			return TopicValidatorResult.Ignore;
		});
		if (this.#isStarted) this.#pubsub.subscribe(topic);
	}

	#deliver(topic: string, data: Uint8Array, signer: PeerId): void {
		const from = this.#signer(signer);
		if (from === undefined) return;
		try {
			const body = decodeBody(data);
			for (const listener of this.#subscribers.get(topic) ?? []) listener(body, from);
		} catch (error) {
			this.#parts.log("a message to all members could not be taken", { topic, from, error: String(error) });
		}
	}

	#signer(peerId: PeerId): NodeId | undefined {
		const { admission } = this.#parts;
		const id = peerId.toString();
		return admission.isRetired(id) ? undefined : admission.nodeIdOf(id);
	}

	/** A registrar that shows gossipsub members only. */
	#guarded(registrar: Registrar): Registrar {
		let listenerCount = 0;
		const guarded: Pick<Registrar, "handle" | "unhandle" | "register" | "unregister"> = {
			handle: (protocol, handler, options) => {
				const forMembers: StreamHandler = (stream, connection) => {
					// One that it takes no notice of, as it does until it has started, would look well to the other side for ever.
					if (this.#isStarted && this.#signer(connection.remotePeer) !== undefined) {
						return handler(stream, checked(connection));
					}
					stream.abort(new Error("not a member, or not yet"));
				};
				return registrar.handle(protocol, forMembers, options);
			},
			unhandle: (protocols, options) => registrar.unhandle(protocols, options),
			// It registers the same listener for every version of its protocol.
			register: async (_protocol, listener) => {
				this.#listeners.clear();
				this.#listeners.add(listener);
				return `members-${listenerCount++}`;
			},
			unregister: () => this.#listeners.clear(),
		};
		return guarded as Registrar;
	}
}

/** A connection whose new streams are open when they are given out: gossipsub takes a stream that was refused already for a good one. */
const checked = (connection: Connection): Connection =>
	new Proxy(connection, {
		get(target, name) {
			if (name !== "newStream") {
				const value: unknown = Reflect.get(target, name, target);
				return typeof value === "function" ? value.bind(target) : value;
			}
			return async (...args: Parameters<Connection["newStream"]>) => {
				const stream = await target.newStream(...args);
				if (stream.status !== "open") throw new Error(`the stream is ${stream.status}`);
				return stream;
			};
		},
	});

/** Of gossipsub's some hundred metrics: how many bytes came and went. */
function byteMeter(onBytes: MemberGossipParts["onBytes"]): Meters {
	const ignored = {
		inc: () => undefined,
		set: () => undefined,
		addCollect: () => undefined,
		observe: () => undefined,
		reset: () => undefined,
		startTimer: () => () => undefined,
	};
	const meter = (direction: Direction) => ({ ...ignored, inc: (byteCount: number) => onBytes(direction, byteCount) });
	return {
		gauge: ({ name }: { readonly name: string }) => {
			if (name === "gossipsub_rpc_sent_bytes_total") return meter("sent");
			return name === "gossipsub_rpc_recv_bytes_total" ? meter("received") : ignored;
		},
		histogram: () => ignored,
		avgMinMax: () => ignored,
	} as unknown as Meters;
}
