import { expect, test } from "bun:test";
import { ShardReconciler } from "../../../src/cluster/repair/shard-reconciler.ts";
import { CopyLatencies } from "../../../src/cluster/replication/copy-latencies.ts";
import { HedgeBudget } from "../../../src/cluster/replication/hedge-budget.ts";
import { REPLICATION_LIMITS } from "../../../src/cluster/replication/replication-limits.ts";
import type { ReplicationContext } from "../../../src/cluster/replication/replication-types.ts";
import { ShardReader } from "../../../src/cluster/replication/shard-reader.ts";
import { versionAt } from "../../storage/copy-fixture.ts";
import { codeOf } from "../cluster-fixture.ts";
import { MemoryNodes, nodeIdOf, shardRef, topologyOf } from "../repair/memory-nodes.ts";
import { VirtualTime } from "../repair/virtual-time.ts";

const A = nodeIdOf("a");

/** Three nodes with a copy each, read by the one called `a`; each copy has a document of its own. */
async function rig() {
	const time = new VirtualTime();
	const world = new MemoryNodes(topologyOf(1, { a: "active", b: "active", c: "active" }));
	const { shard, replicas } = world.add(shardRef("docs"), 3);
	for (const [index, name] of ["a", "b", "c"].entries()) {
		const node = world.node(name);
		await node.make(shard, "complete");
		const document = { payload: name, vector: new Float32Array([1, index]) };
		node.rows(shard).put([{ id: index, version: versionAt(index + 1), document }]);
	}
	const port = world.portOf(A);
	const latencies = new CopyLatencies(time);
	const context = {
		membership: world.node("a"),
		port,
		remote: port,
		reconciler: new ShardReconciler({ self: A, port, throttle: { take: async () => {} } }),
		clock: time,
		timers: time,
		latencies,
		budget: new HedgeBudget(),
		defaults: { write: "quorum", read: "one" },
	} as unknown as ReplicationContext;
	const subject = { shard, replicas, doubt: () => {}, confirm: async () => {} };
	const founding = { establish: async () => {} } as unknown as ConstructorParameters<typeof ShardReader>[2];
	const reader = new ShardReader(context, subject, founding);
	return { time, world, shard, reader, latencies };
}

/** Takes what it is asked, and never answers. */
const hang = (world: MemoryNodes, ...hung: readonly string[]): void => {
	const nodeIds = hung.map(nodeIdOf);
	world.before = async (nodeId) => {
		if (nodeIds.includes(nodeId)) await new Promise(() => {});
	};
};

test("whoever hangs holds up a quorum's search no longer than it takes to ask the third, whichever of them it is", async () => {
	for (const [hung, other] of [
		["b", "c"],
		["c", "b"],
	] as const) {
		const { time, world, shard, reader, latencies } = await rig();
		hang(world, hung);
		await time.wait(reader.pages("quorum"), REPLICATION_LIMITS.nextCopyMs + 100);
		// This node's copy, which answers, holds what the other one did.
		expect(world.node("a").rows(shard).vectorCount).toBe(2);
		expect(world.node(other).rows(shard).vectorCount).toBe(2);
		const asked = world.calls.filter((call) => call.startsWith(nodeIdOf(hung))).length;
		if (asked === 0) continue;
		// And is not asked first again.
		expect(latencies.isAvoided(nodeIdOf(hung))).toBe(true);
		await time.wait(reader.pages("quorum"), 100);
		await time.wait(reader.get([0, 1, 2], { withVector: false, withPayload: true }, "quorum"), 100);
		expect(world.calls.filter((call) => call.startsWith(nodeIdOf(hung))).length).toBe(asked);
	}
});

test("pages of one copy ask no other", async () => {
	const { time, world, reader } = await rig();
	hang(world, "b", "c");
	await time.wait(reader.pages("one"), 100);
	expect(world.calls.every((call) => call.startsWith(A))).toBe(true);
});

test("of rows the newest of any majority are told, and known to it afterwards", async () => {
	const { time, world, shard, reader } = await rig();
	world.setDown("b", true);
	const rows = await time.wait(reader.rows([0, 1, 2], "quorum"));
	expect([0, 1, 2].map((id) => rows.get(id)?.document?.payload)).toEqual(["a", undefined, "c"]);
	expect(world.node("c").rows(shard).vectorCount).toBe(2);
	world.setDown("c", true);
	expect(await time.wait(codeOf(reader.rows([0], "quorum")))).toBe("NO_QUORUM");
	expect(await time.wait(codeOf(reader.pages("quorum")))).toBe("NO_QUORUM");
});
