import { Database } from "bun:sqlite";
import { RedisClient } from "bun";
import { HiveError } from "../base/errors.ts";
import { newServiceKey } from "../base/ids.ts";
import { HUB_ORIGIN, hubRequestHandler } from "../cluster/hub-over-peers.ts";
import { TopologyFile } from "../cluster/membership/topology-file.ts";
import type { PeerHandler } from "../cluster/peer/peer-types.ts";
import { HubAge } from "../hub/hub-age.ts";
import { CachedHubDirectory, type HeardMark } from "../hub/hub-directory.ts";
import { HubHttpClient, type HubTransport, hubOrigin } from "../hub/hub-http-client.ts";
import { HUB_LIMITS } from "../hub/hub-limits.ts";
import type { RecordExchange } from "../hub/record-exchange.ts";
import { RecordExchanges } from "../hub/record-exchanges.ts";
import { RecordSeal } from "../hub/record-seal.ts";
import { RedisLink } from "../hub/redis-link.ts";
import { SharedRecords } from "../hub/shared-records.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { DataFolder } from "./data-folder.ts";
import { openEmbeddedHub } from "./embedded-hub.ts";
import type { ProcessParts } from "./process-parts.ts";
import type { Settings } from "./settings.ts";

/** A node's way to its hub, wherever that is. */
export interface HubLink {
	readonly directory: CachedHubDirectory;
	/** Answers members that reach the hub through this node; absent where the hub is not this node's alone. */
	readonly memberHandler?: PeerHandler;
	/** Path of the ADMIN key's file, when this start made one. */
	readonly adminKeyPath?: string;
	/** Settles when the hub is one that may be followed. @see HubAge @throws HUB_UNAVAILABLE */
	confirm(): Promise<void>;
	/** Closes the embedded hub, or what leads to a remote one. */
	close(): Promise<void>;
}

/** Calls in a process, or on the one connection to a member, cost nothing to keep waiting. */
const EMBEDDED_CALLS_MAX = 256;

/**
 * Whether the node uses the hub of another member: it looks for other nodes and none of its own was ever here. One that was the
 * first of its cluster stays its hub, also when it is told to join.
 *
 * @throws CONFLICT when what lies here would belong to nobody: where the hub is gone that named it, or another would take its place
 */
export function usesHubOfMember({ values: { cluster, hub } }: Settings, folder: DataFolder): boolean {
	const keepsHub = hub.mode === "embedded" && hub.database === "sqlite";
	if (!cluster.enabled) {
		if (folder.hasClusterState && !(folder.hasHubDatabase && isAlone(folder))) {
			throw refusedFolder("this data folder belongs to a node of a cluster: start it in cluster mode (--cluster)");
		}
		if (keepsHub) refuseLostHub(folder);
		return false;
	}
	if (!keepsHub) return false;
	if (folder.hasHubDatabase) {
		if (cluster.join.length > 0 && !folder.hasClusterState && !isHubOfCluster(folder)) {
			throw refusedFolder(
				"this data folder was used by a single-tenant node and can't join a cluster: start with an empty one, then import what the old one exports",
			);
		}
		return false;
	}
	const hasSecret = folder.readSecret("clusterSecret") !== undefined;
	// Whoever was given a secret, and has nothing else, has others to find.
	if (cluster.join.length > 0 || (cluster.mdns && (hasSecret || cluster.secret_file !== undefined))) return true;
	if (folder.hasClusterState) {
		throw refusedFolder(
			"this data folder belongs to a node of a cluster, and the hub is not here: start a node that has joined with cluster.join (--join); on the node that ran the hub, restore hub.db first",
		);
	}
	refuseLostHub(folder);
	return false;
}

/** A hub made anew would know nothing of what is stored here, and have it removed. */
function refuseLostHub(folder: DataFolder): void {
	if (folder.hasHubDatabase || !folder.hasTenants) return;
	throw refusedFolder(
		"this data folder has collections, and no hub.db that names them: restore it, or start with an empty folder",
	);
}

/** Whether the cluster that the node knew last had no other member. */
function isAlone(folder: DataFolder): boolean {
	const topology = new TopologyFile(folder.clusterStatePath, () => {}).load();
	return topology?.members.every(({ node_id }) => node_id === folder.nodeId) === true;
}

/** Of a restored backup the hub's database alone tells. */
function isHubOfCluster(folder: DataFolder): boolean {
	const database = new Database(folder.hubDatabasePath, { readonly: true });
	try {
		const row = database.query("SELECT version FROM topology").get() as { version: number } | null;
		return (row?.version ?? 0) > 0;
	} catch {
		// Whoever opens it for use says what is wrong with it.
		return false;
	} finally {
		database.close();
	}
}

const refusedFolder = (why: string): HiveError => new HiveError("CONFLICT", why, { field: "data_dir" });

/** What a cluster gives to a node's way to its hub. */
export interface HubLinkCompany {
	/** Leads to the hub of another member; given when `usesHubOfMember`. */
	readonly overPeers?: HubTransport | undefined;
	/** What other members had from the hub. */
	readonly gossiped?: RecordExchange | undefined;
	readonly heardMark?: HeardMark | undefined;
	/** Of the topology, on this node; 0: none. */
	readonly knownTopologyVersion?: () => number;
}

/** @throws HiveError HUB_UNAVAILABLE when the embedded hub's database can't be reached. Any other hub may come later. */
export async function openHubLink(
	settings: Settings,
	folder: DataFolder,
	parts: ProcessParts,
	metrics: Metrics,
	{ overPeers, gossiped, heardMark, knownTopologyVersion = () => 0 }: HubLinkCompany = {},
): Promise<HubLink> {
	const { hub, cluster, auth } = settings.values;
	const age = new HubAge(knownTopologyVersion);
	/** What every link has, however it leads to its hub. */
	const linkOver = (
		baseUrl: string,
		serviceKey: string,
		maxConcurrent: number,
		transport: HubTransport,
		redisRecords?: SharedRecords,
	) => {
		const exchanges = [gossiped, redisRecords].filter((exchange) => exchange !== undefined);
		const [shared] = exchanges;
		const directory = new CachedHubDirectory({
			client: new HubHttpClient({
				baseUrl,
				serviceKey,
				transport,
				maxConcurrent,
				timeoutSeconds: hub.timeout_seconds,
				retries: hub.retries,
				clock: parts.clock,
				random: parts.random,
				age,
				onCall: (endpoint, outcome, seconds) => metrics.countHubRequest(endpoint, outcome, seconds),
			}),
			clock: parts.clock,
			ttlSeconds: hub.cache.ttl_seconds,
			quotaTtlSeconds: hub.cache.quota_ttl_seconds,
			staleTtlSeconds: hub.stale_ttl_seconds,
			entriesMax: hub.cache.max_entries,
			shared:
				exchanges.length <= 1
					? shared
					: new RecordExchanges({
							exchanges,
							keySeconds: hub.cache.ttl_seconds,
							tenantSeconds: hub.cache.quota_ttl_seconds,
						}),
			heardMark,
			isRefused: () => age.refusal !== undefined,
			onLookup: (outcome) => metrics.countHubCache(outcome),
		});
		return { directory, confirm: () => age.check(() => directory.hub.getTopology()) };
	};

	if (hub.mode === "remote") {
		const redis = openRedis(hub.cache.redis, parts);
		const serviceKey = hub.service_api_key!;
		const shared =
			redis &&
			new SharedRecords({
				redis,
				seal: new RecordSeal(serviceKey, hubOrigin(hub.api_url!)),
				clock: parts.clock,
				keySeconds: hub.cache.ttl_seconds + hub.stale_ttl_seconds,
				tenantSeconds: hub.cache.quota_ttl_seconds + hub.stale_ttl_seconds,
			});
		const link = linkOver(
			hub.api_url!,
			serviceKey,
			hub.connection_pool.max_per_host,
			(request) => fetch(request),
			shared,
		);
		const closing = new AbortController();
		// What others have counts from where the feed stands, and the first long poll may take its time to say so. Should this
		// fail, it is that poll that says it.
		if (shared !== undefined) void link.directory.hub.changes(undefined, 0, closing.signal).catch(() => {});
		return {
			...link,
			async close() {
				closing.abort();
				redis?.close();
			},
		};
	}
	if (hub.cache.redis !== undefined) {
		parts.log.info(
			{ setting: "hub.cache.redis" },
			"a hub within this process is nearer than a shared cache, which is not used",
		);
	}
	const serviceKey = newServiceKey(parts.random);
	if (overPeers !== undefined) {
		// The member that has the hub puts in a key of its own.
		return { ...linkOver(HUB_ORIGIN, serviceKey, EMBEDDED_CALLS_MAX, overPeers), async close() {} };
	}
	const embedded = await openEmbeddedHub({
		...parts,
		folder,
		database: hub.database,
		serviceKey,
		defaultTenant: !cluster.enabled,
		adminKey: auth.required,
	});
	return {
		...linkOver(HUB_ORIGIN, serviceKey, EMBEDDED_CALLS_MAX, (request) => embedded.hub.handle(request)),
		...(cluster.enabled && hub.database === "sqlite" && { memberHandler: hubRequestHandler(embedded.hub, serviceKey) }),
		...(embedded.adminKeyPath !== undefined && { adminKeyPath: embedded.adminKeyPath }),
		close: () => embedded.hub.close(),
	};
}

function openRedis(address: string | undefined, { clock, random, log }: ProcessParts): RedisLink | undefined {
	if (address === undefined) return undefined;
	const options = { autoReconnect: false, connectionTimeout: HUB_LIMITS.sharedTimeoutMs };
	return new RedisLink({
		connect: () => new RedisClient(address, options),
		clock,
		random,
		onChange: (isUp, reason) => {
			if (isUp) log.info("the shared cache answers again");
			else log.warn({ reason }, "the shared cache does not answer; the hub is asked instead");
		},
	});
}
