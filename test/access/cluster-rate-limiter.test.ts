import { expect, test } from "bun:test";
import { ClusterRateLimiter } from "../../src/access/cluster-rate-limiter.ts";
import { type Protocol, RateLimiter, type RateLimitFacts, type RateLimitPayer } from "../../src/access/rate-limiter.ts";
import { HiveError } from "../../src/base/errors.ts";
import type { NodeId, TenantId } from "../../src/base/ids.ts";
import { HomeCalls } from "../../src/cluster/accounts/home-calls.ts";
import type { RateLimits } from "../../src/hub/models.ts";
import { SimulatedNetwork, type SimulatedPeer } from "../cluster/accounts/simulated-network.ts";
import { SimulatedTime } from "../cluster/accounts/simulated-time.ts";
import { keyRecord, tenantRecord } from "./access-fixture.ts";

const NODES = ["node_a", "node_b", "node_c"] as NodeId[];

const limits = (perMinute: number, perHour = 1_000_000, mcpPerMinute = 1_000): RateLimits => ({
	requests_per_minute: perMinute,
	requests_per_hour: perHour,
	mcp_requests_per_minute: mcpPerMinute,
});

class LimitedNode {
	readonly limiter: ClusterRateLimiter;
	readonly homes: HomeCalls;
	admittedCount = 0;
	refusedCount = 0;
	failedCount = 0;

	constructor(
		readonly rig: LimitsRig,
		readonly peer: SimulatedPeer,
		defaults: RateLimits,
	) {
		const { time } = rig;
		this.homes = new HomeCalls({ membership: peer, calls: peer, methods: peer, clock: time });
		this.limiter = new ClusterRateLimiter({
			limiter: new RateLimiter(time, defaults),
			homes: this.homes,
			membership: peer,
			methods: peer,
			clock: time,
			timers: time,
		});
	}

	async take(payer: RateLimitPayer = this.rig.payer, protocol: Protocol = "rest"): Promise<RateLimitFacts | undefined> {
		try {
			const { refusal, facts } = await this.limiter.take(payer, protocol);
			if (refusal === undefined) this.admittedCount++;
			else this.refusedCount++;
			return facts;
		} catch (error) {
			if (!(error instanceof HiveError)) throw error;
			this.failedCount++;
			return undefined;
		}
	}

	/** Requests at an even pace, nobody waiting for another. */
	async hammer(perSecond: number, seconds: number, payer?: RateLimitPayer, protocol?: Protocol): Promise<void> {
		const { time, network } = this.rig;
		const takes: Promise<unknown>[] = [];
		for (let index = 0; index < perSecond * seconds && !network.isDown(this.peer.self); index++) {
			takes.push(this.take(payer, protocol));
			await time.pause(1_000 / perSecond);
		}
		await Promise.all(takes);
	}
}

class LimitsRig {
	readonly time = new SimulatedTime();
	readonly network = new SimulatedNetwork(this.time, NODES);
	readonly nodes: LimitedNode[];
	readonly payer = { tenant: tenantRecord("acme") };

	constructor(readonly defaults: RateLimits) {
		this.nodes = [...this.network.peers.values()].map((peer) => new LimitedNode(this, peer, defaults));
	}

	/** In the order in which they become the tenant's home. */
	get homes(): readonly LimitedNode[] {
		const order = this.network.view.homes("acme" as TenantId);
		return order.map((nodeId) => this.nodes.find(({ peer }) => peer.self === nodeId)!);
	}

	get admittedCount(): number {
		return this.nodes.reduce((sum, node) => sum + node.admittedCount, 0);
	}

	async hammerAll(perSecond: number, seconds: number): Promise<void> {
		await this.time.until(Promise.all(this.nodes.map((node) => node.hammer(perSecond, seconds))));
	}

	die(node: LimitedNode): void {
		this.network.kill(node.peer.self);
	}

	notice(node: LimitedNode): void {
		for (const { peer } of this.nodes) if (peer !== node.peer) peer.sees(node.peer.self, false);
	}
}

/** What one node would admit of the same requests. */
async function admittedAlone(defaults: RateLimits, perSecond: number, seconds: number): Promise<number> {
	const time = new SimulatedTime();
	const limiter = new RateLimiter(time, defaults);
	let count = 0;
	for (let index = 0; index < perSecond * seconds; index++) {
		if (limiter.take({ tenant: tenantRecord("acme") }, "rest").refusal === undefined) count++;
		await time.pass(1_000 / perSecond);
	}
	return count;
}

test.each([
	[600, 60],
	[60, 20],
	[6_000, 150],
	[7, 3],
	[1, 2],
])("%d requests a minute hold within 5 %% with three nodes hammered at once", async (perMinute, perSecond) => {
	const rig = new LimitsRig(limits(perMinute));
	await rig.hammerAll(perSecond, 60);
	const alone = await admittedAlone(limits(perMinute), 3 * perSecond, 60);
	expect(rig.admittedCount).toBeLessThanOrEqual(Math.ceil(alone * 1.05));
	expect(rig.admittedCount).toBeGreaterThanOrEqual(Math.floor(alone * 0.95));
	expect(rig.nodes.map(({ failedCount }) => failedCount)).toEqual([0, 0, 0]);
});

test("the hour's limit holds over nodes as the minute's does, and the limit that refuses is named", async () => {
	const rig = new LimitsRig(limits(1_000, 120));
	await rig.hammerAll(5, 30);
	// One comes back every 30 seconds.
	expect(rig.admittedCount).toBeGreaterThanOrEqual(120);
	expect(rig.admittedCount).toBeLessThanOrEqual(121);
	const [, second] = rig.homes;
	const { refusal } = await rig.time.until(Promise.resolve(second!.limiter.take(rig.payer, "rest")));
	expect(refusal).toMatchObject({ code: "RATE_LIMITED", details: { limit: 120, window: "hour" } });
});

test("what others leased and did not use comes back, and one node alone can use nearly all", async () => {
	const rig = new LimitsRig(limits(600));
	const [, second, third] = rig.homes;
	await rig.time.until(second!.hammer(40, 2));
	await rig.time.pass(2_500);
	const before = rig.admittedCount;
	await rig.time.until(third!.hammer(200, 4));
	// 600 at first, and 10 a second.
	expect(before + third!.admittedCount).toBeGreaterThan(0.95 * (600 + 85));
	expect(before + third!.admittedCount).toBeLessThanOrEqual(600 + 86);
	const back = rig.network.calls.filter(({ method }) => method === "limits.return");
	expect(back.length).toBeGreaterThan(0);
	rig.nodes.forEach(({ limiter }) => {
		limiter.close();
	});
});

test("a lease spares most questions, and its answers tell what is left to within the lease", async () => {
	const rig = new LimitsRig(limits(6_000));
	const [home, second] = rig.homes;
	let facts: RateLimitFacts | undefined;
	const startMs = rig.time.monotonicMs();
	for (let index = 0; index < 300; index++) {
		facts = await rig.time.until(second!.take());
		await rig.time.pass(10);
	}
	const elapsedMs = rig.time.monotonicMs() - startMs;
	expect(elapsedMs).toBeGreaterThan(2_900);
	expect(rig.network.calls.length).toBeLessThan(40);
	// As much came back meanwhile as was taken.
	expect(facts!.limit).toBe(6_000);
	expect(facts!.remaining).toBeGreaterThan(5_850);
	const usages = await Promise.all(rig.nodes.map(({ limiter }) => rig.time.until(limiter.usage(rig.payer.tenant))));
	expect(new Set(usages.map((usage) => usage.requests_per_minute.used)).size).toBe(1);
	rig.die(home!);
	const told = await rig.time.until(second!.limiter.usage(rig.payer.tenant));
	expect(told.requests_per_minute.limit).toBe(6_000);
	// Nobody answers any more: as told last, or as far as this node knows.
	rig.die(rig.homes[2]!);
	const last = await rig.time.until(second!.limiter.usage(rig.payer.tenant));
	expect(last.requests_per_minute).toMatchObject({ limit: 6_000 });
	const guessed = await rig.time.until(rig.homes[2]!.limiter.usage(rig.payer.tenant));
	expect(guessed.requests_per_minute).toEqual({ used: 0, limit: 6_000, reset_in_seconds: 0 });
});

test("calls over MCP and keys with limits of their own have their own tokens on every node", async () => {
	const rig = new LimitsRig(limits(30, 1_000, 20));
	const key = keyRecord("acme", { rate_limit_override: { requests_per_minute: 10 } });
	const payer = { ...rig.payer, key };
	await rig.time.until(
		Promise.all(rig.nodes.flatMap((node) => [node.hammer(10, 5, rig.payer, "mcp"), node.hammer(10, 5, payer)])),
	);
	// A second more or less of what comes back.
	expect(rig.admittedCount).toBeGreaterThanOrEqual(20 + 10 + 1);
	expect(rig.admittedCount).toBeLessThanOrEqual(20 + 10 + 4);
	const before = rig.admittedCount;
	await rig.hammerAll(10, 5);
	expect(rig.admittedCount - before).toBeGreaterThanOrEqual(30);
	expect(rig.admittedCount - before).toBeLessThanOrEqual(34);
});

test("a home that dies under load hands out no second bucket", async () => {
	const rig = new LimitsRig(limits(600));
	const [home] = rig.homes;
	const load = rig.hammerAll(20, 60);
	await rig.time.pass(30_000);
	rig.die(home!);
	await rig.time.pass(3_000);
	rig.notice(home!);
	await load;
	const alone = await admittedAlone(limits(600), 60, 60);
	expect(rig.admittedCount).toBeLessThanOrEqual(alone * 1.05);
	expect(rig.admittedCount).toBeGreaterThanOrEqual(alone * 0.95);
});

test("the next home knows what the one before gave away, though nobody else was asked", async () => {
	const rig = new LimitsRig(limits(600));
	const [home, second, third] = rig.homes;
	await rig.time.until(home!.hammer(100, 6));
	await rig.time.pass(1_500);
	rig.die(home!);
	rig.notice(home!);
	const before = rig.admittedCount;
	await rig.time.until(Promise.all([second!.hammer(100, 2), third!.hammer(100, 2)]));
	// What was left, and what has come back since: ten a second.
	expect(before).toBe(600);
	expect(rig.admittedCount - before).toBeLessThanOrEqual(100);
});

test("a node that joins and becomes the home starts with what is left", async () => {
	const rig = new LimitsRig(limits(600));
	const [home, second] = rig.homes;
	await rig.time.until(Promise.all([home!.hammer(50, 6), second!.hammer(50, 6)]));
	const names = Array.from({ length: 50 }, (_, index) => `node_x${index}` as NodeId);
	const joiner = names.find((name) => {
		const all = new SimulatedNetwork(rig.time, [...NODES, name]);
		return all.view.homes("acme" as TenantId)[0] === name;
	})!;
	rig.network.change(new Map([...NODES, joiner].map((nodeId) => [nodeId, "active"])));
	const node = new LimitedNode(rig, rig.network.join(joiner), rig.defaults);
	rig.nodes.push(node);
	for (const { peer } of rig.nodes) peer.learn();
	await rig.time.pass(1_500);
	expect(rig.homes[0]).toBe(node);
	const before = rig.admittedCount;
	expect(before).toBeGreaterThan(560);
	await rig.hammerAll(50, 2);
	expect(rig.admittedCount - before).toBeLessThanOrEqual(110);
});

test("nodes cut off from most members admit their share of a limit", async () => {
	const rig = new LimitsRig(limits(600));
	const [home, ...others] = rig.homes;
	for (const { peer } of others) {
		rig.network.cut(home!.peer.self, peer.self);
		rig.network.cut(peer.self, home!.peer.self);
		peer.sees(home!.peer.self, false);
		home!.peer.sees(peer.self, false);
	}
	await rig.hammerAll(30, 60);
	expect(home!.admittedCount).toBeLessThanOrEqual(1_200 / 3);
	expect(home!.admittedCount).toBeGreaterThan(0.95 * (1_200 / 3));
	expect(rig.admittedCount - home!.admittedCount).toBeGreaterThan(0.95 * 1_200);
	expect(rig.admittedCount).toBeLessThanOrEqual(1_200 * (4 / 3));
});

test("nobody is admitted when neither the home nor the next one answers, but by what was leased before", async () => {
	const rig = new LimitsRig(limits(6_000));
	const [home, second, third] = rig.homes;
	await rig.time.until(third!.hammer(100, 1));
	const before = third!.admittedCount;
	rig.die(home!);
	rig.die(second!);
	await rig.time.until(third!.hammer(100, 3));
	expect(third!.admittedCount - before).toBeLessThanOrEqual(100);
	expect(third!.failedCount).toBeGreaterThan(0);
	expect(third!.refusedCount).toBe(0);
});

test("a tenant that is gone leaves no tokens to the next of its name, and whoever is not limited asks nobody", async () => {
	const rig = new LimitsRig(limits(10));
	await rig.hammerAll(10, 2);
	expect(rig.admittedCount).toBeLessThanOrEqual(11);
	const before = rig.admittedCount;
	for (const { limiter } of rig.nodes) limiter.forgetTenant("acme" as TenantId);
	await rig.hammerAll(10, 2);
	expect(rig.admittedCount - before).toBeGreaterThanOrEqual(10);
	rig.network.calls.length = 0;
	const [, second] = rig.homes;
	const { peer } = second!;
	const unlimited = new ClusterRateLimiter({
		limiter: new RateLimiter(rig.time, undefined),
		homes: second!.homes,
		membership: peer,
		methods: peer,
		clock: rig.time,
		timers: rig.time,
	});
	expect(await unlimited.take(rig.payer, "rest")).toEqual({});
	expect((await unlimited.usage(rig.payer.tenant)).requests_per_minute.limit).toBeNull();
	expect(rig.network.calls).toEqual([]);
});

test("a limit that is changed holds on every node with the next request", async () => {
	const rig = new LimitsRig(limits(6_000));
	const [, second] = rig.homes;
	await rig.time.until(second!.hammer(100, 2));
	const lowered = { tenant: tenantRecord("acme", { rate_limits: limits(100) }) };
	expect((await rig.time.until(second!.take(lowered)))?.limit).toBe(100);
	await rig.time.until(second!.hammer(100, 2, lowered));
	expect(second!.refusedCount).toBeGreaterThan(95);
});

test("what is spent is on the disk of the home before a request is answered, wherever it came", async () => {
	const time = new SimulatedTime();
	const network = new SimulatedNetwork(time, NODES);
	const settled: string[] = [];
	const [home, second] = network.view.homes("acme" as TenantId).map((nodeId) => {
		const peer = network.peers.get(nodeId)!;
		const spent = {
			bucketsOf: () => undefined,
			keep: () => {},
			retire: () => false,
			settle: (subject: string) => void settled.push(`${nodeId} ${subject}`),
		};
		const limiter = new RateLimiter(time, limits(600), spent);
		const homes = new HomeCalls({ membership: peer, calls: peer, methods: peer, clock: time });
		return {
			nodeId,
			limiter: new ClusterRateLimiter({ limiter, homes, membership: peer, methods: peer, clock: time, timers: time }),
		};
	});
	const payer = { tenant: tenantRecord("acme") };
	await time.until(Promise.resolve(second!.limiter.take(payer, "rest")));
	second!.limiter.settle(payer);
	expect(settled).toEqual([`${home!.nodeId} acme`]);
	await home!.limiter.take(payer, "rest");
	home!.limiter.settle(payer);
	expect(settled).toEqual([`${home!.nodeId} acme`, `${home!.nodeId} acme`]);
	for (const { limiter } of [home!, second!]) limiter.close();
	await home!.limiter.take(payer, "rest");
});

test("tokens that arrive after their limit was changed go back", async () => {
	const rig = new LimitsRig(limits(6_000));
	const [home, second] = rig.homes;
	const before = second!.take();
	const lowered = { tenant: tenantRecord("acme", { rate_limits: limits(3_000) }) };
	const after = second!.take(lowered);
	await rig.time.until(Promise.all([before, after]));
	await rig.time.pass(5_000);
	const usage = await home!.limiter.usage(lowered.tenant);
	expect(usage.requests_per_minute.used).toBeLessThanOrEqual(2);
	expect(second!.admittedCount + second!.refusedCount).toBe(2);
});
