import { HiveError } from "../../src/base/errors.ts";
import type { NodeId } from "../../src/base/ids.ts";
import type { ClusterShard, ShardCatalog } from "../../src/cluster/repair/repair-types.ts";
import { shardKey } from "../../src/cluster/repair/repair-types.ts";
import type { HubClient } from "../../src/hub/hub-client-types.ts";
import type { CollectionRecord, TenantRecord, Topology } from "../../src/hub/models.ts";
import type { SimulatedHost } from "./simulated-host.ts";

const TENANT = "acme";

/** The part of the hub that the cluster needs, in memory: it outlives every node, and is not always to be reached. */
export class SimulatedHub {
	topology: Topology;
	readonly shards: ClusterShard[] = [];
	/** Nodes that can't reach it. */
	readonly awayFrom = new Set<NodeId>();
	/** Told after each change. */
	onTopology: () => void = () => {};

	constructor(
		topology: Topology,
		/** Milliseconds that a question or its answer takes on the way. */
		private readonly delayMs: () => number,
	) {
		this.topology = topology;
	}

	/** What one process of a node asks. */
	clientFor(host: SimulatedHost): Pick<HubClient, "getTopology" | "putTopology" | "listTenants" | "listCollections"> {
		return {
			getTopology: () => this.#ask(host, () => this.topology),
			putTopology: (wanted) =>
				this.#ask(host, () => {
					if (wanted.version !== this.topology.version + 1) throw new HiveError("CONFLICT", "it has changed since");
					this.topology = wanted;
					this.onTopology();
					return wanted;
				}),
			listTenants: () => this.#ask(host, () => ({ tenants: [{ id: TENANT } as TenantRecord], next: null })),
			listCollections: () => this.#ask(host, () => this.#collections()),
		};
	}

	catalogFor(host: SimulatedHost): ShardCatalog {
		const hub = this;
		return {
			async *all() {
				yield* await hub.#ask(host, () => [...hub.shards]);
			},
			find: (name) => this.#ask(host, () => this.shards.find(({ shard }) => shardKey(shard) === shardKey(name))),
		};
	}

	#collections(): CollectionRecord[] {
		const records = new Map<string, { id: string; shards: number; replicas: number }>();
		for (const { shard, replicas } of this.shards) {
			const shards = Math.max(shard.shardIndex + 1, records.get(shard.collectionId)?.shards ?? 0);
			records.set(shard.collectionId, { id: shard.collectionId, shards, replicas });
		}
		return [...records.values()] as CollectionRecord[];
	}

	/** Either way may fail: what was asked may have been done then. */
	async #ask<Answer>(host: SimulatedHost, answer: () => Answer): Promise<Answer> {
		const check = (): void => {
			if (this.awayFrom.has(host.nodeId)) throw new HiveError("HUB_UNAVAILABLE", "the hub does not answer");
		};
		await host.delay(this.delayMs());
		check();
		const answered = answer();
		await host.delay(this.delayMs());
		check();
		return answered;
	}
}
