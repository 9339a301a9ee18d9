import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { LocalCluster } from "../local-cluster.ts";
import type { LocalNode } from "../local-node.ts";
import { type Dataset, loadGlove } from "./dataset.ts";
import { mean, recallOf, summarise, type Timing, timeConcurrentCalls } from "./measure.ts";
import { UNLIMITED } from "./served.ts";
import { ms, percent, printTable, whole } from "./table.ts";

/**
 * What a cluster costs and gives, the compiled binary as one, three and five nodes on this machine: all of them, and the client, share
 * its cores, so that the ratios tell what copies and hops cost, and nothing tells what more machines would give.
 */
const { values } = parseArgs({
	args: Bun.argv.slice(2),
	options: {
		vectors: { type: "string", default: "10000" },
		/** Keys revoked one after the other. */
		revocations: { type: "string", default: "40" },
		tenants: { type: "string", default: "1000" },
		json: { type: "string" },
	},
});
const VECTORS = Number(values.vectors);
const REVOCATIONS = Number(values.revocations);
const TENANTS = Number(values.tenants);
const EF_SEARCH = 128;
const BATCH = 500;
/** A node's thread wakes up for each search when there are few, and that would be what is measured. */
const CONNECTIONS_PER_NODE = 8;
const SEARCHES = 1_500;
const GOSSIP_SECONDS = 10;

const key = (node: LocalNode, admin: string, tenant: string): Promise<string> =>
	node
		.call(admin, "POST", `/tenants/${tenant}/keys`, { permissions: ["READ_WRITE"] })
		.then((minted) => (minted as { api_key: string }).api_key);

async function post(node: LocalNode, apiKey: string, path: string, body: string): Promise<unknown> {
	const answer = await fetch(`${node.url}/api/v1${path}`, {
		method: "POST",
		headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
		body,
	});
	if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
	return await answer.json();
}

const insertBodies = (data: Dataset): string[] => {
	const bodies: string[] = [];
	for (let start = 0; start < data.count; start += BATCH) {
		const rows: string[] = [];
		for (let row = start; row < Math.min(data.count, start + BATCH); row++) {
			const vector = data.vectors.subarray(row * data.dimension, (row + 1) * data.dimension).join(",");
			rows.push(`{"id":${row},"vector":[${vector}]}`);
		}
		bodies.push(`{"vectors":[${rows.join(",")}]}`);
	}
	return bodies;
};

async function load(node: LocalNode, apiKey: string, name: string, bodies: readonly string[]): Promise<number> {
	const startedAt = performance.now();
	let next = 0;
	const worker = async (): Promise<void> => {
		for (let index = next++; index < bodies.length; index = next++) {
			await post(node, apiKey, `/collections/${name}/vectors`, bodies[index]!);
		}
	};
	await Promise.all([worker(), worker()]);
	return performance.now() - startedAt;
}

async function searches(
	nodes: readonly LocalNode[],
	apiKey: string,
	name: string,
	data: Dataset,
	callCount = SEARCHES,
	connections = CONNECTIONS_PER_NODE * nodes.length,
): Promise<Timing & { readonly recall: number }> {
	const recalls: number[] = [];
	const timing = await timeConcurrentCalls(callCount, connections, async (index) => {
		const query = index % data.queries.length;
		const body = `{"vector":[${data.queries[query]!.join(",")}],"limit":10,"ef_search":${EF_SEARCH},"with_payload":false}`;
		const answer = (await post(nodes[index % nodes.length]!, apiKey, `/collections/${name}/search`, body)) as {
			results: { id: number }[];
		};
		recalls.push(
			recallOf(
				answer.results.map((hit) => hit.id),
				data.nearest[query]!,
			),
		);
	});
	return { ...timing, recall: mean(recalls) };
}

async function metric(node: LocalNode, admin: string, name: string): Promise<number> {
	const answer = await fetch(`${node.url}/metrics`, { headers: { authorization: `Bearer ${admin}` } });
	let sum = 0;
	for (const line of (await answer.text()).split("\n")) {
		if (line.startsWith(`${name}{`) || line.startsWith(`${name} `)) sum += Number(line.slice(line.lastIndexOf(" ")));
	}
	return sum;
}

async function until(isTrue: () => Promise<boolean>, limitMs: number): Promise<number> {
	const startedAt = performance.now();
	while (performance.now() - startedAt < limitMs) {
		if (await isTrue().catch(() => false)) return performance.now() - startedAt;
		await Bun.sleep(2);
	}
	throw new Error("what was waited for did not come");
}

const report: Record<string, unknown> = {};
const data = loadGlove(VECTORS);
const bodies = insertBodies(data);
const vectorMegabytes = (data.count * data.dimension * 4) / 1e6;

console.log(
	`\n${data.name}, 100 dimensions, ef ${EF_SEARCH}; inserts of ${BATCH}, ${CONNECTIONS_PER_NODE} connections a node\n`,
);
const rows: string[][] = [];
let alone: { searches: number; insertMs: number } | undefined;
for (const nodeCount of [1, 3, 5]) {
	const cluster = await LocalCluster.start(nodeCount, { HIVE_VECTOR_SERVER_WORKERS: "1" });
	try {
		const admin = cluster.adminKey;
		await cluster.node(0).call(admin, "POST", "/tenants", { id: "bench", rate_limits: UNLIMITED });
		const apiKey = await key(cluster.node(0), admin, "bench");
		await cluster
			.node(0)
			.call(apiKey, "POST", "/collections", { name: "words", dimension: data.dimension, replicas: 3, index: "exact" });
		const insertMs = await load(cluster.node(0), apiKey, "words", bodies);
		await searches(cluster.nodes, apiKey, "words", data, 200);
		const timing = await searches(cluster.nodes, apiKey, "words", data);
		alone ??= { searches: timing.perSecond, insertMs };
		const copies = Math.min(3, nodeCount);
		rows.push([
			`${nodeCount} node${nodeCount === 1 ? "" : "s"}, ${copies} cop${copies === 1 ? "y" : "ies"}`,
			timing.recall.toFixed(3),
			whole(timing.perSecond),
			ms(timing.p50Ms),
			ms(timing.p99Ms),
			percent(timing.perSecond / alone.searches),
			whole((1000 * data.count) / insertMs),
			percent(alone.insertMs / insertMs),
			((vectorMegabytes * copies * 1000) / insertMs).toFixed(1),
		]);
		report[`nodes_${nodeCount}`] = { ...timing, insertMs, copies };
		if (nodeCount === 3) await measureCluster(cluster, admin, apiKey);
	} finally {
		await cluster.close();
	}
}
console.log("");
printTable(
	[
		"search, k 10, and insert",
		"recall@10",
		"searches/s",
		"p50 ms",
		"p99 ms",
		"of 1 node",
		"inserts/s",
		"of 1 node",
		"copied MB/s",
	],
	rows,
);
if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(report, null, "\t"));

async function measureCluster(cluster: LocalCluster, admin: string, apiKey: string): Promise<void> {
	await remoteHop(cluster, apiKey);
	await revocations(cluster, admin);
	await rebalance(cluster, admin, apiKey);
	await gossip(cluster, admin);
	await death(cluster);
}

/** The same search through the node that holds the only copy, and through one that has to ask it. */
async function remoteHop(cluster: LocalCluster, apiKey: string): Promise<void> {
	await cluster
		.node(0)
		.call(apiKey, "POST", "/collections", { name: "single", dimension: data.dimension, replicas: 1, index: "exact" });
	await load(cluster.node(0), apiKey, "single", bodies.slice(0, 4));
	const small = { ...data, queries: data.queries.slice(0, 50) };
	const timings: Timing[] = [];
	for (const node of cluster.nodes) {
		await searches([node], apiKey, "single", small, 100, 1);
		timings.push(await searches([node], apiKey, "single", small, 400, 1));
	}
	timings.sort((a, b) => a.p50Ms - b.p50Ms);
	const [local, ...remote] = timings;
	const hop = mean(remote.map((timing) => timing.p50Ms)) - local!.p50Ms;
	printTable(
		["one search at a time, 2,000 vectors, one copy", "p50 ms", "p99 ms"],
		[
			["through the node that holds it", ms(local!.p50Ms), ms(local!.p99Ms)],
			...remote.map((timing, index) => [`through another (${index + 1})`, ms(timing.p50Ms), ms(timing.p99Ms)]),
		],
	);
	console.log(`a remote hop: ${ms(hop)} ms at p50\n`);
	report.remote_hop_ms = hop;
}

/** From the answer to the revocation on one node to the first refusal on each of the others. */
async function revocations(cluster: LocalCluster, admin: string): Promise<void> {
	const waits: number[] = [];
	for (let round = 0; round < REVOCATIONS; round++) {
		const minted = (await cluster
			.node(round % cluster.size)
			.call(admin, "POST", "/tenants/bench/keys", { permissions: ["READ_ONLY"] })) as {
			api_key: string;
			id: string;
			api_key_id: string;
		};
		const statusOn = async (node: LocalNode): Promise<number> =>
			(await fetch(`${node.url}/api/v1/usage`, { headers: { authorization: `Bearer ${minted.api_key}` } })).status;
		for (const node of cluster.nodes) if ((await statusOn(node)) !== 200) throw new Error("a new key does not work");
		await cluster
			.node(round % cluster.size)
			.call(admin, "DELETE", `/tenants/bench/keys/${minted.api_key_id ?? minted.id}`);
		const revokedAt = performance.now();
		await Promise.all(
			cluster.nodes.map(async (node) => {
				while ((await statusOn(node)) !== 401) await Bun.sleep(1);
				waits.push(performance.now() - revokedAt);
			}),
		);
	}
	const timing = summarise(waits, 1);
	console.log(
		`revocation to refusal on every node: p50 ${ms(timing.p50Ms)} ms, p99 ${ms(timing.p99Ms)} ms (${waits.length} waits)\n`,
	);
	report.revocation = { p50Ms: timing.p50Ms, p99Ms: timing.p99Ms };
}

/** A fourth node joins: what moves, of all that is stored, and how long it takes. */
async function rebalance(cluster: LocalCluster, admin: string, apiKey: string): Promise<void> {
	for (let index = 0; index < 12; index++) {
		const name = `spread${index}`;
		await cluster.node(0).call(apiKey, "POST", "/collections", {
			name,
			dimension: data.dimension,
			replicas: 1,
			shards: 4,
			index: "exact",
		});
		await load(cluster.node(0), apiKey, name, bodies.slice(0, 2));
	}
	const shardsHeld = async (): Promise<Map<string, Set<string>>> => {
		const held = new Map<string, Set<string>>();
		const { shards } = (await cluster.node(0).call(admin, "GET", "/cluster/shards?tenant_id=bench")) as {
			shards: { collection: string; shard: number; copies: { node_id: string }[] }[];
		};
		for (const { collection, shard, copies } of shards) {
			if (collection.startsWith("spread"))
				held.set(`${collection}/${shard}`, new Set(copies.map((copy) => copy.node_id)));
		}
		return held;
	};
	const before = await shardsHeld();
	const bytesBefore = await Promise.all(
		cluster.nodes.map((node) => metric(node, admin, "hive_vector_transfer_bytes_total")),
	);
	const startedAt = performance.now();
	await cluster.add();
	await cluster.settled();
	const seconds = (performance.now() - startedAt) / 1000;
	const after = await shardsHeld();
	const moved = [...after].filter(([shard, nodes]) => [...nodes].some((node) => !before.get(shard)?.has(node))).length;
	const bytesAfter = await Promise.all(
		cluster.nodes.map((node) => metric(node, admin, "hive_vector_transfer_bytes_total")),
	);
	const bytes = bytesAfter.reduce((sum, count, index) => sum + count - (bytesBefore[index] ?? 0), 0);
	console.log(
		`a fourth node joins: ${moved} of ${after.size} single-copy shards moved (${percent(moved / after.size)}; a quarter is its share), ` +
			`${(bytes / 1e6).toFixed(1)} MB in all, ${seconds.toFixed(1)} s until everything is in place\n`,
	);
	report.rebalance = { moved, of: after.size, bytes, seconds };
}

async function gossip(cluster: LocalCluster, admin: string): Promise<void> {
	const perNodeAndSecond = async (): Promise<number> => {
		const count = async (): Promise<number> => {
			const counts = await Promise.all(
				cluster.nodes.map((node) => metric(node, admin, "hive_vector_gossip_bytes_total")),
			);
			return counts.reduce((sum, one) => sum + one, 0);
		};
		const before = await count();
		await Bun.sleep(GOSSIP_SECONDS * 1000);
		return ((await count()) - before) / GOSSIP_SECONDS / cluster.size;
	};
	const idle = await perNodeAndSecond();
	const keys: string[] = [];
	for (let index = 0; index < TENANTS; index++) {
		const tenant = `many-${index}`;
		await cluster.node(index % cluster.size).call(admin, "POST", "/tenants", { id: tenant, rate_limits: UNLIMITED });
		keys.push(await key(cluster.node(0), admin, tenant));
	}
	let isOver = false;
	let calls = 0;
	const active = (async () => {
		while (!isOver) {
			const node = cluster.node(calls % cluster.size);
			await fetch(`${node.url}/api/v1/usage`, { headers: { authorization: `Bearer ${keys[calls % keys.length]!}` } });
			calls++;
			await Bun.sleep(1);
		}
	})();
	const busy = await perNodeAndSecond();
	isOver = true;
	await active;
	console.log(
		`gossip, sent and received: ${(idle / 1024).toFixed(1)} KiB a node and second idle, ` +
			`${(busy / 1024).toFixed(1)} with ${whole(TENANTS)} tenants in turn (${whole(calls / GOSSIP_SECONDS)} calls/s)\n`,
	);
	report.gossip = { idleBytes: idle, busyBytes: busy, tenants: TENANTS };
}

async function death(cluster: LocalCluster): Promise<void> {
	const waits: number[] = [];
	const last = cluster.size - 1;
	for (let round = 0; round < 3; round++) {
		const self = (await cluster.health(last)).nodes.find((node) => node.self)!.node_id;
		await cluster.kill(last);
		waits.push(
			await until(
				async () => (await cluster.health(1)).nodes.find((node) => node.node_id === self)?.state === "down",
				30_000,
			),
		);
		await cluster.restart(last);
		await cluster.settled();
	}
	console.log(
		`a killed node is known to be down after ${waits.map((wait) => `${(wait / 1000).toFixed(2)} s`).join(", ")}\n`,
	);
	report.death_ms = waits;
}
