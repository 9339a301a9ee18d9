import type { TenantId } from "../base/ids.ts";
import { recentMap } from "../base/recent-map.ts";
import type { HubDirectory } from "../hub/hub-client-types.ts";
import { tenantPages } from "../hub/hub-listing.ts";
import type { CollectionRecord } from "../hub/models.ts";
import type { TenantAccounts } from "./accounts/account-types.ts";
import { AdmittedWriter } from "./admitted-writer.ts";
import type { CollectionFolders } from "./collection-folders.ts";
import type { CollectionRemoval } from "./collection-removal.ts";
import type { CollectionShards } from "./collection-shards.ts";
import type { HubNewsWire } from "./hub-news-wire.ts";
import { KeyedTurns } from "./keyed-turns.ts";
import { LocalCollection } from "./local-collection.ts";
import { LocalTenant } from "./local-tenant.ts";
import type { Collection, Tenant, TenantSource } from "./tenant-types.ts";

const TENANTS_REMEMBERED_MAX = 100_000;
const TENANTS_PER_PAGE = 1_000;

export interface TenantDirectoryParts {
	readonly directory: HubDirectory;
	/** This node's own, of all tenants. */
	readonly folders: Pick<CollectionFolders, "tenants" | "collections" | "discardTenant">;
	readonly removal: CollectionRemoval;
	readonly accounts: TenantAccounts;
	readonly shardsOf: (record: CollectionRecord) => CollectionShards;
	readonly news: HubNewsWire;
	/** Settles when what the hub says may be acted on. @throws HUB_UNAVAILABLE */
	readonly confirmHub: () => Promise<void>;
	/** @see LocalCollectionParts */
	readonly changeReplicas: (record: CollectionRecord, replicas: number) => Promise<number | undefined>;
	/** For what nobody waits for. */
	readonly log: (message: string, facts: Readonly<Record<string, unknown>>) => void;
}

/** Hands out the tenants, and removes from this node's disk what the hub no longer names. */
export class TenantDirectory implements TenantSource {
	readonly #parts: TenantDirectoryParts;
	readonly #turns = new KeyedTurns<TenantId>();
	/** Tenants whose folder was searched for what the hub no longer names. */
	readonly #swept = recentMap<TenantId, true>(TENANTS_REMEMBERED_MAX);
	/** A record that did not change keeps its handle. */
	readonly #handles = new WeakMap<CollectionRecord, Collection>();

	constructor(parts: TenantDirectoryParts) {
		this.#parts = parts;
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

	/**
	 * Drops tenants that have a folder here and that the hub does not know: a crash came between their deletion there and
	 * here. Meant to run once in the background after the start.
	 *
	 * @throws HUB_UNAVAILABLE
	 */
	async dropUnknownTenants(): Promise<void> {
		// Those that are known may have lost collections: each is searched again on its next use.
		this.#swept.clear();
		const unknown = new Set(await this.#parts.folders.tenants());
		const { hub } = this.#parts.directory;
		if (unknown.size === 0) return;
		for await (const tenants of tenantPages(hub, TENANTS_PER_PAGE)) {
			for (const { id } of tenants) unknown.delete(id);
			if (unknown.size === 0) return;
		}
		// Asks by name once more: a tenant may have been made while the pages were read.
		for (const tenantId of unknown) await this.sweepTenant(tenantId);
	}

	/** Waits for what runs in the background. To be called when no request is left. */
	async close(): Promise<void> {
		await this.#turns.idle();
	}

	/** The tenant's collections by name, as the hub has them. @throws HUB_UNAVAILABLE */
	async collections(tenantId: TenantId): Promise<ReadonlyMap<string, CollectionRecord>> {
		const collections = await this.#parts.directory.collections(tenantId);
		if (!this.#swept.has(tenantId)) {
			this.#swept.set(tenantId, true);
			this.#sweep(tenantId, collections).catch((error: unknown) => {
				this.#parts.log("a tenant's folder could not be cleaned", { tenant_id: tenantId, error: String(error) });
			});
		}
		return collections;
	}

	#tenant(tenantId: TenantId): LocalTenant {
		const { directory, removal, accounts, shardsOf, news, log } = this.#parts;
		return new LocalTenant(tenantId, {
			directory,
			removal,
			accounts,
			turns: this.#turns,
			collections: () => this.collections(tenantId),
			shardsOf,
			handleOf: (record) => this.#handleOf(record),
			news,
			log,
		});
	}

	/** Removes folders of collections that the hub no longer names: a crash came between their deletion there and here. */
	async #sweep(tenantId: TenantId, known: ReadonlyMap<string, CollectionRecord>): Promise<void> {
		// In turn, so that no collection is being made meanwhile.
		await this.#turns.run(tenantId, async () => {
			const named = new Set([...known.values()].map((record) => record.id));
			if ((await this.#parts.folders.collections(tenantId)).every((id) => named.has(id))) return;
			// Asked of the hub itself: what is only missing in a cache must not be removed.
			await this.#removeAllBut(tenantId, await this.#parts.directory.hub.listCollections(tenantId));
		});
	}

	async #removeTenant(tenantId: TenantId): Promise<void> {
		await this.#removeAllBut(tenantId, []);
		await this.#parts.folders.discardTenant(tenantId);
		this.#parts.accounts.forgetTenant(tenantId);
		this.#swept.delete(tenantId);
	}

	async #removeAllBut(tenantId: TenantId, kept: readonly CollectionRecord[]): Promise<void> {
		const { folders, removal, confirmHub } = this.#parts;
		const keptIds = new Set(kept.map((record) => record.id));
		const removed = (await folders.collections(tenantId)).filter((collectionId) => !keptIds.has(collectionId));
		if (removed.length === 0) return;
		await confirmHub();
		for (const collectionId of removed) await removal.remove(tenantId, collectionId);
	}

	#handleOf(record: CollectionRecord): Collection {
		let handle = this.#handles.get(record);
		if (handle === undefined) {
			const { accounts, shardsOf } = this.#parts;
			const tenant = this.#tenant(record.tenant_id);
			handle = new LocalCollection({
				shards: shardsOf(record),
				writer: new AdmittedWriter({
					record,
					accounts,
					collections: () => this.collections(record.tenant_id),
				}),
				changeRecord: (decide) => tenant.changeRecord(record, decide),
				changeReplicas: (replicas) => this.#parts.changeReplicas(record, replicas),
				shardsOf,
			});
			this.#handles.set(record, handle);
		}
		return handle;
	}
}
