import { AddressLimiter } from "../access/address-limiter.ts";
import { MetricsDoor } from "../access/metrics-door.ts";
import { QuotaGate } from "../access/quota-gate.ts";
import { RateLimiter } from "../access/rate-limiter.ts";
import { SlotFile } from "../access/slot-file.ts";
import { SubjectSlots } from "../access/subject-slots.ts";
import { UsageMeter } from "../access/usage-meter.ts";
import { createRestServer } from "../api/rest/rest-server.ts";
import type { NodeId, TenantId } from "../base/ids.ts";
import { TenantDirectory } from "../cluster/tenant-directory.ts";
import { ChangeFeed } from "../hub/change-feed.ts";
import { HubWebhooks } from "../hub/hub-webhook.ts";
import type { RateLimits } from "../hub/models.ts";
import { EventLoopLag, systemEvery } from "../observe/event-loop-lag.ts";
import type { Log } from "../observe/log.ts";
import { Metrics } from "../observe/metrics.ts";
import type { AuditTrail } from "../operations/audit-trail.ts";
import { LoopTurns } from "../operations/loop-turns.ts";
import { OPERATIONS } from "../operations/operation-table.ts";
import { OperationPipeline } from "../operations/pipeline.ts";
import type { Pipeline } from "../operations/pipeline-types.ts";
import { TURNSTILE_BOUNDS, Turnstile } from "../operations/turnstile.ts";
import { Trash } from "../shards/trash.ts";
import { WorkerPool } from "../shards/worker-pool.ts";
import { startWorkerThread } from "../shards/worker-thread.ts";
import { useNativeFolder } from "../storage/native-addons.ts";
import { openAccess } from "./access-parts.ts";
import { watchCertificate } from "./certificate-watcher.ts";
import { type DataFolder, openDataFolder } from "./data-folder.ts";
import { ensureClusterSecret } from "./folder-secrets.ts";
import { type HubLink, openHubLink } from "./hub-link.ts";
import { explainListenError } from "./listen-error.ts";
import { NodeState } from "./node-state.ts";
import { openShardsPerWorker, readProcessLimits } from "./process-limits.ts";
import type { ProcessParts } from "./process-parts.ts";
import type { Settings } from "./settings.ts";
import { StoredUsage } from "./stored-usage.ts";
import { Teardown } from "./teardown.ts";
import { readTlsFiles } from "./tls-files.ts";
import { UsageOutbox } from "./usage-outbox.ts";
import { UsageReporter } from "./usage-reporter.ts";

export interface RunningNode {
	/** `http://127.0.0.1:7801`, without a slash at the end. */
	readonly url: string;
	readonly nodeId: NodeId;
	/** For callers in this process; they authenticate like any other. */
	readonly pipeline: Pipeline;
	/** Path of the ADMIN key's file when this start made one; a command prints it. */
	readonly adminKeyPath?: string;
	/** Under TLS: reads the certificate again. Never rejects: what is wrong with it is logged. */
	reloadTls?(): Promise<void>;
	/**
	 * Answers what is under way, refuses what comes, and closes everything in order. Settles when every database is closed
	 * and the data folder is free. Idempotent.
	 */
	stop(): Promise<void>;
}

/** How long one question for changes stays open at the hub, and a connection that died may go unnoticed. */
const FEED_WAIT_SECONDS = 10;
/** A hub that is away must not hold up a stop. */
const LAST_REPORT_MS_MAX = 3_000;

/**
 * Puts a node together and starts it: what `hive-vector serve` does. It takes requests when the promise settles.
 *
 * @throws HiveError CONFLICT when the data folder or the port is taken; VALIDATION_FAILED when the folder can't be used;
 *         HUB_UNAVAILABLE when the embedded hub's database can't be reached. Nothing is left open then.
 */
export async function startNode(settings: Settings, parts: ProcessParts): Promise<RunningNode> {
	const teardown = new Teardown();
	try {
		const folder = openDataFolder(settings.values.data_dir, parts.random);
		teardown.add(() => folder.release());
		return await startOn(folder, settings, parts, teardown);
	} catch (cause) {
		await teardown.run();
		throw explainListenError(cause, settings.values.server.host, settings.values.server.port);
	}
}

async function startOn(
	folder: DataFolder,
	settings: Settings,
	parts: ProcessParts,
	teardown: Teardown,
): Promise<RunningNode> {
	const { clock, random, log, version } = parts;
	const { server, cluster, metrics: metricsSettings, rate_limits } = settings.values;
	const { webhook_secret } = settings.values.hub;
	useNativeFolder(folder.nativePath);
	for (const setting of settings.listIdle()) log.warn({ setting }, "a setting has no effect in this version");
	if (cluster.enabled) ensureClusterSecret(folder, random);

	const lag = new EventLoopLag(() => clock.monotonicMs(), systemEvery);
	teardown.add(() => lag.stop());
	const state = new NodeState({ nodeId: folder.nodeId, lag });
	const metrics = new Metrics(metricsSettings.max_tenant_series, state);

	const link = await openHubLink(settings, folder, parts, metrics);
	teardown.add(() => link.close());
	const { directory } = link;

	const pool = openPool(settings, folder, log);
	teardown.add(() => pool.close());
	const slots = new SubjectSlots(clock, log, (onSlot) =>
		SlotFile.open(folder.usageCountersPath, onSlot, { onDamage: (message, facts) => log.warn(facts, message) }),
	);
	teardown.add(() => slots.close());
	const meter = new UsageMeter(clock, slots);
	const limiter = new RateLimiter(clock, defaultRateLimits(settings), slots);
	const tenants = new TenantDirectory({
		dataDir: folder.path,
		directory,
		pool,
		gate: new QuotaGate(directory),
		clock,
		random,
		log: (message, facts) => log.warn(facts, message),
	});
	const stored = new StoredUsage(folder.storedUsagePath, () => tenants.knownUsage());
	await stored.load();
	teardown.add(async () => {
		await tenants.close();
		stored.save();
	});
	state.wire({ directory, pool, stored });

	const reporter = new UsageReporter({
		nodeId: folder.nodeId,
		hub: directory.hub,
		meter,
		clock,
		outbox: new UsageOutbox(folder.usageOutboxPath, () =>
			log.error({}, "the usage report on its way was damaged: it may be counted twice or not at all"),
		),
		tenant: (tenantId) => directory.tenant(tenantId),
		storedBy: (tenantId) => tenants.tenant(tenantId).usage(),
	});
	teardown.add(reportUsageUntilStopped(reporter, stored, settings.values.hub.usage_report_interval, log));

	const access = await openAccess(settings, folder, directory, parts, teardown);
	const feed = followHub(
		link,
		folder,
		tenants,
		async (tenantId) => {
			meter.forget(tenantId, (await directory.tenant(tenantId))?.created_at);
			limiter.forgetTenant(tenantId);
			stored.forget(tenantId);
			metrics.forgetTenant(tenantId);
		},
		access.auditTrail,
		parts,
	);
	directory.whenHubIsBack(() => feed.nudge());
	await feed.start();
	teardown.add(() => feed.stop());
	// An embedded hub is there or it isn't; a remote one may come later, and until then the node isn't ready.
	if (settings.values.hub.mode === "embedded") await directory.hub.health();

	const { authenticator } = access;
	const door = new MetricsDoor(metricsSettings);
	const pipeline = new OperationPipeline({
		operations: OPERATIONS,
		authenticator,
		limiter,
		addressLimiter: new AddressLimiter(clock),
		meter,
		tenants,
		turnstile: new Turnstile({
			bounds: TURNSTILE_BOUNDS,
			monotonicMs: () => clock.monotonicMs(),
			repeat: systemEvery,
		}),
		loopTurns: new LoopTurns(setImmediate),
		audit: access.auditTrail,
		observer: metrics,
		log,
		services: {
			clock,
			random,
			directory,
			authenticator,
			limiter,
			meter,
			version,
			startedAtMs: clock.nowMs(),
			isClusterMode: cluster.enabled,
			defaultReplicaCount: cluster.enabled ? cluster.replicas : 1,
			defaultRateLimits: rate_limits,
			audit: access.auditLog,
			webhooks:
				webhook_secret === undefined
					? undefined
					: new HubWebhooks({ secret: webhook_secret, clock, news: directory, nudge: () => feed.nudge() }),
			readiness: () => state.readiness(),
			nodes: async () => [state.nodeInfo()],
			usageOf: (tenantId) => tenants.tenant(tenantId).usage(),
			storedBytes: async () => stored.totalBytes(),
			dropTenant: (tenantId) => tenants.sweepTenant(tenantId),
			countSearch: (seconds) => metrics.countSearch(seconds),
			metricsText: () => metrics.render(),
			metricsAdmits: (authorization) => door.admits(authorization),
		},
	});
	const pem = readTlsFiles(server.tls);
	const rest = createRestServer({
		operations: OPERATIONS,
		pipeline,
		settings: {
			host: server.host,
			port: server.port,
			maxBodyBytes: server.max_body_bytes,
			trustedProxies: server.trusted_proxies,
			corsOrigins: server.cors.allowed_origins,
			requestTimeoutSeconds: server.request_timeout_seconds,
			...(pem !== undefined && { tls: pem }),
		},
		log,
		random,
		version,
	});
	const { url } = rest.start();
	state.listening(url);
	teardown.add(() => rest.stop());
	const watcher = watchCertificate(server.tls, pem, (renewed) => rest.reloadTls(renewed), log);
	teardown.add(() => watcher?.stop());

	new Trash(folder.path, random).empty().catch((err: unknown) => log.warn({ err }, "the trash could not be emptied"));
	log.info({ url, node_id: folder.nodeId, cluster_mode: cluster.enabled, version }, "the node takes requests");
	return {
		url,
		nodeId: folder.nodeId,
		pipeline,
		...(link.adminKeyPath !== undefined && { adminKeyPath: link.adminKeyPath }),
		...(watcher !== undefined && { reloadTls: () => watcher.reload() }),
		stop: () => {
			state.drain();
			return teardown.run();
		},
	};
}

function openPool(settings: Settings, folder: DataFolder, log: Log): WorkerPool {
	const { workers, memory_budget_bytes } = settings.values.server;
	return new WorkerPool({
		workerCount: workers,
		settings: {
			dataDir: folder.path,
			nodeTag: new Bun.CryptoHasher("sha256").update(folder.nodeId).digest().subarray(0, 8),
			memoryBudgetBytes: Math.floor(memory_budget_bytes / workers),
			openShardsMax: openShardsPerWorker(readProcessLimits().openFilesMax, workers),
		},
		startWorker: startWorkerThread,
		observer: {
			log: (level, message, facts) => log[level](facts, message),
		},
	});
}

/** In single-tenant mode only what was set limits anything; several tenants always have limits. */
function defaultRateLimits(settings: Settings): Partial<RateLimits> | undefined {
	const limits = settings.values.rate_limits;
	if (settings.values.cluster.enabled) return limits;
	const chosen = Object.entries(limits).filter(([name]) =>
		settings.explicitlySet(`rate_limits.${name as keyof RateLimits}`),
	);
	return chosen.length === 0 ? undefined : Object.fromEntries(chosen);
}

/** @returns stops the reports, after a last one if the hub takes it in time. */
function reportUsageUntilStopped(
	reporter: UsageReporter,
	stored: StoredUsage,
	intervalSeconds: number,
	log: Log,
): () => Promise<void> {
	const report = async (): Promise<void> => {
		try {
			await reporter.report();
			stored.save();
		} catch (err) {
			log.warn({ err }, "usage could not be reported; it will be sent again");
		}
	};
	const timer = setInterval(() => void report(), intervalSeconds * 1000);
	timer.unref();
	return async () => {
		clearInterval(timer);
		const { promise: tooLate, resolve } = Promise.withResolvers<void>();
		const lastTimer = setTimeout(resolve, LAST_REPORT_MS_MAX);
		await Promise.race([report(), tooLate]);
		clearTimeout(lastTimer);
	};
}

/** Keeps the cache and the disk in step with what the hub decided, wherever it was asked for. */
function followHub(
	{ directory }: HubLink,
	folder: DataFolder,
	tenants: TenantDirectory,
	onTenantGone: (tenantId: TenantId) => Promise<void>,
	auditTrail: AuditTrail | undefined,
	{ random, log }: ProcessParts,
): ChangeFeed {
	return new ChangeFeed({
		hub: directory.hub,
		directory,
		cursors: {
			load: async () => folder.readCounter("cursor"),
			save: async (cursor) => folder.writeCounter("cursor", cursor),
		},
		subscribers: [
			{
				onChange: (change) => auditTrail?.hubChanged(change),
				onCollectionDeleted: (tenantId) => tenants.sweepTenant(tenantId as TenantId),
				onTenantDeleted: async (tenantId) => {
					await tenants.sweepTenant(tenantId as TenantId);
					await onTenantGone(tenantId as TenantId);
				},
				onGap: () => tenants.dropUnknownTenants(),
			},
		],
		waitSeconds: FEED_WAIT_SECONDS,
		random,
		onFailure: (err, what) => {
			// A hub that is away fails again and again: a line each, not a stack.
			if (what === "poll") log.warn({ reason: (err as Error).message }, "the hub did not tell what changed");
			else log.warn({ err }, "a change could not be carried out");
		},
	});
}
