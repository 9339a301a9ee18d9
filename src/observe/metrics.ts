import type { Counter, Registry } from "prom-client";
import { DurationHistogram, type Exported, LabelledCounter, ProbedGauge, type Sample } from "./series.ts";

/** What is read at each scrape. Cheap and synchronous. */
export interface MetricsProbes {
	/** Tenants whose data this node has met since it started. */
	tenants(): Iterable<{ readonly tenantId: string; readonly storageBytes: number; readonly vectorCount: number }>;
	isHubUp(): boolean;
	clusterMembers(): Readonly<Record<string, number>>;
	/** Other members; seconds since the oldest write that they miss, 0 when they miss none. */
	peers(): Iterable<{ readonly nodeId: string; readonly lagSeconds: number }>;
	/** Shards of which other members missed something, by member; 0 where nothing was missed. */
	hintsPending(): ReadonlyMap<string, number>;
	shards(): Readonly<Record<string, number>>;
	workers(): Iterable<{ readonly worker: number; readonly queueDepth: number }>;
	eventLoopLagSeconds(): number;
	residentMemoryBytes(): number;
}

/** Stands for all tenants past the cap. No tenant id begins with `_`. */
const OTHER_TENANTS = "_other";

/**
 * The node's metrics (CONTRACT section 9). Counting costs a map look-up or two; series are rendered at the scrape.
 * Of tenants, the first `tenantSeriesMax` have series of their own and all others share `tenant_id="_other"`.
 */
export class Metrics {
	private readonly exported: Exported[] = [];
	private registry: Promise<Registry> | undefined;
	private readonly namedTenants = new Set<string>();
	private readonly tenantRequests = this.counter(
		"tenant_requests_total",
		"Requests answered, by tenant, operation and status",
		["tenant_id", "operation", "status"],
	);
	private readonly rateLimitExceeded = this.counter(
		"tenant_rate_limit_exceeded_total",
		"Requests refused by a rate limit",
		["tenant_id"],
	);
	private readonly quotaExceeded = this.counter("tenant_quota_exceeded_total", "Requests refused by a quota", [
		"tenant_id",
		"quota",
	]);
	private readonly authFailures = this.counter("auth_failures_total", "Requests whose caller was not admitted", [
		"reason",
	]);
	private readonly hubCache = this.counter("hub_cache_total", "Look-ups in the cache of hub records", ["outcome"]);
	private readonly gossipMessages = this.counter("gossip_messages_total", "Messages of gossip, by topic", [
		"topic",
		"direction",
	]);
	private readonly gossipBytes = this.counter("gossip_bytes_total", "Bytes of gossip, encryption left out", [
		"direction",
	]);
	private readonly peerBytes = this.counter("peer_bytes_total", "Bytes of calls between nodes, encryption left out", [
		"direction",
	]);
	private readonly transferBytes = this.counter("transfer_bytes_total", "Bytes of shards that moved to this node", []);
	private readonly authSeconds = this.durations("auth_seconds", "Time to find out who asks", []);
	private readonly requestSeconds = this.durations("request_seconds", "Time to answer, by operation", ["operation"]);
	private readonly searchSeconds = this.durations("search_seconds", "Time to run a search", []);
	private readonly hubRequestSeconds = this.durations("hub_request_seconds", "Time HiveHub took to answer", [
		"endpoint",
		"outcome",
	]);

	constructor(
		private readonly tenantSeriesMax: number,
		probes: MetricsProbes,
	) {
		this.registerProbes(probes);
	}

	/** @param tenantId absent where the caller was not found out */
	countRequest(tenantId: string | undefined, operation: string, status: number, seconds: number): void {
		this.requestSeconds.observe(seconds, operation);
		if (tenantId !== undefined) this.tenantRequests.increment(this.seriesOf(tenantId), operation, String(status));
	}

	countSearch(seconds: number): void {
		this.searchSeconds.observe(seconds, "");
	}

	countAuthentication(seconds: number): void {
		this.authSeconds.observe(seconds, "");
	}

	/** @param reason an error code */
	countAuthFailure(reason: string): void {
		this.authFailures.increment(reason);
	}

	countRateLimitExceeded(tenantId: string): void {
		this.rateLimitExceeded.increment(this.seriesOf(tenantId));
	}

	/** @param quota which one: `storage`, `vectors`, `collections` */
	countQuotaExceeded(tenantId: string, quota: string): void {
		this.quotaExceeded.increment(this.seriesOf(tenantId), quota);
	}

	/** @param endpoint a route, never a path with ids in it */
	countHubRequest(endpoint: string, outcome: string, seconds: number): void {
		this.hubRequestSeconds.observe(seconds, endpoint, outcome);
	}

	countHubCache(outcome: string): void {
		this.hubCache.increment(outcome);
	}

	/** @param topic one of the product's own, never what a peer made up */
	countGossipMessage(topic: string, direction: "sent" | "received"): void {
		this.gossipMessages.increment(topic, direction);
	}

	/** @param byteCount with what gossip itself adds, and of whole messages as often as they are passed on */
	countGossipBytes(direction: "sent" | "received", byteCount: number): void {
		this.gossipBytes.add(byteCount, direction);
	}

	countPeerBytes(direction: "sent" | "received", byteCount: number): void {
		this.peerBytes.add(byteCount, direction);
	}

	countTransferred(byteCount: number): void {
		this.transferBytes.add(byteCount);
	}

	/** A deleted tenant's series go, and its place under the cap is free. */
	forgetTenant(tenantId: string): void {
		if (!this.namedTenants.delete(tenantId)) return;
		for (const counter of [this.tenantRequests, this.rateLimitExceeded, this.quotaExceeded]) counter.forget(tenantId);
	}

	/** Prometheus' text format, version 0.0.4. */
	async render(): Promise<string> {
		this.registry ??= createRegistry(this.exported);
		return (await this.registry).metrics();
	}

	private seriesOf(tenantId: string): string {
		if (this.namedTenants.has(tenantId)) return tenantId;
		if (this.namedTenants.size >= this.tenantSeriesMax) return OTHER_TENANTS;
		this.namedTenants.add(tenantId);
		return tenantId;
	}

	private counter(name: string, help: string, labelNames: readonly string[]): LabelledCounter {
		return this.register(new LabelledCounter(`hive_vector_${name}`, help, labelNames));
	}

	private durations(name: string, help: string, labelNames: readonly string[]): DurationHistogram {
		return this.register(new DurationHistogram(`hive_vector_${name}`, help, labelNames));
	}

	private gauge(name: string, help: string, probe: () => Iterable<Sample>): void {
		this.register(new ProbedGauge(`hive_vector_${name}`, help, probe));
	}

	private register<M extends Exported>(metric: M): M {
		this.exported.push(metric);
		return metric;
	}

	private registerProbes(probes: MetricsProbes): void {
		const single = (value: number): Sample[] => [{ labels: {}, value }];
		const byState = (counts: Readonly<Record<string, number>>): Sample[] =>
			Object.entries(counts).map(([state, value]) => ({ labels: { state }, value }));
		this.gauge("tenant_storage_bytes", "Bytes the storage quota counts, by tenant", () =>
			this.perTenant(probes, (tenant) => tenant.storageBytes),
		);
		this.gauge("tenant_vectors", "Vectors stored, by tenant", () =>
			this.perTenant(probes, (tenant) => tenant.vectorCount),
		);
		this.gauge("hub_up", "1 while HiveHub answers", () => single(probes.isHubUp() ? 1 : 0));
		this.gauge("cluster_members", "Nodes of the cluster, by state", () => byState(probes.clusterMembers()));
		this.gauge("replication_lag_seconds", "Age of the oldest write that another node misses, as far as is known", () =>
			[...probes.peers()].map(({ nodeId, lagSeconds }) => ({ labels: { peer: nodeId }, value: lagSeconds })),
		);
		this.gauge("hints_pending", "Shards of which another node missed something", () =>
			[...probes.hintsPending()].map(([peer, value]) => ({ labels: { peer }, value })),
		);
		this.gauge("shards", "Shards of this node, by state", () => byState(probes.shards()));
		this.gauge("worker_queue_depth", "Calls that wait for a shard worker", () =>
			[...probes.workers()].map(({ worker, queueDepth }) => ({ labels: { worker }, value: queueDepth })),
		);
		this.gauge("event_loop_lag_seconds", "Longest delay of a timer in the last 15 seconds", () =>
			single(probes.eventLoopLagSeconds()),
		);
		this.gauge("resident_memory_bytes", "Memory of the process", () => single(probes.residentMemoryBytes()));
	}

	private perTenant(
		probes: MetricsProbes,
		measure: (tenant: { readonly storageBytes: number; readonly vectorCount: number }) => number,
	): Sample[] {
		const sums = new Map<string, number>();
		for (const tenant of probes.tenants()) {
			const series = this.seriesOf(tenant.tenantId);
			sums.set(series, (sums.get(series) ?? 0) + measure(tenant));
		}
		return [...sums].map(([tenantId, value]) => ({ labels: { tenant_id: tenantId }, value }));
	}
}

/** The library is loaded at the first scrape: a node that starts shouldn't wait for it. */
async function createRegistry(exported: readonly Exported[]): Promise<Registry> {
	const { Registry } = await import("prom-client");
	const registry = new Registry();
	for (const metric of exported) {
		// The registry asks a metric for its name and `get()` only; its types know none but its own classes.
		registry.registerMetric(metric as unknown as Counter);
	}
	return registry;
}
