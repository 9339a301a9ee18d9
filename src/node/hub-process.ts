import { HUB_LIMITS } from "../hub/hub-limits.ts";
import { openDataFolder } from "./data-folder.ts";
import { openEmbeddedHub } from "./embedded-hub.ts";
import { ensureServiceKey } from "./folder-secrets.ts";
import { explainListenError } from "./listen-error.ts";
import type { ProcessParts } from "./process-parts.ts";
import type { Settings } from "./settings.ts";
import { Teardown } from "./teardown.ts";
import { readTlsFiles } from "./tls-files.ts";

export interface RunningHub {
	/** `http://127.0.0.1:7801`, without a slash at the end. */
	readonly url: string;
	/** Paths of secrets that this start wrote; a command prints them. */
	readonly adminKeyPath?: string;
	readonly serviceKeyPath?: string;
	/** Settles when the database is closed and the data folder free. Idempotent. */
	stop(): Promise<void>;
}

/** The seconds a long poll may take, and some for the answer. */
const IDLE_SECONDS = HUB_LIMITS.changeWaitSecondsMax + 30;

/**
 * Runs a hub of its own: what `hive-vector hub` does.
 *
 * @throws HiveError CONFLICT when the data folder or the port is taken; HUB_UNAVAILABLE when the database can't be reached.
 */
export async function startHub(settings: Settings, parts: ProcessParts): Promise<RunningHub> {
	const { server, hub: hubSettings, data_dir } = settings.values;
	const folder = openDataFolder(data_dir, parts.random);
	const teardown = new Teardown();
	teardown.add(() => folder.release());
	try {
		const { serviceKey, writtenTo } = ensureServiceKey(folder, hubSettings.service_api_key, parts.random);
		const { hub, adminKeyPath } = await openEmbeddedHub({
			...parts,
			folder,
			database: hubSettings.database,
			serviceKey,
			defaultTenant: false,
			adminKey: true,
		});
		let socket: Bun.Server<undefined> | undefined;
		teardown.add(async () => {
			void socket?.stop();
			await hub.close();
			if (socket !== undefined) await sendWhatIsAnswered(socket);
		});
		socket = listen(settings, (request) => hub.handle(request));
		parts.log.info({ url: socket.url.origin, version: parts.version }, "the hub takes requests");
		return {
			url: socket.url.origin,
			...(adminKeyPath !== undefined && { adminKeyPath }),
			...(writtenTo !== undefined && { serviceKeyPath: writtenTo }),
			stop: () => teardown.run(),
		};
	} catch (cause) {
		await teardown.run();
		throw explainListenError(cause, server.host, server.port);
	}
}

function listen(settings: Settings, handle: (request: Request) => Promise<Response>): Bun.Server<undefined> {
	const { host, port, tls } = settings.values.server;
	const pem = readTlsFiles(tls);
	return Bun.serve({
		hostname: host,
		port,
		maxRequestBodySize: HUB_LIMITS.requestBodyBytesMax,
		idleTimeout: IDLE_SECONDS,
		...(pem !== undefined && { tls: pem }),
		fetch: handle,
	});
}

const SEND_MS_MAX = 2_000;
const SEND_CHECK_MS = 5;

/** The hub has answered every request; this waits until the answers are on their way, then closes what idles. */
async function sendWhatIsAnswered(socket: Bun.Server<undefined>): Promise<void> {
	for (let waitedMs = 0; socket.pendingRequests > 0 && waitedMs < SEND_MS_MAX; waitedMs += SEND_CHECK_MS) {
		await Bun.sleep(SEND_CHECK_MS);
	}
	await socket.stop(true);
}
