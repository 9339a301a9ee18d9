import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { NodeId } from "../../../src/base/ids.ts";
import type { Membership } from "../../../src/cluster/membership/membership-types.ts";
import { Ring } from "../../../src/cluster/membership/ring.ts";
import { RingTopologyView } from "../../../src/cluster/membership/ring-topology-view.ts";
import { SoloMembership } from "../../../src/cluster/membership/solo-membership.ts";
import type { MemberState } from "../../../src/hub/models.ts";
import { COLLECTION, member, node, topology } from "./topology-fixture.ts";

const SHARDS = Array.from({ length: 200 }, (_, index) => index);
const viewOf = (text: string): RingTopologyView => new RingTopologyView(topology(text));
const placed = (text: string, replicas = 2) => {
	const view = viewOf(text);
	return SHARDS.map((shard) => view.placement(COLLECTION, shard, replicas));
};
const nodes = (letters: string): NodeId[] => [...letters].map(node);
/** Where a ring of these puts each shard. */
const onRing = (letters: string, replicas = 2): NodeId[][] => {
	const ring = new Ring(nodes(letters));
	return SHARDS.map((shard) => ring.nodesFor(`${COLLECTION}/${shard}`, replicas));
};

describe("placement", () => {
	test("with all at work there is one set of copies, and it takes the writes", () => {
		const placements = placed("a b c");
		expect(placements.map(({ current }) => current)).toEqual(onRing("abc"));
		for (const { current, next, writers } of placements) {
			expect(next).toBe(current);
			expect(writers).toBe(current);
		}
		expect(viewOf("a b c").isChanging).toBe(false);
	});

	test("who joins takes writes and is not read from", () => {
		const placements = placed("a b c:j");
		expect(placements.map(({ current }) => current)).toEqual(onRing("ab"));
		expect(placements.map(({ next }) => next)).toEqual(onRing("abc"));
		for (const { current, next, writers } of placements)
			expect([...writers].sort()).toEqual([...new Set([...current, ...next])].sort());
		expect(viewOf("a b c:j").isChanging).toBe(true);
	});

	test("who is drained answers and takes writes until the others have it all", () => {
		const placements = placed("a b c:d");
		expect(placements.map(({ current }) => current)).toEqual(onRing("abc"));
		expect(placements.map(({ next }) => next)).toEqual(onRing("ab"));
	});

	test("who is removed is neither read from nor written to", () => {
		const placements = placed("a b c:x");
		expect(placements.map(({ current }) => current)).toEqual(
			onRing("abc").map((copies) => copies.filter((copy) => copy !== node("c"))),
		);
		expect(placements.map(({ next }) => next)).toEqual(onRing("ab"));
	});

	test("shards of which no copy is left begin anew where they shall be", () => {
		const placements = placed("a b c:x", 1);
		const were = onRing("abc", 1);
		expect(were.flat()).toContain(node("c"));
		for (const [shard, { current, next }] of placements.entries()) {
			expect(current).toEqual(were[shard]![0] === node("c") ? next : were[shard]!);
		}
	});

	test("members that come, go and are gone at the same time are each treated as they are", () => {
		const placements = placed("a b:j c:d e:x f", 3);
		expect(placements.map(({ current }) => current)).toEqual(
			onRing("acef", 3).map((copies) => copies.filter((copy) => copy !== node("e"))),
		);
		expect(placements.map(({ next }) => next)).toEqual(onRing("abf", 3));
	});

	test("fewer members than copies wanted hold one each", () => {
		for (const { current, writers } of placed("a b", 3)) {
			expect([...current].sort()).toEqual(nodes("ab"));
			expect(writers).toHaveLength(2);
		}
	});

	test("when all join, or all leave, they are what there is", () => {
		expect(placed("a:j b:j").map(({ current }) => current)).toEqual(onRing("ab"));
		expect(placed("a:d b:d").map(({ next }) => next)).toEqual(onRing("ab"));
		expect(placed("a:j b:x").map(({ current }) => current)).toEqual(onRing("a"));
	});

	test("is remembered, and the same again", () => {
		const view = viewOf("a b c:j");
		const first = view.placement(COLLECTION, 3, 2);
		expect(view.placement(COLLECTION, 3, 2)).toBe(first);
		expect(view.placement(COLLECTION, 3, 1)).not.toBe(first);
	});

	test("in any mixture nobody removed is asked, there is always somebody, and writers are all of both", () => {
		const states = fc.constantFrom<MemberState>("joining", "active", "draining", "removed");
		fc.assert(
			fc.property(
				fc.array(states, { minLength: 1, maxLength: 8 }),
				fc.integer({ min: 1, max: 5 }),
				(mixture, replicas) => {
					fc.pre(mixture.some((state) => state !== "removed"));
					const members = mixture.map((state, index) => member("abcdefgh"[index]!, state));
					const view = new RingTopologyView({ version: 1, members, retired: [] });
					for (const shard of SHARDS.slice(0, 20)) {
						const { current, next, writers } = view.placement(COLLECTION, shard, replicas);
						expect(current.length).toBeGreaterThan(0);
						expect(next.length).toBeGreaterThan(0);
						expect([...writers].sort()).toEqual([...new Set([...current, ...next])].sort());
						for (const nodeId of writers) expect(view.member(nodeId)!.state).not.toBe("removed");
						if (!view.isChanging) expect(next).toBe(current);
					}
				},
			),
			{ seed: 4, numRuns: 200 },
		);
	});
});

describe("a view of the topology", () => {
	test("shows members in the order of their ids, and each by its id", () => {
		const view = viewOf("c:j a b:x");
		expect(view.version).toBe(7);
		expect(view.members.map(({ node_id }) => node_id as NodeId)).toEqual(nodes("abc"));
		expect(view.member(node("b"))?.state).toBe("removed");
		expect(view.member(node("z"))).toBeUndefined();
	});

	test("accounts are kept by those who stay, all in the ring's order", () => {
		const view = viewOf("a b:j c:d e:x f");
		const homes = view.homes("acme");
		expect([...homes].sort()).toEqual(nodes("abf"));
		expect(homes).toEqual(new Ring(nodes("abf")).nodesFor("acme", 3));
		expect(view.homes("acme")).toBe(homes);
	});

	test("those who stay share the ring among them", () => {
		const view = viewOf("a b:j c:d e:x f");
		const shares = nodes("abcef").map((nodeId) => view.ringShare(nodeId));
		expect(shares.reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 9);
		expect(view.ringShare(node("c"))).toBe(0);
		expect(view.ringShare(node("e"))).toBe(0);
	});
});

describe("a node without peers", () => {
	test("holds everything, always has a majority, and makes nothing anew for a placement", async () => {
		const solo: Membership = new SoloMembership(node("a"));
		const view = solo.view();
		const placement = view.placement(COLLECTION, 1, 3);
		expect(placement).toEqual({ current: nodes("a"), next: nodes("a"), writers: nodes("a") });
		expect(view.placement(COLLECTION, 2, 1)).toBe(placement);
		expect(view.homes("acme")).toEqual(nodes("a"));
		expect([view.ringShare(node("a")), view.ringShare(node("b"))]).toEqual([1, 0]);
		expect(view.member(node("a"))?.state).toBe("active");
		expect(view.member(node("b"))).toBeUndefined();
		expect([solo.isLive(node("a")), solo.isLive(node("b")), solo.hasMajority()]).toEqual([true, false, true]);
		solo.onChange(() => {
			throw new Error("nothing ever changes");
		});
		await solo.refresh(9);
		expect(solo.view()).toBe(view);
	});
});
