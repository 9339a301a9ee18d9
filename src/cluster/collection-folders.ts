import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { type CollectionId, TENANT_ID_PATTERN, type TenantId } from "../base/ids.ts";
import {
	collectionFolder,
	exists,
	isCollectionId,
	isMissing,
	syncFolder,
	tenantFolder,
	tenantsFolder,
} from "../shards/data-folder.ts";
import type { Trash } from "../shards/trash.ts";

/** Written into a collection's folder when all its shards were made. */
const MARKER = "created";

/** The collections' folders on this node's disk. */
export class CollectionFolders {
	readonly #dataDir: string;
	readonly #trash: Trash;

	constructor(dataDir: string, trash: Trash) {
		this.#dataDir = dataDir;
		this.#trash = trash;
	}

	exists(tenantId: TenantId, collectionId: CollectionId): Promise<boolean> {
		return exists(collectionFolder(this.#dataDir, tenantId, collectionId));
	}

	/** Whether all shards were made once. Until then nothing can have been written to any. */
	isMarked(tenantId: TenantId, collectionId: CollectionId): Promise<boolean> {
		return exists(join(collectionFolder(this.#dataDir, tenantId, collectionId), MARKER));
	}

	async mark(tenantId: TenantId, collectionId: CollectionId): Promise<void> {
		const folder = collectionFolder(this.#dataDir, tenantId, collectionId);
		const marker = await open(join(folder, MARKER), "w", 0o600);
		await marker.close();
		await syncFolder(folder);
	}

	/** Ids that have a folder, whatever is in it. */
	async collections(tenantId: TenantId): Promise<CollectionId[]> {
		return (await namesIn(tenantFolder(this.#dataDir, tenantId))).filter(isCollectionId);
	}

	async shards(tenantId: TenantId, collectionId: CollectionId): Promise<number[]> {
		const names = await namesIn(collectionFolder(this.#dataDir, tenantId, collectionId));
		return names.filter((name) => /^\d{1,9}$/.test(name)).map(Number);
	}

	async tenants(): Promise<TenantId[]> {
		const names = await namesIn(tenantsFolder(this.#dataDir));
		return names.filter((name): name is TenantId => TENANT_ID_PATTERN.test(name));
	}

	discardCollection(tenantId: TenantId, collectionId: CollectionId): Promise<void> {
		return this.#trash.discard(collectionFolder(this.#dataDir, tenantId, collectionId));
	}

	discardTenant(tenantId: TenantId): Promise<void> {
		return this.#trash.discard(tenantFolder(this.#dataDir, tenantId));
	}
}

async function namesIn(folder: string): Promise<string[]> {
	try {
		return await readdir(folder);
	} catch (error) {
		if (isMissing(error)) return [];
		throw error;
	}
}
