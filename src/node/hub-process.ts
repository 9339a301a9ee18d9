import { type ListenerSocket, RenewableListener, type RenewableListenerParts } from "../api/rest/renewable-listener.ts";
import { REST_LIMITS } from "../api/rest/rest-limits.ts";
import { HUB_LIMITS } from "../hub/hub-limits.ts";
import type { HubServer } from "../hub/server/hub-server.ts";
import { watchCertificate } from "./certificate-watcher.ts";
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
	/** Under TLS: reads the certificate again. Never rejects: what is wrong with it is logged. */
	reloadTls?(): Promise<void>;
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
		const pem = readTlsFiles(server.tls);
		const { serviceKey, writtenTo } = ensureServiceKey(folder, hubSettings.service_api_key, parts.random);
		const { hub, adminKeyPath } = await openEmbeddedHub({
			...parts,
			folder,
			database: hubSettings.database,
			serviceKey,
			defaultTenant: false,
			adminKey: true,
		});
		const { log, version } = parts;
		const listener = hubListener(hub, {
			host: server.host,
			port: server.port,
			tls: pem,
			retireMs: REST_LIMITS.tlsRetireMs,
			onError: (err) => log.error({ err }, "a listener did not end cleanly"),
		});
		teardown.add(async () => {
			const closed = listener.close();
			await hub.close();
			await sendWhatIsAnswered(listener);
			await closed;
		});
		const url = listener.start().url.origin;
		const watcher = watchCertificate(server.tls, pem, (renewed) => listener.renew(renewed), log);
		teardown.add(() => watcher?.stop());
		log.info({ url, version }, "the hub takes requests");
		return {
			url,
			...(adminKeyPath !== undefined && { adminKeyPath }),
			...(writtenTo !== undefined && { serviceKeyPath: writtenTo }),
			...(watcher !== undefined && { reloadTls: () => watcher.reload() }),
			stop: () => teardown.run(),
		};
	} catch (cause) {
		await teardown.run();
		throw explainListenError(cause, server.host, server.port);
	}
}

type HubListener = RenewableListener<Bun.Server<undefined>>;

function hubListener(hub: HubServer, parts: Omit<RenewableListenerParts<Bun.Server<undefined>>, "open">): HubListener {
	const answer = async (request: Request, server: Bun.Server<undefined>): Promise<Response> => {
		const response = await hub.handle(request);
		if (listener.isRetiring(server)) response.headers.set("connection", "close");
		return response;
	};
	const open = (socket: ListenerSocket) =>
		Bun.serve({
			...socket,
			maxRequestBodySize: HUB_LIMITS.requestBodyBytesMax,
			idleTimeout: IDLE_SECONDS,
			fetch: answer,
		});
	const listener: HubListener = new RenewableListener({ ...parts, open });
	return listener;
}

const SEND_MS_MAX = 2_000;
const SEND_CHECK_MS = 5;

/** The hub has answered every request; this waits until the answers are on their way, then closes what idles. */
async function sendWhatIsAnswered(listener: HubListener): Promise<void> {
	for (let waitedMs = 0; listener.pendingRequests > 0 && waitedMs < SEND_MS_MAX; waitedMs += SEND_CHECK_MS) {
		await Bun.sleep(SEND_CHECK_MS);
	}
	await listener.destroy();
}
