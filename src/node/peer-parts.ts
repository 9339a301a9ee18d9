import { createServer } from "node:net";
import type { Clock } from "../base/clock.ts";
import { CLUSTER_PORT, multiaddressOf, parseClusterAddress } from "../base/cluster-address.ts";
import type { NodeId } from "../base/ids.ts";
import { systemTimers } from "../base/timers.ts";
import { CLUSTER_PROTOCOL, joinHandler } from "../cluster/membership/join.ts";
import { Liveness } from "../cluster/membership/liveness.ts";
import { MedianClock } from "../cluster/membership/median-clock.ts";
import { askTopologyOver, TOPOLOGY_METHOD, topologyHandler } from "../cluster/membership/topology-exchange.ts";
import { TopologyFile } from "../cluster/membership/topology-file.ts";
import { TopologyKeeper } from "../cluster/membership/topology-keeper.ts";
import { openPeerNetwork } from "../cluster/peer/open-peer-network.ts";
import { loadPeerIdentity } from "../cluster/peer/peer-identity.ts";
import type { PeerNetwork } from "../cluster/peer/peer-network.ts";
import type { HubClient } from "../hub/hub-client-types.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { DataFolder } from "./data-folder.ts";
import type { ProcessParts } from "./process-parts.ts";
import type { Settings } from "./settings.ts";
import { splitList } from "./settings-schema.ts";
import type { Teardown } from "./teardown.ts";

/** Who the cluster's members are, who of them lives, and the way to them. */
export interface PeerParts {
	readonly keeper: TopologyKeeper;
	readonly network: PeerNetwork;
	/** That members agree on, more or less. */
	readonly agreedClock: Clock;
	/** A node has answered on a new connection. To be called before the network starts. */
	onConnected(listener: (nodeId: NodeId) => void): void;
	/** The node said that it stops: what it still sends is no sign of life. */
	leaves(nodeId: NodeId): void;
	/** It was started again. */
	returns(nodeId: NodeId): void;
}

export interface PeerPartsOptions {
	readonly settings: Settings;
	readonly folder: DataFolder;
	readonly secret: string;
	readonly hub: HubClient;
	readonly metrics: Metrics;
	readonly parts: ProcessParts;
	readonly teardown: Teardown;
}

/** The network, not started: what other nodes may ask has to be known first. @throws VALIDATION_FAILED for a damaged identity */
export async function openPeerParts(options: PeerPartsOptions): Promise<PeerParts> {
	const { folder, hub, metrics, teardown } = options;
	const { cluster } = options.settings.values;
	const { clock, random, log } = options.parts;
	const timers = systemTimers;
	const tell = (message: string, facts: Readonly<Record<string, unknown>>): void => log.info(facts, message);
	const warn = (message: string, facts: Readonly<Record<string, unknown>>): void => log.warn(facts, message);

	const liveness = new Liveness({ clock, timers });
	teardown.add(() => liveness.stop());
	const identity = await loadPeerIdentity(folder.nodeKeyPath);
	const keeper = new TopologyKeeper({
		self: folder.nodeId,
		peerId: identity.peerId,
		hub,
		file: new TopologyFile(folder.clusterStatePath, (why) =>
			log.error({ reason: why }, "what this node knew of the cluster's topology can't be read: it is asked for anew"),
		),
		liveness,
		askMember: (nodeId) => askTopologyOver(network)(nodeId),
		clock,
		timers,
		random,
		log: warn,
	});
	const leaving = new Set<NodeId>();
	const connectedListeners: ((nodeId: NodeId) => void)[] = [];
	const network: PeerNetwork = await openPeerNetwork({
		identity,
		secret: Buffer.from(options.secret),
		protocol: CLUSTER_PROTOCOL,
		listen: await listenAddresses(options.settings, warn),
		advertise: cluster.advertise.map(asMultiaddress),
		mdns: cluster.mdns,
		admission: keeper,
		join: joinHandler(keeper, ({ addresses, node_id }, peerId) => {
			log.info({ node_id, addresses }, "a node was let into the cluster");
			network.learnAddresses(peerId, addresses);
		}),
		events: {
			connected(nodeId) {
				leaving.delete(nodeId);
				liveness.connected(nodeId);
				for (const listener of connectedListeners) listener(nodeId);
			},
			disconnected: (nodeId) => liveness.disconnected(nodeId),
			heard(nodeId) {
				if (!leaving.has(nodeId)) liveness.heard(nodeId);
			},
		},
		clock,
		timers,
		random,
		log: tell,
		onBytes(kind, direction, byteCount) {
			if (kind === "gossip") metrics.countGossipBytes(direction, byteCount);
			else metrics.countPeerBytes(direction, byteCount);
		},
	});
	network.handle(TOPOLOGY_METHOD, topologyHandler(keeper));
	keeper.onChange(() => network.peersChanged());
	return {
		keeper,
		network,
		agreedClock: new MedianClock({
			clock,
			membership: keeper,
			offsetMs: (nodeId) => network.clockOffsetMs(nodeId),
		}),
		onConnected: (listener) => void connectedListeners.push(listener),
		leaves(nodeId) {
			leaving.add(nodeId);
			liveness.left(nodeId);
		},
		returns: (nodeId) => void leaving.delete(nodeId),
	};
}

/** Where to listen. Of the default address another port is taken when that one is in use: two nodes on one machine need no settings. */
async function listenAddresses(
	settings: Settings,
	warn: (message: string, facts: Readonly<Record<string, unknown>>) => void,
): Promise<readonly string[]> {
	const { listen } = settings.values.cluster;
	if (settings.explicitlySet("cluster.listen") || !(await isInUse(CLUSTER_PORT))) return splitList(listen);
	warn(
		"the default port for other nodes is in use, another one is taken: set cluster.listen to have it stay the same",
		{
			port: CLUSTER_PORT,
		},
	);
	return ["/ip4/0.0.0.0/tcp/0"];
}

async function isInUse(port: number): Promise<boolean> {
	const { promise, resolve } = Promise.withResolvers<boolean>();
	const probe = createServer();
	probe.once("error", (cause) => resolve((cause as NodeJS.ErrnoException).code === "EADDRINUSE"));
	probe.listen(port, "0.0.0.0", () => probe.close(() => resolve(false)));
	return promise;
}

function asMultiaddress(text: string): string {
	const address = parseClusterAddress(text);
	if (address?.kind !== "place") throw new Error(`not a place: ${text}`);
	return multiaddressOf(address.host, address.port);
}
