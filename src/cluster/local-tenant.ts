import { HiveError } from "../base/errors.ts";
import type { TenantId } from "../base/ids.ts";
import type { HubDirectory } from "../hub/hub-client-types.ts";
import type { CollectionPatch, CollectionRecord, NewCollection } from "../hub/models.ts";
import type { TenantAccounts } from "./accounts/account-types.ts";
import type { CollectionRemoval } from "./collection-removal.ts";
import { type CollectionShards, collectionNotFound } from "./collection-shards.ts";
import type { HubNewsWire } from "./hub-news-wire.ts";
import type { KeyedTurns } from "./keyed-turns.ts";
import type { Collection, Tenant, TenantUsage } from "./tenant-types.ts";

export interface LocalTenantParts {
	readonly directory: HubDirectory;
	readonly removal: CollectionRemoval;
	readonly accounts: Pick<TenantAccounts, "usage" | "recentUsage">;
	/** One at a time makes, changes or removes collections of a tenant. */
	readonly turns: KeyedTurns<TenantId>;
	/** The tenant's collections by name, as the hub has them. */
	readonly collections: () => Promise<ReadonlyMap<string, CollectionRecord>>;
	readonly shardsOf: (record: CollectionRecord) => CollectionShards;
	readonly handleOf: (record: CollectionRecord) => Collection;
	readonly news: Pick<HubNewsWire, "catchUp" | "tellMembers">;
	readonly log: (message: string, facts: Readonly<Record<string, unknown>>) => void;
}

/** One tenant's collections, wherever their shards are. Holds nothing but what it was given, so making one costs nothing. */
export class LocalTenant implements Tenant {
	readonly id: TenantId;
	readonly #parts: LocalTenantParts;

	constructor(id: TenantId, parts: LocalTenantParts) {
		this.id = id;
		this.#parts = parts;
	}

	async listCollections(): Promise<readonly CollectionRecord[]> {
		const collections = await this.#parts.collections();
		return [...collections.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
	}

	async collection(name: string): Promise<Collection> {
		const { removal, handleOf } = this.#parts;
		const record = (await this.#parts.collections()).get(name) ?? (await this.#madeElsewhere(name));
		if (record === undefined || removal.isDeleted(record.id)) throw collectionNotFound(name);
		return handleOf(record);
	}

	async createCollection(collection: NewCollection): Promise<Collection> {
		return this.#parts.turns.run(this.id, async () => {
			const record = await this.#parts.directory.hub.createCollection(this.id, collection);
			try {
				await this.#parts.shardsOf(record).callAll((shard) => shard.makeEmpty());
			} catch (error) {
				await this.#undoCreate(record);
				throw error;
			}
			return this.#parts.handleOf(record);
		});
	}

	async deleteCollection(name: string): Promise<void> {
		await this.#parts.turns.run(this.id, async () => {
			const record = (await this.#parts.collections()).get(name) ?? (await this.#madeElsewhere(name));
			if (record === undefined) throw collectionNotFound(name);
			const deleted = await this.#deleteAtHub(name);
			await this.#parts.removal.remove(this.id, deleted.id);
			await this.#parts.news.tellMembers();
		});
	}

	async usage(): Promise<TenantUsage> {
		return this.#parts.accounts.usage(this.id, await this.#parts.collections());
	}

	async recentUsage(): Promise<TenantUsage> {
		return this.#parts.accounts.recentUsage(this.id, await this.#parts.collections());
	}

	/**
	 * Changes a collection's record.
	 *
	 * @param decide given the current record, says what to change; undefined for nothing
	 * @throws COLLECTION_NOT_FOUND, also when the name meanwhile belongs to another collection
	 */
	async changeRecord(
		record: CollectionRecord,
		decide: (current: CollectionRecord) => CollectionPatch | undefined,
	): Promise<CollectionRecord> {
		return this.#parts.turns.run(this.id, async () => {
			const current = sameCollection(await this.#parts.collections(), record);
			if (current === undefined) throw collectionNotFound(record.name);
			const patch = decide(current);
			return patch === undefined ? current : this.#parts.directory.hub.updateCollection(this.id, record.name, patch);
		});
	}

	/** A collection that another node made a moment ago. */
	async #madeElsewhere(name: string): Promise<CollectionRecord | undefined> {
		await this.#parts.news.catchUp();
		return (await this.#parts.collections()).get(name);
	}

	async #deleteAtHub(name: string): Promise<CollectionRecord> {
		try {
			return await this.#parts.directory.hub.deleteCollection(this.id, name);
		} catch (error) {
			if (error instanceof HiveError && error.code === "COLLECTION_NOT_FOUND") throw collectionNotFound(name);
			throw error;
		}
	}

	async #undoCreate(record: CollectionRecord): Promise<void> {
		try {
			await this.#parts.directory.hub.deleteCollection(this.id, record.name);
			await this.#parts.removal.remove(this.id, record.id);
		} catch (error) {
			// The name stays taken by an empty collection, which its first use makes, or a deletion removes.
			this.#parts.log("a collection that could not be made could not be undone", {
				tenant_id: this.id,
				collection_id: record.id,
				error: String(error),
			});
		}
	}
}

/** The collection a record tells of, if the hub still names it. */
function sameCollection(
	collections: ReadonlyMap<string, CollectionRecord>,
	record: CollectionRecord,
): CollectionRecord | undefined {
	const current = collections.get(record.name);
	return current?.id === record.id ? current : undefined;
}
