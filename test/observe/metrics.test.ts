import { expect, test } from "bun:test";
import { EventLoopLag, systemEvery } from "../../src/observe/event-loop-lag.ts";
import { Metrics, type MetricsProbes } from "../../src/observe/metrics.ts";

const quiet: MetricsProbes = {
	tenants: () => [],
	isHubUp: () => true,
	clusterMembers: () => ({ active: 1 }),
	peers: () => [],
	hintsPending: () => new Map(),
	shards: () => ({ open: 0 }),
	workers: () => [],
	eventLoopLagSeconds: () => 0,
	residentMemoryBytes: () => 1,
};

async function samples(metrics: Metrics): Promise<ReadonlyMap<string, number>> {
	const lines = (await metrics.render()).split("\n").filter((line) => line !== "" && !line.startsWith("#"));
	return new Map(
		lines.map((line) => {
			const split = line.lastIndexOf(" ");
			return [line.slice(0, split), Number(line.slice(split + 1))] as const;
		}),
	);
}

test("every metric of the contract that one node has is exported under its name", async () => {
	const text = await new Metrics(1000, quiet).render();
	for (const [name, type] of [
		["tenant_requests_total", "counter"],
		["tenant_storage_bytes", "gauge"],
		["tenant_vectors", "gauge"],
		["tenant_rate_limit_exceeded_total", "counter"],
		["tenant_quota_exceeded_total", "counter"],
		["auth_failures_total", "counter"],
		["auth_seconds", "histogram"],
		["request_seconds", "histogram"],
		["search_seconds", "histogram"],
		["hub_up", "gauge"],
		["hub_request_seconds", "histogram"],
		["hub_cache_total", "counter"],
		["cluster_members", "gauge"],
		["gossip_messages_total", "counter"],
		["replication_lag_seconds", "gauge"],
		["hints_pending", "gauge"],
		["shards", "gauge"],
		["worker_queue_depth", "gauge"],
		["event_loop_lag_seconds", "gauge"],
	]) {
		expect(text).toContain(`# TYPE hive_vector_${name} ${type}\n`);
	}
});

test("counts carry their labels", async () => {
	const metrics = new Metrics(1000, quiet);
	metrics.countRequest("acme", "collections.search", 200, 0.003);
	metrics.countRequest("acme", "collections.search", 200, 0.004);
	metrics.countRequest(undefined, "collections.search", 401, 0.00001);
	metrics.countAuthFailure("AUTH_MISSING");
	metrics.countAuthentication(0.00002);
	metrics.countSearch(0.002);
	metrics.countRateLimitExceeded("acme");
	metrics.countQuotaExceeded("acme", "storage");
	metrics.countHubRequest("POST /keys/validate", "ok", 0.2);
	metrics.countHubCache("hit");
	metrics.countGossipMessage("heartbeats", "sent");
	metrics.countGossipMessage("heartbeats", "sent");
	metrics.countGossipBytes("sent", 300);
	metrics.countGossipBytes("sent", 200);
	metrics.countPeerBytes("received", 4_096);
	metrics.countTransferred(1_000);
	metrics.countTransferred(24);
	const seen = await samples(metrics);
	expect(
		seen.get('hive_vector_tenant_requests_total{tenant_id="acme",operation="collections.search",status="200"}'),
	).toBe(2);
	expect(seen.get('hive_vector_request_seconds_count{operation="collections.search"}')).toBe(3);
	expect(seen.get('hive_vector_auth_failures_total{reason="AUTH_MISSING"}')).toBe(1);
	expect(seen.get("hive_vector_auth_seconds_count")).toBe(1);
	expect(seen.get("hive_vector_search_seconds_sum")).toBe(0.002);
	expect(seen.get('hive_vector_tenant_rate_limit_exceeded_total{tenant_id="acme"}')).toBe(1);
	expect(seen.get('hive_vector_tenant_quota_exceeded_total{tenant_id="acme",quota="storage"}')).toBe(1);
	expect(seen.get('hive_vector_hub_request_seconds_count{endpoint="POST /keys/validate",outcome="ok"}')).toBe(1);
	expect(seen.get('hive_vector_hub_cache_total{outcome="hit"}')).toBe(1);
	expect(seen.get('hive_vector_gossip_messages_total{topic="heartbeats",direction="sent"}')).toBe(2);
	expect(seen.get('hive_vector_gossip_bytes_total{direction="sent"}')).toBe(500);
	expect(seen.get('hive_vector_peer_bytes_total{direction="received"}')).toBe(4_096);
	expect(seen.get("hive_vector_transfer_bytes_total")).toBe(1_024);
});

test("a counter without labels is there from the start", async () => {
	const seen = await samples(new Metrics(10, quiet));
	expect(seen.get("hive_vector_transfer_bytes_total")).toBe(0);
	expect(seen.get("hive_vector_peer_bytes_total")).toBeUndefined();
});

test("histogram buckets are cumulative, include their bound and end with all", async () => {
	const metrics = new Metrics(1000, quiet);
	for (const seconds of [0.00001, 0.001, 0.0011, 29, 31]) metrics.countSearch(seconds);
	const seen = await samples(metrics);
	const bucket = (le: string) => seen.get(`hive_vector_search_seconds_bucket{le="${le}"}`);
	expect(["0.0005", "0.001", "0.0025", "10", "30", "+Inf"].map(bucket)).toEqual([1, 2, 3, 3, 4, 5]);
	expect(seen.get("hive_vector_search_seconds_count")).toBe(5);
});

test("past the cap tenants share one series, and a deleted tenant frees its place", async () => {
	const stored = ["one", "two", "three", "four"].map((tenantId) => ({ tenantId, storageBytes: 10, vectorCount: 2 }));
	const metrics = new Metrics(2, { ...quiet, tenants: () => stored });
	for (const { tenantId } of stored) metrics.countRequest(tenantId, "op", 200, 0.1);
	let seen = await samples(metrics);
	const requests = (tenantId: string) =>
		seen.get(`hive_vector_tenant_requests_total{tenant_id="${tenantId}",operation="op",status="200"}`);
	expect(["one", "two", "three", "_other"].map(requests)).toEqual([1, 1, undefined, 2]);
	expect(seen.get('hive_vector_tenant_storage_bytes{tenant_id="one"}')).toBe(10);
	expect(seen.get('hive_vector_tenant_vectors{tenant_id="_other"}')).toBe(4);

	metrics.countRateLimitExceeded("one");
	metrics.forgetTenant("one");
	metrics.forgetTenant("four");
	metrics.countRequest("three", "op", 200, 0.1);
	seen = await samples(metrics);
	expect(["one", "two", "three", "_other"].map(requests)).toEqual([undefined, 1, 1, 2]);
	expect([...seen.keys()].some((series) => series.includes('"one"') && series.includes("rate_limit"))).toBe(false);
});

test("what is read at the scrape shows the state at that moment", async () => {
	let depth = 3;
	const metrics = new Metrics(10, {
		...quiet,
		isHubUp: () => false,
		clusterMembers: () => ({ active: 2, draining: 1 }),
		peers: () => [{ nodeId: "node_b", lagSeconds: 12.5 }],
		hintsPending: () => new Map([["node_b", 3]]),
		shards: () => ({ open: 7 }),
		workers: () => [{ worker: 0, queueDepth: depth }],
		eventLoopLagSeconds: () => 0.25,
	});
	let seen = await samples(metrics);
	expect(seen.get("hive_vector_hub_up")).toBe(0);
	expect(seen.get('hive_vector_cluster_members{state="draining"}')).toBe(1);
	expect(seen.get('hive_vector_replication_lag_seconds{peer="node_b"}')).toBe(12.5);
	expect(seen.get('hive_vector_hints_pending{peer="node_b"}')).toBe(3);
	expect(seen.get('hive_vector_shards{state="open"}')).toBe(7);
	expect(seen.get('hive_vector_worker_queue_depth{worker="0"}')).toBe(3);
	expect(seen.get("hive_vector_event_loop_lag_seconds")).toBe(0.25);
	depth = 0;
	seen = await samples(metrics);
	expect(seen.get('hive_vector_worker_queue_depth{worker="0"}')).toBe(0);
});

test("event loop lag is the longest delay of the last 15 seconds", () => {
	let nowMs = 0;
	let tick = () => {};
	let stopped = false;
	const lag = new EventLoopLag(
		() => nowMs,
		(intervalMs, task) => {
			tick = () => {
				nowMs += intervalMs;
				task();
			};
			return () => {
				stopped = true;
			};
		},
	);
	tick();
	expect(lag.maxSeconds()).toBe(0);
	nowMs += 120;
	tick();
	tick();
	expect(lag.maxSeconds()).toBe(0.12);
	for (let count = 0; count < 30; count++) tick();
	expect(lag.maxSeconds()).toBe(0);
	lag.stop();
	expect(stopped).toBe(true);
});

test("the system's timer runs the task until it is stopped", async () => {
	const { promise, resolve } = Promise.withResolvers<void>();
	const stop = systemEvery(1, resolve);
	await promise;
	stop();
});
