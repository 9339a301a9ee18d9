import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { NodeId } from "../../../src/base/ids.ts";
import { Ring } from "../../../src/cluster/membership/ring.ts";
import { SUBJECTS } from "./topology-fixture.ts";

const nodeIds = fc.uniqueArray(
	fc.stringMatching(/^node_[a-z0-9]{16}$/).map((text) => text as NodeId),
	{ minLength: 1, maxLength: 10 },
);
const settings = { seed: 4, numRuns: 40 };

describe("the ring", () => {
	test("is the same whatever the order its members are named in", () => {
		fc.assert(
			fc.property(nodeIds, (nodes) => {
				const ring = new Ring(nodes);
				const other = new Ring([...nodes, ...nodes].reverse());
				expect(other.nodeCount).toBe(nodes.length);
				for (const subject of SUBJECTS.slice(0, 50))
					expect(other.nodesFor(subject, 3)).toEqual(ring.nodesFor(subject, 3));
				expect(new Map([...other.shares()].sort())).toEqual(new Map([...ring.shares()].sort()));
			}),
			settings,
		);
	});

	test("stands still from one version of the software to the next", () => {
		const ring = new Ring(["node_aaaaaaaaaaaaaaaa", "node_bbbbbbbbbbbbbbbb", "node_cccccccccccccccc"] as NodeId[]);
		const letters = SUBJECTS.slice(0, 24).map((subject) =>
			ring
				.nodesFor(subject, 3)
				.map((nodeId) => nodeId.at(-1))
				.join(""),
		);
		expect(letters.join(" ")).toBe(
			"cba cba cab acb acb bca cba acb cab cba abc bac cab bac bac acb cba abc bac cba cab cba cab bac",
		);
	});

	test("gives distinct nodes, as many as are wanted or there are", () => {
		fc.assert(
			fc.property(nodeIds, fc.integer({ min: 1, max: 12 }), (nodes, count) => {
				const ring = new Ring(nodes);
				for (const subject of SUBJECTS.slice(0, 50)) {
					const found = ring.nodesFor(subject, count);
					expect(found).toHaveLength(Math.min(count, nodes.length));
					expect(new Set(found).size).toBe(found.length);
					expect(ring.nodesFor(subject, nodes.length).slice(0, found.length)).toEqual(found);
				}
			}),
			settings,
		);
	});

	test("shares the circle out evenly: nobody has 1.4 times the mean, hardly anybody 1.25 times", () => {
		let clusterCount = 0;
		let evenCount = 0;
		for (let size = 3; size <= 10; size++) {
			for (let seed = 0; seed < 40; seed++) {
				const shares = [
					...new Ring(Array.from({ length: size }, (_, index) => `node_${seed}_${index}` as NodeId)).shares(),
				];
				expect(shares.reduce((sum, [, share]) => sum + share, 0)).toBeCloseTo(1, 9);
				const most = size * Math.max(...shares.map(([, share]) => share));
				expect(most).toBeLessThan(1.4);
				clusterCount++;
				if (most < 1.25) evenCount++;
			}
		}
		expect(evenCount / clusterCount).toBeGreaterThan(0.95);
	});

	test("a node's share of the subjects is its share of the circle", () => {
		const ring = new Ring(["node_1", "node_2", "node_3", "node_4"] as NodeId[]);
		const counts = new Map<NodeId, number>();
		for (const subject of SUBJECTS) {
			const [home] = ring.nodesFor(subject, 1);
			counts.set(home!, (counts.get(home!) ?? 0) + 1);
		}
		for (const [nodeId, share] of ring.shares()) expect(counts.get(nodeId)! / SUBJECTS.length).toBeCloseTo(share, 1);
	});

	test("a node that is added takes its part from all, and nothing else moves; so does one that goes", () => {
		for (let size = 1; size <= 9; size++) {
			const nodes = Array.from({ length: size }, (_, index) => `node_${index}` as NodeId);
			const added = "node_added" as NodeId;
			const before = new Ring(nodes);
			const after = new Ring([...nodes, added]);
			const copies = Math.min(3, size);
			let movedCount = 0;
			for (const subject of SUBJECTS) {
				const old = before.nodesFor(subject, copies);
				const now = after.nodesFor(subject, copies);
				const came = now.filter((nodeId) => !old.includes(nodeId));
				// Backwards it is the node that goes, and the same moves.
				expect(came.every((nodeId) => nodeId === added)).toBe(true);
				expect(old.filter((nodeId) => !now.includes(nodeId))).toHaveLength(came.length);
				movedCount += came.length;
			}
			const fairCount = (SUBJECTS.length * copies) / (size + 1);
			expect(movedCount).toBeGreaterThan(0.7 * fairCount);
			expect(movedCount).toBeLessThan(1.4 * fairCount);
		}
	});
});
