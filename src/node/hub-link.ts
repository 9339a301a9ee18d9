import { RedisClient } from "bun";
import { newServiceKey } from "../base/ids.ts";
import { CachedHubDirectory } from "../hub/hub-directory.ts";
import { HubHttpClient, type HubTransport, hubOrigin } from "../hub/hub-http-client.ts";
import { HUB_LIMITS } from "../hub/hub-limits.ts";
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
	/** Path of the ADMIN key's file, when this start made one. */
	readonly adminKeyPath?: string;
	/** Closes the embedded hub, or what leads to a remote one. */
	close(): Promise<void>;
}

/** Calls in a process cost the embedded hub nothing to keep waiting. */
const EMBEDDED_CALLS_MAX = 256;

/** @throws HiveError HUB_UNAVAILABLE when the embedded hub's database can't be reached. A remote hub may come later. */
export async function openHubLink(
	settings: Settings,
	folder: DataFolder,
	parts: ProcessParts,
	metrics: Metrics,
): Promise<HubLink> {
	const { hub, cluster, auth } = settings.values;
	const directoryOver = (
		baseUrl: string,
		serviceKey: string,
		maxConcurrent: number,
		transport: HubTransport,
		shared?: SharedRecords,
	) =>
		new CachedHubDirectory({
			client: new HubHttpClient({
				baseUrl,
				serviceKey,
				transport,
				maxConcurrent,
				timeoutSeconds: hub.timeout_seconds,
				retries: hub.retries,
				clock: parts.clock,
				random: parts.random,
				onCall: (endpoint, outcome, seconds) => metrics.countHubRequest(endpoint, outcome, seconds),
			}),
			clock: parts.clock,
			ttlSeconds: hub.cache.ttl_seconds,
			quotaTtlSeconds: hub.cache.quota_ttl_seconds,
			staleTtlSeconds: hub.stale_ttl_seconds,
			entriesMax: hub.cache.max_entries,
			shared,
			onLookup: (outcome) => metrics.countHubCache(outcome),
		});

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
		const directory = directoryOver(
			hub.api_url!,
			serviceKey,
			hub.connection_pool.max_per_host,
			(request) => fetch(request),
			shared,
		);
		const closing = new AbortController();
		// What others have counts from where the feed stands, and the first long poll may take its time to say so. Should this
		// fail, it is that poll that says it.
		if (shared !== undefined) void directory.hub.changes(undefined, 0, closing.signal).catch(() => {});
		return {
			directory,
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
	const embedded = await openEmbeddedHub({
		...parts,
		folder,
		database: hub.database,
		serviceKey,
		defaultTenant: !cluster.enabled,
		adminKey: auth.required,
	});
	const directory = directoryOver("http://embedded-hub", serviceKey, EMBEDDED_CALLS_MAX, (request) =>
		embedded.hub.handle(request),
	);
	return {
		directory,
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
