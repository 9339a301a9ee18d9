import { LRUCache } from "lru-cache";
import type { Clock } from "../base/clock.ts";
import type { RandomBytes, TenantId } from "../base/ids.ts";
import type { HubDirectory } from "../hub/hub-client-types.ts";
import type { CollectionRecord } from "../hub/models.ts";
import type { ShardPool } from "../shards/pool-types.ts";
import { Trash } from "../shards/trash.ts";
import type { ShardStats } from "../storage/shard-types.ts";
import { AdmittedWriter } from "./admitted-writer.ts";
import { CollectionFolders } from "./collection-folders.ts";
import { CollectionLifecycle } from "./collection-lifecycle.ts";
import { CollectionShards } from "./collection-shards.ts";
import { KeyedTurns } from "./keyed-turns.ts";
import { LocalCollection } from "./local-collection.ts";
import { LocalTenant } from "./local-tenant.ts";
import type { Collection, Tenant, TenantSource, WriteGate } from "./tenant-types.ts";
import { type KnownUsage, UsageLedger } from "./usage-ledger.ts";

const TENANTS_REMEMBERED_MAX = 100_000;
const TENANTS_PER_PAGE = 1_000;

export interface TenantDirectoryParts {
	readonly dataDir: string;
	readonly directory: HubDirectory;
	readonly pool: ShardPool;
	readonly gate: WriteGate;
	readonly clock: Clock;
	readonly random: RandomBytes;
	/** For what nobody waits for. */
	readonly log: (message: string, facts: Readonly<Record<string, unknown>>) => void;
}

/** Hands out the tenants of this node. */
export class TenantDirectory implements TenantSource {
	readonly #parts: TenantDirectoryParts;
	readonly #folders: CollectionFolders;
	readonly #lifecycle: CollectionLifecycle;
	readonly #ledger: UsageLedger;
	readonly #turns = new KeyedTurns<TenantId>();
	/** Tenants whose folder was searched for what the hub no longer names. */
	readonly #swept = new LRUCache<TenantId, true>({ max: TENANTS_REMEMBERED_MAX });
	/** A record that did not change keeps its handle. */
	readonly #handles = new WeakMap<CollectionRecord, Collection>();

	constructor(parts: TenantDirectoryParts) {
		this.#parts = parts;
		this.#folders = new CollectionFolders(parts.dataDir, new Trash(parts.dataDir, parts.random));
		this.#lifecycle = new CollectionLifecycle({ folders: this.#folders, pool: parts.pool });
		this.#ledger = new UsageLedger({
			ask: (record, shardIndex) => this.#askStats(record, shardIndex),
			clock: parts.clock,
			tenantsMax: TENANTS_REMEMBERED_MAX,
			log: parts.log,
		});
	}

	tenant(tenantId: TenantId): Tenant {
		return this.#tenant(tenantId);
	}

	async dropTenant(tenantId: TenantId): Promise<void> {
		await this.#turns.run(tenantId, () => this.#removeTenant(tenantId));
	}

	/**
	 * Removes what lies here of a tenant and the hub no longer names: collections, or everything once the tenant is gone. What
	 * was made since under the same names stays. Idempotent.
	 *
	 * @throws HUB_UNAVAILABLE
	 */
	async sweepTenant(tenantId: TenantId): Promise<void> {
		// In turn, so that no collection is being made meanwhile.
		await this.#turns.run(tenantId, async () => {
			const { hub } = this.#parts.directory;
			if ((await hub.getTenant(tenantId)) === undefined) await this.#removeTenant(tenantId);
			else await this.#removeAllBut(tenantId, await hub.listCollections(tenantId));
		});
	}

	/** What is known of what tenants have stored here, without asking a shard. Tenants nobody asked for yet are not among them. */
	knownUsage(): Iterable<KnownUsage> {
		return this.#ledger.known();
	}

	/**
	 * Drops tenants that have a folder here and that the hub does not know: a crash came between their deletion there and
	 * here. Meant to run once in the background after the start.
	 *
	 * @throws HUB_UNAVAILABLE
	 */
	async dropUnknownTenants(): Promise<void> {
		// Those that are known may have lost collections: each is searched again on its next use.
		this.#swept.clear();
		const unknown = new Set(await this.#folders.tenants());
		const { hub } = this.#parts.directory;
		for (let after: string | null | undefined; unknown.size > 0 && after !== null; ) {
			const page = await hub.listTenants({ limit: TENANTS_PER_PAGE, ...(after === undefined ? {} : { after }) });
			for (const { id } of page.tenants) unknown.delete(id);
			after = page.next;
		}
		// Asks by name once more: a tenant may have been made while the pages were read.
		for (const tenantId of unknown) await this.sweepTenant(tenantId);
	}

	/** Waits for what runs in the background. To be called when no request is left. */
	async close(): Promise<void> {
		await this.#turns.idle();
	}

	#tenant(tenantId: TenantId): LocalTenant {
		return new LocalTenant(tenantId, {
			directory: this.#parts.directory,
			lifecycle: this.#lifecycle,
			ledger: this.#ledger,
			turns: this.#turns,
			collections: () => this.#collections(tenantId),
			shardsOf: (record) => this.#shardsOf(record),
			handleOf: (record) => this.#handleOf(record),
			log: this.#parts.log,
		});
	}

	async #collections(tenantId: TenantId): Promise<ReadonlyMap<string, CollectionRecord>> {
		const collections = await this.#parts.directory.collections(tenantId);
		if (!this.#swept.has(tenantId)) {
			this.#swept.set(tenantId, true);
			this.#sweep(tenantId, collections).catch((error: unknown) => {
				this.#parts.log("a tenant's folder could not be cleaned", { tenant_id: tenantId, error: String(error) });
			});
		}
		return collections;
	}

	/** Removes folders of collections that the hub no longer names: a crash came between their deletion there and here. */
	async #sweep(tenantId: TenantId, known: ReadonlyMap<string, CollectionRecord>): Promise<void> {
		// In turn, so that no collection is being made meanwhile.
		await this.#turns.run(tenantId, async () => {
			const named = new Set([...known.values()].map((record) => record.id));
			if ((await this.#folders.collections(tenantId)).every((id) => named.has(id))) return;
			// Asked of the hub itself: what is only missing in a cache must not be removed.
			await this.#removeAllBut(tenantId, await this.#parts.directory.hub.listCollections(tenantId));
		});
	}

	async #removeTenant(tenantId: TenantId): Promise<void> {
		await this.#removeAllBut(tenantId, []);
		await this.#folders.discardTenant(tenantId);
		this.#ledger.forgetTenant(tenantId);
		this.#swept.delete(tenantId);
	}

	async #removeAllBut(tenantId: TenantId, kept: readonly CollectionRecord[]): Promise<void> {
		const keptIds = new Set(kept.map((record) => record.id));
		for (const collectionId of await this.#folders.collections(tenantId)) {
			if (keptIds.has(collectionId)) continue;
			this.#ledger.forget(tenantId, collectionId);
			await this.#lifecycle.remove(tenantId, collectionId);
		}
	}

	#shardsOf(record: CollectionRecord): CollectionShards {
		return new CollectionShards(record, {
			pool: this.#parts.pool,
			isDeleted: ({ id }) => this.#lifecycle.isDeleted(id),
			doubt: (doubted, shardIndex) => this.#ledger.doubt(doubted, shardIndex),
		});
	}

	#handleOf(record: CollectionRecord): Collection {
		let handle = this.#handles.get(record);
		if (handle === undefined) {
			const tenant = this.#tenant(record.tenant_id);
			handle = new LocalCollection({
				shards: this.#shardsOf(record),
				writer: new AdmittedWriter({
					record,
					gate: this.#parts.gate,
					usage: () => tenant.usage(),
					stage: (shardIndex, result) => this.#ledger.stage(record, shardIndex, result),
				}),
				changeRecord: (decide) => tenant.changeRecord(record, decide),
				shardsOf: (changed) => this.#shardsOf(changed),
			});
			this.#handles.set(record, handle);
		}
		return handle;
	}

	async #askStats(record: CollectionRecord, shardIndex: number): Promise<Pick<ShardStats, "vectorCount" | "bytes">> {
		// A collection that is not made yet is empty, and need not be made for the sake of being counted.
		const isMade =
			this.#lifecycle.isKnownMade(record.id) || (await this.#folders.isMarked(record.tenant_id, record.id));
		return isMade ? this.#shardsOf(record).call(shardIndex, "stats") : { vectorCount: 0, bytes: 0 };
	}
}
