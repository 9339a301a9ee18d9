import { expect, test } from "bun:test";
import type { NodeId } from "../../../src/base/ids.ts";
import { MedianClock } from "../../../src/cluster/membership/median-clock.ts";
import { RingTopologyView } from "../../../src/cluster/membership/ring-topology-view.ts";
import { nodeIdOf, topologyOf } from "../repair/memory-nodes.ts";

const HOUR_MS = 3_600_000;

/** What the clock of `a` shows, which is at 0, among members whose clocks are off by so much. */
function shown(offsets: Readonly<Record<string, number | undefined>>, dead: readonly string[] = []): number {
	const members = Object.fromEntries(["a", ...Object.keys(offsets)].map((name) => [name, "active" as const]));
	const view = new RingTopologyView(topologyOf(1, members));
	const byId = new Map(Object.entries(offsets).map(([name, offset]) => [nodeIdOf(name), offset]));
	const deadIds = dead.map(nodeIdOf);
	const clock = new MedianClock({
		clock: { nowMs: () => 0, monotonicMs: () => 7 },
		membership: { self: nodeIdOf("a"), view: () => view, isLive: (nodeId: NodeId) => !deadIds.includes(nodeId) },
		offsetMs: (nodeId) => byId.get(nodeId),
	});
	expect(clock.monotonicMs()).toBe(7);
	return clock.nowMs();
}

test("a node alone goes by its own clock", () => {
	expect(shown({})).toBe(0);
});

test("one clock that is off by an hour counts for nothing, be it the node's own", () => {
	expect(shown({ b: 3, c: HOUR_MS })).toBe(3);
	expect(shown({ b: HOUR_MS, c: HOUR_MS + 4 })).toBe(HOUR_MS);
	expect(shown({ b: -HOUR_MS, c: -2 })).toBe(-2);
});

test("of two clocks the earlier one counts, and those of nodes that are dead or not known yet count not at all", () => {
	expect(shown({ b: HOUR_MS })).toBe(0);
	expect(shown({ b: -HOUR_MS })).toBe(-HOUR_MS);
	expect(shown({ b: 5, c: HOUR_MS, d: HOUR_MS }, ["c", "d"])).toBe(0);
	expect(shown({ b: undefined, c: 4, d: 8 })).toBe(4);
});
