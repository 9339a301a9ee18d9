import type { Clock } from "../../base/clock.ts";
import type { TenantId } from "../../base/ids.ts";
import type { CollectionRecord } from "../../hub/models.ts";
import type { ShardName } from "../../shards/pool-types.ts";
import type { Membership } from "../membership/membership-types.ts";
import type { TenantUsage } from "../tenant-types.ts";
import { type KnownUsage, UsageLedger, type UsageLedgerParts } from "../usage-ledger.ts";

/** Tenants written to since they were reported. Beyond, those that were not remembered are reported with their next write. */
const CHANGED_TENANTS_MAX = 100_000;

export interface OwnSharesParts {
	readonly membership: Membership;
	readonly collections: (tenantId: TenantId) => Promise<ReadonlyMap<string, CollectionRecord>>;
	/** Asks this node's own copy. */
	readonly ask: UsageLedgerParts["ask"];
	/** Of everything: while this node is alone, its share is the whole. */
	readonly whole: Pick<UsageLedger, "usage" | "known">;
	readonly clock: Clock;
	readonly tenantsMax: number;
	readonly log: UsageLedgerParts["log"];
}

/** A tenant whose share was read as of some moment. */
export interface ShareMoment {
	readonly tenantId: TenantId;
	readonly change: number;
}

/**
 * What of each tenant this node answers for: the shards whose home it is. The shares of all nodes add up to what is stored,
 * each vector counted once; who is the home follows the topology alone, so that a node that is down still counts.
 */
export class OwnShares {
	readonly #parts: OwnSharesParts;
	#ledger: UsageLedger;
	#version: number;
	#changeCount = 0;
	readonly #changed = new Map<TenantId, number>();

	constructor(parts: OwnSharesParts) {
		this.#parts = parts;
		this.#version = parts.membership.view().version;
		this.#ledger = this.#newLedger();
	}

	/** @throws HUB_UNAVAILABLE; what an own copy threw that can't be asked now */
	async ownShare(tenantId: TenantId): Promise<TenantUsage> {
		const collections = await this.#parts.collections(tenantId);
		return this.#isWhole ? this.#parts.whole.usage(tenantId, collections) : this.#own().usage(tenantId, collections);
	}

	/** Shares that are known without asking a shard. */
	known(): Iterable<KnownUsage> {
		return this.#isWhole ? this.#parts.whole.known() : this.#own().known();
	}

	/** This node's copy of the shard was written to. */
	touched({ tenantId, collectionId, shardIndex }: ShardName): void {
		if (this.#isWhole) return;
		this.#own().doubt(tenantId, collectionId, shardIndex);
		this.suspect(tenantId);
	}

	/** The tenant's share may be another, after a change of the topology for one. */
	suspect(tenantId: TenantId): void {
		if (this.#changed.size >= CHANGED_TENANTS_MAX && !this.#changed.has(tenantId)) return;
		this.#changed.set(tenantId, ++this.#changeCount);
	}

	/** Tenants whose share may have changed since it was reported. */
	changed(): readonly ShareMoment[] {
		return Array.from(this.#changed, ([tenantId, change]) => ({ tenantId, change }));
	}

	/** These shares, or later ones, are on their way to the hub. What was written since stays. */
	reported(moments: readonly ShareMoment[]): void {
		for (const { tenantId, change } of moments) {
			if (this.#changed.get(tenantId) === change) this.#changed.delete(tenantId);
		}
	}

	forgetTenant(tenantId: TenantId): void {
		this.#ledger.forgetTenant(tenantId);
		this.#changed.delete(tenantId);
	}

	get #isWhole(): boolean {
		return this.#parts.membership.view().members.length <= 1;
	}

	#own(): UsageLedger {
		const { version } = this.#parts.membership.view();
		if (version !== this.#version) {
			this.#version = version;
			this.#ledger = this.#newLedger();
		}
		return this.#ledger;
	}

	#newLedger(): UsageLedger {
		const { membership, ask, clock, tenantsMax, log } = this.#parts;
		return new UsageLedger({
			ask: async (record, shardIndex) => {
				const [home] = membership.view().placement(record.id, shardIndex, record.replicas).current;
				return home === membership.self ? ask(record, shardIndex) : { vectorCount: 0, bytes: 0 };
			},
			clock,
			tenantsMax,
			log,
		});
	}
}
