import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { HiveError } from "../../../src/base/errors.ts";
import type { NodeId, TenantId } from "../../../src/base/ids.ts";
import type { Topology } from "../../../src/hub/models.ts";
import { newCollection } from "../../hub/hub-rig.ts";
import { candidate, idsOf, KeeperRig, own, refusalOf, unavailable } from "./keeper-rig.ts";
import { COLLECTION, member, node, textOf, topology } from "./topology-fixture.ts";

let rig: KeeperRig;

beforeEach(async () => {
	rig = await KeeperRig.open();
});

afterEach(() => rig.close());

const settledAll = (): number => Number.MAX_SAFE_INTEGER;

describe("entering", () => {
	test("the first node is at work at once, the next ones join, and both are so again when they come back", async () => {
		const a = rig.keeper("a");
		expect([a.isMember, a.view().members[0]!.node_id as NodeId]).toEqual([false, node("a")]);
		await a.enter(own("a"));
		const b = rig.keeper("b");
		await b.enter(own("b"));
		expect([textOf(b.topology), b.isMember]).toEqual(["a b:j", true]);
		await b.enter(own("b"));
		expect(b.topology.version).toBe(2);
		await b.enter({ ...own("b"), addresses: ["/ip4/10.0.0.9/tcp/7802"] });
		expect(b.topology.members[1]!.addresses).toEqual(["/ip4/10.0.0.9/tcp/7802"]);
	});

	test("is not possible without the hub, nor for who has left", async () => {
		const a = await rig.cluster("ab");
		rig.before = unavailable;
		expect(await refusalOf(a.enter({ ...own("a"), addresses: [] }))).toBe("HUB_UNAVAILABLE");
		rig.before = () => {};
		await a.drain(node("b"));
		await a.finishWhenSettled(settledAll);
		const b = rig.keeper("b");
		expect(await refusalOf(b.enter(own("b")))).toBe("CONFLICT data_dir");
		expect([b.hasLeft, a.hasLeft, a.isRetired("peer-b"), a.isRetired("peer-a")]).toEqual([true, false, true, false]);
	});
});

describe("admitting", () => {
	test("many at once all get in, through several members", async () => {
		const a = await rig.cluster("ab");
		const b = rig.keeper("b");
		const admitted = [..."cdefgh"].map((letter, index) => (index % 2 === 0 ? a : b).admit(candidate(letter)));
		for (const answer of await Promise.all(admitted)) expect(answer.members.length).toBeGreaterThan(2);
		await b.refresh(a.topology.version);
		expect(idsOf(b).sort()).toEqual([..."abcdefgh"].map(node));
	});

	test("a node that is no member itself lets nobody in: the newcomer, who holds nothing, would be the first", async () => {
		const b = rig.keeper("b");
		expect(await refusalOf(b.admit(candidate("c")))).toBe("HUB_UNAVAILABLE");
		await rig.cluster("a");
		expect(await refusalOf(b.admit(candidate("c")))).toBe("HUB_UNAVAILABLE");
	});

	test("a request whose answer was lost changes nothing when it is repeated", async () => {
		const a = await rig.cluster("a");
		let lostCount = 0;
		const b = rig.keeper("a", {
			hub: {
				getTopology: () => rig.client.getTopology(),
				putTopology: async (wanted) => {
					await rig.client.putTopology(wanted);
					if (lostCount++ === 0) throw new HiveError("CONFLICT", "as a repetition is answered");
					throw new Error("it is not put a second time");
				},
				listTenants: unavailable,
				listCollections: unavailable,
				updateCollection: unavailable,
			},
		});
		expect(textOf(await b.admit(candidate("c")))).toBe("a c:j");
		await a.refresh(b.topology.version);
		expect([textOf(a.topology), a.topology.version, lostCount]).toEqual(["a c:j", 2, 1]);
	});
});

describe("changing", () => {
	test("a drained node leaves when the others have what it held, and can be kept until then", async () => {
		const a = await rig.cluster("abc");
		await a.drain(node("c"));
		expect(textOf(a.topology)).toBe("a b c:d");
		await a.cancelDrain(node("c"));
		expect(textOf(a.topology)).toBe("a b c");
		await a.drain(node("c"));
		await a.finishWhenSettled((nodeId) => (nodeId === node("b") ? 1 : a.topology.version));
		expect(textOf(a.topology)).toBe("a b c:d");
		await a.finishWhenSettled(() => a.topology.version);
		expect([textOf(a.topology), a.isRetired("peer-c")]).toEqual(["a b", true]);
		expect(await refusalOf(a.drain(node("c")))).toBe("NOT_FOUND node_id");
	});

	test("a collection gets its copies before its record says so for good, also when whoever began that is gone", async () => {
		const acme = "acme" as TenantId;
		await rig.hub.ask("POST", "/tenants", { id: "acme", name: "Acme" });
		const { id } = await rig.client.createCollection(acme, { ...newCollection("docs"), replicas: 1 });
		const a = await rig.cluster("abc");
		const version = await a.changeReplicas(acme, id, 3);
		expect(version).toBe(a.topology.version);
		expect(a.view().replicaCount(id)).toMatchObject({ from: 1, to: 3 });
		const { current, next, writers } = a.view().placement(id, 0, 1);
		expect([current.length, next.length, writers.length]).toEqual([1, 3, 3]);
		expect(a.view().placement(id, 0, 3)).toEqual({ current, next, writers });
		await a.finishWhenSettled(() => version - 1);
		expect(a.view().isChanging).toBe(true);
		await a.finishWhenSettled(() => version);
		expect(a.view().isChanging).toBe(false);
		// Who has the record of before goes by as many copies.
		expect(a.view().placement(id, 0, 1).current.length).toBe(3);
		expect(await rig.client.listCollections(acme)).toMatchObject([{ replicas: 3, topology_version: version }]);
		await rig.client.deleteCollection(acme, "docs");
		expect(await refusalOf(a.changeReplicas(acme, id, 2))).toBe("COLLECTION_NOT_FOUND");
	});

	test("a dead node is removed without a word about loss when most copies of everything are elsewhere", async () => {
		await rig.hub.ask("POST", "/tenants", { id: "acme", name: "Acme" });
		const collection = { ...newCollection("docs"), shards: 64, replicas: 3 };
		await rig.client.createCollection("acme" as TenantId, collection);
		const a = await rig.cluster("abcd");
		expect(await refusalOf(a.remove(node("d"), false))).toBe("CONFLICT node_id");
		await rig.time.pass(4_000);
		for (const letter of "abc") rig.liveness.heard(node(letter));
		await a.remove(node("d"), false);
		expect(textOf(a.topology)).toBe("a b c d:x");
		// Now two of three copies of some shards would be gone.
		await rig.time.pass(4_000);
		expect(await refusalOf(a.remove(node("c"), false))).toBe("CONFLICT accept_loss");
		await a.remove(node("c"), true);
		expect(textOf(a.topology)).toBe("a b c:x d:x");
		await a.remove(node("c"), false);
		expect(a.topology.version).toBe(7);
	});

	test("a hub that is older than what is known is not built upon", async () => {
		rig.file("a").save(topology("a b", 40));
		const a = rig.keeper("a");
		expect(await refusalOf(a.enter(own("a")))).toBe("HUB_UNAVAILABLE");
		expect(await rig.client.getTopology()).toMatchObject({ version: 0 });
	});

	test("gives up when others are always first", async () => {
		const a = await rig.cluster("a");
		rig.before = (method) => {
			if (method === "putTopology") throw new HiveError("CONFLICT", "somebody else was first");
		};
		expect(await refusalOf(a.admit(candidate("b")))).toBe("OVERLOADED");
	});
});

describe("finishing", () => {
	test("the live member with the lowest id does it; the others take over one after the other", async () => {
		const a = await rig.cluster("ab");
		await a.admit(candidate("c"));
		rig.liveness.heard(node("c"));
		const b = rig.keeper("b");
		await b.refresh(a.topology.version);
		await b.finishWhenSettled(settledAll);
		expect(textOf(b.topology)).toBe("a b c:j");
		const stopHearing = hearing("abc");
		await rig.time.pass(6_000);
		// Only what stays so counts.
		await b.finishWhenSettled(() => 0);
		await b.finishWhenSettled(settledAll);
		expect(textOf(b.topology)).toBe("a b c:j");
		await rig.time.pass(6_000);
		await b.finishWhenSettled(settledAll);
		expect(textOf(b.topology)).toBe("a b c");
		stopHearing();
	});

	test("is done once, whoever else does it at the same time", async () => {
		const a = await rig.cluster("a");
		await a.admit(candidate("b"));
		const twin = rig.keeper("a");
		const { version } = a.topology;
		await Promise.all([
			a.finishWhenSettled(settledAll),
			a.finishWhenSettled(settledAll),
			twin.finishWhenSettled(settledAll),
		]);
		expect([textOf(a.topology), a.topology.version]).toEqual(["a b", version + 1]);
		await a.finishWhenSettled(settledAll);
		expect(a.topology.version).toBe(version + 1);
	});

	test("a hub that is away lets it wait", async () => {
		const a = await rig.cluster("a");
		await a.admit(candidate("b"));
		rig.before = unavailable;
		expect(await refusalOf(a.finishWhenSettled(settledAll))).toBe("HUB_UNAVAILABLE");
		rig.before = () => {};
		await a.finishWhenSettled(settledAll);
		expect(textOf(a.topology)).toBe("a b");
	});

	/** Signs of life of these nodes, each second. */
	function hearing(letters: string): () => void {
		let callOff = (): void => {};
		const hear = (): void => {
			for (const letter of letters) rig.liveness.heard(node(letter));
			callOff = rig.time.after(1_000, hear);
		};
		hear();
		return () => callOff();
	}
});

describe("learning", () => {
	test("only a newer topology counts, and listeners hear of it, even if one of them fails", () => {
		const a = rig.keeper("a");
		const heard: string[] = [];
		a.onChange(() => {
			throw new Error("unwell");
		});
		a.onChange(() => heard.push(textOf(a.topology)));
		a.learn(topology("a b", 3));
		a.learn(topology("a b c", 3));
		a.learn(topology("a", 2));
		expect(heard).toEqual(["a b"]);
		expect([a.view().version, a.view().placement(COLLECTION, 0, 3).current.length]).toEqual([3, 2]);
		expect(rig.logged.join()).toContain("unwell");
		rig.liveness.heard(node("b"));
		expect(heard).toEqual(["a b", "a b"]);
	});

	test("what was known last is known again after a restart, before anybody is asked", () => {
		rig.keeper("a").learn(topology("a b:j", 3));
		const again = rig.keeper("a");
		expect([textOf(again.topology), again.topology.version, again.hubNode]).toEqual(["a b:j", 3, node("a")]);
	});

	test("a topology that can't be written down counts all the same", () => {
		const a = rig.keeper("a", {
			file: {
				load: () => undefined,
				save: () => {
					throw new Error("the disk is full");
				},
			},
		});
		a.learn(topology("a b", 3));
		expect(a.view().version).toBe(3);
		expect(rig.logged.join()).toContain("the disk is full");
	});

	test("a topology that lost all its members is not believed: each node would think itself alone", () => {
		const a = rig.keeper("a");
		a.learn(topology("", 1));
		expect(a.topology.version).toBe(1);
		a.learn(topology("a b", 2));
		a.learn(topology("", 3));
		a.learn(topology("a:x b:x", 4));
		expect([a.topology.version, a.view().members.length]).toEqual([2, 2]);
	});
});

describe("refreshing", () => {
	test("asks the hub, and does not when it is known already", async () => {
		const a = await rig.cluster("a");
		const b = rig.keeper("b");
		await b.refresh(1);
		expect(textOf(b.topology)).toBe("a");
		rig.before = () => {
			throw new Error("it is not asked");
		};
		await b.refresh(1);
		await a.refresh(0);
		expect(rig.logged).toEqual([]);
	});

	test("members that live tell while the hub hangs", async () => {
		await rig.cluster("ab");
		const asked: NodeId[] = [];
		const { promise: never } = Promise.withResolvers<void>();
		const a = rig.keeper("a", {
			askMember: async (nodeId) => {
				asked.push(nodeId);
				return topology("a b c:j", 9);
			},
		});
		await a.refresh(3);
		rig.before = () => never;
		await a.refresh(9);
		expect([textOf(a.topology), asked]).toEqual(["a b c:j", [node("b")]]);
	});

	test("settles without what can't be had, and says so once", async () => {
		await rig.cluster("ab");
		const a = rig.keeper("a");
		await a.refresh(3);
		rig.logged.length = 0;
		rig.before = unavailable;
		await a.refresh(9);
		await a.refresh(9);
		expect(a.topology.version).toBe(3);
		expect(rig.logged.filter((line) => line.includes("could not be read"))).toHaveLength(2);
		rig.before = () => {};
		await a.refresh(9);
		rig.before = unavailable;
		await a.refresh(9);
		expect(rig.logged).toHaveLength(3);
	});

	test("gives up in time when nobody answers, and is done as soon as the version comes from elsewhere", async () => {
		const { promise: never } = Promise.withResolvers<void>();
		const a = rig.keeper("a", { timers: rig.time });
		rig.before = () => never;
		const waiting = a.refresh(5);
		a.learn(topology("a", 4));
		a.learn(topology("a b", 5));
		await waiting;
		await rig.time.until(a.refresh(6));
		expect(a.topology.version).toBe(5);
	});

	test("a reading that began too early is followed by another", async () => {
		const first = await rig.cluster("a");
		const { promise: held, resolve } = Promise.withResolvers<void>();
		const b = rig.keeper("b", {
			hub: {
				...rigHub(),
				getTopology: async () => {
					const answer = await rig.client.getTopology();
					await held;
					return answer;
				},
			},
		});
		const early = b.refresh(1);
		await rig.client.getTopology();
		await first.admit(candidate("b"));
		const late = b.refresh(2);
		resolve();
		await Promise.all([early, late]);
		expect(b.topology.version).toBe(2);
	});

	const rigHub = () => ({
		putTopology: unavailable,
		listTenants: unavailable,
		listCollections: unavailable,
		updateCollection: unavailable,
	});
});

describe("knowing who is who", () => {
	test("peers are all members but oneself, each under the identity it has shown", () => {
		const a = rig.keeper("a");
		const bare: Topology = { ...topology("a b c:x", 3), retired: [{ node_id: node("z"), peer_id: "peer-z" }] };
		a.learn({ ...bare, members: [...bare.members, { ...member("d"), peer_id: "" }] });
		expect([...a.peers()].map(({ nodeId, peerId, addresses }) => [nodeId, peerId, ...addresses])).toEqual([
			[node("b"), "peer-b", "/dns/b/tcp/7802"],
			[node("c"), "peer-c", "/dns/c/tcp/7802"],
		]);
		expect(["peer-b", "peer-z", ""].map((peerId) => a.nodeIdOf(peerId))).toEqual([node("b"), undefined, undefined]);
		expect(["peer-b", "peer-z"].map((peerId) => a.isRetired(peerId))).toEqual([false, true]);
	});

	test("the hub is behind a member that lives and serves it", () => {
		const serving = (text: string): Topology => {
			const { members, ...rest } = topology(text, 1);
			return { ...rest, members: members.map((each) => ({ ...each, serves_hub: each.node_id !== node("b") })) };
		};
		const b = rig.keeper("b");
		expect(b.hubNode).toBeUndefined();
		b.learn(serving("a:x b c d"));
		expect(b.hubNode).toBe(node("c"));
		rig.liveness.heard(node("d"));
		expect(b.hubNode).toBe(node("d"));
	});

	test("a majority is one of those there were and of those there will be; the dead that were given up don't count", () => {
		const hasMajority = (text: string, alive: string): boolean => {
			const keeper = rig.keeper("a", {
				file: { load: () => topology(text), save: () => {} },
				liveness: { isLive: (nodeId) => alive.includes(nodeId.at(-1)!), onChange: () => {} },
			});
			return keeper.hasMajority();
		};
		expect(["", "b", "bc"].map((alive) => hasMajority("a b c", alive))).toEqual([false, true, true]);
		expect(["", "b"].map((alive) => hasMajority("a b", alive))).toEqual([false, true]);
		expect(hasMajority("a b c:x", "b")).toBe(true);
		expect(["de", "bd", "bde"].map((alive) => hasMajority("a b c d:j e:j", alive))).toEqual([false, true, true]);
		expect(["bc", "be"].map((alive) => hasMajority("a b:d c:d e f", alive))).toEqual([false, true]);
		expect(hasMajority("a:j", "")).toBe(true);
		expect(rig.keeper("q").hasMajority()).toBe(true);
	});
});
