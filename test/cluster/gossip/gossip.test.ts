import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { NodeId } from "../../../src/base/ids.ts";
import { GOSSIP_LIMITS } from "../../../src/cluster/gossip/gossip-limits.ts";
import type { HubRecordFact } from "../../../src/cluster/gossip/gossip-state.ts";
import type { HubChange, Topology } from "../../../src/hub/models.ts";
import type { KnownChanges } from "../../../src/hub/recent-changes.ts";
import {
	A,
	ACME,
	B,
	C,
	collectionRecord,
	description,
	GossipRig,
	hashOf,
	heartbeatOf,
	keyRecord,
	tenantRecord,
	topology,
	usageOf,
} from "./gossip-rig.ts";

const keyChange = (index: number, cursor: number, status: "active" | "revoked" = "active"): HubChange => ({
	kind: "key",
	cursor,
	key_hash: hashOf(index),
	tenant_id: ACME,
	record: keyRecord(index, cursor, { rotation_status: status }),
});
const tenantChange = (id: string, cursor: number): HubChange => ({
	kind: "tenant",
	cursor,
	tenant_id: id,
	record: tenantRecord(id, cursor),
});

/** A directory that only writes down what it is given. */
class Hearing {
	readonly heard: HubChange[] = [];
	readonly known: KnownChanges[] = [];
	own: KnownChanges | undefined;
	wentBackCount = 0;

	heardFromPeer(change: HubChange): void {
		this.heard.push(change);
	}
	peerKnows(known: KnownChanges): void {
		this.known.push(known);
	}
	knownChanges(): KnownChanges | undefined {
		return this.own;
	}
	peerSawHubGoBack(): void {
		this.wentBackCount += 1;
	}
}

describe("gossip", () => {
	let rig: GossipRig;
	let hearings: Map<NodeId, Hearing>;
	const gossipOf = (nodeId: NodeId) => rig.node(nodeId).gossip;
	const hearingOf = (nodeId: NodeId) => hearings.get(nodeId)!;
	const attach = (nodeId: NodeId) => {
		const hearing = new Hearing();
		hearings.set(nodeId, hearing);
		gossipOf(nodeId).attach(hearing);
	};
	const restart = async (nodeId: NodeId) => {
		await gossipOf(nodeId).stop();
		rig.start(nodeId);
		attach(nodeId);
		gossipOf(nodeId).start();
	};
	const calls = (from: NodeId) => rig.network.calls.filter((call) => call.from === from);
	const sentOn = (topic: string) => rig.sent.filter((message) => message.topic === topic);

	beforeEach(() => {
		rig = new GossipRig();
		hearings = new Map();
		for (const nodeId of rig.nodes.keys()) {
			attach(nodeId);
			gossipOf(nodeId).start();
		}
	});

	afterEach(async () => {
		await Promise.all([...rig.nodes.values()].map(({ gossip }) => gossip.stop()));
	});

	describe("heartbeats", () => {
		test("go out at once and then every second, and each node knows the last of the others", async () => {
			const heard: string[] = [];
			gossipOf(B).onHeartbeat(({ nodeId, sequence }) => heard.push(`${nodeId} ${sequence}`));
			await rig.time.pass(10);
			expect([...gossipOf(B).heartbeats().keys()].sort()).toEqual([A, C]);
			expect(heard.sort()).toEqual([`${A} 1`, `${C} 1`]);
			rig.node(A).described = { ...description, isStopping: true };
			await rig.time.pass(1_000);
			const { heartbeat, heardAtMs } = gossipOf(B).heartbeats().get(A)!;
			expect(heartbeat).toMatchObject({ nodeId: A, sequence: 2, isStopping: true });
			expect(rig.time.monotonicMs() - heardAtMs).toBeLessThan(1_000);
		});

		test("outlive a restart with a clock set back: others have the earlier start from before", async () => {
			await rig.time.pass(3_000);
			await gossipOf(A).stop();
			const clock = { nowMs: () => 1_000, monotonicMs: () => rig.time.monotonicMs() };
			rig.start(A, { clock });
			attach(A);
			gossipOf(A).start();
			await rig.time.pass(1_000);
			expect(gossipOf(B).heartbeats().get(A)!.heartbeat.incarnation).toBeGreaterThan(1_000_000);
			gossipOf(A).peerConnected(B);
			rig.node(A).described = { ...description, version: "2.0.0" };
			await rig.time.pass(2_000);
			expect(gossipOf(B).heartbeats().get(A)!.heartbeat.version).toBe("2.0.0");
			expect(gossipOf(C).heartbeats().get(A)!.heartbeat.version).toBe("2.0.0");
		});

		test("tell of so many transfers and addresses as fit, and of stopping at the end", async () => {
			const transfer = {
				tenantId: ACME,
				collectionId: "c",
				shard: 0,
				from: B,
				rowsDone: 1,
				rowsTotal: 2,
				bytesDone: 3,
			};
			rig.node(A).described = {
				...description,
				addresses: Array(100).fill("x".repeat(GOSSIP_LIMITS.textLengthMax)) as string[],
				transfers: Array(5_000).fill(transfer) as (typeof transfer)[],
			};
			await rig.time.pass(1_000);
			const { heartbeat } = gossipOf(B).heartbeats().get(A)!;
			expect(heartbeat.transfers).toHaveLength(GOSSIP_LIMITS.transfersMax);
			expect(heartbeat.addresses).toHaveLength(GOSSIP_LIMITS.addressesMax);
			for (const { bytes } of rig.sent) expect(bytes).toBeLessThan(GOSSIP_LIMITS.messageBytesMax);
			rig.node(A).described = { ...description, isStopping: true };
			await gossipOf(A).stop();
			await gossipOf(A).stop();
			await rig.time.pass(10);
			expect(gossipOf(B).heartbeats().get(A)!.heartbeat.isStopping).toBe(true);
			const count = rig.sent.filter(({ from }) => from === A).length;
			await rig.time.pass(5_000);
			expect(rig.sent.filter(({ from }) => from === A)).toHaveLength(count);
		});

		test("a node that can't say how it is says nothing, and tries again", async () => {
			let isBroken = true;
			await gossipOf(A).stop();
			await gossipOf(B).stop();
			await rig.time.pass(10);
			rig.start(B);
			rig.start(A, {
				describe: () => {
					if (isBroken) throw new Error("no disk");
					return description;
				},
			});
			gossipOf(A).start();
			await rig.time.pass(1_500);
			expect(rig.node(A).logged).toContain("this node could not say how it is");
			expect(gossipOf(B).heartbeats().has(A)).toBe(false);
			isBroken = false;
			await rig.time.pass(1_000);
			expect(gossipOf(B).heartbeats().has(A)).toBe(true);
		});

		test("of a node that has left the cluster are forgotten, and not heard any more", async () => {
			await rig.time.pass(1_000);
			rig.network.change(new Map([A, B].map((nodeId) => [nodeId, "active"])));
			rig.network.peers.get(A)!.learn();
			expect([...gossipOf(A).heartbeats().keys()]).toEqual([B]);
			await rig.time.pass(2_000);
			expect([...gossipOf(A).heartbeats().keys()]).toEqual([B]);
			expect(rig.node(A).dropped).toContain("heartbeat stranger");
		});
	});

	describe("records", () => {
		test("reach all nodes within moments, the newest alone of what comes together", async () => {
			gossipOf(A).tell(keyChange(1, 5));
			gossipOf(A).tell(keyChange(1, 6, "revoked"));
			await rig.time.pass(20);
			for (const nodeId of [B, C]) expect(hearingOf(nodeId).heard).toEqual([keyChange(1, 6, "revoked")]);
			expect(sentOn("records")).toHaveLength(1);
			// Not back to whoever told.
			expect(hearingOf(A).heard).toEqual([]);
		});

		test("of every kind, and their ends, arrive as the changes they were", async () => {
			const changes: HubChange[] = [
				keyChange(1, 5),
				{ kind: "key", cursor: 9, key_hash: hashOf(2), tenant_id: ACME, record: null },
				tenantChange(ACME, 6),
				{ kind: "tenant", cursor: 10, tenant_id: "globex", record: null },
				{
					kind: "collection",
					cursor: 7,
					tenant_id: ACME,
					collection_id: "collection-1",
					name: "docs-1",
					record: collectionRecord(1, 7),
				},
				{
					kind: "collection",
					cursor: 11,
					tenant_id: ACME,
					collection_id: "collection-2",
					name: "docs-2",
					record: null,
				},
			];
			for (const change of changes) gossipOf(A).tell(change);
			gossipOf(A).tell({ kind: "topology", cursor: 12, version: 3 });
			gossipOf(A).tell({ ...tenantChange("old", 0), cursor: -1, record: tenantRecord("old", -1) } as HubChange);
			await rig.time.pass(100);
			expect(hearingOf(B).heard.toSorted((a, b) => a.cursor - b.cursor)).toEqual(
				changes.toSorted((a, b) => a.cursor - b.cursor),
			);
		});

		test("that were lost come by state exchange with a neighbour, at the latest after its interval", async () => {
			rig.loses = (_from, to, topic) => to === B && topic === "records";
			gossipOf(A).tell(keyChange(1, 6, "revoked"));
			await rig.time.pass(2_000);
			expect(hearingOf(B).heard).toEqual([]);
			await rig.time.pass(GOSSIP_LIMITS.exchangeEveryMs + 1_000);
			expect(hearingOf(B).heard).toEqual([keyChange(1, 6, "revoked")]);
		});

		test("reach a late joiner in pages of bounded size", async () => {
			hearingOf(A).own = { from: 0, to: 3_000 };
			for (let index = 1; index <= 3_000; index++) gossipOf(A).tell(keyChange(index, index));
			await rig.time.pass(1_000);
			for (const { bytes, body } of sentOn("records")) {
				expect(bytes).toBeLessThan(GOSSIP_LIMITS.messageBytesMax * 1.1);
				expect(body.facts.length).toBeLessThanOrEqual(GOSSIP_LIMITS.factsPerMessageMax);
			}
			await restart(C);
			gossipOf(C).peerConnected(A);
			await rig.time.pass(1_000);
			expect(hearingOf(C).heard).toHaveLength(3_000);
			expect(hearingOf(C).known).toEqual([{ from: 0, to: 3_000 }]);
			expect(calls(C).length).toBeGreaterThan(2);
			const asked = calls(C).length;
			// Nothing is left to tell.
			gossipOf(C).peerConnected(A);
			await rig.time.pass(1_000);
			expect(calls(C)).toHaveLength(asked + 1);
		});

		test("converge after a partition, on both sides", async () => {
			rig.cut(A, C);
			rig.cut(B, C);
			gossipOf(A).tell(keyChange(1, 6, "revoked"));
			gossipOf(C).tell(tenantChange(ACME, 7));
			gossipOf(C).tell(keyChange(1, 5));
			await rig.time.pass(30_000);
			expect([hearingOf(B).heard, hearingOf(C).heard]).toEqual([[keyChange(1, 6, "revoked")], []]);
			rig.heal();
			for (const nodeId of [A, B]) {
				gossipOf(nodeId).peerConnected(C);
				gossipOf(C).peerConnected(nodeId);
			}
			await rig.time.pass(100);
			expect(hearingOf(C).heard).toEqual([keyChange(1, 6, "revoked")]);
			for (const nodeId of [A, B]) expect(hearingOf(nodeId).heard.at(-1)).toEqual(tenantChange(ACME, 7));
			for (const nodeId of rig.nodes.keys()) {
				expect(gossipOf(nodeId).record("key", hashOf(1))?.fact.revision).toBe(6);
				expect(gossipOf(nodeId).record("tenant", ACME)?.fact.revision).toBe(7);
			}
		});

		test("that one node asked the hub for are had by the others with their age", async () => {
			const fact: HubRecordFact = { kind: "tenant", tenantId: ACME, revision: 4, record: tenantRecord(ACME, 4) };
			gossipOf(A).share(fact, { askedAt: undefined, atMs: rig.time.nowMs() });
			gossipOf(A).share({ ...fact, revision: -1 }, { askedAt: 8, atMs: rig.time.nowMs() });
			expect(gossipOf(A).record("tenant", ACME)).toBeUndefined();
			gossipOf(A).share(fact, { askedAt: 8, atMs: rig.time.nowMs() });
			await rig.time.pass(5_000);
			expect(gossipOf(B).record("tenant", ACME)).toMatchObject({ fact, askedAt: 8, by: A });
			const found = await rig.node(B).records.tenant(ACME);
			expect(found).toMatchObject({ record: fact.record!, askedAt: 8 });
			expect(Math.abs(found!.ageMs - 5_000)).toBeLessThan(100);
		});

		test("go out in messages of bounded size; what is too large for one comes by exchange", async () => {
			const record = tenantRecord(ACME, 4, { metadata: { note: "x".repeat(GOSSIP_LIMITS.factBytesMax) } });
			gossipOf(A).tell({ kind: "tenant", cursor: 4, tenant_id: ACME, record });
			await rig.time.pass(100);
			expect(rig.node(A).dropped).toEqual(["record too_large"]);
			expect(hearingOf(B).heard).toEqual([]);
			gossipOf(B).peerConnected(A);
			await rig.time.pass(100);
			expect(hearingOf(B).heard).toHaveLength(1);
		});

		test("beyond what may wait are left to state exchange", async () => {
			for (let index = 0; index <= GOSSIP_LIMITS.waitingMax; index++) gossipOf(A).tell(keyChange(index, index + 1));
			expect(rig.node(A).dropped).toEqual(["record overflow"]);
			gossipOf(A).tell(keyChange(1, 90_000));
			expect(rig.node(A).dropped).toHaveLength(1);
		});
	});

	describe("what is no fact, or not theirs to tell,", () => {
		const says = (topic: string, ...facts: unknown[]) => rig.deliver(B, A, topic, { generation: 0, facts });
		const usage = (fact: object) => ({ kind: "usage", fact });

		test("is dropped and counted, and takes nothing else with it", () => {
			rig.deliver(B, A, "records", "hello");
			rig.deliver(B, A, "records", { generation: 0, facts: "none" });
			rig.deliver(B, A, "records", { generation: GOSSIP_LIMITS.generationLeapMax + 1, facts: [] });
			says(
				"records",
				{ kind: "gold", fact: 1 },
				{ kind: "record", fact: { fact: { kind: "key" } } },
				usage(usageOf(B)),
			);
			says("records", {
				kind: "record",
				fact: {
					fact: { kind: "tenant", tenantId: "globex", revision: 3, record: tenantRecord(ACME, 3) },
					askedAt: 3,
					vouchedAtMs: 0,
					by: "",
					ageMs: null,
				},
			});
			says("usage", usage(usageOf(B, { requests: -1 })), usage(usageOf(B, { tenantId: "x".repeat(600) })));
			expect(rig.node(A).dropped).toEqual([
				"message malformed",
				"message malformed",
				"message malformed",
				"message malformed",
				"record malformed",
				"record malformed",
				"usage malformed",
				"usage malformed",
			]);
			expect(gossipOf(A).usageElsewhere(ACME, 1_000).requests).toBe(1);
			expect([hearingOf(A).heard, hearingOf(A).wentBackCount, rig.node(A).stored.generation]).toEqual([
				[],
				0,
				undefined,
			]);
		});

		test("nobody speaks for others: neither how they are nor what they counted", () => {
			const heartbeat = { kind: "heartbeat", fact: { heartbeat: heartbeatOf(C, 10 ** 14, 1), ageMs: 0 } };
			const digest = { kind: "digest", fact: { nodeId: C, shard: "c/0", incarnation: 1, sequence: 1, root: "r" } };
			says("heartbeats", heartbeat, digest, usage(usageOf(C)), usage(usageOf(A)), usage(usageOf("node_x" as NodeId)));
			says("usage", usage(usageOf(B, { lastRequestMs: rig.time.nowMs() + 10 * GOSSIP_LIMITS.clockAheadMsMax })));
			expect(rig.node(A).dropped).toEqual([
				"heartbeat stranger",
				"digest stranger",
				...Array<string>(4).fill("usage stranger"),
			]);
			expect(gossipOf(A).usageElsewhere(ACME, 1_000).requests).toBe(0);
		});

		test("in a state exchange others tell of those alone that can't speak", async () => {
			rig.network.join(B).handle("gossip.exchange", async () => ({
				generation: 0,
				kinds: Object.fromEntries(
					["record", "topology", "heartbeat", "usage", "digest"].map((kind) => [kind, { floor: [-1, -1, -1] }]),
				),
				facts: [
					usage(usageOf(C)),
					{ kind: "heartbeat", fact: { heartbeat: heartbeatOf(C, 10 ** 14, 1), ageMs: 0 } },
					{ kind: "heartbeat", fact: { heartbeat: heartbeatOf(A, 2 ** 52, 1), ageMs: 0 } },
					{ kind: "digest", fact: { nodeId: A, shard: "c/0", incarnation: 2 ** 50, sequence: 1, root: "forged" } },
					{ kind: "digest", fact: { nodeId: A, shard: "c/1", incarnation: 1, sequence: 1, root: "of before" } },
					{ kind: "digest", fact: { nodeId: C, shard: "c/1", incarnation: 1, sequence: 1, root: "hearsay" } },
					usage(usageOf(A, { requests: 99 })),
					{ kind: "record", fact: "broken" },
				],
				next: null,
				known: { from: 0, to: 10 },
			}));
			await rig.time.pass(10);
			gossipOf(A).peerConnected(B);
			await rig.time.pass(10);
			expect(rig.node(A).dropped.toSorted()).toEqual([
				"digest stranger",
				"digest stranger",
				"heartbeat stranger",
				"heartbeat stranger",
				"record malformed",
				"usage stranger",
				"usage stranger",
			]);
			// Of a record that was none, nothing is known.
			expect(hearingOf(A).known).toEqual([]);
			expect(
				gossipOf(A)
					.digestsOf("c/1")
					.map(({ root }) => root),
			).toEqual(["of before"]);
			rig.network.peers.get(A)!.sees(C, false);
			gossipOf(A).peerConnected(B);
			await rig.time.pass(10);
			expect(gossipOf(A).usageElsewhere(ACME, 1_000).requests).toBe(1);
			expect(
				gossipOf(A)
					.digestsOf("c/1")
					.map(({ root }) => root),
			).toEqual(["of before", "hearsay"]);
		});

		test("a listener that fails is logged and keeps nobody else from hearing", async () => {
			hearingOf(B).heardFromPeer = () => {
				throw new Error("broken");
			};
			gossipOf(A).tell(keyChange(1, 5));
			await rig.time.pass(50);
			expect(rig.node(B).logged).toContain("what another node told could not be acted on");
			expect(hearingOf(C).heard).toHaveLength(1);
		});
	});

	describe("a state exchange", () => {
		test("that gets no answer is given up, logged, and asked of the next", async () => {
			rig.network.kill(B);
			gossipOf(C).tell(keyChange(1, 5));
			rig.loses = () => true;
			gossipOf(A).peerConnected(B);
			gossipOf(A).peerConnected(C);
			await rig.time.pass(GOSSIP_LIMITS.exchangeTimeoutMs + 100);
			expect(rig.node(A).logged).toContain("a state exchange failed");
			expect(hearingOf(A).heard).toHaveLength(1);
		});

		test("refuses a question that is none", async () => {
			const answer = rig.network.peers.get(A)!.handlers.get("gossip.exchange")!;
			const context = { from: B, signal: new AbortController().signal };
			const refusal = await answer({ summary: 1 }, context).then(
				() => "answered",
				(error: Error) => error.message,
			);
			expect(refusal).toBe("this is no question about gossip's state");
		});

		test("does not hold up a stop, and none begins after it", async () => {
			gossipOf(A).peerConnected(B);
			const stopped = gossipOf(A).stop();
			await rig.time.pass(50);
			await stopped;
			gossipOf(A).peerConnected(B);
			expect(calls(A)).toHaveLength(1);
			expect(rig.node(A).logged).toEqual([]);
		});

		test("tells of changes without a gap only what is surely among its facts", async () => {
			hearingOf(B).own = { from: 3, to: 20 };
			gossipOf(A).peerConnected(B);
			await rig.time.pass(10);
			expect(hearingOf(A).known).toEqual([{ from: 3, to: 20 }]);
			// What was heard before it was attached nobody told to gossip.
			rig.start(B);
			gossipOf(B).attach(Object.assign(new Hearing(), { own: { from: 3, to: 30 } }));
			gossipOf(A).peerConnected(B);
			await rig.time.pass(10);
			expect(hearingOf(A).known.at(-1)).toEqual({ from: 30, to: 30 });
		});
	});

	describe("a hub that went back to an older state", () => {
		test("ends what was told of its records, on all nodes, and once for all who notice", async () => {
			gossipOf(A).tell(keyChange(1, 50));
			await rig.time.pass(100);
			for (const nodeId of rig.nodes.keys()) expect(gossipOf(nodeId).record("key", hashOf(1))).toBeDefined();
			gossipOf(A).hubWentBack();
			gossipOf(A).tell(tenantChange(ACME, 7));
			await rig.time.pass(100);
			for (const nodeId of [B, C]) {
				expect(hearingOf(nodeId).wentBackCount).toBe(1);
				expect(gossipOf(nodeId).record("key", hashOf(1))).toBeUndefined();
				expect(gossipOf(nodeId).record("tenant", ACME)?.fact.revision).toBe(7);
			}
			gossipOf(B).hubWentBack();
			await rig.time.pass(2_000);
			expect([A, B, C].map((nodeId) => rig.node(nodeId).stored.generation)).toEqual([1, 1, 1]);
			expect(gossipOf(B).record("tenant", ACME)?.fact.revision).toBe(7);
			// Another time is another time.
			gossipOf(B).hubWentBack();
			await rig.time.pass(2_000);
			expect([A, B, C].map((nodeId) => rig.node(nodeId).stored.generation)).toEqual([2, 2, 2]);
			expect(hearingOf(A).wentBackCount).toBe(1);
		});

		test("is remembered over a restart, so that nothing told since is lost", async () => {
			gossipOf(A).hubWentBack();
			await rig.time.pass(2_000);
			await restart(A);
			gossipOf(A).tell(keyChange(1, 6, "revoked"));
			await rig.time.pass(100);
			expect(hearingOf(B).heard).toEqual([keyChange(1, 6, "revoked")]);
		});

		test("does not come back by a node that has not heard", async () => {
			rig.cut(A, C);
			rig.cut(B, C);
			gossipOf(C).tell(keyChange(1, 90));
			gossipOf(C).tell(tenantChange(ACME, 91));
			gossipOf(A).hubWentBack();
			await rig.time.pass(2_000);
			rig.heal();
			rig.deliver(C, A, "records", {
				generation: 0,
				facts: [
					{
						kind: "record",
						fact: {
							fact: { kind: "tenant", tenantId: ACME, revision: 91, record: tenantRecord(ACME, 91) },
							askedAt: 91,
							vouchedAtMs: 0,
							by: "",
							ageMs: null,
						},
					},
				],
			});
			gossipOf(A).peerConnected(C);
			await rig.time.pass(2_000);
			for (const nodeId of [A, B, C]) expect(gossipOf(nodeId).record("tenant", ACME)).toBeUndefined();
			expect(hearingOf(C).wentBackCount).toBe(1);
		});
	});

	test("a topology reaches all nodes, and an older one nobody", async () => {
		const heard: string[] = [];
		for (const nodeId of [B, C]) {
			gossipOf(nodeId).onTopology(({ version }: Topology, from) => heard.push(`${nodeId} ${version} of ${from}`));
		}
		gossipOf(A).tellTopology(topology(2));
		await rig.time.pass(100);
		gossipOf(A).tellTopology(topology(1));
		gossipOf(B).tellTopology(topology(2));
		await rig.time.pass(100);
		expect(heard.sort()).toEqual([`${B} 2 of ${A}`, `${C} 2 of ${A}`]);
		expect(sentOn("records")).toHaveLength(1);
	});

	test("usage adds up over all other nodes, those included that have left, and a tenant's successor begins anew", async () => {
		gossipOf(A).publishUsage([usageOf(A, { requests: 5, searches: 2, lastRequestMs: 3_000 })]);
		gossipOf(C).publishUsage([
			usageOf(C, { requests: 7, vectorsWritten: 4 }),
			usageOf(C, { tenantId: "globex", createdAtMs: 0 }),
		]);
		await rig.time.pass(2_000);
		const sum = { requests: 12, searches: 2, vectorsWritten: 4, lastRequestMs: 3_000 };
		expect(gossipOf(B).usageElsewhere(ACME, 1_000)).toEqual(sum);
		expect(gossipOf(A).usageElsewhere(ACME, 1_000)).toEqual({
			requests: 7,
			searches: 0,
			vectorsWritten: 4,
			lastRequestMs: 2_000,
		});
		expect(gossipOf(B).usageElsewhere(ACME, 2_000)).toEqual({
			requests: 0,
			searches: 0,
			vectorsWritten: 0,
			lastRequestMs: 0,
		});
		rig.network.kill(C);
		rig.network.change(new Map([A, B].map((nodeId) => [nodeId, "active"])));
		for (const nodeId of [A, B]) {
			rig.network.peers.get(nodeId)!.sees(C, false);
			rig.network.peers.get(nodeId)!.learn();
		}
		expect(gossipOf(B).usageElsewhere(ACME, 1_000)).toEqual(sum);
		// One that comes later hears of it from the others.
		await restart(A);
		rig.network.peers.get(A)!.sees(C, false);
		gossipOf(A).peerConnected(B);
		await rig.time.pass(100);
		expect(gossipOf(A).usageElsewhere(ACME, 1_000).requests).toBe(7);
		gossipOf(B).publishUsage([usageOf(B, { createdAtMs: 2_000, requests: 1 })]);
		await rig.time.pass(2_000);
		expect(gossipOf(A).usageElsewhere(ACME, 2_000).requests).toBe(1);
	});

	test("digests of a shard are known to all, and told again only when they change", async () => {
		gossipOf(A).publishDigest({ shard: "c/0", root: "one" });
		gossipOf(B).publishDigest({ shard: "c/0", root: "two" });
		await rig.time.pass(2_000);
		const roots = () =>
			gossipOf(C)
				.digestsOf("c/0")
				.map(({ nodeId, root }) => `${nodeId} ${root}`);
		expect(roots()).toEqual([`${A} one`, `${B} two`]);
		const count = sentOn("digests").length;
		gossipOf(A).publishDigest({ shard: "c/0", root: "one" });
		await rig.time.pass(2_000);
		expect(sentOn("digests")).toHaveLength(count);
		gossipOf(A).publishDigest({ shard: "c/0", root: "two" });
		await rig.time.pass(2_000);
		expect(roots()).toEqual([`${A} two`, `${B} two`]);
	});

	test("a node alone asks nobody", async () => {
		const alone = new GossipRig([A]);
		alone.node(A).gossip.start();
		await alone.time.pass(30_000);
		expect(alone.network.calls).toEqual([]);
		await alone.node(A).gossip.stop();
	});
});
