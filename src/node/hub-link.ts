import { newServiceKey } from "../base/ids.ts";
import { CachedHubDirectory } from "../hub/hub-directory.ts";
import { HubHttpClient, type HubTransport } from "../hub/hub-http-client.ts";
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
	/** Closes the embedded hub. */
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
	const directoryOver = (baseUrl: string, serviceKey: string, maxConcurrent: number, transport: HubTransport) =>
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
			onLookup: (outcome) => metrics.countHubCache(outcome),
		});

	if (hub.mode === "remote") {
		const directory = directoryOver(hub.api_url!, hub.service_api_key!, hub.connection_pool.max_per_host, (request) =>
			fetch(request),
		);
		return { directory, close: async () => {} };
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
