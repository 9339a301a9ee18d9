import { expect, test } from "bun:test";
import { newCollectionId, systemRandom, type TenantId } from "../../../src/base/ids.ts";
import { OwnShares } from "../../../src/cluster/accounts/own-shares.ts";
import { UsageLedger } from "../../../src/cluster/usage-ledger.ts";
import type { CollectionRecord } from "../../../src/hub/models.ts";
import { newCollection } from "../cluster-fixture.ts";
import { NODES } from "./accounts-rig.ts";
import { SimulatedNetwork, type SimulatedPeer } from "./simulated-network.ts";
import { SimulatedTime } from "./simulated-time.ts";

const ACME = "acme" as TenantId;

function rig(nodeIds = NODES) {
	const time = new SimulatedTime();
	const network = new SimulatedNetwork(time, nodeIds);
	const record: CollectionRecord = {
		...newCollection("docs", { shards: 16, replicas: 2 }),
		id: newCollectionId(systemRandom),
		tenant_id: ACME,
		created_at: "",
		revision: 1,
	};
	const collections = new Map([["docs", record]]);
	const counts = new Map<number, number>();
	const asked: number[] = [];
	const ask = async (_record: CollectionRecord, shardIndex: number) => {
		asked.push(shardIndex);
		const vectorCount = counts.get(shardIndex) ?? 10;
		return { vectorCount, bytes: 100 * vectorCount };
	};
	const log = (): void => {};
	const sharesOf = (peer: SimulatedPeer) =>
		new OwnShares({
			membership: peer,
			collections: async () => collections,
			ask,
			whole: new UsageLedger({ ask, clock: time, tenantsMax: 10, log }),
			clock: time,
			tenantsMax: 10,
			log,
		});
	const shares = [...network.peers.values()].map(sharesOf);
	const totals = async () => Promise.all(shares.map(async (share) => (await share.ownShare(ACME)).vectorCount));
	return { network, record, counts, asked, shares, totals };
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);

test("the shares of all nodes add up to what is stored, each vector counted once", async () => {
	const { totals, asked, shares } = rig();
	expect(sum(await totals())).toBe(160);
	expect(asked.sort((a, b) => a - b)).toEqual(Array.from({ length: 16 }, (_, index) => index));
	const known = shares.flatMap((share) => [...share.known()]);
	expect(sum(known.map(({ vectorCount }) => vectorCount))).toBe(160);
});

test("only what was written to is asked again, and is reported until it was", async () => {
	const { totals, counts, asked, shares, record } = rig();
	await totals();
	asked.length = 0;
	counts.set(3, 25);
	for (const share of shares) share.touched({ tenantId: ACME, collectionId: record.id, shardIndex: 3 });
	expect(sum(await totals())).toBe(175);
	expect(asked).toEqual([3]);
	const [share] = shares;
	const moments = share!.changed();
	expect(moments.map(({ tenantId }) => tenantId)).toEqual([ACME]);
	share!.touched({ tenantId: ACME, collectionId: record.id, shardIndex: 4 });
	share!.reported(moments);
	expect(share!.changed()).toHaveLength(1);
	share!.reported(share!.changed());
	expect(share!.changed()).toEqual([]);
	share!.suspect(ACME);
	share!.forgetTenant(ACME);
	expect(share!.changed()).toEqual([]);
});

test("another topology has other shares, which add up as well", async () => {
	const { network, totals, shares } = rig();
	const before = await totals();
	network.change(new Map(NODES.slice(0, 2).map((nodeId) => [nodeId, "active"])));
	for (const peer of network.peers.values()) peer.learn();
	const after = await totals();
	expect(sum(after)).toBe(sum(before));
	expect(after[2]).toBe(0);
	expect(shares).toHaveLength(3);
});

test("a node alone answers for everything, by what it knows already", async () => {
	const { totals, shares, record } = rig(NODES.slice(0, 1));
	expect(await totals()).toEqual([160]);
	shares[0]!.touched({ tenantId: ACME, collectionId: record.id, shardIndex: 3 });
	expect(shares[0]!.changed()).toEqual([]);
	expect([...shares[0]!.known()]).toHaveLength(1);
});
