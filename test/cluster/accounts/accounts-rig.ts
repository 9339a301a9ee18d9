import { QuotaGate } from "../../../src/access/quota-gate.ts";
import { HiveError } from "../../../src/base/errors.ts";
import { type CollectionId, type NodeId, newCollectionId, systemRandom, type TenantId } from "../../../src/base/ids.ts";
import { ClusterAccounts } from "../../../src/cluster/accounts/cluster-accounts.ts";
import { HomeCalls } from "../../../src/cluster/accounts/home-calls.ts";
import { AdmittedWriter } from "../../../src/cluster/admitted-writer.ts";
import { UsageLedger } from "../../../src/cluster/usage-ledger.ts";
import type { CollectionRecord, Quota } from "../../../src/hub/models.ts";
import type { WriteResult } from "../../../src/storage/shard-types.ts";
import { tenantRecord } from "../../access/access-fixture.ts";
import { newCollection } from "../cluster-fixture.ts";
import { SimulatedNetwork, type SimulatedPeer } from "./simulated-network.ts";
import { SimulatedTime } from "./simulated-time.ts";

export const NODES = ["node_a", "node_b", "node_c"] as NodeId[];
export const VECTOR_BYTES = 100;

/** What lies in a shard, whoever asks. */
interface Stored {
	vectorCount: number;
	bytes: number;
}

/** One tenant's data in a cluster, and on each node the parts that keep accounts. */
export class AccountsRig {
	readonly time = new SimulatedTime();
	readonly network: SimulatedNetwork;
	readonly nodes = new Map<NodeId, AccountsNode>();
	readonly stored = new Map<string, Stored>();
	/** As the hub has them. */
	collections: ReadonlyMap<string, CollectionRecord>;
	quota: Quota = { max_storage_bytes: null, max_vectors: null, max_collections: null };
	readonly logged: string[] = [];
	readonly asked: string[] = [];
	/** The most that ever lay there. */
	vectorCountMax = 0;
	/** Makes a shard's part of a write fail, before or after it was done. */
	fault: (() => "before" | "after" | undefined) | undefined;
	/** Makes shards refuse to tell what they hold. */
	askFault: HiveError | undefined;

	constructor(
		readonly tenantId: TenantId,
		nodeIds: readonly NodeId[] = NODES,
		collectionCount = 2,
	) {
		this.network = new SimulatedNetwork(this.time, nodeIds);
		const records = Array.from({ length: collectionCount }, (_, index) => this.newRecord(`docs-${index}`));
		this.collections = new Map(records.map((record) => [record.name, record]));
		for (const peer of this.network.peers.values()) this.start(peer);
	}

	newRecord(name: string): CollectionRecord {
		return {
			...newCollection(name, { shards: 3, replicas: 3 }),
			id: newCollectionId(systemRandom),
			tenant_id: this.tenantId,
			created_at: "",
			revision: 1,
		};
	}

	start(peer: SimulatedPeer): AccountsNode {
		const node = new AccountsNode(this, peer);
		this.nodes.set(peer.self, node);
		return node;
	}

	node(nodeId: NodeId): AccountsNode {
		return this.nodes.get(nodeId)!;
	}

	/** The nodes in the order in which they become the tenant's home. */
	get homes(): readonly AccountsNode[] {
		return this.network.view.homes(this.tenantId).map((nodeId) => this.node(nodeId));
	}

	get total(): Stored {
		const total = { vectorCount: 0, bytes: 0 };
		for (const { vectorCount, bytes } of this.stored.values()) {
			total.vectorCount += vectorCount;
			total.bytes += bytes;
		}
		return total;
	}

	shard(collectionId: CollectionId, shardIndex: number): Stored {
		const name = `${collectionId}/${shardIndex}`;
		let stored = this.stored.get(name);
		if (stored === undefined) {
			stored = { vectorCount: 0, bytes: 0 };
			this.stored.set(name, stored);
		}
		return stored;
	}

	async ask(record: CollectionRecord, shardIndex: number): Promise<Stored> {
		this.asked.push(`${record.name}/${shardIndex}`);
		await this.time.pause(this.network.delayMs);
		const { vectorCount, bytes } = this.shard(record.id, shardIndex);
		await this.time.pause(this.network.delayMs);
		if (this.askFault !== undefined) throw this.askFault;
		return { vectorCount, bytes };
	}

	/** A node goes for good; the others notice after a while. */
	async kill(nodeId: NodeId, noticedAfterMs = 3_000): Promise<void> {
		this.network.kill(nodeId);
		await this.time.pause(noticedAfterMs);
		for (const peer of this.network.peers.values()) if (peer.self !== nodeId) peer.sees(nodeId, false);
	}

	/** What every node that lives says of the usage, when asked exactly. */
	async usages(): Promise<readonly number[]> {
		const nodes = [...this.nodes.values()].filter(({ nodeId }) => !this.network.isDown(nodeId));
		const usages: number[] = [];
		for (const { accounts } of nodes) {
			const usage = await this.time.until(accounts.usage(this.tenantId, this.collections));
			usages.push(usage.vectorCount);
		}
		return usages;
	}
}

export class AccountsNode {
	readonly nodeId: NodeId;
	readonly accounts: ClusterAccounts;
	readonly ledger: UsageLedger;
	readonly homes: HomeCalls;
	/** As this node's cache has them. */
	collections: () => ReadonlyMap<string, CollectionRecord>;
	readonly refusals = new Map<string, number>();
	writtenCount = 0;
	readonly #rig: AccountsRig;

	constructor(
		rig: AccountsRig,
		readonly peer: SimulatedPeer,
	) {
		this.#rig = rig;
		this.nodeId = peer.self;
		this.collections = () => rig.collections;
		const { time } = rig;
		const log = (message: string): void => void rig.logged.push(message);
		this.ledger = new UsageLedger({
			ask: (record, shardIndex) => rig.ask(record, shardIndex),
			clock: time,
			tenantsMax: 10,
			log,
		});
		this.homes = new HomeCalls({ membership: peer, calls: peer, methods: peer, clock: time });
		this.accounts = new ClusterAccounts({
			homes: this.homes,
			membership: peer,
			methods: peer,
			ledger: this.ledger,
			gate: new QuotaGate({ tenant: async () => tenantRecord(rig.tenantId, { quota: rig.quota }) }),
			collections: async () => this.collections(),
			clock: time,
			timers: time,
			log,
		});
	}

	/** A write of so many vectors, negative to delete, spread over the shards of a collection. */
	async write(record: CollectionRecord, vectorCount: number): Promise<WriteResult> {
		const writer = new AdmittedWriter({
			record,
			accounts: this.accounts,
			collections: async () => this.#rig.collections,
		});
		const parts = Array.from({ length: record.shards }, (_, shardIndex) => ({
			shardIndex,
			count: Math.trunc(vectorCount / record.shards) + (shardIndex === 0 ? vectorCount % record.shards : 0),
		}));
		const writes = parts.map(({ shardIndex, count }) => {
			const result = { vectorCountDelta: count, bytesDelta: count * VECTOR_BYTES, affectedCount: Math.abs(count) };
			const write = () => this.#writeShard(record.id, shardIndex, count, result, record);
			return { shardIndex, write, writeWithin: write, measure: async () => result };
		});
		if (vectorCount < 0) return writer.shrink(writes);
		return writer.write({ vectorCount, bytes: vectorCount * VECTOR_BYTES }, writes);
	}

	/** Writes again and again; what is refused is counted by its code. */
	async hammer(vectorCount: number, untilMs: number, everyMs = 5): Promise<void> {
		const { time, network, collections } = this.#rig;
		const records = [...collections.values()];
		for (let round = 0; time.monotonicMs() < untilMs && !network.isDown(this.nodeId); round++) {
			try {
				await this.write(records[round % records.length]!, vectorCount);
				this.writtenCount += vectorCount;
			} catch (error) {
				if (!(error instanceof HiveError)) throw error;
				this.refusals.set(error.code, (this.refusals.get(error.code) ?? 0) + 1);
			}
			await time.pause(everyMs);
		}
	}

	async #writeShard(
		collectionId: CollectionId,
		shardIndex: number,
		count: number,
		result: WriteResult,
		record: CollectionRecord,
	): Promise<WriteResult> {
		const rig = this.#rig;
		await rig.time.pause(rig.network.delayMs);
		const fault = rig.fault?.();
		if (fault !== "before" && !rig.network.isDown(this.nodeId)) {
			const shard = rig.shard(collectionId, shardIndex);
			shard.vectorCount += count;
			shard.bytes += count * VECTOR_BYTES;
			rig.vectorCountMax = Math.max(rig.vectorCountMax, rig.total.vectorCount);
		}
		await rig.time.pause(rig.network.delayMs);
		if (fault !== undefined) {
			this.accounts.doubt({ tenantId: record.tenant_id, collectionId, shardIndex });
			throw new HiveError("INTERNAL", "the shard did not answer");
		}
		return result;
	}
}

/** The names of tenants whose home one node is among these members. */
export function* tenantsOf(nodeId: NodeId, network: SimulatedNetwork): Generator<TenantId> {
	for (let index = 0; index < 1_000; index++) {
		const tenantId = `tenant-${index}` as TenantId;
		if (network.view.homes(tenantId)[0] === nodeId) yield tenantId;
	}
}
