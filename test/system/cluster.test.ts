import { Database } from "bun:sqlite";
import { afterAll, afterEach, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../../scripts/free-port.ts";
import { LocalCluster } from "../../scripts/local-cluster.ts";
import { BINARY, type LocalNode } from "../../scripts/local-node.ts";
import { startPostgres } from "../hub/postgres-rig.ts";
import { type Answer, call, newKey, newTenant } from "./client.ts";

setDefaultTimeout(120_000);

const vectorOf = (seed: number): number[] => Array.from({ length: 4 }, (_, axis) => Math.sin(seed * 7 + axis) + 0.01);
const rowsOf = (from: number, count: number): object[] =>
	Array.from({ length: count }, (_, index) => ({
		id: from + index,
		vector: vectorOf(from + index),
		payload: { n: from + index },
	}));

/** Asks until the answer is as wanted. @throws what it was at last, when it never came */
async function eventually(what: string, ask: () => Promise<boolean>, limitMs = 30_000): Promise<void> {
	const deadline = performance.now() + limitMs;
	while (performance.now() < deadline) {
		if (await ask().catch(() => false)) return;
		await Bun.sleep(20);
	}
	throw new Error(`never came to be: ${what}`);
}

const put = (node: LocalNode, key: string, name: string, from: number, count = 1): Promise<Answer> =>
	call(node, key, "POST", `/collections/${name}/vectors`, { vectors: rowsOf(from, count) });

const idsOn = async (
	node: LocalNode,
	key: string,
	name: string,
	ids: readonly number[],
	consistency = "one",
): Promise<number[]> => {
	const answer = await call(node, key, "POST", `/collections/${name}/vectors/get`, { ids, consistency });
	expect(answer.status, JSON.stringify(answer.body)).toBe(200);
	return answer.body.vectors.map((vector: { id: number }) => vector.id).sort((a: number, b: number) => a - b);
};

const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

async function copiesOf(
	cluster: LocalCluster,
	tenant: string,
): Promise<{ node_id: string; state: string; digest?: string }[][]> {
	const answer = (await cluster.nodes[0]!.call(cluster.adminKey, "GET", `/cluster/shards?tenant_id=${tenant}`)) as {
		shards: { copies: { node_id: string; state: string; digest?: string }[] }[];
	};
	return answer.shards.map((shard) => shard.copies);
}

const areEqual = (copies: readonly { state: string; digest?: string }[], count: number): boolean =>
	copies.length === count &&
	copies.every((copy) => copy.state === "complete" && copy.digest !== undefined) &&
	new Set(copies.map((copy) => copy.digest)).size === 1;

describe("three nodes, of which the first runs the hub", () => {
	let cluster: LocalCluster;
	let key: string;

	beforeAll(async () => {
		cluster = await LocalCluster.start(3);
		key = await newTenant(cluster.node(0), "acme");
	});
	afterAll(() => cluster.close());

	const ensure = async (name: string, fields: object = {}): Promise<void> => {
		const made = await call(cluster.node(1), key, "POST", "/collections", { name, dimension: 4, ...fields });
		expect(made.status, JSON.stringify(made.body)).toBe(201);
	};

	test("every node shows all members, and their shares of the ring add up", async () => {
		for (let index = 0; index < 3; index++) {
			const health = await cluster.health(index);
			expect(health.nodes.map((node) => node.state)).toEqual(["active", "active", "active"]);
			expect(health.nodes.filter((node) => node.self).length).toBe(1);
			expect(health.nodes.reduce((sum, node) => sum + node.ring_share, 0)).toBeCloseTo(1, 6);
		}
	});

	test("any node answers any request, and sees at once what another has made", async () => {
		await ensure("anywhere", { shards: 3 });
		for (const [index, node] of cluster.nodes.entries()) {
			expect((await put(node, key, "anywhere", index * 100, 50)).status).toBe(200);
		}
		for (const node of cluster.nodes) {
			const count = await call(node, key, "POST", "/collections/anywhere/vectors/count", {});
			expect(count.body.count).toBe(150);
			const found = await call(node, key, "POST", "/collections/anywhere/search", { vector: vectorOf(120), limit: 3 });
			expect(found.body.results[0].id).toBe(120);
			const patched = await call(node, key, "PATCH", "/collections/anywhere/vectors/7", { payload: { by: node.url } });
			expect(patched.status).toBe(200);
			for (const other of cluster.nodes) {
				const read = await call(other, key, "GET", "/collections/anywhere/vectors/7?consistency=quorum");
				expect(read.body.payload).toEqual({ n: 7, by: node.url });
			}
		}
		const removed = await call(cluster.node(2), key, "POST", "/collections/anywhere/vectors/delete", {
			filter: { must: [{ key: "n", range: { gte: 100 } }] },
		});
		expect(removed.body.deleted).toBe(100);
		for (const node of cluster.nodes) {
			await eventually(
				"the deletion on every node",
				async () => (await idsOn(node, key, "anywhere", [100, 249, 3])).join() === "3",
			);
		}
		expect((await call(cluster.node(2), key, "DELETE", "/collections/anywhere")).status).toBe(200);
		for (const node of cluster.nodes) expect((await call(node, key, "GET", "/collections/anywhere")).status).toBe(404);
	});

	test("a collection with one copy is served by every node", async () => {
		await ensure("single", { replicas: 1, shards: 4 });
		expect((await put(cluster.node(0), key, "single", 0, 100)).status).toBe(200);
		for (const node of cluster.nodes) {
			expect(await idsOn(node, key, "single", range(100))).toEqual(range(100));
			const found = await call(node, key, "POST", "/collections/single/search", { vector: vectorOf(42), limit: 1 });
			expect(found.body.results[0].id).toBe(42);
		}
		expect((await copiesOf(cluster, "acme")).every((copies) => copies.length >= 1)).toBe(true);
	});

	test("a key that is revoked on one node is refused by all of them, within a second", async () => {
		for (const revoker of cluster.nodes) {
			const minted = (await cluster
				.node(0)
				.call(cluster.adminKey, "POST", "/tenants/acme/keys", { permissions: ["READ_ONLY"] })) as {
				api_key: string;
				api_key_id: string;
				id: string;
			};
			for (const node of cluster.nodes) expect((await call(node, minted.api_key, "GET", "/usage")).status).toBe(200);
			await revoker.call(cluster.adminKey, "DELETE", `/tenants/acme/keys/${minted.api_key_id ?? minted.id}`);
			for (const node of cluster.nodes) {
				await eventually(
					"the refusal",
					async () => (await call(node, minted.api_key, "GET", "/usage")).status === 401,
					1_000,
				);
			}
		}
	});

	test("another tenant sees nothing, whichever node it asks", async () => {
		const stranger = await newTenant(cluster.node(0), "stranger");
		await ensure("private");
		expect((await put(cluster.node(0), key, "private", 0, 3)).status).toBe(200);
		for (const node of cluster.nodes) {
			const foreign = await call(node, stranger, "GET", "/collections/private");
			const unused = await call(node, stranger, "GET", "/collections/privatf");
			expect([foreign.status, unused.status]).toEqual([404, 404]);
			expect(foreign.body.code).toBe(unused.body.code);
			expect(foreign.body.error.replace("private", "x")).toBe(unused.body.error.replace("privatf", "x"));
		}
	});

	test("quotas hold with all nodes hammered at once", async () => {
		const max = 500;
		const limited = await newTenant(cluster.node(0), "limited", { quota: { max_vectors: max } });
		expect((await call(cluster.node(0), limited, "POST", "/collections", { name: "docs", dimension: 4 })).status).toBe(
			201,
		);
		let next = 0;
		const statuses = new Map<number, number>();
		await Promise.all(
			cluster.nodes.flatMap((node) =>
				range(4).map(async () => {
					for (let round = 0; round < 80; round++) {
						const { status } = await put(node, limited, "docs", next++);
						statuses.set(status, (statuses.get(status) ?? 0) + 1);
					}
				}),
			),
		);
		expect([...statuses.keys()].sort()).toEqual([200, 429]);
		const stored = (
			await call(cluster.node(1), limited, "POST", "/collections/docs/vectors/count", { consistency: "quorum" })
		).body.count;
		expect(stored).toBe(statuses.get(200)!);
		expect(stored).toBeLessThanOrEqual(max * 1.01);
		expect(stored).toBeGreaterThanOrEqual(max * 0.98);
		for (const node of cluster.nodes) {
			await eventually(
				"the same usage everywhere",
				async () => (await call(node, limited, "GET", "/usage")).body.vectors === stored,
			);
		}
	});

	test("a rate limit holds with all nodes hammered at once", async () => {
		const perMinute = 300;
		const limited = await newTenant(cluster.node(0), "paced", { requestsPerMinute: perMinute });
		const startedAt = performance.now();
		let admitted = 0;
		await Promise.all(
			cluster.nodes.flatMap((node) =>
				range(3).map(async () => {
					for (let round = 0; round < 100; round++) {
						if ((await call(node, limited, "GET", "/usage")).status === 200) admitted++;
					}
				}),
			),
		);
		const refilled = ((performance.now() - startedAt) / 60_000) * perMinute;
		expect(admitted).toBeLessThanOrEqual((perMinute + refilled) * 1.05);
		expect(admitted).toBeGreaterThanOrEqual(perMinute * 0.95);
	});

	test("one of three is killed: the others go on reading and writing, and it catches up by itself", async () => {
		await ensure("tough", { shards: 2 });
		expect((await put(cluster.node(0), key, "tough", 0, 50)).status).toBe(200);
		await cluster.kill(2);
		for (const node of cluster.nodes) {
			expect(
				(await call(node, key, "POST", "/collections/tough/search", { vector: vectorOf(1), limit: 50 })).body.results
					.length,
			).toBe(50);
			expect((await put(node, key, "tough", node === cluster.node(0) ? 50 : 75, 25)).status).toBe(200);
		}
		expect(
			(await call(cluster.node(1), key, "POST", "/collections/tough/vectors/delete", { ids: [0, 1] })).status,
		).toBe(200);
		const refused = await call(cluster.node(0), key, "POST", "/collections/tough/vectors", {
			vectors: rowsOf(900, 1),
			consistency: "all",
		});
		expect([refused.status, refused.body.code]).toEqual([503, "NO_QUORUM"]);
		await eventually("the death is known", async () =>
			(await cluster.health(0)).nodes.some((node) => node.state === "down"),
		);
		await cluster.restart(2);
		await cluster.settled();
		await eventually("equal copies", async () =>
			(await copiesOf(cluster, "acme")).every((copies) => areEqual(copies, copies.length)),
		);
		const expected = range(100).filter((id) => id > 1);
		for (const node of cluster.nodes) expect(await idsOn(node, key, "tough", range(100))).toEqual(expected);
	});

	test("a node that hangs costs no failed request", async () => {
		await ensure("patient");
		expect((await put(cluster.node(0), key, "patient", 0, 20)).status).toBe(200);
		const hung = cluster.node(2).process;
		hung.kill("SIGSTOP");
		try {
			for (const node of [cluster.node(0), cluster.node(1)]) {
				for (let round = 0; round < 20; round++) {
					expect(
						(await call(node, key, "POST", "/collections/patient/search", { vector: vectorOf(3), limit: 1 })).status,
					).toBe(200);
					expect((await put(node, key, "patient", 20 + round)).status).toBe(200);
				}
			}
		} finally {
			hung.kill("SIGCONT");
		}
		await cluster.settled();
		await eventually("equal copies", async () =>
			(await copiesOf(cluster, "acme")).every((copies) => areEqual(copies, copies.length)),
		);
		expect(await idsOn(cluster.node(2), key, "patient", range(40))).toEqual(range(40));
	});

	test("the hub's node is killed: known keys go on, and revocations made before hold, also on a node that restarts", async () => {
		await ensure("hubless");
		const revoked = await newKey(cluster.node(0), "acme", ["READ_ONLY"]);
		const records = (await cluster.node(0).call(cluster.adminKey, "GET", "/tenants/acme/keys")) as {
			keys: { api_key_id: string }[];
		};
		for (const node of cluster.nodes) expect((await call(node, revoked, "GET", "/usage")).status).toBe(200);
		const { api_key_id } = records.keys.at(-1)!;
		await cluster.node(1).call(cluster.adminKey, "DELETE", `/tenants/acme/keys/${api_key_id}`);
		for (const node of cluster.nodes) {
			await eventually("the refusal", async () => (await call(node, revoked, "GET", "/usage")).status === 401);
		}
		const admin = cluster.adminKey;
		await cluster.kill(0);
		try {
			for (const node of cluster.nodes) {
				expect((await put(node, key, "hubless", 0, 5)).status).toBe(200);
				expect((await call(node, revoked, "GET", "/usage")).status).toBe(401);
				const created = await call(node, key, "POST", "/collections", { name: "never", dimension: 4 });
				expect([created.status, created.body.code]).toEqual([503, "HUB_UNAVAILABLE"]);
				const tenant = await call(node, admin, "POST", "/tenants", { id: "never" });
				expect([tenant.status, tenant.body.code]).toEqual([503, "HUB_UNAVAILABLE"]);
			}
			await cluster.kill(2);
			await cluster.restart(2);
			expect([401, 503]).toContain((await call(cluster.node(2), revoked, "GET", "/usage")).status);
			await eventually("a node that restarts without a hub learns from the others", async () => {
				return (
					(await call(cluster.node(2), key, "POST", "/collections/hubless/search", { vector: vectorOf(1), limit: 5 }))
						.status === 200
				);
			});
			expect([401, 503]).toContain((await call(cluster.node(2), revoked, "GET", "/usage")).status);
		} finally {
			await cluster.restart(0);
		}
		await cluster.settled();
	});
});

describe("members that come and go", () => {
	let cluster: LocalCluster;
	let key: string;
	const all = range(400);

	beforeAll(async () => {
		cluster = await LocalCluster.start(2);
		key = await newTenant(cluster.node(0), "acme");
		for (const [name, replicas] of [
			["one", 1],
			["two", 2],
		] as const) {
			await call(cluster.node(0), key, "POST", "/collections", { name, dimension: 4, replicas, shards: 4 });
			expect((await put(cluster.node(1), key, name, 0, 400)).status).toBe(200);
		}
	});
	afterAll(() => cluster.close());

	const everythingIsThere = async (): Promise<void> => {
		for (const node of cluster.nodes) {
			for (const name of ["one", "two"])
				expect(await idsOn(node, key, name, all), `${name} through ${node.url}`).toEqual(all);
		}
	};

	test("a node that joins takes its share while everything keeps serving", async () => {
		let isOver = false;
		let next = 400;
		const failures: Answer[] = [];
		const serving = (async () => {
			while (!isOver) {
				for (const name of ["one", "two"]) {
					const written = await put(cluster.node(0), key, name, next);
					if (written.status !== 200) failures.push(written);
					const read = await call(cluster.node(1), key, "POST", `/collections/${name}/search`, {
						vector: vectorOf(7),
						limit: 1,
					});
					if (read.status !== 200) failures.push(read);
				}
				next++;
			}
		})();
		const index = await cluster.add();
		await cluster.settled();
		isOver = true;
		await serving;
		expect(failures.map((answer) => answer.body)).toEqual([]);
		while (all.length < next) all.push(all.length);
		await everythingIsThere();
		const newcomer = (await cluster.health(index)).nodes.find((node) => node.self)!;
		expect(newcomer.ring_share).toBeGreaterThan(0.1);
		const held = (await copiesOf(cluster, "acme")).flat().filter((copy) => copy.node_id === newcomer.node_id);
		expect(held.length).toBeGreaterThan(0);
	});

	test("a node that is drained is empty afterwards, and nothing is lost, not even of single copies", async () => {
		const leaver = (await cluster.health(1)).nodes.find((node) => node.self)!.node_id;
		const drained = await call(cluster.node(0), cluster.adminKey, "POST", `/cluster/nodes/${leaver}/drain`);
		expect(drained.status, JSON.stringify(drained.body)).toBeLessThan(300);
		await eventually(
			"the node has left",
			async () => !(await cluster.health(0)).nodes.some((node) => node.node_id === leaver),
		);
		await cluster.kill(1);
		await cluster.settled(2);
		await everythingIsThere();
		expect((await copiesOf(cluster, "acme")).flat().some((copy) => copy.node_id === leaver)).toBe(false);
	});

	test("a dead node that is removed is replaced: the copies that are left make new ones", async () => {
		const index = await cluster.add();
		await cluster.settled(3);
		const { node_id: dead } = (await cluster.health(index)).nodes.find((node) => node.self)!;
		const alive = await call(cluster.node(0), cluster.adminKey, "DELETE", `/cluster/nodes/${dead}?accept_loss=true`);
		expect([alive.status, alive.body.code]).toEqual([409, "CONFLICT"]);
		await call(cluster.node(0), key, "DELETE", "/collections/one");
		await cluster.kill(index);
		await eventually("the death is known", async () =>
			(await cluster.health(0)).nodes.some((node) => node.node_id === dead && node.state === "down"),
		);
		const removed = await call(cluster.node(0), cluster.adminKey, "DELETE", `/cluster/nodes/${dead}?accept_loss=true`);
		expect(removed.status, JSON.stringify(removed.body)).toBeLessThan(300);
		await cluster.settled(2);
		await eventually("two equal copies of each shard", async () =>
			(await copiesOf(cluster, "acme")).every((copies) => areEqual(copies, 2)),
		);
		for (const node of cluster.nodes) expect(await idsOn(node, key, "two", all)).toEqual(all);
		await cluster.restart(index).catch(() => undefined);
		for (let round = 0; round < 10; round++) {
			expect((await cluster.health(0)).nodes.some((node) => node.node_id === dead)).toBe(false);
			await Bun.sleep(50);
		}
	});

	test("what is unknown or can't be is refused, and changes nothing", async () => {
		const before = (await cluster.health(0)).topology_version;
		const unknown = await call(cluster.node(0), cluster.adminKey, "POST", "/cluster/nodes/node_aaaaaaaaaaaaaaaa/drain");
		expect(unknown.status).toBe(404);
		for (const path of ["/cluster/nodes", "/cluster/health", "/cluster/shards?tenant_id=acme"]) {
			expect((await call(cluster.node(0), key, "GET", path)).status).toBe(403);
		}
		expect((await call(cluster.node(0), key, "POST", "/cluster/rebalance")).status).toBe(403);
		expect((await call(cluster.node(0), cluster.adminKey, "POST", "/cluster/rebalance")).status).toBeLessThan(300);
		expect((await cluster.health(0)).topology_version).toBe(before);
	});
});

describe("a start that would lose data is refused", () => {
	let cluster: LocalCluster;
	let key: string;

	beforeAll(async () => {
		cluster = await LocalCluster.start(2);
		key = await newTenant(cluster.node(0), "acme");
		const made = await call(cluster.node(0), key, "POST", "/collections", {
			name: "kept",
			dimension: 4,
			replicas: 1,
			shards: 4,
		});
		expect(made.status, JSON.stringify(made.body)).toBe(201);
		expect((await put(cluster.node(0), key, "kept", 0, 100)).status).toBe(200);
	});
	afterAll(() => cluster.close());

	/** What it ends with, and says, when it does not start, with the flags that are given and no others. */
	const refusalOf = async (dataDir: string, ...flags: string[]): Promise<{ exitCode: number; text: string }> => {
		const child = Bun.spawn([BINARY, "serve", "--data-dir", dataDir, "--port", String(freePort()), ...flags], {
			stdin: "ignore",
			stdout: "ignore",
			stderr: "pipe",
			timeout: 60_000,
		});
		return { exitCode: await child.exited, text: await new Response(child.stderr).text() };
	};
	const conflict = (text: string) => ({ exitCode: 1, text: expect.stringContaining(text) });
	const anyPort = ["--listen", "/ip4/127.0.0.1/tcp/0"];

	test("of the hub's node without its database, of a member by itself, of either outside of cluster mode", async () => {
		const [first, second] = cluster.nodes.map(({ dataDir }) => dataDir) as [string, string];
		await cluster.stop(1);
		expect(await refusalOf(second, "--cluster", ...anyPort)).toEqual(conflict("cluster.join"));
		expect(await refusalOf(second)).toEqual(conflict("--cluster"));
		await cluster.restart(1);
		await cluster.stop(0);
		renameSync(join(first, "hub.db"), join(first, "hub.kept"));
		expect(await refusalOf(first, "--cluster", ...anyPort)).toEqual(conflict("restore hub.db first"));
		expect(await refusalOf(first)).toEqual(conflict("--cluster"));
		expect(existsSync(join(first, "hub.db"))).toBe(false);
		renameSync(join(first, "hub.kept"), join(first, "hub.db"));
		await cluster.restart(0);
		await cluster.settled();
		for (const node of cluster.nodes) expect(await idsOn(node, key, "kept", range(100))).toEqual(range(100));
	});

	test("and a hub on an older database is followed by nobody", async () => {
		const [first, second] = cluster.nodes.map(({ dataDir }) => dataDir) as [string, string];
		await cluster.stop(0);
		const database = new Database(join(first, "hub.db"));
		database.run("UPDATE topology SET version = 0, members = '[]'");
		database.run("DELETE FROM collections");
		database.run("DELETE FROM changes");
		database.close();
		const listen = ["--listen", cluster.clusterAddress(0)];
		const refused = await refusalOf(first, "--cluster", ...listen);
		expect(refused).toEqual({ exitCode: 5, text: expect.stringContaining("the hub knows version 0 of the topology") });
		for (const dataDir of [first, second]) expect(readdirSync(join(dataDir, "tenants", "acme")).length).toBe(1);
	});
});

describe("who may join", () => {
	const folder = mkdtempSync(join(tmpdir(), "hive-vector-stranger-"));
	let cluster: LocalCluster;
	beforeAll(async () => {
		cluster = await LocalCluster.start(1);
	});
	afterAll(async () => {
		await cluster.close();
		rmSync(folder, { recursive: true, force: true });
	});

	test("a node with another secret is let in nowhere", async () => {
		const secretPath = join(folder, "wrong.secret");
		writeFileSync(secretPath, "a secret of somebody else entirely\n", { mode: 0o600 });
		const child = Bun.spawn(
			[BINARY, "serve", "--cluster", "--data-dir", join(folder, "stranger"), "--port", String(freePort())].concat([
				"--listen",
				`/ip4/127.0.0.1/tcp/${freePort()}`,
				"--join",
				cluster.clusterAddress(0),
			]),
			{
				env: { ...process.env, HIVE_VECTOR_CLUSTER_SECRET_FILE: secretPath },
				stdin: "ignore",
				stdout: "pipe",
				stderr: "pipe",
			},
		);
		await Bun.sleep(3_000);
		expect((await cluster.health(0)).nodes.length).toBe(1);
		child.kill("SIGKILL");
		await child.exited;
		expect(await new Response(child.stderr).text()).toContain("another cluster.secret");
	});

	test("a node that shall join and has no secret says what it needs, and does not start", async () => {
		const child = Bun.spawn(
			[
				BINARY,
				"serve",
				"--cluster",
				"--data-dir",
				join(folder, "none"),
				"--port",
				String(freePort()),
				"--join",
				cluster.clusterAddress(0),
			],
			{ stdin: "ignore", stdout: "pipe", stderr: "pipe" },
		);
		expect(await child.exited).not.toBe(0);
		expect(await new Response(child.stderr).text()).toContain("cluster.secret");
	});
});

const postgres = await startPostgres();
describe.skipIf(!postgres.available)("three nodes on one PostgreSQL", () => {
	let cluster: LocalCluster | undefined;
	afterEach(async () => {
		await cluster?.close();
		if (postgres.available) await postgres.stop();
	});

	test("every node can be the hub: losing any one changes nothing", async () => {
		if (!postgres.available) return;
		cluster = await LocalCluster.start(3, { HIVE_VECTOR_HUB_DATABASE: await postgres.newDatabase() });
		const admin = cluster.adminKey;
		const key = await newTenant(cluster.node(0), "acme");
		await call(cluster.node(1), key, "POST", "/collections", { name: "docs", dimension: 4 });
		expect((await put(cluster.node(2), key, "docs", 0, 10)).status).toBe(200);
		for (const index of [0, 1, 2]) {
			await cluster.kill(index);
			for (const node of cluster.nodes) {
				const made = await call(node, admin, "POST", "/tenants", { id: `while-${index}-gone-${node.url.slice(-5)}` });
				expect(made.status, JSON.stringify(made.body)).toBe(201);
				expect((await put(node, key, "docs", 10 + index)).status).toBe(200);
			}
			await cluster.restart(index);
			await cluster.settled();
		}
		for (const node of cluster.nodes) expect(await idsOn(node, key, "docs", range(13))).toEqual(range(13));
	});
});
