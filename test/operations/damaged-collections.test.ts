import { expect, test } from "bun:test";
import { HiveError } from "../../src/base/errors.ts";
import type { Collection, Tenant } from "../../src/cluster/tenant-types.ts";
import type { CollectionRecord } from "../../src/hub/models.ts";
import { OPERATIONS } from "../../src/operations/operation-table.ts";
import type { ShardStats } from "../../src/storage/shard-types.ts";
import { newCollection } from "../cluster/cluster-fixture.ts";
import { type Input, type Output, thrownBy } from "./operations-fixture.ts";

const STATS: ShardStats = {
	vectorCount: 3,
	bytes: 300,
	diskBytes: 900,
	memoryBytes: 0,
	indexState: "ready",
	indexedCount: 3,
	tombstoneCount: 0,
};

/** A tenant whose collections answer as a test says: with statistics, or an error. */
function tenantWith(answers: Readonly<Record<string, Partial<ShardStats> | Error>>): Tenant {
	const record = (name: string) =>
		({
			...newCollection(name),
			id: name,
			tenant_id: "acme",
			created_at: "2030-01-01T00:00:00Z",
		}) as unknown as CollectionRecord;
	return {
		listCollections: async () => Object.keys(answers).map(record),
		collection: async (name: string) => {
			const answer = answers[name];
			if (answer instanceof HiveError && answer.code === "COLLECTION_NOT_FOUND") throw answer;
			const stats = async () => {
				if (answer instanceof Error) throw answer;
				return { ...STATS, ...answer };
			};
			return { record: record(name), stats } as Partial<Collection> as Collection;
		},
	} as Partial<Tenant> as Tenant;
}

async function run(name: string, tenant: Tenant, input: Input): Promise<Output> {
	const operation = OPERATIONS.find((each) => each.name === name)!;
	const context = { tenant } as Parameters<typeof operation.run>[0];
	return operation.output.parse(await operation.run(context, input));
}

test("a damaged collection is shown as such and does not hide the others", async () => {
	const tenant = tenantWith({ good: {}, bad: new HiveError("INTERNAL", "a stored value failed its check") });
	const { collections } = await run("collections.list", tenant, {});
	expect(collections).toMatchObject([
		{ name: "good", vectors: 3, index_state: "ready", indexed_vectors: 3 },
		{
			name: "bad",
			vectors: null,
			bytes: null,
			disk_bytes: null,
			indexed_vectors: null,
			index_state: "damaged",
			damage: "a stored value failed its check",
		},
	]);
	expect(await run("collections.get", tenant, { collection: "bad" })).toMatchObject({ index_state: "damaged" });
});

test("a collection whose nodes are away is shown as such and does not hide the others", async () => {
	const tenant = tenantWith({ good: {}, away: new HiveError("NO_QUORUM", "none of the nodes answers") });
	const { collections } = await run("collections.list", tenant, {});
	expect(collections).toMatchObject([
		{ name: "good", vectors: 3, index_state: "ready" },
		{ name: "away", vectors: null, index_state: "unreachable" },
	]);
});

test("an index that was built anew says why", async () => {
	const tenant = tenantWith({ docs: { rebuildReason: "the snapshot's checksum is wrong" } });
	expect(await run("collections.get", tenant, { collection: "docs" })).toMatchObject({
		index_rebuilt: "the snapshot's checksum is wrong",
	});
});

test("a collection that is deleted while all are listed is left out", async () => {
	const tenant = tenantWith({ kept: {}, gone: new HiveError("COLLECTION_NOT_FOUND", "no such collection") });
	const { collections } = await run("collections.list", tenant, {});
	expect(collections).toMatchObject([{ name: "kept" }]);
});

test("that shards are busy is no damage", async () => {
	for (const error of [new HiveError("OVERLOADED", "later"), new TypeError("oops")]) {
		const tenant = tenantWith({ busy: error });
		expect(await thrownBy(() => run("collections.list", tenant, {}))).toBe(error);
		expect(await thrownBy(() => run("collections.get", tenant, { collection: "busy" }))).toBe(error);
	}
});
