import { describe, expect, test } from "bun:test";
import { ReplicaService } from "../../../src/cluster/replication/replica-service.ts";
import { type CopyState, Outrun, ReplicaFailure } from "../../../src/cluster/replication/replica-types.ts";
import { WriteEpochs } from "../../../src/cluster/replication/write-epochs.ts";
import type { ShardName, ShardPool } from "../../../src/shards/pool-types.ts";
import { versionAt } from "../../storage/copy-fixture.ts";
import { MemoryNodes, nodeIdOf, shardRef, topologyOf } from "../repair/memory-nodes.ts";

const B = nodeIdOf("b");
const CLIENT = { topologyVersion: 1, replicas: 3 };
const claimAt = (ms: number, home = B) => ({ ...CLIENT, claim: { home, version: versionAt(ms) } });
const batch = { ids: [1], vectors: new Float32Array(2), payloads: [undefined] };
const NO_CHANGE = { vectorCountDelta: 0, bytesDelta: 0, affectedCount: 1 };

/** One node's copy, whose shard answers as the test says. */
function rig(answer: (method: string) => unknown = () => NO_CHANGE, state: CopyState = "complete") {
	const world = new MemoryNodes(topologyOf(1, { a: "active", b: "active", c: "active" }));
	const { shard } = world.add(shardRef("docs"), 3);
	const asked: string[] = [];
	const mended: ShardName[] = [];
	const service = new ReplicaService({
		membership: world.node("a"),
		copies: { knownState: () => state, state: async () => state, make: async () => {} },
		epochs: new WriteEpochs(),
		pool: {
			call: async (_ref: unknown, method: string) => {
				asked.push(method);
				return await answer(method);
			},
		} as unknown as ShardPool,
		isDeleted: () => false,
		touched: () => {},
		mended: (each) => void mended.push(each),
	});
	const failureOf = async (call: Promise<unknown>): Promise<unknown> =>
		call.then(
			() => undefined,
			(error: unknown) => error,
		);
	return { service, shard, asked, mended, failureOf };
}

describe("a copy that has granted a claim", () => {
	test("refuses older writes of the row, tells what is in their way, and takes newer ones", async () => {
		const { service, shard, asked, failureOf } = rig();
		await service.call(shard, "rows", [[1]], claimAt(20));
		const writes = [
			() => service.call(shard, "upsert", [batch, {}, versionAt(10)], CLIENT),
			() => service.call(shard, "delete", [{ ids: [1] }, versionAt(10)], CLIENT),
			() => service.call(shard, "update", [{ id: 1 }, {}], claimAt(10, nodeIdOf("c"))),
			() => service.call(shard, "merge", [{ ...packed, ids: [1] }], claimAt(10, nodeIdOf("c"))),
			() => service.call(shard, "rows", [[1]], claimAt(10, nodeIdOf("c"))),
		];
		for (const write of writes) {
			const failure = await failureOf(write());
			expect(failure).toBeInstanceOf(Outrun);
			expect((failure as Outrun).by).toEqual(versionAt(20));
		}
		expect(asked).toEqual(["rows"]);
		await service.call(shard, "upsert", [batch, {}, versionAt(30)], CLIENT);
		await service.call(shard, "update", [{ id: 1 }, {}], claimAt(20));
	});

	test("lets repair bring what it likes: that is acknowledged to nobody", async () => {
		const { service, shard } = rig();
		await service.call(shard, "rows", [[1]], claimAt(20));
		expect(await service.call(shard, "merge", [{ ...packed, ids: [1] }], { topologyVersion: 1 })).toEqual(NO_CHANGE);
	});

	test("looks at the row only when the writes that it let by before are done", async () => {
		const written = Promise.withResolvers<unknown>();
		const { service, shard, asked } = rig((method) => (method === "upsert" ? written.promise : NO_CHANGE));
		const write = service.call(shard, "upsert", [batch, {}, versionAt(10)], CLIENT);
		const claimed = service.call(shard, "rows", [[1]], claimAt(20));
		await Bun.sleep(0);
		expect(asked).toEqual(["upsert"]);
		written.resolve(NO_CHANGE);
		await Promise.all([write, claimed]);
		expect(asked).toEqual(["upsert", "rows"]);
	});
});

test("a copy that is being filled grants no claim as one that is read", async () => {
	const { service, shard, failureOf } = rig(undefined, "incoming");
	const failure = await failureOf(service.call(shard, "rows", [[1]], claimAt(20)));
	expect(failure).toBeInstanceOf(ReplicaFailure);
	expect((failure as ReplicaFailure).kind).toBe("incoming");
});

test("what a copy learned from others, and no client's write counted, is told", async () => {
	let change = NO_CHANGE;
	const { service, shard, mended } = rig(() => change);
	await service.call(shard, "merge", [packed], { topologyVersion: 1 });
	change = { ...NO_CHANGE, vectorCountDelta: -1 };
	await service.call(shard, "upsert", [batch, {}, versionAt(10)], CLIENT);
	await service.call(shard, "merge", [packed], claimAt(20));
	expect(mended).toEqual([]);
	await service.call(shard, "merge", [packed], { topologyVersion: 1 });
	expect(mended).toEqual([shard]);
});

const packed = {
	ids: [],
	versions: new Uint8Array(0),
	deleted: new Uint8Array(0),
	vectors: new Float32Array(0),
	payloads: [],
};
