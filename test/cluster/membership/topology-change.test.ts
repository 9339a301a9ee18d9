import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { HiveError } from "../../../src/base/errors.ts";
import {
	finished,
	isReadyToFinish,
	withDrainCancelled,
	withDraining,
	withMember,
	withRemoved,
	withReplicas,
} from "../../../src/cluster/membership/topology-change.ts";
import { HUB_LIMITS } from "../../../src/hub/hub-limits.ts";
import type { Topology } from "../../../src/hub/models.ts";
import { member, node, textOf, topology } from "./topology-fixture.ts";

const candidate = (letter: string) => {
	const { state: _, ...rest } = member(letter);
	return rest;
};
const live = { isLive: true };
const dead = { isLive: false, mayLose: false, acceptLoss: false };

/** What comes of a decision: the members, `same`, or the code and the field of the refusal. */
function outcomeOf(decide: () => Topology | undefined): string {
	try {
		const next = decide();
		return next === undefined ? "same" : textOf(next);
	} catch (error) {
		if (error instanceof HiveError) return `${error.code} ${String(error.details?.field)}`;
		throw error;
	}
}

describe("a node that asks to be let in", () => {
	test("is at work at once when it is the first, and joins otherwise", () => {
		expect(withMember(topology("", 0), candidate("a"))).toEqual({ version: 1, members: [member("a")], retired: [] });
		expect(withMember(topology("a"), candidate("b"))).toEqual({ ...topology("a b:j", 8) });
	});

	test("and is in already only has its addresses brought up to date, whatever its state", () => {
		for (const text of ["a b", "a b:j", "a b:d"]) {
			expect(outcomeOf(() => withMember(topology(text), candidate("b")))).toBe("same");
			const moved = withMember(topology(text), { ...candidate("b"), addresses: ["/ip4/10.9.9.9/tcp/1"] })!;
			expect(textOf(moved)).toBe(text);
			expect(moved.members[1]!.addresses).toEqual(["/ip4/10.9.9.9/tcp/1"]);
			const serving = withMember(topology(text), { ...candidate("b"), serves_hub: true })!;
			expect(serving.members[1]!.serves_hub).toBe(true);
		}
	});

	test("is refused when it has left or is given up, whatever of its identity it shows", () => {
		const left: Topology = { ...topology("a"), retired: [{ node_id: node("z"), peer_id: "peer-z" }] };
		expect(outcomeOf(() => withMember(left, candidate("z")))).toBe("CONFLICT data_dir");
		expect(outcomeOf(() => withMember(left, { ...candidate("z"), node_id: node("y") }))).toBe("CONFLICT data_dir");
		expect(outcomeOf(() => withMember(left, { ...candidate("z"), peer_id: "peer-y" }))).toBe("CONFLICT data_dir");
		expect(outcomeOf(() => withMember(topology("a b:x"), candidate("b")))).toBe("CONFLICT data_dir");
	});

	test("is refused when another one has its id or its identity", () => {
		const twin = { ...candidate("b"), peer_id: "peer-other" };
		expect(outcomeOf(() => withMember(topology("a b"), twin))).toBe("CONFLICT node_id");
		const copy = { ...candidate("c"), peer_id: "peer-b" };
		expect(outcomeOf(() => withMember(topology("a b"), copy))).toBe("CONFLICT peer_id");
		expect(outcomeOf(() => withMember(topology("a b c"), copy))).toBe("CONFLICT peer_id");
	});

	test("gives its identity to a member that was noted without one", () => {
		const bare: Topology = { ...topology("a"), members: [{ ...member("a"), peer_id: "" }] };
		expect(withMember(bare, candidate("a"))!.members).toEqual([member("a")]);
	});
});

describe("draining", () => {
	test("empties an active node that lives, while another active one is there", () => {
		expect(outcomeOf(() => withDraining(topology("a b"), node("b"), live))).toBe("a b:d");
		expect(outcomeOf(() => withDraining(topology("a b:d"), node("b"), live))).toBe("same");
		expect(outcomeOf(() => withDraining(topology("a b:d"), node("a"), live))).toBe("CONFLICT node_id");
		expect(outcomeOf(() => withDraining(topology("a b:j"), node("a"), live))).toBe("CONFLICT node_id");
		expect(outcomeOf(() => withDraining(topology("a"), node("a"), live))).toBe("CONFLICT node_id");
	});

	test("is refused for a node that does not answer, is being removed, or is none", () => {
		expect(outcomeOf(() => withDraining(topology("a b"), node("b"), { isLive: false }))).toBe("CONFLICT node_id");
		expect(outcomeOf(() => withDraining(topology("a b:x"), node("b"), live))).toBe("CONFLICT node_id");
		expect(outcomeOf(() => withDraining(topology("a b"), node("z"), live))).toBe("NOT_FOUND node_id");
	});

	test("a node that is still joining leaves at once, for good", () => {
		const left = withDraining(topology("a b:j"), node("b"), { isLive: false })!;
		expect(left).toEqual({ ...topology("a", 8), retired: [{ node_id: node("b"), peer_id: "peer-b" }] });
	});

	test("can be called off until it is finished", () => {
		expect(outcomeOf(() => withDrainCancelled(topology("a b:d"), node("b")))).toBe("a b");
		expect(outcomeOf(() => withDrainCancelled(topology("a b"), node("b")))).toBe("same");
		expect(outcomeOf(() => withDrainCancelled(topology("a b:x"), node("b")))).toBe("CONFLICT node_id");
		expect(outcomeOf(() => withDrainCancelled(topology("a"), node("b")))).toBe("NOT_FOUND node_id");
	});
});

describe("another number of copies", () => {
	const count = (id: string, from: number, to: number) => ({ tenant_id: "acme", collection_id: id, from, to });

	test("is one more change of the topology, which is at rest again when all have settled it", () => {
		const changing = withReplicas(topology("a b c"), count("x", 1, 3))!;
		expect(changing).toEqual({ ...topology("a b c", 8), replica_counts: [count("x", 1, 3)] });
		expect(isReadyToFinish(changing, () => 7)).toBe(false);
		expect(isReadyToFinish(changing, () => 8)).toBe(true);
		const rested = finished(changing);
		expect(rested).toEqual({ ...topology("a b c", 9), replica_counts: [count("x", 3, 3)] });
		expect(isReadyToFinish(rested, () => 9)).toBe(false);
	});

	test("goes on from the copies there are, whatever a record says, and is none when it is as wanted", () => {
		const changing = withReplicas(topology("a b c"), count("x", 1, 3))!;
		expect(withReplicas(changing, count("x", 3, 2))!.replica_counts).toEqual([count("x", 1, 2)]);
		expect(withReplicas(changing, count("x", 1, 3))).toBeUndefined();
		expect(withReplicas(topology("a b"), count("x", 2, 2))).toBeUndefined();
	});

	test("waits while a removed node's copies are replaced, and outlives other changes", () => {
		expect(outcomeOf(() => withReplicas(topology("a b:x"), count("x", 1, 2)))).toBe("OVERLOADED undefined");
		const changing = withReplicas(topology("a b"), count("x", 1, 2))!;
		expect(withDraining(changing, node("b"), live)!.replica_counts).toEqual([count("x", 1, 2)]);
	});

	test("is remembered of the newest, and of all that are under way", () => {
		let now = topology("a b");
		const { replicaCountsMax } = HUB_LIMITS;
		for (let index = 0; index < replicaCountsMax; index++) now = finished(withReplicas(now, count(`s${index}`, 1, 2))!);
		for (let index = 0; index < replicaCountsMax; index++) {
			now = withReplicas(now, count(`c${index}`, 1, 2))!;
			expect(now.replica_counts!.length).toBe(replicaCountsMax);
		}
		expect(now.replica_counts!.every(({ from, to }) => from !== to)).toBe(true);
		expect(outcomeOf(() => withReplicas(now, count("more", 1, 2)))).toBe("OVERLOADED undefined");
	});
});

describe("removing", () => {
	test("gives up a node that does not answer, also one that was being drained", () => {
		expect(outcomeOf(() => withRemoved(topology("a b"), node("b"), dead))).toBe("a b:x");
		expect(outcomeOf(() => withRemoved(topology("a b:d"), node("b"), dead))).toBe("a b:x");
		expect(outcomeOf(() => withRemoved(topology("a b:x"), node("b"), dead))).toBe("same");
		expect(outcomeOf(() => withRemoved(topology("a b:j"), node("b"), dead))).toBe("a");
		expect(outcomeOf(() => withRemoved(topology("a"), node("b"), dead))).toBe("NOT_FOUND node_id");
	});

	test("is refused for a node that lives, also when loss is accepted", () => {
		const alive = { isLive: true, mayLose: false, acceptLoss: true };
		expect(outcomeOf(() => withRemoved(topology("a b"), node("b"), alive))).toBe("CONFLICT node_id");
		expect(outcomeOf(() => withRemoved(topology("a b:d"), node("b"), alive))).toBe("CONFLICT node_id");
	});

	test("what would be lost must be accepted", () => {
		const risky = { ...dead, mayLose: true };
		expect(outcomeOf(() => withRemoved(topology("a b"), node("b"), risky))).toBe("CONFLICT accept_loss");
		expect(outcomeOf(() => withRemoved(topology("a b"), node("b"), { ...risky, acceptLoss: true }))).toBe("a b:x");
		expect(outcomeOf(() => withRemoved(topology("a b:j c:x"), node("b"), risky))).toBe("CONFLICT accept_loss");
		expect(outcomeOf(() => withRemoved(topology("a b:j c:x"), node("b"), dead))).toBe("a c:x");
	});

	test("never takes the last node", () => {
		expect(outcomeOf(() => withRemoved(topology("a"), node("a"), { ...dead, acceptLoss: true }))).toBe(
			"CONFLICT node_id",
		);
		expect(outcomeOf(() => withRemoved(topology("a b:x"), node("a"), { ...dead, acceptLoss: true }))).toBe(
			"CONFLICT node_id",
		);
	});

	test("those that were to leave stay when nobody else is left to take what they hold", () => {
		expect(outcomeOf(() => withRemoved(topology("a b:d"), node("a"), dead))).toBe("a:x b");
		expect(outcomeOf(() => withDraining(topology("a:d b:j"), node("b"), live))).toBe("a");
		expect(outcomeOf(() => withRemoved(topology("a:d b:j c:x"), node("b"), dead))).toBe("a c:x");
	});
});

test("while copies of removed nodes are replaced nobody else comes or goes but who dies", () => {
	for (const text of ["a b:d c:x", "a b:j c:x", "b:j c:x", "b:j"]) {
		expect(outcomeOf(() => withMember(topology(text), candidate("z")))).toBe("OVERLOADED undefined");
		expect(outcomeOf(() => withMember(topology(text), candidate("b")))).toBe("same");
	}
	for (const text of ["a b c:x", "a b:j c:x", "b:j c:x", "b:j"]) {
		expect(outcomeOf(() => withDraining(topology(text), node("b"), live))).toBe("CONFLICT node_id");
	}
	expect(outcomeOf(() => withDrainCancelled(topology("a b:d c:x"), node("b")))).toBe("CONFLICT node_id");
	expect(outcomeOf(() => withRemoved(topology("a b c:x"), node("b"), dead))).toBe("a b:x c:x");
});

describe("finishing", () => {
	const settled = (versions: Readonly<Record<string, number>>) => (nodeId: string) => versions[nodeId.at(-1)!];

	test("waits until all but the dead say that they hold what they shall", () => {
		const changing = topology("a b:j c:d e:x", 7);
		expect(isReadyToFinish(changing, settled({ a: 7, b: 7, c: 8 }))).toBe(true);
		expect(isReadyToFinish(changing, settled({ a: 7, b: 6, c: 7 }))).toBe(false);
		expect(isReadyToFinish(changing, settled({ a: 7, b: 7 }))).toBe(false);
	});

	test("there is nothing to finish when all are at work, nor where nobody would be left", () => {
		expect(isReadyToFinish(topology("a b"), () => 7)).toBe(false);
		expect(isReadyToFinish(topology(""), () => 7)).toBe(false);
		expect(isReadyToFinish(topology("a:x"), () => 7)).toBe(false);
		expect(isReadyToFinish(topology("a:d b:x"), () => 7)).toBe(false);
	});

	test("sets to work who joined, and retires who left, the newest last and not too many", () => {
		const retired = Array.from({ length: HUB_LIMITS.retiredMembersMax - 1 }, (_, index) => ({
			node_id: `old-${index}`,
			peer_id: `old-peer-${index}`,
		}));
		const next = finished({ ...topology("a b:j c:d e:x", 7), retired });
		expect(next.version).toBe(8);
		expect(next.members).toEqual([member("a"), member("b")]);
		expect(next.retired).toEqual([
			...retired.slice(1),
			{ node_id: node("c"), peer_id: "peer-c" },
			{ node_id: node("e"), peer_id: "peer-e" },
		]);
	});
});

test("whatever is asked in whatever order, versions rise by one, somebody always stays, and nobody who left is in", () => {
	const letters = ["a", "b", "c", "d"];
	const step = fc.record({
		letter: fc.constantFrom(...letters),
		action: fc.constantFrom("join", "drain", "cancel", "remove", "finish"),
		isLive: fc.boolean(),
	});
	fc.assert(
		fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
			let current = withMember(topology("", 0), candidate("a"))!;
			for (const { letter, action, isLive } of steps) {
				let next: Topology | undefined;
				try {
					if (action === "join") next = withMember(current, candidate(letter));
					else if (action === "drain") next = withDraining(current, node(letter), { isLive });
					else if (action === "cancel") next = withDrainCancelled(current, node(letter));
					else if (action === "remove") next = withRemoved(current, node(letter), { ...dead, isLive });
					else if (isReadyToFinish(current, () => current.version)) next = finished(current);
				} catch (error) {
					expect(error).toBeInstanceOf(HiveError);
				}
				if (next === undefined) continue;
				expect(next.version).toBe(current.version + 1);
				expect(next.members.some(({ state }) => state === "active" || state === "joining")).toBe(true);
				const gone = new Set(next.retired.map(({ node_id }) => node_id));
				expect(next.members.filter(({ node_id }) => gone.has(node_id))).toEqual([]);
				for (const { node_id } of current.members) {
					expect(gone.has(node_id) || next.members.some((other) => other.node_id === node_id)).toBe(true);
				}
				current = next;
			}
		}),
		{ seed: 4, numRuns: 300 },
	);
});
