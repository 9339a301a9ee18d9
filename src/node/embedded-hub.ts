import type { Clock } from "../base/clock.ts";
import { hashKey, type RandomBytes } from "../base/ids.ts";
import { bootstrapHub, mintAdminKeyIfAbsent } from "../hub/server/hub-bootstrap.ts";
import { HubDatabase } from "../hub/server/hub-database.ts";
import { createHubServer, type HubServer } from "../hub/server/hub-server.ts";
import type { Log } from "../observe/log.ts";
import type { DataFolder } from "./data-folder.ts";

export interface EmbeddedHubParts {
	readonly folder: DataFolder;
	/** `sqlite`, or a PostgreSQL address. */
	readonly database: string;
	readonly serviceKey: string;
	/** Whether tenant `default` is needed. */
	readonly defaultTenant: boolean;
	/** Whether somebody has to hold an ADMIN key. */
	readonly adminKey: boolean;
	readonly clock: Clock;
	readonly random: RandomBytes;
	readonly version: string;
	readonly log: Log;
}

/**
 * Opens the hub's database and sees to it that its reserved tenants, and an operator's key, are there.
 *
 * @returns the hub, and the path of the ADMIN key's file when a key was made just now.
 * @throws HUB_UNAVAILABLE when the database can't be reached; CONFLICT when a newer version wrote it.
 */
export async function openEmbeddedHub(
	parts: EmbeddedHubParts,
): Promise<{ readonly hub: HubServer; readonly adminKeyPath?: string }> {
	const { folder, clock, random, log } = parts;
	const database = await HubDatabase.open(
		parts.database === "sqlite" ? { sqlitePath: folder.hubDatabasePath } : { postgresUrl: parts.database },
	);
	try {
		await bootstrapHub(database, clock, { defaultTenant: parts.defaultTenant });
		const minted = parts.adminKey
			? await mintAdminKeyIfAbsent(database, clock, random, async (key) => folder.writeSecret("adminKey", key))
			: undefined;
		// Said here too: should the start fail further on, the next one makes no key and has nothing to tell.
		if (minted !== undefined) log.info({ path: folder.secretPath("adminKey") }, "made an ADMIN key");
		const hub = createHubServer({
			database,
			clock,
			random,
			serviceKeyHashes: [hashKey(parts.serviceKey)],
			version: parts.version,
			onLogs: (entries) => {
				for (const entry of entries) log.info({ entry }, "a node reported");
			},
			onDefect: (err, requestId) => log.error({ err, request_id: requestId }, "the hub failed unexpectedly"),
		});
		return minted === undefined ? { hub } : { hub, adminKeyPath: folder.secretPath("adminKey") };
	} catch (cause) {
		await database.close();
		throw cause;
	}
}
