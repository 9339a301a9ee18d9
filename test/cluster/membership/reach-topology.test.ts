import { expect, test } from "bun:test";
import { reachTopology } from "../../../src/cluster/membership/reach-topology.ts";
import { RingTopologyView } from "../../../src/cluster/membership/ring-topology-view.ts";
import { codeOf } from "../cluster-fixture.ts";
import { topology } from "./topology-fixture.ts";

test("what was decided under a topology is gone by when that, or a newer one, is known", async () => {
	let version = 3;
	let canRefresh = true;
	const asked: number[] = [];
	const membership = {
		view: () => new RingTopologyView(topology("a b", version)),
		refresh: async (wanted: number) => {
			asked.push(wanted);
			if (canRefresh) version = wanted;
		},
	};
	for (const known of [undefined, 0, 2, 3]) await reachTopology(membership, known);
	expect(asked).toEqual([]);
	await reachTopology(membership, 5);
	expect([asked, version]).toEqual([[5], 5]);
	canRefresh = false;
	expect(await codeOf(reachTopology(membership, 6))).toBe("NO_QUORUM");
	version = 0;
	await reachTopology(membership, 6);
});
