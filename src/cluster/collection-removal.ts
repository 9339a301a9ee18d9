import type { CollectionId, TenantId } from "../base/ids.ts";
import type { TenantAccounts } from "./accounts/account-types.ts";
import type { DeletedCollections } from "./deleted-collections.ts";
import type { HintBook } from "./repair/hint-book.ts";
import type { DiskCopies } from "./replication/disk-copies.ts";

export interface CollectionRemovalParts {
	readonly deleted: DeletedCollections;
	readonly copies: Pick<DiskCopies, "dropCollection">;
	readonly hints: Pick<HintBook, "forgetCollection">;
	readonly accounts: Pick<TenantAccounts, "forget">;
}

/** Removes collections from this node that the hub has deleted: copies, hints and what was counted of them. */
export class CollectionRemoval {
	readonly #parts: CollectionRemovalParts;

	constructor(parts: CollectionRemovalParts) {
		this.#parts = parts;
	}

	/** Whether this node has heard that the collection was deleted: handles from before answer COLLECTION_NOT_FOUND. */
	isDeleted(collectionId: CollectionId): boolean {
		return this.#parts.deleted.has(collectionId);
	}

	/** The hub has deleted the collection: nothing may be asked of it any more. What lies here of it is for `remove`. */
	heard(tenantId: TenantId, collectionId: CollectionId): void {
		this.#parts.deleted.add(collectionId);
		this.#parts.hints.forgetCollection(tenantId, collectionId);
	}

	/** Closes the shards and removes all files. Idempotent. */
	async remove(tenantId: TenantId, collectionId: CollectionId): Promise<void> {
		const { copies, accounts } = this.#parts;
		this.heard(tenantId, collectionId);
		accounts.forget(tenantId, collectionId);
		await copies.dropCollection(tenantId, collectionId);
	}
}
