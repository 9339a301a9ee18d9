import { HiveError } from "../../src/base/errors.ts";
import type { NodeId } from "../../src/base/ids.ts";
import type { Membership } from "../../src/cluster/membership/membership-types.ts";
import { reachTopology } from "../../src/cluster/membership/reach-topology.ts";
import type { ClusterShard, ShardCatalog } from "../../src/cluster/repair/repair-types.ts";
import { shardKey } from "../../src/cluster/shard-facts.ts";
import type { HubClient } from "../../src/hub/hub-client-types.ts";
import type { CollectionRecord, TenantRecord, Topology } from "../../src/hub/models.ts";
import type { SimulatedHost } from "./simulated-host.ts";

const TENANT = "acme";

/** The part of the hub that the cluster needs, in memory: it outlives every node, and is not always to be reached. */
export class SimulatedHub {
	topology: Topology;
	readonly shards: ClusterShard[] = [];
	/** Of collections whose number of copies was changed: every record there was, the newest last. */
	readonly records = new Map<string, { readonly replicas: number; readonly topologyVersion: number }[]>();
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
	clientFor(
		host: SimulatedHost,
	): Pick<HubClient, "getTopology" | "putTopology" | "listTenants" | "listCollections" | "updateCollection"> {
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
			updateCollection: (_tenantId, name, { replicas, topology_version }) =>
				this.#ask(host, () => {
					const first = this.shards.find(({ shard }) => String(shard.collectionId) === name);
					const records = this.records.get(name) ?? [{ replicas: first?.replicas ?? 1, topologyVersion: 0 }];
					this.records.set(name, [...records, { replicas: replicas!, topologyVersion: topology_version! }]);
					for (const [at, { shard }] of this.shards.entries()) {
						if (String(shard.collectionId) === name) this.shards[at] = { shard, replicas: replicas! };
					}
					return this.#collections().find(({ id }) => String(id) === name)!;
				}),
		};
	}

	catalogFor(host: SimulatedHost, membership: Pick<Membership, "view" | "refresh">): ShardCatalog {
		const hub = this;
		const reach = (id: string): Promise<void> =>
			reachTopology(membership, this.records.get(id)?.at(-1)?.topologyVersion);
		return {
			async *all() {
				for (const shard of await hub.#ask(host, () => [...hub.shards])) {
					await reach(shard.shard.collectionId);
					yield shard;
				}
			},
			find: async (name) => {
				const found = await this.#ask(host, () => this.shards.find(({ shard }) => shardKey(shard) === shardKey(name)));
				await reach(name.collectionId);
				return found;
			},
		};
	}

	#collections(): CollectionRecord[] {
		const records = new Map<string, { id: string; name: string; shards: number; replicas: number }>();
		for (const { shard, replicas } of this.shards) {
			const shards = Math.max(shard.shardIndex + 1, records.get(shard.collectionId)?.shards ?? 0);
			const { collectionId: id } = shard;
			records.set(id, { id, name: id, shards, replicas });
		}
		return [...records.values()] as unknown as CollectionRecord[];
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
