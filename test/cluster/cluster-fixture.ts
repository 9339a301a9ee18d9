import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { HiveError } from "../../src/base/errors.ts";
import { type CollectionName, newNodeId, systemRandom, type TenantId } from "../../src/base/ids.ts";
import type { AccountGate } from "../../src/cluster/accounts/account-types.ts";
import { SoloMembership } from "../../src/cluster/membership/solo-membership.ts";
import { NoPeers } from "../../src/cluster/peer/no-peers.ts";
import { HintFolder } from "../../src/cluster/repair/hint-storage.ts";
import type { TenantDirectory } from "../../src/cluster/tenant-directory.ts";
import type { TenantUsage, WriteDemand } from "../../src/cluster/tenant-types.ts";
import type { NewCollection } from "../../src/hub/models.ts";
import { openShardParts, type ShardParts } from "../../src/node/shard-parts.ts";
import type { ShardPool } from "../../src/shards/pool-types.ts";
import { storageOpener } from "../../src/shards/storage-opener.ts";
import { WorkerPool } from "../../src/shards/worker-pool.ts";
import { TestFolder } from "../shards/fixtures.ts";
import { InThreadWorkers } from "../shards/in-thread-worker.ts";
import { MemoryHub } from "./memory-hub.ts";

export const ACME = "acme" as TenantId;

export function newCollection(name: string, changes: Partial<NewCollection> = {}): NewCollection {
	return {
		name: name as CollectionName,
		dimension: 2,
		metric: "euclidean",
		quantization: "f32",
		index: "auto",
		shards: 1,
		replicas: 1,
		hnsw: { m: 16, ef_construction: 128, ef_search: 64 },
		payload_indexes: {},
		...changes,
	};
}

/** A gate with one quota for everyone, that remembers what was reserved. */
export class TestGate implements AccountGate {
	bytesMax = Number.POSITIVE_INFINITY;
	vectorCountMax = Number.POSITIVE_INFINITY;
	readonly demands: WriteDemand[] = [];
	reservedBytes = 0;
	reservedVectorCount = 0;

	async reserve(_tenantId: TenantId, used: TenantUsage, demand: WriteDemand) {
		this.demands.push(demand);
		// The quota itself may have to be asked for.
		await Promise.resolve();
		const isOver =
			used.storageBytes + this.reservedBytes + demand.bytes > this.bytesMax ||
			used.vectorCount + this.reservedVectorCount + demand.vectorCount > this.vectorCountMax;
		if (isOver) throw new HiveError("QUOTA_EXCEEDED", "over quota", { usage: used.storageBytes });
		return this.hold(_tenantId, demand);
	}

	async isLimited() {
		return true;
	}

	hold(_tenantId: TenantId, demand: WriteDemand) {
		this.reservedBytes += demand.bytes;
		this.reservedVectorCount += demand.vectorCount;
		return {
			release: () => {
				this.reservedBytes -= demand.bytes;
				this.reservedVectorCount -= demand.vectorCount;
			},
		};
	}
}

/** One node's data floors over a temporary folder: real shards, in the test's thread. */
export class TestNode implements AsyncDisposable {
	readonly folder = new TestFolder();
	readonly hub = new MemoryHub();
	readonly gate = new TestGate();
	readonly logged: string[] = [];
	pool!: ShardPool;
	tenants!: TenantDirectory;
	parts!: ShardParts;
	/** May fail or hold up a call before it reaches the pool. */
	beforeCall: (method: string, shardIndex: number) => void | Promise<void> = () => {};
	/** Sees each call's answer before its caller does. */
	afterCall: (method: string, shardIndex: number) => void | Promise<void> = () => {};
	#real!: WorkerPool;

	private constructor() {
		this.hub.addTenant(ACME);
	}

	static async start(): Promise<TestNode> {
		const node = new TestNode();
		await node.start();
		return node;
	}

	/** As after a start of the process. */
	async start(): Promise<void> {
		this.#real = new WorkerPool({
			workerCount: 2,
			settings: {
				dataDir: this.folder.path,
				nodeTag: new Uint8Array(8),
				memoryBudgetBytes: 1_000_000_000,
				openShardsMax: 100,
			},
			startWorker: new InThreadWorkers(storageOpener(systemClock)).start,
			observer: {
				log: (_level, message, facts) => this.logged.push(`${message} ${facts.error}`),
			},
		});
		this.pool = {
			call: async (ref, method, ...args) => {
				await this.beforeCall(method, ref.shardIndex);
				const answer = await this.#real.call(ref, method, ...args);
				await this.afterCall(method, ref.shardIndex);
				return answer;
			},
			close: () => this.#real.close(),
			stats: () => this.#real.stats(),
		};
		this.parts = await openShardParts({
			dataDir: this.folder.path,
			hintStorage: new HintFolder(join(this.folder.path, "hints")),
			directory: this.hub.directory,
			pool: this.pool,
			gate: this.gate,
			membership: new SoloMembership(newNodeId(systemRandom)),
			calls: new NoPeers(),
			methods: new NoPeers(),
			clock: systemClock,
			agreedClock: systemClock,
			random: systemRandom,
			isClusterMode: false,
			defaults: { write: "quorum", read: "one" },
			moveBytesPerSecond: 1e9,
			repairRoundMs: 600_000,
			confirmHub: async () => {},
			changeReplicas: async () => undefined,
			catchUp: async () => undefined,
			onMoved: () => {},
			log: (_level, message) => this.logged.push(message),
		});
		this.tenants = this.parts.tenants;
	}

	async stop(): Promise<void> {
		await this.parts.close();
		await this.#real.close();
	}

	async restart(): Promise<void> {
		await this.stop();
		await this.start();
	}

	async [Symbol.asyncDispose](): Promise<void> {
		await this.stop();
		this.folder[Symbol.dispose]();
	}
}

export async function errorOf(call: Promise<unknown>): Promise<HiveError> {
	try {
		await call;
	} catch (error) {
		if (error instanceof HiveError) return error;
		throw error;
	}
	throw new Error("nothing was thrown");
}

export const codeOf = async (call: Promise<unknown>): Promise<string> => (await errorOf(call)).code;
