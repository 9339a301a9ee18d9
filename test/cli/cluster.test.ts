import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import type { HealthAnswer, NodeAnswer, NodesAnswer } from "../../commands/shared/cluster-view.ts";
import { builtBinary, User } from "./binary.ts";
import { ScriptedNode } from "./scripted-node.ts";

const FIRST: NodeAnswer = {
	node_id: "node_aaaaaaaaaaaaaaaa",
	state: "active",
	addresses: ["/ip4/10.0.0.1/tcp/7802"],
	url: "http://10.0.0.1:7801",
	version: "1.2.3",
	ring_share: 0.4,
	self: true,
	last_heard_seconds: 0,
	hub: { serves: true, connected: true },
	shards_open: 12,
	stored_gb: 1.5,
	transfers: [],
	transfers_waiting: 0,
	hints_pending: 0,
	replication_lag_seconds: 0,
};
const SECOND: NodeAnswer = {
	...FIRST,
	node_id: "node_bbbbbbbbbbbbbbbb",
	ring_share: 0.6,
	self: false,
	hub: { serves: false, connected: true },
};
const ID = SECOND.node_id;

const nodesAnswer = (...nodes: readonly NodeAnswer[]): NodesAnswer => ({
	topology_version: 7,
	is_changing: false,
	nodes,
});

const health = (changes: Partial<HealthAnswer>): HealthAnswer => ({
	...nodesAnswer(FIRST, SECOND),
	status: "healthy",
	problems: [],
	hivehub_connection: "connected",
	tenant_count: 1_017,
	total_storage_gb: 3,
	uptime_seconds: 60,
	version: "1.2.3",
	...changes,
});

describe("the cluster commands", () => {
	const user = new User();
	const node = new ScriptedNode();
	const env = { HIVE_VECTOR_URL: node.url, HIVE_VECTOR_API_KEY: "env-key" };
	const run = (...args: readonly string[]) => user.run(["cluster", ...args], { env });
	const asked = (): string[] => node.requests.map(({ method, path }) => `${method} ${path}`);

	/** Answers by method and path, each of several in turn and the last for ever. */
	function script(answers: Readonly<Record<string, readonly [object, ...object[]]>>): void {
		const counts = new Map<string, number>();
		node.answer = (request) => {
			const { pathname, search } = new URL(request.url);
			const name = `${request.method} ${pathname.replace("/api/v1", "")}${search}`;
			const given = answers[name];
			if (given === undefined)
				return Response.json({ error: `unscripted: ${name}`, code: "INTERNAL" }, { status: 500 });
			const count = counts.get(name) ?? 0;
			counts.set(name, count + 1);
			return Response.json(given[Math.min(count, given.length - 1)]);
		};
	}

	beforeAll(async () => void (await builtBinary()), 120_000);
	beforeEach(() => void node.requests.splice(0));
	afterAll(async () => {
		user.leave();
		await node.stop();
	});

	test("status tells how the cluster is, and ends with 1 and its problems when it is degraded", async () => {
		script({ "GET /cluster/health": [health({})] });
		const healthy = await run("status");
		expect(healthy.code).toBe(0);
		expect(healthy.stdout).toMatch(/^status +healthy$/m);
		expect(healthy.stdout).toMatch(/^nodes +2 active$/m);
		expect(healthy.stdout).toMatch(/^tenants +1,017$/m);
		expect(healthy.stdout).toMatch(/^stored +3\.00 GB$/m);
		expect(healthy.stdout).toMatch(/^topology +version 7$/m);

		const degraded = health({
			status: "degraded",
			problems: ["node_b is down"],
			tenant_count: null,
			is_changing: true,
			nodes: [FIRST, { ...SECOND, state: "down", transfers_waiting: 3 }],
		});
		script({ "GET /cluster/health": [degraded] });
		const told = await run("status");
		expect(told.code).toBe(1);
		expect(told.stdout).toMatch(/^nodes +1 active, 1 down$/m);
		expect(told.stdout).toMatch(/^tenants +\?$/m);
		expect(told.stdout).toMatch(/^topology +version 7, changing$/m);
		expect(told.stdout).toMatch(/^moves left +3$/m);
		expect(told.stdout).toMatch(/^! node_b is down$/m);
		const machine = await run("status", "--json");
		expect([machine.code, JSON.parse(machine.stdout)]).toEqual([1, degraded]);
	});

	test("nodes lists the members, and gives machines the node's own answer", async () => {
		script({ "GET /cluster/nodes": [nodesAnswer(FIRST, SECOND)] });
		const { code, stdout } = await run("nodes");
		expect(code).toBe(0);
		const [title, first, second] = stdout.split("\n");
		expect(title).toContain("NODE");
		expect(first).toContain("active (answers, hub)");
		expect(second).toContain("60.0 %");
		expect(JSON.parse((await run("nodes", "--json")).stdout)).toEqual(nodesAnswer(FIRST, SECOND));
	});

	test("drain asks first, and changes nothing without a yes", async () => {
		script({});
		const { code, stderr } = await run("drain", ID);
		expect(code).not.toBe(0);
		expect(stderr).toContain("--yes");
		expect(asked()).toEqual([]);
	});

	test("drain says how far the node is, or with --wait follows it until it has left", async () => {
		const draining = { node_id: ID, state: "draining", topology_version: 8 };
		script({ [`POST /cluster/nodes/${ID}/drain`]: [draining] });
		const begun = await run("drain", ID, "--yes");
		expect([begun.code, begun.stdout]).toEqual([
			0,
			`${ID} is being emptied; \`hive-vector cluster nodes\` shows how far it is\n`,
		]);
		script({
			[`POST /cluster/nodes/${ID}/drain`]: [draining],
			"GET /cluster/nodes": [nodesAnswer(FIRST, { ...SECOND, state: "draining" }), nodesAnswer(FIRST)],
		});
		const followed = await run("drain", ID, "--yes", "--wait", "--json");
		expect([followed.code, JSON.parse(followed.stdout)]).toEqual([
			0,
			{ node_id: ID, state: "gone", topology_version: 7 },
		]);
		script({ [`POST /cluster/nodes/${ID}/drain`]: [{ ...draining, state: "gone" }] });
		expect((await run("drain", ID, "--yes", "--wait")).stdout).toBe(`${ID} has left: it can be stopped\n`);
	});

	test("drain --cancel keeps a node, without asking", async () => {
		script({
			[`POST /cluster/nodes/${ID}/drain?cancel=true`]: [{ node_id: ID, state: "active", topology_version: 9 }],
		});
		const { code, stdout } = await run("drain", ID, "--cancel");
		expect([code, stdout]).toEqual([0, `${ID} stays\n`]);
		expect((await run("drain", ID, "--cancel", "--wait")).code).toBe(2);
	});

	test("remove accepts no loss unless it is told to, and shows the node's refusal", async () => {
		const removed = { node_id: ID, state: "removed", topology_version: 8 };
		script({
			[`DELETE /cluster/nodes/${ID}`]: [removed],
			[`DELETE /cluster/nodes/${ID}?accept_loss=true`]: [{ ...removed, state: "gone" }],
		});
		expect((await run("remove", ID, "--yes")).stdout).toContain(`${ID} is dropped, and its copies are being replaced`);
		expect((await run("remove", ID, "--yes", "--accept-loss")).stdout).toBe(`${ID} is no member any more\n`);
		node.answer = () => Response.json({ error: "the node is alive: drain it", code: "CONFLICT" }, { status: 409 });
		const refused = await run("remove", ID, "--yes");
		expect(refused.code).toBe(1);
		expect(refused.stderr).toContain("the node is alive: drain it (CONFLICT)");
	});

	test("rebalance tells what is left to move, or with --wait follows it to the end", async () => {
		const rebalance = { moves_running: 2, moves_waiting: 5, topology_version: 7, is_changing: true };
		script({ "POST /cluster/rebalance": [rebalance] });
		expect((await run("rebalance", "--yes")).stdout).toContain("2 shards are moving, 5 wait");
		script({ "POST /cluster/rebalance": [rebalance], "GET /cluster/nodes": [nodesAnswer(FIRST, SECOND)] });
		const followed = await run("rebalance", "--yes", "--wait", "--json");
		expect([followed.code, JSON.parse(followed.stdout)]).toEqual([
			0,
			{ moves_running: 0, moves_waiting: 0, topology_version: 7, is_changing: false },
		]);
	});

	test("an id can't lead to another address", async () => {
		script({});
		await run("remove", "../../tenants/acme", "--yes");
		expect(asked().every((request) => request.startsWith("DELETE /api/v1/cluster/nodes/..%2F"))).toBe(true);
	});
});
