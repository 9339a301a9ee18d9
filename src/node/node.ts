import { AddressLimiter } from "../access/address-limiter.ts";
import { ClusterRateLimiter } from "../access/cluster-rate-limiter.ts";
import { MetricsDoor } from "../access/metrics-door.ts";
import { QuotaGate } from "../access/quota-gate.ts";
import { RateLimiter } from "../access/rate-limiter.ts";
import { SlotFile } from "../access/slot-file.ts";
import { SubjectSlots } from "../access/subject-slots.ts";
import { UsageMeter } from "../access/usage-meter.ts";
import { createRestServer } from "../api/rest/rest-server.ts";
import type { NodeId } from "../base/ids.ts";
import { systemTimers } from "../base/timers.ts";
import { CollectionLists } from "../cluster/collection-lists.ts";
import { GossipedRecords } from "../cluster/gossip/gossiped-records.ts";
import { HUB_METHOD, HubOverPeers } from "../cluster/hub-over-peers.ts";
import { CLUSTER_PROTOCOL } from "../cluster/membership/join.ts";
import { livingOthers } from "../cluster/membership/living-others.ts";
import type { Membership } from "../cluster/membership/membership-types.ts";
import { SoloMembership } from "../cluster/membership/solo-membership.ts";
import { NoPeers } from "../cluster/peer/no-peers.ts";
import { HintFolder } from "../cluster/repair/hint-storage.ts";
import { REPAIR_LIMITS } from "../cluster/repair/repair-limits.ts";
import { nodeTag } from "../cluster/replication/version-clock.ts";
import { copiesOfShard } from "../cluster/shard-copies.ts";
import { DocumentShelf } from "../documents/document-shelf.ts";
import type { HeardMark } from "../hub/hub-directory.ts";
import { HubWebhooks } from "../hub/hub-webhook.ts";
import type { RateLimits } from "../hub/models.ts";
import { EventLoopLag, systemEvery } from "../observe/event-loop-lag.ts";
import type { Log } from "../observe/log.ts";
import { Metrics } from "../observe/metrics.ts";
import { LoopTurns } from "../operations/loop-turns.ts";
import { OPERATIONS } from "../operations/operation-table.ts";
import { OperationPipeline } from "../operations/pipeline.ts";
import type { Pipeline } from "../operations/pipeline-types.ts";
import { TenantMarks } from "../operations/tenant-marks.ts";
import { TURNSTILE_BOUNDS, Turnstile } from "../operations/turnstile.ts";
import { Trash } from "../shards/trash.ts";
import { WorkerPool } from "../shards/worker-pool.ts";
import { startWorkerThread } from "../shards/worker-thread.ts";
import { useNativeFolder } from "../storage/native-addons.ts";
import { openAccess } from "./access-parts.ts";
import { watchCertificate } from "./certificate-watcher.ts";
import { NodeClusterControl } from "./cluster-control.ts";
import { ClusterMember } from "./cluster-member.ts";
import { type DataFolder, openDataFolder } from "./data-folder.ts";
import { openEmbedder } from "./embedding-parts.ts";
import { openClusterSecret } from "./folder-secrets.ts";
import { followHub } from "./hub-follower.ts";
import { openHubLink, usesHubOfMember } from "./hub-link.ts";
import { explainListenError } from "./listen-error.ts";
import { NodeState } from "./node-state.ts";
import { openShardsPerWorker, readProcessLimits } from "./process-limits.ts";
import type { ProcessParts } from "./process-parts.ts";
import { protocolMounts } from "./protocol-mounts.ts";
import type { Settings } from "./settings.ts";
import { openShardParts } from "./shard-parts.ts";
import { StoredUsage } from "./stored-usage.ts";
import { Teardown } from "./teardown.ts";
import { readTlsFiles } from "./tls-files.ts";
import { UsageOutbox } from "./usage-outbox.ts";
import { UsageReporter } from "./usage-reporter.ts";
import { reportUsageUntilStopped } from "./usage-schedule.ts";

export interface RunningNode {
	/** `http://127.0.0.1:7801`, without a slash at the end. */
	readonly url: string;
	readonly nodeId: NodeId;
	/** For callers in this process; they authenticate like any other. */
	readonly pipeline: Pipeline;
	/** Path of the ADMIN key's file when this start made one; a command prints it. */
	readonly adminKeyPath?: string;
	/** Never resolves; rejects when the node can't go on: its cluster refuses it for good. It is to be stopped then. */
	readonly failed: Promise<never>;
	/** Under TLS: reads the certificate again. Never rejects: what is wrong with it is logged. */
	reloadTls?(): Promise<void>;
	/**
	 * Answers what is under way, refuses what comes, and closes everything in order. Settles when every database is closed
	 * and the data folder is free. Idempotent.
	 */
	stop(): Promise<void>;
}

/** A hub that is away must not hold up a start. */
const ENTER_PATIENCE_MS = 1_000;

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
	const { server, cluster, hub, metrics: metricsSettings, rate_limits } = settings.values;
	useNativeFolder(folder.nativePath);

	const lag = new EventLoopLag(() => clock.monotonicMs(), systemEvery);
	teardown.add(() => lag.stop());
	const state = new NodeState(lag);
	const metrics = new Metrics(metricsSettings.max_tenant_series, state);

	const gossiped = cluster.enabled ? new GossipedRecords(clock) : undefined;
	const asksMember = usesHubOfMember(settings, folder);
	const link = await openHubLink(settings, folder, parts, metrics, {
		overPeers: asksMember ? (request) => hubOverPeers(request) : undefined,
		gossiped,
		heardMark: cluster.enabled ? heardMarkIn(folder, log) : undefined,
		knownTopologyVersion: () => peers?.keeper.topology.version ?? 0,
	});
	teardown.add(() => link.close());
	const { directory } = link;

	// Loaded only here: a node that is single-tenant does without libp2p.
	const peers = cluster.enabled
		? await (await import("./peer-parts.ts")).openPeerParts({
				settings,
				folder,
				secret: openClusterSecret({
					folder,
					secretFile: cluster.secret_file,
					joins: cluster.join.length > 0,
					random,
					log,
				}),
				hub: directory.hub,
				metrics,
				parts,
				teardown,
			})
		: undefined;
	const { transport: hubOverPeers } = new HubOverPeers({
		calls: peers?.network ?? new NoPeers(),
		hubNode: () => peers?.keeper.hubNode,
		timeoutSeconds: hub.timeout_seconds,
	});
	const membership: Membership = peers?.keeper ?? new SoloMembership(folder.nodeId);
	const company = { membership, calls: peers?.network ?? new NoPeers(), methods: peers?.network ?? new NoPeers() };
	if (link.memberHandler !== undefined) company.methods.handle(HUB_METHOD, link.memberHandler);

	const pool = openPool(settings, folder, log);
	teardown.add(() => pool.close());
	const slots = new SubjectSlots(clock, log, (onSlot) =>
		SlotFile.open(folder.usageCountersPath, onSlot, { onDamage: (message, facts) => log.warn(facts, message) }),
	);
	teardown.add(() => slots.close());
	let member: ClusterMember | undefined;
	const meter = new UsageMeter(clock, slots, (tenantId, createdAtMs) =>
		member?.gossip.usageElsewhere(tenantId, createdAtMs),
	);
	teardown.add(() => peers?.network.stop());
	const shards = await openShardParts({
		...company,
		dataDir: folder.path,
		hintStorage: new HintFolder(folder.hintsPath),
		directory,
		pool,
		gate: new QuotaGate(directory),
		clock,
		agreedClock: peers?.agreedClock ?? clock,
		random,
		isClusterMode: cluster.enabled,
		defaults: { write: cluster.write_consistency, read: cluster.read_consistency },
		moveBytesPerSecond: cluster.move_bytes_per_second,
		repairRoundMs: cluster.repair_interval_seconds * 1_000,
		confirmHub: () => link.confirm(),
		changeReplicas: async ({ tenant_id, id }, replicas) => {
			if (peers?.keeper.isMember !== true) return undefined;
			return await peers.keeper.changeReplicas(tenant_id, id, replicas);
		},
		catchUp: () => feed.catchUp(),
		onMoved: (byteCount) => metrics.countTransferred(byteCount),
		log: (level, message, facts) => log[level](facts, message),
	});
	const { tenants, shares, hints } = shards;
	const stored = new StoredUsage(folder.storedUsagePath, () => shares.known());
	await stored.load();
	teardown.add(async () => {
		await shards.close();
		stored.save();
	});
	const limiter = new ClusterRateLimiter({
		...company,
		limiter: new RateLimiter(clock, defaultRateLimits(settings), slots),
		homes: shards.homes,
		clock,
		timers: systemTimers,
	});
	teardown.add(() => limiter.close());

	let ownUrl = "";
	const describe = (): HeartbeatFacts => ({
		url: ownUrl,
		version,
		topologyVersion: membership.view().version,
		settledVersion: Math.max(0, shards.moves.settledVersion),
		isStopping: state.isStopping,
		hasHub: hub.mode === "embedded" && !asksMember,
		isHubUp: state.isHubUp(),
		load: {
			openShards: state.shards().open,
			queueDepth: pool.stats().reduce((sum, { queueDepth }) => sum + queueDepth, 0),
			eventLoopLagSeconds: state.eventLoopLagSeconds(),
			storedBytes: stored.totalBytes(),
			vectorCount: stored.totalVectors(),
		},
		transfers: shards.moves.transfers(),
		transfersWaiting: shards.moves.waitingCount,
		hintsPending: hints.count,
	});
	const control = new NodeClusterControl({
		membership,
		...(peers !== undefined && { keeper: peers.keeper }),
		own: () => ({
			...describe(),
			nodeId: folder.nodeId,
			incarnation: 0,
			sequence: 0,
			addresses: peers?.network.addresses ?? [],
			protocol: CLUSTER_PROTOCOL,
		}),
		heard: (nodeId) => member?.gossip.heartbeat(nodeId),
		lagSeconds: (nodeId) => hints.lagSeconds(nodeId),
		rebalance: async () => {
			shards.moves.kick();
			// Who does not answer looks by itself when it is back.
			await Promise.allSettled(livingOthers(membership).map((nodeId) => shards.repairCalls.look(nodeId)));
		},
		collections: (tenantId) => directory.hub.listCollections(tenantId),
		shardRefs: shards.shardRefs,
		copies: (shard, replicas) =>
			copiesOfShard(
				{
					replicas: shards.port,
					view: () => membership.view(),
					bucketCount: REPAIR_LIMITS.bucketCountMin,
					timeoutMs: REPAIR_LIMITS.copyStateMs,
				},
				shard,
				replicas,
			),
		clock,
	});

	const reporter = new UsageReporter({
		nodeId: folder.nodeId,
		hub: directory.hub,
		meter,
		clock,
		outbox: new UsageOutbox(folder.usageOutboxPath, () =>
			log.error({}, "the usage report on its way was damaged: it may be counted twice or not at all"),
		),
		tenant: (tenantId) => directory.tenant(tenantId),
		shares,
	});
	teardown.add(reportUsageUntilStopped(reporter, stored, hub.usage_report_interval, log));

	const access = await openAccess(settings, folder, directory, company, parts, teardown);
	const feed = followHub({
		directory,
		folder,
		tenants,
		onTenantGone: async (tenantId) => {
			meter.forget(tenantId, (await directory.tenant(tenantId))?.created_at);
			limiter.forgetTenant(tenantId);
			shares.forgetTenant(tenantId);
			stored.forget(tenantId);
			metrics.forgetTenant(tenantId);
		},
		onGap: () => peers?.keeper.refresh(peers.keeper.topology.version + 1),
		isHubExpected: () => !asksMember || member?.isSettled === true,
		auditTrail: access.auditTrail,
		process: parts,
	});
	if (peers !== undefined) {
		member = new ClusterMember({
			peers,
			shards,
			directory,
			meter,
			folder,
			hubSeat: asksMember ? "member" : link.memberHandler !== undefined ? "here" : "shared",
			join: cluster.join,
			seeksMembers: cluster.join.length > 0 || cluster.mdns,
			describe,
			metrics,
			onLeft: () => state.drain(),
			process: parts,
		});
		const lists = new CollectionLists({ ...company, known: (tenantId) => directory.knownCollections(tenantId) });
		gossiped?.attach(member.gossip, lists);
	}
	state.wire({ directory, pool, stored, cluster: control, hints, ...(member !== undefined && { member }) });
	directory.whenHubIsBack(() => feed.nudge());
	await member?.listen();
	teardown.add(() => feed.stop());
	teardown.add(() => member?.stop());
	teardown.add(() => shards.stopRepair());
	await feed.start();
	// An embedded hub is there or it isn't; any other may come later, and until then the node isn't ready.
	if (hub.mode === "embedded" && !asksMember) await directory.hub.health();
	if (link.memberHandler !== undefined) await member?.enter();

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
		refusal: () => state.refusal(),
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
				hub.webhook_secret === undefined
					? undefined
					: new HubWebhooks({ secret: hub.webhook_secret, clock, news: directory, nudge: () => feed.nudge() }),
			readiness: () => state.readiness(),
			cluster: control,
			usageOf: (tenantId) => tenants.tenant(tenantId).usage(),
			dropTenant: (tenantId) => tenants.sweepTenant(tenantId),
			countSearch: (seconds) => metrics.countSearch(seconds),
			metricsText: () => metrics.render(),
			embedder: openEmbedder(settings, parts),
			documents: new DocumentShelf({
				clock,
				random,
				onLeftover: (facts) => log.warn(facts, "chunks of a document that is no more could not be removed yet"),
			}),
			metricsAdmits: (authorization) => door.admits(authorization),
		},
	});
	const pem = readTlsFiles(server.tls);
	const marks = new TenantMarks({ tenants, directory, clock });
	const rest = createRestServer({
		operations: OPERATIONS,
		mounts: protocolMounts({ settings: settings.values, operations: OPERATIONS, pipeline, marks, clock, version, log }),
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
	ownUrl = url;
	teardown.add(() => rest.stop());
	const watcher = watchCertificate(server.tls, pem, (renewed) => rest.reloadTls(renewed), log);
	teardown.add(() => watcher?.stop());

	new Trash(folder.path, random).empty().catch((err: unknown) => log.warn({ err }, "the trash could not be emptied"));
	log.info({ url, node_id: folder.nodeId, cluster_mode: cluster.enabled, version }, "the node takes requests");
	const failed = Promise.withResolvers<never>();
	failed.promise.catch(() => {});
	if (member !== undefined && link.memberHandler === undefined) {
		const entering = member.enter().catch((err: unknown) => {
			// It was told to stop.
			if (!state.isStopping || member.hasLeft) failed.reject(err);
		});
		// With a hub that answers it is a matter of milliseconds; to wait for others it may take days.
		if (!asksMember) await Promise.race([entering, Bun.sleep(ENTER_PATIENCE_MS)]);
	}
	return {
		url,
		nodeId: folder.nodeId,
		pipeline,
		failed: failed.promise,
		...(link.adminKeyPath !== undefined && { adminKeyPath: link.adminKeyPath }),
		...(watcher !== undefined && { reloadTls: () => watcher.reload() }),
		stop: () => {
			state.drain();
			return teardown.run();
		},
	};
}

type HeartbeatFacts = ReturnType<ConstructorParameters<typeof ClusterMember>[0]["describe"]>;

function heardMarkIn(folder: DataFolder, log: Log): HeardMark {
	return {
		load: () => folder.readCounter("hubHeard"),
		save(cursor) {
			try {
				folder.writeCounter("hubHeard", cursor);
			} catch (err) {
				log.error({ err }, "how far the hub's changes were heard could not be written down");
			}
		},
	};
}

function openPool(settings: Settings, folder: DataFolder, log: Log): WorkerPool {
	const { workers, memory_budget_bytes } = settings.values.server;
	return new WorkerPool({
		workerCount: workers,
		settings: {
			dataDir: folder.path,
			nodeTag: nodeTag(folder.nodeId),
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
