import { describe, expect, test } from "bun:test";
import type { CollectionId, NodeId, TenantId } from "../../../src/base/ids.ts";
import { REPLICATION_LIMITS } from "../../../src/cluster/replication/replication-limits.ts";
import { RowClaims } from "../../../src/cluster/replication/row-claims.ts";
import { versionAt } from "../../storage/copy-fixture.ts";

const shard = { tenantId: "acme" as TenantId, collectionId: "docs" as CollectionId, shardIndex: 0 };
const claimOf = (home: string, ms: number) => ({ home: home as NodeId, version: versionAt(ms) });

describe("a claimed row", () => {
	test("lets nothing older by, and everything newer, other rows and other shards", () => {
		const claims = new RowClaims();
		expect(claims.grant(shard, 1, claimOf("a", 20))).toBeUndefined();
		expect(claims.later(shard, [3, 1], versionAt(10))).toEqual(versionAt(20));
		expect(claims.later(shard, [1], versionAt(20))).toBeUndefined();
		expect(claims.later(shard, [1], versionAt(30))).toBeUndefined();
		expect(claims.later(shard, ["1", 2], versionAt(10))).toBeUndefined();
		expect(claims.later({ ...shard, shardIndex: 1 }, [1], versionAt(10))).toBeUndefined();
	});

	test("is for updates of one home in any order, and for those of another only when they are later", () => {
		const claims = new RowClaims();
		claims.grant(shard, 1, claimOf("a", 20));
		expect(claims.grant(shard, 1, claimOf("a", 10))).toBeUndefined();
		expect(claims.later(shard, [1], versionAt(10), claimOf("a", 10))).toBeUndefined();
		expect(claims.grant(shard, 1, claimOf("b", 15))).toEqual(versionAt(20));
		expect(claims.grant(shard, 1, claimOf("b", 30))).toBeUndefined();
		expect(claims.later(shard, [1], versionAt(20), claimOf("a", 20))).toEqual(versionAt(30));
	});

	test("is free again when what it was claimed for is stored, unless it was claimed anew", () => {
		const claims = new RowClaims();
		claims.grant(shard, 1, claimOf("a", 20));
		claims.fulfil(shard, 1, versionAt(10));
		expect(claims.later(shard, [1], versionAt(10))).toEqual(versionAt(20));
		claims.fulfil(shard, 1, versionAt(20));
		expect(claims.later(shard, [1], versionAt(10))).toBeUndefined();
	});

	test("counts for all rows when there is no room left to remember whose it was", () => {
		const claims = new RowClaims();
		for (let id = 0; id <= REPLICATION_LIMITS.claimsPerShardMax; id++) claims.grant(shard, id, claimOf("a", 20 + id));
		expect(claims.later(shard, ["another"], versionAt(19))).toEqual(versionAt(20));
		expect(claims.later(shard, ["another"], versionAt(21))).toBeUndefined();
		for (let shardIndex = 1; shardIndex <= REPLICATION_LIMITS.claimedShardsMax; shardIndex++) {
			claims.grant({ ...shard, shardIndex }, 1, claimOf("a", 5_000));
		}
		expect(claims.later({ ...shard, collectionId: "else" as CollectionId }, [1], versionAt(900))).not.toBeUndefined();
	});
});

test("what waits for the writes of a shard waits for those that are under way, and for no later ones", async () => {
	const claims = new RowClaims();
	await claims.settled(shard);
	const leave = claims.enter(shard);
	const leaveOther = claims.enter({ ...shard, shardIndex: 1 });
	let isSettled = false;
	const settled = claims.settled(shard).then(() => {
		isSettled = true;
	});
	const leaveLater = claims.enter(shard);
	await Promise.resolve();
	expect(isSettled).toBe(false);
	leave();
	await settled;
	leaveLater();
	leaveOther();
	await claims.settled(shard);
});
