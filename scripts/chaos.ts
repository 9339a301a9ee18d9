import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Dice } from "./attacks/dice.ts";
import { runSchedule } from "./chaos-parts/schedule.ts";
import { clockLibrary, TestCluster } from "./chaos-parts/test-cluster.ts";
import { VirtualNetwork } from "./chaos-parts/virtual-network.ts";
import { Client, DIMENSION, type Target } from "./chaos-parts/workload.ts";

const { values: flags } = parseArgs({
	options: {
		seed: { type: "string", default: "1" },
		minutes: { type: "string", default: "10" },
		nodes: { type: "string", default: "3" },
		keep: { type: "boolean", default: false },
	},
});
const seed = Number(flags.seed);
const minutes = Number(flags.minutes);
const nodeCount = Number(flags.nodes);
if (!Number.isSafeInteger(seed) || !(minutes > 0) || !(nodeCount >= 3 && nodeCount <= 9)) {
	console.error("usage: scripts/chaos [--seed N] [--minutes M] [--nodes 3..9] [--keep]");
	process.exit(2);
}

const CLIENTS_PER_COLLECTION = 2;
const IDS_PER_CLIENT = 40;
const SETTLE_MS_MAX = 180_000;
const CALM_MS_MAX = 30_000;

const random = new Dice(seed);
const startedAt = performance.now();
const tell = (what: string): void =>
	console.log(`${((performance.now() - startedAt) / 1000).toFixed(1).padStart(7)} s  ${what}`);

interface ShardCopies {
	readonly tenant_id: string;
	readonly collection: string;
	readonly shard: number;
	readonly copies: readonly {
		readonly node_id: string;
		readonly state: string;
		readonly vectors?: number;
		readonly digest?: string;
	}[];
}

async function admin(
	cluster: TestCluster,
	node: number,
	method: string,
	path: string,
	body?: unknown,
	tenant?: string,
) {
	const answer = await fetch(`${cluster.url(node)}/api/v1${path}`, {
		method,
		headers: {
			authorization: `Bearer ${cluster.adminKey()}`,
			"content-type": "application/json",
			...(tenant === undefined ? {} : { "x-tenant-id": tenant }),
		},
		signal: AbortSignal.timeout(15_000),
		...(body === undefined ? {} : { body: JSON.stringify(body) }),
	});
	const text = await answer.text();
	if (!answer.ok) throw new Error(`${method} ${path} on node ${node}: ${answer.status} ${text}`);
	return JSON.parse(text) as Record<string, unknown>;
}

/** Two tenants with a collection of three copies each, under the same name; the first has another with a copy on every node, and one with a single copy. */
async function makeTargets(cluster: TestCluster): Promise<Target[]> {
	const targets: Target[] = [];
	for (const tenant of ["alpha", "beta"]) {
		await admin(cluster, 1, "POST", "/tenants", { id: tenant, name: tenant });
		const { api_key: key } = await admin(cluster, 2, "POST", `/tenants/${tenant}/keys`, {
			name: "chaos",
			permissions: ["READ_WRITE"],
		});
		const collections =
			tenant === "alpha"
				? [
						["docs", 3, 2],
						["everywhere", nodeCount, 1],
						["single", 1, 2],
					]
				: [["docs", 3, 1]];
		for (const [name, replicas, shards] of collections) {
			await admin(cluster, 3, "POST", "/collections", { name, dimension: DIMENSION, replicas, shards }, tenant);
			targets.push({ tenant, key: String(key), collection: String(name) });
		}
	}
	return targets;
}

/** Waits until a question has the wanted answer. @returns what was wrong when time ran out */
async function eventually(ask: () => Promise<string | undefined>, limitMs: number): Promise<string | undefined> {
	const deadline = performance.now() + limitMs;
	let wrong: string | undefined = "never asked";
	while (performance.now() < deadline) {
		wrong = await ask().catch((error: unknown) => String(error));
		if (wrong === undefined) return undefined;
		await Bun.sleep(500);
	}
	return wrong;
}

async function unsettled(cluster: TestCluster, nodes: readonly number[]): Promise<string | undefined> {
	for (const node of nodes) {
		const health = await admin(cluster, node, "GET", "/cluster/health");
		if (health.status !== "healthy")
			return `node ${node} says ${String(health.status)}: ${JSON.stringify(health.problems)}`;
		for (const member of health.nodes as Record<string, unknown>[]) {
			if (Number(member.hints_pending) > 0)
				return `${String(member.node_id)} has ${String(member.hints_pending)} hints`;
			if (Number(member.transfers_waiting) > 0) return `${String(member.node_id)} waits for transfers`;
		}
	}
	return undefined;
}

/** Every copy of every shard must be complete and come to the same. */
async function unequalCopies(cluster: TestCluster): Promise<string | undefined> {
	for (const tenant of ["alpha", "beta"]) {
		const { shards } = (await admin(cluster, 2, "GET", `/cluster/shards?tenant_id=${tenant}`)) as unknown as {
			shards: ShardCopies[];
		};
		for (const shard of shards) {
			const name = `${tenant}/${shard.collection}/${shard.shard}`;
			if (shard.copies.length === 0) return `${name} has no copy`;
			const wrong = shard.copies.find((copy) => copy.state !== "complete" || copy.digest === undefined);
			if (wrong !== undefined) return `${name} on ${wrong.node_id} is ${wrong.state}`;
			if (new Set(shard.copies.map((copy) => copy.digest)).size !== 1)
				return `${name} differs: ${JSON.stringify(shard.copies)}`;
		}
	}
	return undefined;
}

/** What the tenants are said to have stored, against what their clients know. */
async function wrongUsage(
	cluster: TestCluster,
	clients: readonly Client[],
	nodes: readonly number[],
): Promise<string | undefined> {
	for (const tenant of ["alpha", "beta"]) {
		const own = clients.filter((client) => client.target.tenant === tenant);
		let counted = 0;
		for (const collection of new Set(own.map((client) => client.target.collection))) {
			const client = own.find((one) => one.target.collection === collection)!;
			const { status, body } = await client.call(1, "POST", "/vectors/count", { consistency: "quorum" });
			if (status !== 200) return `counting ${tenant}/${collection} answered ${status}`;
			counted += Number(body.count);
		}
		for (const node of nodes) {
			const usage = await admin(cluster, node, "GET", `/cluster/usage?tenant_id=${tenant}`);
			if (usage.vectors !== counted)
				return `usage of ${tenant} on node ${node} says ${String(usage.vectors)} vectors, there are ${counted}`;
		}
	}
	return undefined;
}

async function main(): Promise<number> {
	const folder = mkdtempSync(join(tmpdir(), "hive-vector-chaos-"));
	writeFileSync(join(folder, "cluster.secret"), "a secret that only this run knows\n", { mode: 0o600 });
	const network = await VirtualNetwork.open(nodeCount, seed);
	const cluster = new TestCluster(network, folder);
	const nodes = Array.from({ length: nodeCount }, (_, index) => index + 1);
	const violations: string[] = [];
	try {
		for (const node of nodes) await cluster.start(node);
		const calm = await eventually(() => unsettled(cluster, nodes), CALM_MS_MAX);
		if (calm !== undefined) throw new Error(`the cluster did not form: ${calm}`);
		tell(
			`${nodeCount} nodes, seed ${seed}, ${minutes} minutes${clockLibrary() === undefined ? "; no library to set clocks with" : ""}`,
		);
		const targets = await makeTargets(cluster);
		const clients = targets.flatMap((target) =>
			Array.from(
				{ length: CLIENTS_PER_COLLECTION },
				(_, index) =>
					new Client(
						cluster,
						target,
						`${target.tenant}-${target.collection}-${index}`,
						() => cluster.running,
						new Dice(random.seed()),
						IDS_PER_CLIENT,
					),
			),
		);
		const endsAt = performance.now() + minutes * 60_000;
		let isOver = false;
		const working = clients.map((client) => client.run(() => isOver));
		const faults = await runSchedule({ cluster, network, nodes, random, tell }, () => performance.now() >= endsAt);
		isOver = true;
		await Promise.all(working);
		tell(`${faults.length} faults; all is healed, and every copy must come to the same`);

		const check = async (what: string, wrong: string | undefined): Promise<void> => {
			if (wrong !== undefined) violations.push(`${what}: ${wrong}`);
		};
		await check("the cluster does not settle", await eventually(() => unsettled(cluster, nodes), SETTLE_MS_MAX));
		await check("copies differ", await eventually(() => unequalCopies(cluster), SETTLE_MS_MAX));
		tell("the cluster has settled");
		for (const client of clients) {
			violations.push(...client.violations);
			for (const node of nodes)
				violations.push(...(await client.verify(node, "one")), ...(await client.verify(node, "quorum")));
		}
		await check("usage", await eventually(() => wrongUsage(cluster, clients, nodes), CALM_MS_MAX));
		const sum = (pick: (client: Client) => number): number =>
			clients.reduce((total, client) => total + pick(client), 0);
		const failures = new Map<string, number>();
		for (const client of clients)
			for (const [name, count] of client.failures) failures.set(name, (failures.get(name) ?? 0) + count);
		console.log(
			JSON.stringify({
				seed,
				nodes: nodeCount,
				faults: faults.length,
				acknowledged: sum((client) => client.acknowledgedCount),
				failed: Object.fromEntries(failures),
				reads_checked: sum((client) => client.readCount),
				documents: sum((client) => client.histories.size),
				violations: violations.length,
			}),
		);
	} finally {
		await cluster.close();
		await network.close();
		if (violations.length === 0 && !flags.keep) {
			for (const node of nodes) Bun.spawnSync(["umount", join(folder, `node${node}`)]);
			rmSync(folder, { recursive: true, force: true });
		} else console.log(`the nodes' logs are in ${folder}`);
	}
	for (const violation of violations.slice(0, 40)) console.log(`VIOLATION  ${violation}`);
	return violations.length === 0 ? 0 : 1;
}

process.exit(await main());
