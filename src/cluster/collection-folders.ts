import { open, readdir, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { type CollectionId, TENANT_ID_PATTERN, type TenantId } from "../base/ids.ts";
import {
	collectionFolder,
	isCollectionId,
	isMissing,
	syncFolder,
	tenantFolder,
	tenantsFolder,
} from "../shards/data-folder.ts";
import type { Trash } from "../shards/trash.ts";

/** In a collection's folder: says which of its shards are here. Nothing that it does not name was ever promised to anybody. */
const REGISTER = "created";

/** The collections' folders on this node's disk. */
export class CollectionFolders {
	readonly #dataDir: string;
	readonly #trash: Trash;

	constructor(dataDir: string, trash: Trash) {
		this.#dataDir = dataDir;
		this.#trash = trash;
	}

	/** @returns undefined when there is none */
	async readRegister(tenantId: TenantId, collectionId: CollectionId): Promise<string | undefined> {
		try {
			return await readFile(join(collectionFolder(this.#dataDir, tenantId, collectionId), REGISTER), "utf8");
		} catch (error) {
			if (isMissing(error)) return undefined;
			throw error;
		}
	}

	/** After any interruption it is there whole, or as it was. */
	async writeRegister(tenantId: TenantId, collectionId: CollectionId, text: string): Promise<void> {
		const folder = collectionFolder(this.#dataDir, tenantId, collectionId);
		const path = join(folder, REGISTER);
		const file = await open(`${path}.new`, "w", 0o600);
		try {
			await file.writeFile(text);
			await file.sync();
		} finally {
			await file.close();
		}
		await rename(`${path}.new`, path);
		await syncFolder(folder);
	}

	/** Ids that have a folder, whatever is in it. */
	async collections(tenantId: TenantId): Promise<CollectionId[]> {
		return (await namesIn(tenantFolder(this.#dataDir, tenantId))).filter(isCollectionId);
	}

	/** Shards that have a folder, whatever is in it. */
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
